"""The public verbs of the bench: what the command line does, from Python. Every input is validated here, once."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, Unpack

from pydantic import ValidationError

from bench.config.suite import Suite, list_suites, read_suite
from bench.core.errors import ConfigError, UnknownName
from bench.core.yaml_models import describe
from bench.engine.executors.cluster import Cluster
from bench.engine.options import Options, check_folder

if TYPE_CHECKING:
    from bench.engine.runner import Outcome
    from bench.estimate.forecast import Forecast
    from bench.results.run import Run

OUT = Path("leaderboards")
SuiteLike = Suite | Mapping[str, object] | str | Path
Selection = Mapping[str, str | int | Iterable[str | int]]


class RunOptions(TypedDict, total=False):
    """How to run a suite, as opposed to what to run. Every key has a default.

    Attributes:
        out: folder of the tables (`out/SUITE`) and of the store (`out/store`); "leaderboards" unless given.
        only: the cells to run, as {"method": ..., "task": ..., "seed": ...}; one value or several per key.
        workers: worker processes, one thread each; every core unless given, one on an accelerator.
        device: a torch device: "cpu", "cuda", "cuda:1", "mps".
        compute_batch: largest number of images that the network runs on at once; does not change results.
        executor: "local", or "ray" (the extra `ray`).
        address: with ray: a running cluster, or "auto"; one is started here unless given.
        cpus: with ray: CPUs per worker.
        gpus: with ray: GPUs per worker; 0.5 seats two on one.
        memory: with ray: GiB per worker, for the scheduler.
        job_timeout: seconds that a job may take; then its worker is killed and the job is tried again.
        ranks: processes (or GPUs) that each guidance batch is spread over, in place of `workers`.
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
    memory: float | None
    job_timeout: float | None
    ranks: int | None
    bucket: str | None


def load_suite(suite: SuiteLike) -> Suite:
    """Return a validated suite, given the name of a shipped one, a YAML file, or a mapping of its keys.

    Raises:
        UnknownName: no shipped suite has this name; the nearest are named.
        ConfigError: the file cannot be read, or a key or value is not valid.

    >>> load_suite("quick").n
    200
    """
    if isinstance(suite, Suite):
        return suite
    if isinstance(suite, Mapping):
        try:
            return Suite.model_validate(dict(suite))
        except ValidationError as error:
            raise ConfigError(describe(error, Suite, "the suite")) from error
    return read_suite(str(suite))


@dataclass(frozen=True)
class Plan:
    """A run that has not begun.

    Attributes:
        suite: what to run.
        options: how to run it.
    """

    suite: Suite
    options: Options

    def forecast(self) -> Forecast:
        """Predict the cells that would run, what the store has of them, hours, GiB and memory. Nothing is sampled.

        Raises:
            ConfigError: something in the suite cannot be run.
        """
        from bench.estimate.forecast import foresee

        return foresee(self.suite, self.options)


def plan(suite: SuiteLike, **options: Unpack[RunOptions]) -> Plan:
    """Check a suite and the options of a run, without sampling or writing; `plan(...).forecast()` predicts its cost.

    Raises:
        ConfigError: something in the suite or the options cannot be run.
    """
    from bench.environment.requirements import refuse_missing

    how, chosen = _options(options), load_suite(suite)
    refuse_missing(chosen)
    return Plan(chosen, how)


def run(suite: SuiteLike, **options: Unpack[RunOptions]) -> Run:
    """Run a suite, or what is missing of it, and return the finished run.

    Raises:
        ConfigError: something in the suite or the options cannot be run; nothing is written.
    """
    return open_run(execute(suite, **options).folder)


def execute(suite: SuiteLike, **options: Unpack[RunOptions]) -> Outcome:
    """Run a suite as `run` does, and return its folder and the cells that failed or were skipped, with reasons."""
    from bench.engine import runner
    from bench.environment.requirements import refuse_missing

    how, chosen = _options(options), load_suite(suite)
    if chosen.suite in list_suites():
        refuse_missing(chosen)
    return runner.run(chosen, how)


def open_run(folder: str | Path) -> Run:
    """Read a finished run, given its folder or its results.csv.

    Raises:
        ConfigError: there is none, or its tables cannot be true.
    """
    from bench.results.run import Run

    return Run.open(Path(folder))


def _options(options: RunOptions) -> Options:
    """Validate options of a run, those of the executor among them.

    Raises:
        ConfigError: one is out of range, or does not go with another.
    """
    out = Path(options.get("out", OUT))
    workers, ranks, job_timeout = options.get("workers"), options.get("ranks"), options.get("job_timeout")
    if workers is not None and workers < 1:
        raise ConfigError(f"--workers must be at least 1, got {workers}")
    check_folder(out)  # before it is made absolute
    cluster = _cluster(out, options)
    if job_timeout is not None and (not job_timeout > 0 or ranks):
        raise ConfigError(f"--job-timeout must be more than 0, and without --ranks, got {job_timeout:g}; see --help")
    if ranks is not None and (ranks < 1 or workers or cluster):
        raise ConfigError(f"--ranks must be at least 1, without --workers or --executor ray, got {ranks}; see --help")
    return Options(
        cluster.shared if cluster else out,
        workers,
        options.get("device", "cpu"),
        options.get("compute_batch"),
        {key: _texts(values) for key, values in options.get("only", {}).items()},
        cluster,
        ranks,
        job_timeout,
        options.get("bucket"),
    )


def _texts(values: str | int | Iterable[str | int]) -> set[str]:
    return {str(values)} if isinstance(values, str | int) else set(map(str, values))


def _cluster(out: Path, options: RunOptions) -> Cluster | None:
    executor = options.get("executor", "local")
    if executor not in ("local", "ray"):
        raise UnknownName("executor", executor, ("local", "ray"))
    numbers = {name: options.get(name) for name in ("cpus", "gpus", "memory")}
    given = [name for name, value in {"address": options.get("address"), **numbers}.items() if value is not None]
    if executor == "local":
        if given:
            raise ConfigError(f"--{given[0]} is for --executor ray; the local executor has --workers")
        return None
    if importlib.util.find_spec("ray") is None:
        raise ConfigError("--executor ray needs Ray; install the extra: pip install 'fairdiff-bench[ray]'")
    return Cluster(
        address=options.get("address"),
        workers=options.get("workers") or os.cpu_count() or 1,
        cpus=_at_least_0("cpus", options.get("cpus"), 1.0),
        gpus=_at_least_0("gpus", options.get("gpus"), 0.0),
        memory_gib=None if options.get("memory") is None else _at_least_0("memory", options.get("memory"), 0.0),
        shared=out.absolute(),  # a worker's working directory is its own
    )


def _at_least_0(name: str, value: float | None, default: float) -> float:
    if value is not None and not value >= 0:
        raise ConfigError(f"--{name} must be at least 0, got {value:g}")
    return default if value is None else value
