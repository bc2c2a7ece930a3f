"""`report`: a finished run as one page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.cli import screen
from bench.core.errors import ConfigError


def report(
    run: Annotated[Path, typer.Argument(help="A finished run's folder, or its results.csv.")] = screen.OUT / "quick",
    out: Annotated[Path | None, typer.Option(help="The file to write; page.html beside results.csv if none.")] = None,
) -> None:
    """Make one HTML file of a finished run, which opens from disk and asks for nothing."""
    from bench.report.page.document import page
    from bench.results.run import Run
    from bench.storage.files import write_bytes

    finished = Run.open(run)
    file = out or finished.file.parent / "page.html"
    if file.suffix != ".html":
        raise ConfigError(f"--out must end in .html, got {str(file)!r}; give a file, such as page.html")
    write_bytes(file, page(finished).encode())
    screen.out.print(str(file), markup=False, soft_wrap=True)
