"""The protocol of methods, for plug-in authors: see `bench.protocols.method`."""

from bench.protocols.cache import Arrays, Cache, Checkpoint, NoCache, Note
from bench.protocols.method import (
    Batch,
    Classifier,
    Cost,
    Curves,
    Guided,
    GuidedDenoiser,
    Method,
    Need,
    Task,
    Traits,
    alone,
    check_window,
    micro_batches,
    timestep,
)
from bench.protocols.progress import Progress, silent

__all__ = [
    "Arrays",
    "Batch",
    "Cache",
    "Checkpoint",
    "Classifier",
    "Cost",
    "Curves",
    "Guided",
    "GuidedDenoiser",
    "Method",
    "Need",
    "NoCache",
    "Note",
    "Progress",
    "Task",
    "Traits",
    "alone",
    "check_window",
    "micro_batches",
    "silent",
    "timestep",
]
