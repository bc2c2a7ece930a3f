"""Where the commands write: the terminal, and the folder that holds runs unless another is given."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

OUT = Path("leaderboards")
out = Console(width=None if sys.stdout.isatty() else 170)  # a pipe has no width: do not wrap at 80


def say(line: str) -> None:
    """One line to standard error, as it is."""
    Console(stderr=True).print(line, markup=False, highlight=False, soft_wrap=True)


def table(title: str, columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> Table:
    """A table of plain text."""
    shown = Table(title=title)
    for column in columns:
        shown.add_column(column)
    for row in rows:
        shown.add_row(*map(escape, row))  # a bracket in a docstring is no markup
    return shown
