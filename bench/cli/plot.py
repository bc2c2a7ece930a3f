"""`plot`: the plots of a finished run, for a paper."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench import api
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
    finished = api.open_run(run)
    files, without = api.write_plots(finished, out, only or [])
    for name, reason in without.items():
        screen.line(f"skipped: {name}: {reason}")
    screen.line(f"{len(files)} files in {out or finished.file.parent / 'plots'}")
