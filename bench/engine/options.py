"""How to run a suite, as opposed to what to run."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from bench.core.errors import ConfigError
from bench.engine.executors.cluster import Cluster

URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")  # as a path has it: of "s3://bucket" one slash is left


@dataclass(frozen=True)
class Options:
    """How to run, as opposed to what.

    Attributes:
        out: folder of the tables (in a folder named after the suite) and of the store.
        workers: processes; every core unless given, one on an accelerator.
        device: a torch device.
        compute_batch: largest number of rows the network runs on at once; see `bench.engine.plan.plan` for the default.
        only: cells to keep, see `bench.engine.cells.cells`.
        cluster: the Ray cluster to run on; None for processes of this machine.
        ranks: processes that each guidance batch is spread over, in the place of `workers`.
        job_seconds: a job that takes longer costs its worker, here or on a cluster; None waits for ever.
        bucket: URL of the bucket that the store becomes a copy of; None leaves it what it is.
    """

    out: Path
    workers: int | None = None
    device: str = "cpu"
    compute_batch: int | None = None
    only: dict[str, set[str]] = field(default_factory=dict)
    cluster: Cluster | None = None
    ranks: int | None = None
    job_seconds: float | None = None
    bucket: str | None = None

    def __post_init__(self) -> None:
        """Refuse a URL, which would become a folder of that name."""
        check_folder(self.out)


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
