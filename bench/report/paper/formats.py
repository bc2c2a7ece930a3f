"""The output formats of a paper table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bench.core.errors import UnknownName
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


@dataclass(frozen=True)
class PaperTable:
    """A finished run as a table of a paper.

    Attributes:
        table: heads, rows and footnotes, whatever the format.
    """

    table: Table

    def to_latex(self) -> str:
        """Return a LaTeX table with booktabs rules and its footnotes."""
        return write_latex(self.table)

    def to_markdown(self) -> str:
        """Return a Markdown table with its footnotes."""
        return write_markdown(self.table)

    def to_html(self) -> str:
        """Return an HTML fragment."""
        return write_html(self.table)

    def to_csv(self) -> str:
        """Return a CSV with one row per cell of the table."""
        return write_csv(self.table)

    def to(self, format: str) -> str:
        """Return the table in a format of `FORMATS`.

        Raises:
            UnknownName: no such format.
        """
        if format not in FORMATS:
            raise UnknownName("format", format, FORMATS)
        return FORMATS[format](self.table)

    def _repr_html_(self) -> str:
        return self.to_html()
