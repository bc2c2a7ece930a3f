"""The formats that a table can be written in."""

from __future__ import annotations

from collections.abc import Callable

from bench.papertables.html import write_html
from bench.papertables.latex import write_latex
from bench.papertables.markdown import write_markdown
from bench.papertables.table import Table
from bench.papertables.tidy import write_csv

FORMATS: dict[str, Callable[[Table], str]] = {
    "latex": write_latex,
    "markdown": write_markdown,
    "csv": write_csv,
    "html": write_html,
}
