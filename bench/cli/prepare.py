"""`prepare`: download what a suite needs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench import api
from bench.cli import screen


def prepare(
    suite: Annotated[str, typer.Argument(help="A preset's or another shipped suite's name, or a YAML file.")],
    mirror: Annotated[
        Path | None, typer.Option(help="A folder OWNER/NAME/REVISION to copy from, where there is no network.")
    ] = None,
) -> None:
    """Fetch the weights that a suite needs, and say what to put where; exit code 1 if something is still missing."""
    items = api.prepare(suite, mirror)
    if not items:
        screen.line(f"suite {suite} needs nothing that the bench does not bring")
        return
    rows = [(item.what, item.where, "missing" if item.missing else "available") for item in items]
    screen.out.print(screen.table(f"suite {suite}", ("what", "where", "state"), rows))
    for item in items:
        if item.missing:
            left_out = "" if item.needed else " (without it, its columns are skipped)"
            screen.line(f"missing: {item.what} at {item.where}: {item.missing}{left_out}")
    if any(item.missing for item in items):
        raise typer.Exit(1)
