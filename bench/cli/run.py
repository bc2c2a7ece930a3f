"""`run`: a suite to its leaderboard."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from bench.cli import screen
from bench.core.errors import ConfigError, UnknownName
from bench.engine.executors.cluster import Cluster


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
    cpus: Annotated[float | None, typer.Option(help="With ray: CPUs a worker; 1 unless given.")] = None,
    gpus: Annotated[float | None, typer.Option(help="With ray: GPUs a worker; 0.5 seats two on one.")] = None,
    memory: Annotated[float | None, typer.Option(help="With ray: GiB a worker, for the scheduler.")] = None,
    job_timeout: Annotated[
        float | None,
        typer.Option(
            help="Seconds that a job may take: then its worker is killed, and it is tried again; no limit unless given."
        ),
    ] = None,
    ranks: Annotated[
        int | None, typer.Option(help="Spread each guidance batch over so many processes, or GPUs: docs/scaling.md.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show cells, calls, hours and GiB, without sampling or writing.")
    ] = False,
) -> None:
    """Run a suite, or what is missing of it: a run that was stopped goes on where it was."""
    from bench.config.suite import list_suites, read_suite
    from bench.engine import runner
    from bench.engine.options import Options, check_folder
    from bench.report.terminal import show_leaderboard

    if workers is not None and workers < 1:
        raise ConfigError(f"--workers must be at least 1, got {workers}")
    check_folder(out)  # before it is made absolute
    asked = {"address": address, "cpus": cpus, "gpus": gpus, "memory": memory}
    cluster = _cluster(executor, out, workers, {name: value for name, value in asked.items() if value is not None})
    if job_timeout is not None and (not job_timeout > 0 or ranks):
        raise ConfigError(f"--job-timeout must be more than 0, and without --ranks, got {job_timeout:g}; see --help")
    if ranks is not None and (ranks < 1 or workers or cluster):
        raise ConfigError(f"--ranks must be at least 1, without --workers or --executor ray, got {ranks}; see --help")
    out = cluster.shared if cluster else out
    options = Options(out, workers, device, compute_batch, _parse_only(only or []), cluster, ranks, job_timeout, bucket)
    chosen = read_suite(suite)
    if dry_run or suite in list_suites():
        from bench.environment.requirements import refuse_missing

        refuse_missing(chosen)
    if dry_run:
        from bench.estimate.forecast import foresee
        from bench.estimate.show import show_forecast

        show_forecast(chosen.suite, foresee(chosen, options), screen.out)
        return
    outcome = runner.run(chosen, options)
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


def _cluster(executor: str, out: Path, workers: int | None, asked: dict[str, Any]) -> Cluster | None:
    if executor not in ("local", "ray"):
        raise UnknownName("executor", executor, ("local", "ray"))
    if executor == "local":
        if asked:
            raise ConfigError(f"--{next(iter(asked))} is for --executor ray; the local executor has --workers")
        return None
    if importlib.util.find_spec("ray") is None:
        raise ConfigError("--executor ray needs Ray; install the extra: pip install 'fairdiff-bench[ray]'")
    for name, least in (("cpus", 0), ("gpus", 0), ("memory", 0)):
        if name in asked and not asked[name] >= least:
            raise ConfigError(f"--{name} must be at least {least}, got {asked[name]:g}")
    return Cluster(
        address=asked.get("address"),
        workers=workers or os.cpu_count() or 1,
        cpus=asked.get("cpus", 1.0),
        gpus=asked.get("gpus", 0.0),
        memory_gib=asked.get("memory"),
        shared=out.absolute(),  # a worker's working directory is its own
    )
