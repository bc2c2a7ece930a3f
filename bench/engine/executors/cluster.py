"""The Ray cluster of a run, described without importing Ray."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Cluster:
    """A Ray cluster, and the resources of a worker.

    Attributes:
        address: of a running cluster, or "auto" for the one this machine belongs to; None starts one on this machine
            and stops it at the end.
        workers: actors.
        cpus: of each, also its share of threads' cores; a worker computes with one thread all the same.
        gpus: of each; a fraction shares one accelerator among several.
        memory_gib: of each, for the scheduler; None leaves it out.
        shared: the folder that holds the store; every worker must see it, or the bucket that the store is a copy of.
    """

    address: str | None
    workers: int
    cpus: float
    gpus: float
    memory_gib: float | None
    shared: Path
