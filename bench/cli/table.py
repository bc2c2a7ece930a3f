"""`table`: a finished run as a table of a paper."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.cli import screen
from bench.core.errors import UnknownName


def table(
    template: Annotated[str, typer.Argument(help="A shipped template's name, or a YAML file.")],
    run: Annotated[Path, typer.Argument(help="A finished run's folder, or its results.csv.")] = screen.OUT / "quick",
    format: Annotated[str, typer.Option(help="latex, markdown, csv or html.")] = "latex",
    out: Annotated[Path | None, typer.Option(help="Write it to a file instead of the screen.")] = None,
    claimed: Annotated[
        Path | None, typer.Option(help="A CSV of method, task, value and citation, to stand beside the measured ones.")
    ] = None,
) -> None:
    """Lay out a finished run as a table of a paper."""
    from bench.report.paper.claims import read_claims
    from bench.report.paper.formats import FORMATS
    from bench.report.paper.table import build
    from bench.report.paper.template import read_template
    from bench.results.run import Run
    from bench.storage.files import write_bytes

    if format not in FORMATS:
        raise UnknownName("format", format, FORMATS)
    chosen, finished = read_template(template), Run.open(run)
    claims = read_claims(claimed, finished) if claimed is not None else None
    text = FORMATS[format](build(chosen, finished, claims))
    if out is None:
        typer.echo(text, nl=False)
    else:
        write_bytes(out, text.encode())
