"""`plot`: the plots of a finished run, for a paper."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.api import finished
from bench.cli import screen


def plot(
    run: Annotated[Path, typer.Argument(help="A finished run's folder, or its results.csv.")] = screen.OUT / "quick",
    out: Annotated[Path | None, typer.Option(help="Folder to write to; RUN/plots unless given.")] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            help="One plot, such as pareto or sheets; may be repeated. All that the run has data for else, but cells."
        ),
    ] = None,
) -> None:
    """Draw a finished run's plots and sample sheets, each as PNG and PDF."""
    opened = finished.open_run(run)
    files, without = finished.write_plots(opened, out, only or [])
    for name, reason in without.items():
        screen.line(f"skipped: {name}: {reason}")
    screen.line(f"{len(files)} files in {out or opened.file.parent / 'plots'}")
