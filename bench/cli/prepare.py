"""`prepare`: what a suite takes from elsewhere, fetched where that can be done."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.cli import screen


def prepare(
    suite: Annotated[str, typer.Argument(help="A preset's or another shipped suite's name, or a YAML file.")],
    mirror: Annotated[
        Path | None, typer.Option(help="A folder OWNER/NAME/REVISION to copy from, where there is no network.")
    ] = None,
) -> None:
    """Fetch the weights that a suite needs, and say what to put where; exit code 1 where something is missing still."""
    from bench.config.suite import read_suite
    from bench.environment.requirements import prepare as fetch_missing

    items = fetch_missing(read_suite(suite), mirror)
    if not items:
        screen.out.print(f"suite {suite} needs nothing that the bench does not bring", markup=False)
        return
    rows = [(item.what, item.where, "missing" if item.missing else "at hand") for item in items]
    screen.out.print(screen.table(f"suite {suite}", ("what", "where", "state"), rows))
    for item in items:
        if item.missing:
            left_out = "" if item.needed else " (without it, its columns are skipped)"
            line = f"missing: {item.what} at {item.where}: {item.missing}{left_out}"
            screen.out.print(line, markup=False, highlight=False, soft_wrap=True)
    if any(item.missing for item in items):
        raise typer.Exit(1)
