"""The cost model: denoiser calls times measured seconds, and bytes an image in the store. Pure functions of numbers.

A guided step runs the network forwards and, for some methods, backwards:

    calls    = images x steps x repeats x (calls a step that the method declares)
    backward = images x guided steps x repeats x (backward passes a step that it declares)
    seconds  = calls x (seconds an image of a finished run of the method / its calls an image)

A run on another machine tells what a method costs beside vanilla; a few calls of the model here tell the rest
(`rescaled`). Where no run of the method is at hand, its seconds are those of the model itself: calls x seconds forwards
+ backward x seconds backwards, without the method's own arithmetic (a classifier's pass, a map of h).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

NPY_HEADER = 128  # bytes of a .npy file before its rows
ENTRY = 400  # bytes of an entry's manifest, about: a checksum an array and a short note
GIB = 2**30


@dataclass(frozen=True)
class Expected:
    """What the network is asked for.

    Attributes:
        calls: forward passes times rows.
        backward: backward passes times rows.
    """

    calls: float
    backward: float


@dataclass(frozen=True)
class Measured:
    """What a finished run measured of a cell.

    Attributes:
        source: the folder of its tables.
        method: the method's public name.
        title: what the run called it.
        task: attributes and target, as the tables name them.
        calls: denoiser calls an image, > 0.
        seconds: of sampling an image.
        fit_seconds: of what the method learnt, when it was learnt.
    """

    source: str
    method: str
    title: str
    task: str
    calls: float
    seconds: float
    fit_seconds: float

    @property
    def seconds_per_call(self) -> float:
        """Of a denoiser call on one row, with all else that sampling does."""
        return self.seconds / self.calls


@dataclass(frozen=True)
class Pace:
    """Seconds of the network on one row.

    Attributes:
        forward: of a denoiser call.
        backward: of a backward pass through it.
        source: where they were measured.
    """

    forward: float
    backward: float
    source: str


def expected(images: int, steps: int, seeing: int, repeats: int, calls: float, backward: float) -> Expected:
    """What sampling asks of the network.

    Args:
        images: to be drawn.
        steps: of sampling.
        seeing: those of the steps at which a_t > 0; elsewhere x_t holds nothing of the image and nothing is guided.
        repeats: how often each step is taken.
        calls: denoiser calls a sample and step that the method declares.
        backward: backward passes a sample and guided step that it declares.

    >>> expected(200, 20, 19, 1, calls=1, backward=1)
    Expected(calls=4000, backward=3800)
    """
    return Expected(images * steps * repeats * calls, images * seeing * repeats * backward)


def nearest(rows: Sequence[Measured], method: str, title: str, task: str) -> list[Measured]:
    """The measurements that tell most of a cell.

    Args:
        rows: the most trusted run first, each run's rows together.
        method: the cell's method.
        title: what the suite calls it.
        task: the cell's task.

    Returns:
        Of the first run that has the method: the rows of this title and task, else of this title, else all of the
        method's; empty where no run has it.
    """
    own = [row for row in rows if row.method == method]
    own = [row for row in own if row.source == own[0].source]
    for kept in (
        [row for row in own if (row.title, row.task) == (title, task)],
        [row for row in own if row.title == title],
    ):
        if kept:
            return kept
    return own


def seconds(asked: Expected, rows: Sequence[Measured], pace: Pace | None) -> float:
    """Seconds of sampling, on one worker.

    Args:
        asked: of the network.
        rows: of `nearest`; their mean seconds a call are taken.
        pace: of the model itself, where there are no rows.

    Raises:
        ValueError: there is neither.
    """
    if rows:
        return asked.calls * sum(row.seconds_per_call for row in rows) / len(rows)
    if pace is None:
        raise ValueError("seconds need measured rows or a pace")
    return asked.calls * pace.forward + asked.backward * pace.backward


def rescaled(near: Sequence[Measured], run: Sequence[Measured], pace: Pace) -> list[Measured]:
    """Measurements of another machine, as this one would have made them.

    What a method costs beside the model left alone travels from machine to machine better than its seconds do.

    Args:
        near: rows of one run, as `nearest` gives them.
        run: all rows of finished runs, with that one's vanilla among them; without it, nothing is changed.
        pace: of the model on this machine, now.

    Returns:
        `near` with all seconds times (seconds of a call here / seconds of vanilla's call in that run).
    """
    vanilla = [row.seconds_per_call for row in run if row.method == "vanilla" and row.source == near[0].source]
    factor = pace.forward * len(vanilla) / sum(vanilla) if vanilla else 1.0
    return [replace(row, seconds=row.seconds * factor, fit_seconds=row.fit_seconds * factor) for row in near]


def fit_seconds(found: Iterable[Sequence[Measured]]) -> float:
    """At most so many seconds to learn what methods learn: each cost that was measured counts once.

    Methods share fits (the predictors of h-space, a network for all tasks), and equal costs are those of one fit.

    Args:
        found: of every cell whose fit is not kept, its rows of `nearest`.
    """
    return sum({round(row.fit_seconds, 2) for rows in found for row in rows})


def entry_bytes(row_bytes: Mapping[str, int], rows: int) -> int:
    """Bytes of an entry of the store: an array file each, and the manifest.

    Args:
        row_bytes: array name to bytes of one row.
        rows: of each array.

    >>> entry_bytes({"images": 3072, "assigned_class": 8}, 100)
    308656
    """
    return sum(NPY_HEADER + rows * size for size in row_bytes.values()) + ENTRY


def wall_hours(worker_seconds: float, longest: float, workers: int) -> float:
    """Hours until all is done: the work spread evenly over workers, and no less than the longest job by itself."""
    return max(worker_seconds / workers, longest) / 3600
