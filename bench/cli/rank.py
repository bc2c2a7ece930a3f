"""`rank`: the methods of a finished run over all of its tasks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.api import finished
from bench.cli import screen


def rank(
    run: Annotated[Path, typer.Argument(help="A finished run's folder, or its results.csv.")] = screen.OUT / "quick",
    out: Annotated[Path | None, typer.Option(help="Write the table as well: FILE.csv or FILE.md.")] = None,
) -> None:
    """Rank the methods of a finished run over all of its tasks, in groups that no test separates."""
    from bench.comparison.show import check_ending
    from bench.report import ranking

    if out is not None:
        check_ending(out)
    ranked = finished.rank(run)
    if out is not None:
        ranking.write(ranked, out)
    ranking.show(ranked, screen.out)
