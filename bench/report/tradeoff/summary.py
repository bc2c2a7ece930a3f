"""Summaries of a trade-off: the points on the Pareto front of their task, and each method's hypervolume."""

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
        task: the task's name.
        method: the method's public name.
        objectives: 2 (discrepancy and Fréchet distance) or 3 (network passes as well).
        n_points: number of points with all values.
        reference: [objectives], the corner: the largest value of vanilla's points in each objective.
        value: dominated share of the box between 0 and the corner, in [0, 1]; None where that box is empty.
    """

    task: str
    method: str
    objectives: int
    n_points: int
    reference: tuple[float, ...]
    value: float | None


def on_front(points: Sequence[Point]) -> list[bool | None]:
    """Return for each point whether it is on the Pareto front of its task; None where it lacks a value.

    The front is computed from the estimates of discrepancy, Fréchet distance and network passes, and includes
    vanilla's points.
    """
    front: dict[int, bool] = {}
    for task in by_task(points):
        of_task = [(i, p.objectives) for i, p in enumerate(points) if p.task == task and p.objectives is not None]
        is_on = pareto_front([objectives for _, objectives in of_task])
        front |= {i: bool(on) for (i, _), on in zip(of_task, is_on, strict=True)}
    return [front.get(i) for i in range(len(points))]


def volumes(points: Sequence[Point]) -> list[Volume]:
    """Return the hypervolume of every method on every task, over two objectives and, where informative, over three.

    No method is cheaper than vanilla with the same sampler. With a single sampler the volume over three objectives is
    therefore 0 for every method and left out; it is returned where a sweep varies the cost, such as the steps. Without
    a value of vanilla there is no corner, and the task has no volumes.
    """
    measured = []
    for task, of_task in by_task(points).items():
        base = [p.objectives for p in of_task if p.method == REFERENCE and p.objectives is not None]
        if not base:
            continue
        corner = np.array(base).max(axis=0)
        for method in dict.fromkeys(p.method for p in of_task):
            values = np.array([p.objectives for p in of_task if p.method == method and p.objectives is not None])
            for m in (2, 3) if min(passes for _, _, passes in base) < corner[2] else (2,):
                box = float(corner[:m].prod())
                share = hypervolume(values.reshape(-1, 3)[:, :m], corner[:m]) / box if box else None
                measured.append(Volume(task, method, m, len(values), tuple(corner[:m].tolist()), share))
    return measured
