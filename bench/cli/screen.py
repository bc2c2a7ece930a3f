"""Output of the commands: the terminal, and the default folder of runs."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bench.engine.run_options import OUT

__all__ = ["OUT", "line", "out", "print_any_text", "say", "table"]

out = Console(width=None if sys.stdout.isatty() else 170)  # a pipe has no width: do not wrap at 80


def print_any_text() -> None:
    """Print "?" in place of characters that the terminal's encoding does not have, such as an arrow in cp1252."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def say(text: str) -> None:
    """Print one line to standard error, as it is."""
    Console(stderr=True).print(text, markup=False, highlight=False, soft_wrap=True)


def line(text: str) -> None:
    """Print one line to standard output, as it is."""
    out.print(text, markup=False, highlight=False, emoji=False, soft_wrap=True)


def table(title: str, columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> Table:
    """Return a table of plain text."""
    grid = Table(title=title)
    for column in columns:
        grid.add_column(column)
    for row in rows:
        grid.add_row(*map(escape, row))  # a bracket in a docstring is not markup
    return grid
