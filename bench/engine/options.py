"""The options of a run: how to run a suite, as opposed to what to run."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path

from bench.core.cpus import usable_cpus
from bench.core.errors import ConfigError, UnknownName
from bench.engine.executors.cluster import Cluster

URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")  # in a path, "s3://bucket" has one slash left
EXECUTORS = ("local", "ray")


@dataclass(frozen=True)
class Options:
    """Settings of a run, apart from its suite. Combinations that cannot run are refused in the command line's words.

    Attributes:
        out: folder of the tables (in a folder named after the suite) and of the store; absolute with Ray.
        workers: worker processes, >= 1; every usable CPU unless given, one on an accelerator.
        device: a torch device.
        compute_batch: largest number of rows the network runs on at once, >= 1; `bench.engine.plan` has the default.
        only: cells to run, see `bench.engine.cells.cells`; all unless given.
        executor: "local" for processes of this machine, or "ray".
        address: with Ray, a running cluster or "auto"; one is started here unless given.
        cpus: with Ray, CPUs per worker, >= 0; 1 unless given.
        gpus: with Ray, GPUs per worker, >= 0; 0 unless given, and 0.5 seats two workers on one.
        memory_gib: with Ray, GiB per worker for the scheduler, >= 0.
        processes: distributed processes that share each guidance batch, >= 1, in place of `workers`.
        job_seconds: a job that takes longer costs its worker, > 0; None sets no limit.
        bucket: URL of the bucket that the store becomes a copy of; None leaves the store as it is.

    Raises:
        ConfigError: a value or a combination that cannot be run.
        UnknownName: no such executor.
    """

    out: Path
    workers: int | None = None
    device: str = "cpu"
    compute_batch: int | None = None
    only: Mapping[str, Set[str]] = field(default_factory=dict)
    executor: str = "local"
    address: str | None = None
    cpus: float | None = None
    gpus: float | None = None
    memory_gib: float | None = None
    processes: int | None = None
    job_seconds: float | None = None
    bucket: str | None = None

    def __post_init__(self) -> None:
        """Check every value, then the combinations."""
        if self.workers is not None and self.workers < 1:
            raise ConfigError(f"--workers must be at least 1, got {self.workers}")
        if self.compute_batch is not None and self.compute_batch < 1:
            raise ConfigError(f"--compute-batch must be at least 1, got {self.compute_batch}")
        check_folder(self.out)
        self._check_executor()
        self._check_limits()
        if self.executor == "ray":
            object.__setattr__(self, "out", self.out.absolute())  # a worker's working directory is its own

    def _check_executor(self) -> None:
        if self.executor not in EXECUTORS:
            raise UnknownName("executor", self.executor, EXECUTORS)
        resources = {"cpus": self.cpus, "gpus": self.gpus, "memory": self.memory_gib}
        if self.executor == "local":
            for flag, value in {"address": self.address, **resources}.items():
                if value is not None:
                    raise ConfigError(f"--{flag} is for --executor ray; the local executor has --workers")
            return
        if importlib.util.find_spec("ray") is None:
            raise ConfigError("--executor ray needs Ray; install the extra: pip install 'fairdiff-bench[ray]'")
        for flag, number in resources.items():
            if number is not None and not number >= 0:
                raise ConfigError(f"--{flag} must be at least 0, got {number:g}")

    def _check_limits(self) -> None:
        if self.job_seconds is not None and (not self.job_seconds > 0 or self.processes):
            raise ConfigError(
                f"--job-timeout must be more than 0, and without --ranks, got {self.job_seconds:g}; see --help"
            )
        if self.processes is not None and (self.processes < 1 or self.workers or self.executor == "ray"):
            raise ConfigError(
                f"--ranks must be at least 1, without --workers or --executor ray, got {self.processes}; see --help"
            )

    @property
    def store(self) -> Path:
        """The store's folder."""
        return self.out / "store"

    @property
    def cluster(self) -> Cluster | None:
        """The Ray cluster to run on; None for processes of this machine."""
        if self.executor != "ray":
            return None
        return Cluster(
            address=self.address,
            workers=self.workers or usable_cpus(),
            cpus=1.0 if self.cpus is None else self.cpus,
            gpus=0.0 if self.gpus is None else self.gpus,
            memory_gib=self.memory_gib,
            shared=self.out,
        )

    @property
    def local_workers(self) -> int:
        """Worker processes of this machine: as given, else one on an accelerator and one per usable CPU on a CPU."""
        return self.workers or (1 if self.device != "cpu" else usable_cpus())


def check_folder(out: Path) -> None:
    """Refuse a URL in the place of a folder.

    Raises:
        ConfigError: it is one.
    """
    if URL.match(str(out)):
        raise ConfigError(
            f"--out must be a folder of this machine, got {out}; name a bucket that machines share with --bucket, "
            "and it gets what the store has"
        )
