"""The public verbs of the bench: what the command line does, from Python. Every input is validated here, once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, Unpack

from pydantic import ValidationError

from bench.config.suite import Suite, list_suites, read_suite
from bench.core.errors import ConfigError
from bench.core.yaml_models import describe
from bench.engine.options import Options

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
    """Return the options of a run, validated by `Options`."""
    return Options(
        Path(options.get("out", OUT)),
        options.get("workers"),
        options.get("device", "cpu"),
        options.get("compute_batch"),
        {key: _texts(values) for key, values in options.get("only", {}).items()},
        executor=options.get("executor", "local"),
        address=options.get("address"),
        cpus=options.get("cpus"),
        gpus=options.get("gpus"),
        memory_gib=options.get("memory"),
        processes=options.get("ranks"),
        job_seconds=options.get("job_timeout"),
        bucket=options.get("bucket"),
    )


def _texts(values: str | int | Iterable[str | int]) -> set[str]:
    return {str(values)} if isinstance(values, str | int) else set(map(str, values))
