"""Numbers and names as text: for the terminal, for Markdown, and inert in a spreadsheet."""

from __future__ import annotations

import csv
import html
import io
import re
from collections.abc import Sequence
from typing import Any

ARROWS = {"lower": " ↓", "higher": " ↑", None: ""}

MARKS = re.compile(r"[\\|`*\[\]~]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")  # within a word, _ is a letter


def number(value: float | None) -> str:
    """Four significant digits, or a dash where there is none."""
    return "-" if value is None else f"{value:.4g}"


def interval(low: float | None, high: float | None) -> str:
    """An interval in brackets, or nothing."""
    return "" if low is None or high is None else f" [{low:.4g}, {high:.4g}]"


def probability(p: float | None) -> str:
    """A p value, or a dash."""
    return "-" if p is None else "< 0.0001" if p < 0.0001 else f"{p:.4f}"


def markdown_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of GitHub's Markdown whose cells show as they are written, whatever is in them."""
    lines = [heads, ["---"] * len(heads), *([_inert(cell) for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _inert(text: str) -> str:
    escaped = html.escape(" ".join(text.split()), quote=False)
    return MARKS.sub(lambda mark: f"&#{ord(mark[0])};", escaped)


def csv_table(rows: Sequence[dict[str, Any]]) -> str:
    """Rows of the same keys as CSV; floats read back to the same number, and no text is a spreadsheet's formula."""
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _field(value) for key, value in row.items()} for row in rows)
    return out.getvalue()


def _field(value: Any) -> str:
    if isinstance(value, str):
        return "'" + value if value.lstrip().startswith(("=", "+", "-", "@")) else value
    return "" if value is None else repr(value)


def inert(text: str) -> str:
    """Text without meaning to Markdown or HTML, in one line."""
    escaped = html.escape(" ".join(text.split()), quote=False)
    # An underscore within a word means nothing. A backslash before | is read otherwise in a table than elsewhere.
    return re.sub(r"[\\`*\[\]~$]|(?<!\w)_|_(?!\w)", r"\\\g<0>", escaped).replace("|", "&#124;")
