"""The protocol of methods, for plug-in authors: see `bench.protocols.method`."""

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

__all__ = [
    "Batch",
    "Classifier",
    "Cost",
    "Curves",
    "Guided",
    "GuidedDenoiser",
    "Method",
    "Need",
    "Task",
    "Traits",
    "alone",
    "check_window",
    "micro_batches",
    "timestep",
]
