"""The output formats of a paper table."""

from __future__ import annotations

from collections.abc import Callable

from bench.report.paper.html import write_html
from bench.report.paper.latex import write_latex
from bench.report.paper.markdown import write_markdown
from bench.report.paper.table import Table
from bench.report.paper.tidy import write_csv

FORMATS: dict[str, Callable[[Table], str]] = {
    "latex": write_latex,
    "markdown": write_markdown,
    "csv": write_csv,
    "html": write_html,
}
