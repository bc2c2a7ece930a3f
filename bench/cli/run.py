"""`run`: a suite to its leaderboard."""

from __future__ import annotations

from typing import Annotated

import typer

from bench import api
from bench.cli import screen
from bench.cli.options import Address, Bucket, ComputeBatch, Device, JobTimeout, Out, Ranks, Workers
from bench.core.errors import ConfigError
from bench.engine.run_options import RunOptions


def run(
    suite: Annotated[str, typer.Argument(help="A shipped suite's name, or a YAML file.")] = "quick",
    only: Annotated[
        list[str] | None, typer.Option(help="Run some cells only: task=..., method=... or seed=...; may be repeated.")
    ] = None,
    out: Out = screen.OUT,
    workers: Workers = None,
    bucket: Bucket = None,
    device: Device = "cpu",
    compute_batch: ComputeBatch = None,
    executor: Annotated[str, typer.Option(help="local, or ray (the extra `ray`): see docs/scaling.md.")] = "local",
    address: Address = None,
    cpus: Annotated[float | None, typer.Option(help="With ray: CPUs per worker; 1 unless given.")] = None,
    gpus: Annotated[float | None, typer.Option(help="With ray: GPUs per worker; 0.5 seats two on one.")] = None,
    memory: Annotated[float | None, typer.Option(help="With ray: GiB per worker, for the scheduler.")] = None,
    job_timeout: JobTimeout = None,
    ranks: Ranks = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show cells, calls, hours and GiB, without sampling or writing.")
    ] = False,
) -> None:
    """Run a suite, or what is missing of it. Runs resume: rerun the same command after any interruption."""
    options = RunOptions(
        out=out,
        only=_parse_only(only or []),
        workers=workers,
        device=device,
        compute_batch=compute_batch,
        executor=executor,
        address=address,
        cpus=cpus,
        gpus=gpus,
        memory_gib=memory,
        job_seconds=job_timeout,
        processes=ranks,
        bucket=bucket,
    )
    if dry_run:
        from bench.estimate.show import show_forecast

        plan = api.plan(suite, **options)
        show_forecast(plan.suite.suite, plan.forecast(), screen.out)
        return
    from bench.report.terminal import show_leaderboard

    outcome = api.execute(suite, **options)
    show_leaderboard(outcome.folder, screen.out)
    for status, cell, reason in outcome.problems:
        screen.line(f"{status}: {cell}: {reason}")
    screen.line(f"tables and grids: {outcome.folder}")
    if outcome.failed:
        screen.line(f"some cells failed; whole reasons: {outcome.folder / 'failures.log'}")
        raise typer.Exit(1)


def _parse_only(only: list[str]) -> dict[str, list[str]]:
    selected: dict[str, list[str]] = {}
    for item in only:
        key, equals, value = item.partition("=")
        if not equals:
            raise ConfigError(f"--only must be key=value, got {item!r}; for example --only method=vanilla")
        selected.setdefault(key, []).append(value)
    return selected
