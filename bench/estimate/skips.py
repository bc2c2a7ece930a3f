"""Cells that will be skipped, found before a run: what a method refuses before it asks for anything that costs work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bench.config.build import build_method
from bench.engine.jobs import guarded
from bench.sampling.distributed import ProcessGroup

if TYPE_CHECKING:
    from bench.engine.cell_job import CellJob
    from bench.engine.resources import Resources

# Of a model, the network's work; of an image set, what draws or reads its images.
COSTLY = ("denoise", "encode_bottleneck", "encode", "decode", "images", "labels", "column")


def why_skipped(resources: Resources, job: CellJob) -> str:
    """Return why a cell will be skipped, in its method's words; empty where it runs, or only the run will show it.

    The method is built on the cell's model and image sets, up to the first thing that costs work; nothing is stored.
    Of a cell of several prompts, its first stands for all: they have phrases for the same classes.
    """
    try:
        status, reason, _ = guarded(_build, (resources, job.parts[0]))
    except _WorkBegins:
        return ""
    return reason if status == "skipped" else ""


def _build(resources: Resources, job: CellJob) -> None:
    from bench.engine.method_boundary import declared_task
    from bench.protocols.method import Task
    from bench.sampling.loop import Sampler

    method, sampling = build_method(job.cell.method, job.cell.fields), job.sampling
    ProcessGroup.here().check(job.cell.title, method.traits)
    model = resources.model(sampling.model, sampling.device)
    sets: Any = {need: _Untouched(resources.images(spec)) for need, spec in sampling.learning_sets.items()}
    untouched: Any = _Untouched(model)
    steps, target = Sampler.of(sampling.sampler).timesteps(model), np.array(job.cell.target)
    task = Task(untouched, job.cell.attributes, target, steps, classifier=resources.guide, **sets)
    method.build(declared_task(job.cell.method, method, task), job.cell.seed)


class _WorkBegins(BaseException):
    """Signal that the method refused nothing, and would fit something now."""


class _Untouched:
    """A model or image set that raises `_WorkBegins` at the first use that costs work."""

    def __init__(self, thing: Any) -> None:
        self._thing = thing

    def __getattr__(self, name: str) -> Any:
        if name in COSTLY:
            raise _WorkBegins
        return getattr(self._thing, name)

    def __len__(self) -> int:
        return len(self._thing)
