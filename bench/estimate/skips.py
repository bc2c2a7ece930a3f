"""Cells that will be skipped, found before a run: what a method refuses before it asks for anything that costs work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bench.config.build import build_method
from bench.engine.jobs import guarded
from bench.sampling.distributed import ProcessGroup

if TYPE_CHECKING:
    from bench.engine.work import Work

# Of a model, the network's work; of an image set, what draws or reads its images.
COSTLY = ("denoise", "encode_bottleneck", "encode", "decode", "images", "labels", "column")


def why_skipped(work: Work) -> str:
    """Why a cell will be skipped, in its method's own words; empty where it runs, or where only the run will tell.

    The method is built on the cell's model and image sets, up to the first thing that costs work; nothing is kept.
    Of a cell of several prompts, its first stands for all: they have phrases for the same classes.
    """
    try:
        status, reason, _ = guarded(_build, (work.parts[0],))
    except _WorkBegins:
        return ""
    return reason if status == "skipped" else ""


def _build(work: Work) -> None:
    from bench.engine.resources import counted_model, data_set, guide
    from bench.protocols.method import Task
    from bench.sampling.loop import Sampler

    method = build_method(work.cell.method, work.cell.fields)
    ProcessGroup.here().check(work.cell.title, method.traits)
    model: Any = counted_model(work.model, work.device, work.model_fields)
    sets: Any = {place: _Untouched(data_set(work.source(n), None, model.image_size)) for place, n in work.data.items()}
    untouched: Any = _Untouched(model)
    steps, target = Sampler(**work.sampler).timesteps(model), np.array(work.cell.target)
    method.build(Task(untouched, work.cell.attributes, target, steps, classifier=guide, **sets), work.cell.seed)


class _WorkBegins(BaseException):
    """Not an error: the method has refused nothing, and would learn something now."""


class _Untouched:
    """A model or image set that says what it is, and ends the look at the first thing that costs work."""

    def __init__(self, thing: Any) -> None:
        self._thing = thing

    def __getattr__(self, name: str) -> Any:
        if name in COSTLY:
            raise _WorkBegins
        return getattr(self._thing, name)

    def __len__(self) -> int:
        return len(self._thing)
