"""`check`: a run held to its baseline."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from bench.cli import screen
from bench.comparison import gate
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
    from bench.comparison.gate_config import read_gates
    from bench.results.run import Run
    from bench.storage.files import write_bytes

    new = Run.open(results)
    if update:
        if gates or junit or markdown or annotations:
            raise ConfigError("--update takes the run as it is; check it first, without --update")
        _update(new, baseline)
        return
    base = Run.open(baseline)
    rules = read_gates(gates, base.gateable)
    outcome = gate.check(new, base, rules)
    for path, text in ((junit, ci.junit(outcome)), (markdown, ci.markdown(outcome, rules))):
        if path is not None:
            write_bytes(path, text.encode())
    ci.show(outcome, screen.out)
    for line in ci.github_annotations(outcome, new.file) if annotations else ():
        screen.out.print(line, markup=False, highlight=False, emoji=False, soft_wrap=True)
    if outcome.red:
        raise typer.Exit(1)


def _update(new: Any, file: Path) -> None:
    from bench.comparison.baseline import changes, update
    from bench.results.run import Run

    lines = changes(new, Run.open(file)) if file.exists() else ["there was none"]
    update(new, file)
    for line in lines or ["nothing changed"]:
        screen.out.print(line, markup=False, highlight=False, soft_wrap=True)
    screen.out.print(f"new baseline: {file}", markup=False, soft_wrap=True)
