"""`plot`: the plots of a finished run, for a paper."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

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
    from bench.report.plots.finished import Finished
    from bench.report.plots.gallery import write_plots

    finished = Finished.open(run)
    folder = out if out is not None else finished.run.file.parent / "plots"
    files, without = write_plots(finished, folder, only or [])
    for name, reason in without.items():
        screen.out.print(f"skipped: {name}: {reason}", markup=False, soft_wrap=True)
    screen.out.print(f"{len(files)} files in {folder}", markup=False, soft_wrap=True)
