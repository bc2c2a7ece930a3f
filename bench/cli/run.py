"""`run`: a suite to its leaderboard."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench import api
from bench.cli import screen
from bench.core.errors import ConfigError
from bench.engine.run_options import RunOptions


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
    bucket: Annotated[
        str | None,
        typer.Option(
            help="URL (s3://..., any of fsspec's) of what machines share in the place of a folder: OUT/store is a copy."
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="A torch device: cpu, cuda, cuda:1, mps.")] = "cpu",
    compute_batch: Annotated[
        int | None, typer.Option(help="Largest number of images the network runs on at once; does not change results.")
    ] = None,
    executor: Annotated[str, typer.Option(help="local, or ray (the extra `ray`): see docs/scaling.md.")] = "local",
    address: Annotated[
        str | None, typer.Option(help="With ray: a running cluster, or auto; one is started here unless given.")
    ] = None,
    cpus: Annotated[float | None, typer.Option(help="With ray: CPUs per worker; 1 unless given.")] = None,
    gpus: Annotated[float | None, typer.Option(help="With ray: GPUs per worker; 0.5 seats two on one.")] = None,
    memory: Annotated[float | None, typer.Option(help="With ray: GiB per worker, for the scheduler.")] = None,
    job_timeout: Annotated[
        float | None,
        typer.Option(
            help="Seconds that a job may take: then its worker is killed, and it is tried again; no limit unless given."
        ),
    ] = None,
    ranks: Annotated[
        int | None, typer.Option(help="Spread each guidance batch over this many processes, or GPUs: docs/scaling.md.")
    ] = None,
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
