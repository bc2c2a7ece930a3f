"""`run`: a suite to its leaderboard."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.cli import screen
from bench.errors import ConfigError


def run(
    suite: Annotated[str, typer.Argument(help="A shipped suite's name, or a YAML file.")] = "quick",
    only: Annotated[
        list[str] | None, typer.Option(help="Keep some cells: task=..., method=... or seed=...; may be repeated.")
    ] = None,
    out: Annotated[
        Path, typer.Option(help="Folder of the tables (OUT/SUITE) and of the store (OUT/store).")
    ] = screen.OUT,
    workers: Annotated[
        int | None, typer.Option(help="Worker processes, one thread each; every core unless given.")
    ] = None,
    device: Annotated[str, typer.Option(help="A torch device: cpu, cuda, cuda:1, mps.")] = "cpu",
    compute_batch: Annotated[
        int | None, typer.Option(help="Largest number of images the network runs on at once; does not change results.")
    ] = None,
) -> None:
    """Run a suite, or what is missing of it: a run that was stopped goes on where it was."""
    from bench import runner
    from bench.report.terminal import show_leaderboard
    from bench.runner import Options
    from bench.suite import read_suite

    if workers is not None and workers < 1:
        raise ConfigError(f"--workers must be at least 1, got {workers}")
    options = Options(out, workers, device, compute_batch, _parse_only(only or []))
    outcome = runner.run(read_suite(suite), options)
    show_leaderboard(outcome.folder, screen.out)
    for status, cell, reason in outcome.problems:
        screen.out.print(f"{status}: {cell}: {reason}", markup=False, soft_wrap=True)
    screen.out.print(f"tables and grids: {outcome.folder}", markup=False, soft_wrap=True)
    if outcome.failed:
        screen.out.print(
            f"some cells failed; whole reasons: {outcome.folder / 'failures.log'}", markup=False, soft_wrap=True
        )
        raise typer.Exit(1)


def _parse_only(only: list[str]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for item in only:
        key, equals, value = item.partition("=")
        if not equals:
            raise ConfigError(f"--only must be key=value, got {item!r}; for example --only method=vanilla")
        found.setdefault(key, set()).add(value)
    return found
