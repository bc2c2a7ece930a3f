"""`doctor`: what this machine has."""

from __future__ import annotations

import typer

from bench.cli import screen


def doctor() -> None:
    """What is installed, which weights are at hand, which devices there are."""
    from bench.environment.doctor import examine

    rows = examine()
    screen.out.print(screen.table("doctor", ("what", "found", "state"), rows))
    if any(state == "missing" for _, _, state in rows):
        raise typer.Exit(1)
