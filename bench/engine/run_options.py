"""The options of a run as keywords."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeAlias, TypedDict

from bench.core.errors import UnknownName
from bench.engine.options import Options

OUT = Path("leaderboards")
Selection: TypeAlias = Mapping[str, str | int | Iterable[str | int]]


class RunOptions(TypedDict, total=False):
    """Keywords of a run, each with a default: they say how a suite runs, not what it is.

    Attributes:
        out: folder of the tables (`out/SUITE`) and of the store (`out/store`); "leaderboards" unless given.
        only: the cells to run, as {"method": ..., "task": ..., "seed": ...}; one value or several per key.
        workers: worker processes, one thread each; every usable CPU unless given, one on an accelerator.
        device: a torch device: "cpu", "cuda", "cuda:1", "mps".
        compute_batch: largest number of images that the network runs on at once; does not change results.
        executor: "local", or "ray" (the extra `ray`).
        address: with Ray, a running cluster, or "auto"; one is started here unless given.
        cpus: with Ray, CPUs per worker; 1 unless given.
        gpus: with Ray, GPUs per worker; 0.5 seats two on one.
        memory_gib: with Ray, GiB per worker, for the scheduler (`--memory`).
        processes: processes, or GPUs, that each guidance batch is spread over, in place of `workers` (`--ranks`).
        job_seconds: seconds that a job may take; then its worker is killed and the job is tried again
            (`--job-timeout`).
        bucket: URL of the bucket that `out/store` becomes a copy of.
    """

    out: str | Path
    only: Selection
    workers: int | None
    device: str
    compute_batch: int | None
    executor: str
    address: str | None
    cpus: float | None
    gpus: float | None
    memory_gib: float | None
    processes: int | None
    job_seconds: float | None
    bucket: str | None


def options_of(keywords: RunOptions) -> Options:
    """Return the options of a run, validated by `Options`.

    Raises:
        UnknownName: no such option; the nearest are named.
        ConfigError: a value or a combination that cannot be run.
    """
    for name in keywords:
        if name not in RunOptions.__annotations__:
            raise UnknownName("option of a run", name, RunOptions.__annotations__)
    return Options(
        Path(keywords.get("out", OUT)),
        keywords.get("workers"),
        keywords.get("device", "cpu"),
        keywords.get("compute_batch"),
        {key: _texts(values) for key, values in keywords.get("only", {}).items()},
        executor=keywords.get("executor", "local"),
        address=keywords.get("address"),
        cpus=keywords.get("cpus"),
        gpus=keywords.get("gpus"),
        memory_gib=keywords.get("memory_gib"),
        processes=keywords.get("processes"),
        job_seconds=keywords.get("job_seconds"),
        bucket=keywords.get("bucket"),
    )


def with_recorded_cells(suite: object, options: RunOptions) -> RunOptions:
    """Return the options of a run; a run.json that is repeated gives the cells, unless others are chosen."""
    if not isinstance(suite, str | Path) or not str(suite).endswith(".json") or options.get("only"):
        return options
    from bench.results.run_record import read_run_record

    only = read_run_record(Path(suite)).options.get("only")
    if not isinstance(only, dict):
        return {**options, "only": {}}
    cells = {key: [str(value) for value in values] for key, values in only.items() if isinstance(values, list)}
    return {**options, "only": cells}


def _texts(values: str | int | Iterable[str | int]) -> set[str]:
    return {str(values)} if isinstance(values, str | int) else set(map(str, values))
