"""`verify`: a results file that someone else made."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench import api
from bench.cli import screen

MARKS = {"ok": "green", "differs": "red", "not checkable": "yellow"}


def verify(
    results: Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder or its results.csv.")],
    suite: Annotated[
        str | None,
        typer.Option(
            help="Its suite, a name or a YAML file. Default: that of its run.json, or the shipped one of its name."
        ),
    ] = None,
    resample: Annotated[
        int, typer.Option(metavar="K", help="Draw K images again, in whole guidance batches, and compare them.")
    ] = 0,
    other_machine: Annotated[
        bool,
        typer.Option(
            "--other-machine",
            help="The store was made on another machine than the results: numbers may then differ by the tolerance "
            "of their column.",
        ),
    ] = False,
) -> None:
    """Check a results file by itself and, where its store lies beside it, every number; exit code 1 if one differs."""
    from rich.markup import escape

    passed = True
    for check in api.checks(results, suite, resample, other_machine):
        passed &= check.verdict != "differs"
        verdict = f"[{MARKS[check.verdict]}]{check.verdict}[/]"
        screen.out.print(f"{check.name}: {verdict}: {escape(check.what)}", highlight=False, emoji=False, soft_wrap=True)
    if not passed:
        raise typer.Exit(1)
