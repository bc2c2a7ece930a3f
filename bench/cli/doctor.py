"""`doctor`: the state of the installation."""

from __future__ import annotations

import typer

from bench import api
from bench.cli import screen


def doctor() -> None:
    """Show which packages, weights, extractors and devices are available; exit code 1 if a needed one is missing."""
    findings = api.doctor()
    screen.out.print(screen.table("doctor", ("what", "detail", "state"), findings))
    if any(finding.state == "missing" for finding in findings):
        raise typer.Exit(1)
