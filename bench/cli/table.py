"""`table`: a finished run as a table of a paper."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.api import finished
from bench.cli import screen


def table(
    template: Annotated[str, typer.Argument(help="A shipped template's name, or a YAML file.")],
    run: Annotated[Path, typer.Argument(help="A finished run's folder, or its results.csv.")] = screen.OUT / "quick",
    format: Annotated[str, typer.Option(help="latex, markdown, csv or html.")] = "latex",
    out: Annotated[Path | None, typer.Option(help="Write it to a file instead of the screen.")] = None,
    claimed: Annotated[
        Path | None,
        typer.Option(
            help="A CSV of method, task, value, citation and, if you like, metric, to stand beside the measured values."
        ),
    ] = None,
) -> None:
    """Lay out a finished run as a table of a paper."""
    text = finished.paper_table(run, template, claimed).to(format)
    if out is None:
        typer.echo(text, nl=False)
    else:
        from bench.storage.files import write_bytes

        write_bytes(out, text.encode())
