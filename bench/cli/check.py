"""`check`: a run held to its baseline."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.api import finished
from bench.cli import screen
from bench.core.errors import ConfigError


def check(
    baseline: Annotated[Path, typer.Option(help="The results.csv to hold the run to.")],
    results: Annotated[Path, typer.Argument(help="A run's folder or its results.csv.")] = screen.OUT / "quick",
    gates: Annotated[Path | None, typer.Option(help="A YAML file of gates; docs/regression-gate.md.")] = None,
    junit: Annotated[Path | None, typer.Option(help="Write JUnit XML.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write a summary for a job's page.")] = None,
    annotations: Annotated[bool, typer.Option("--annotations", help="Print GitHub's annotations.")] = False,
    update: Annotated[bool, typer.Option("--update", help="Make the run the new baseline; say what changed.")] = False,
) -> None:
    """Refuse a run (exit code 1) that is significantly worse than its baseline, and by more than its gates."""
    from bench.comparison import ci
    from bench.storage.files import write_bytes

    run = finished.open_run(results)
    if update:
        if gates or junit or markdown or annotations:
            raise ConfigError("--update takes the run as it is; check it first, without --update")
        from bench.comparison.baseline import update as update_baseline

        for line in update_baseline(run, baseline) or ["nothing changed"]:
            screen.line(line)
        screen.line(f"new baseline: {baseline}")
        return
    outcome = finished.check(run, baseline, gates)
    for path, write in ((junit, ci.junit), (markdown, ci.markdown)):
        if path is not None:
            write_bytes(path, write(outcome).encode())
    ci.show(outcome, screen.out)
    for line in ci.github_annotations(outcome, run.file) if annotations else ():
        screen.line(line)
    if not outcome.passed:
        raise typer.Exit(1)
