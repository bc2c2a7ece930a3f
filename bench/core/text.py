"""Numbers and names as text for the terminal and for Markdown."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence

ARROWS = {"lower": " ↓", "higher": " ↑", None: ""}


def number(value: float | None) -> str:
    """Return four significant digits, or a dash for None."""
    return "-" if value is None else f"{value:.4g}"


def interval(low: float | None, high: float | None) -> str:
    """Return an interval in brackets, with a space before it, or nothing."""
    return "" if low is None or high is None else f" [{low:.4g}, {high:.4g}]"


def probability(p: float | None) -> str:
    """Return a p value, or a dash for None."""
    return "-" if p is None else "< 0.0001" if p < 0.0001 else f"{p:.4f}"


def markdown_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table of GitHub's Markdown whose cells show as they are written, whatever is in them."""
    lines = [heads, ["---"] * len(heads), *([inert(cell) for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def inert(text: str) -> str:
    """Return text that neither Markdown nor HTML gives a meaning, in one line."""
    escaped = html.escape(" ".join(text.split()), quote=False)
    # An underscore within a word means nothing. A backslash before | is read otherwise in a table than elsewhere.
    return re.sub(r"[\\`*\[\]~$]|(?<!\w)_|_(?!\w)", r"\\\g<0>", escaped).replace("|", "&#124;")
