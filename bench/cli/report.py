"""`report`: a finished run as one page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.api import finished
from bench.cli import screen


def report(
    run: Annotated[Path, typer.Argument(help="A finished run's folder, or its results.csv.")] = screen.OUT / "quick",
    out: Annotated[Path | None, typer.Option(help="The file to write; page.html beside results.csv if none.")] = None,
) -> None:
    """Make one HTML file of a finished run, which opens from disk and asks for nothing."""
    screen.line(str(finished.write_page(run, out)))
