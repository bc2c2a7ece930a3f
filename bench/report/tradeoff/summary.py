"""A trade-off summed up: which points are on the front of their task, and how much a method's points dominate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.core.pareto import hypervolume, pareto_front
from bench.report.tradeoff.points import Point, by_task

REFERENCE = "vanilla"


@dataclass(frozen=True)
class Volume:
    """The hypervolume of a method's points on a task.

    Attributes:
        task: its name.
        method: the method's public name.
        objectives: 2 (discrepancy and Frechet distance) or 3 (network passes as well).
        n_points: with a value.
        reference: [objectives], the corner: in each objective the largest value of vanilla's points.
        value: share of the box between 0 and the corner, in [0, 1]; None where that box is empty.
    """

    task: str
    method: str
    objectives: int
    n_points: int
    reference: tuple[float, ...]
    value: float | None


def on_front(points: Sequence[Point]) -> list[bool | None]:
    """Whether each point is on the Pareto front of its task; None where it lacks a value.

    The front is that of the estimates, over discrepancy, Frechet distance and network passes, vanilla's points among
    them.
    """
    found: dict[int, bool] = {}
    for task in by_task(points):
        own = [(i, p.objectives) for i, p in enumerate(points) if p.task == task and p.objectives is not None]
        front = pareto_front([objectives for _, objectives in own])
        found |= {i: bool(is_on) for (i, _), is_on in zip(own, front, strict=True)}
    return [found.get(i) for i in range(len(points))]


def volumes(points: Sequence[Point]) -> list[Volume]:
    """The hypervolume of every method on every task, over two objectives and, where it tells something, over three.

    Vanilla is the cheapest there is at its sampler, so with one sampler no point lies below its cost and the volume
    over three objectives is 0 whatever the method does: it is left out. It is there where a sweep varies the cost,
    such as the steps. Without a value of vanilla's there is no corner, and nothing is returned for the task.
    """
    found = []
    for task, own in by_task(points).items():
        base = [p.objectives for p in own if p.method == REFERENCE and p.objectives is not None]
        if not base:
            continue
        corner = np.array(base).max(axis=0)
        for method in dict.fromkeys(p.method for p in own):
            values = np.array([p.objectives for p in own if p.method == method and p.objectives is not None])
            for m in (2, 3) if min(passes for _, _, passes in base) < corner[2] else (2,):
                box = float(corner[:m].prod())
                share = hypervolume(values.reshape(-1, 3)[:, :m], corner[:m]) / box if box else None
                found.append(Volume(task, method, m, len(values), tuple(corner[:m].tolist()), share))
    return found
