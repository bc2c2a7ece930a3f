"""The cost model: denoiser calls times measured seconds, and bytes per image in the store. Pure functions of numbers.

A guided step runs the network forwards and, for some methods, backwards:

    calls    = images x steps x repeats x (calls per step that the method declares)
    backward = images x guided steps x repeats x (backward passes per step that it declares)
    seconds  = calls x (seconds per image of a finished run of the method / its calls per image)

A run on another machine gives a method's cost relative to vanilla; a few timed calls of the model here give the scale
(`rescaled`). Where no run of the method is available, its seconds are those of the model itself: calls x seconds
forwards + backward x seconds backwards, without the method's own arithmetic (a classifier's pass, a map of h).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

NPY_HEADER = 128  # bytes of a .npy file before its rows
ENTRY = 400  # bytes of an entry's manifest, about: a checksum per array and a short note


@dataclass(frozen=True)
class Expected:
    """Work of the network.

    Attributes:
        calls: forward passes times rows.
        backward: backward passes times rows.
    """

    calls: float
    backward: float


@dataclass(frozen=True)
class Measured:
    """Cost of a cell, measured in a finished run.

    Attributes:
        source: the folder of its tables.
        method: the method's public name.
        title: its name in the run.
        task: attributes and target, as the tables name them.
        calls: denoiser calls per image, > 0.
        seconds: of sampling per image.
        fit_seconds: of the method's fit, when it was made.
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
        """Seconds of a denoiser call on one row, including everything else that sampling does."""
        return self.seconds / self.calls


@dataclass(frozen=True)
class Pace:
    """Seconds of the network per row.

    Attributes:
        forward: of a denoiser call.
        backward: of a backward pass through it.
        source: where they were measured.
    """

    forward: float
    backward: float
    source: str


def expected(images: int, steps: int, guided_steps: int, repeats: int, calls: float, backward: float) -> Expected:
    """Return the work that sampling takes.

    Args:
        images: number of images to draw.
        steps: sampling steps.
        guided_steps: the steps at which a_t > 0; elsewhere x_t holds nothing of the image and nothing is guided.
        repeats: times that each step is taken.
        calls: denoiser calls per sample and step that the method declares.
        backward: backward passes per sample and guided step that it declares.

    >>> expected(200, 20, 19, 1, calls=1, backward=1)
    Expected(calls=4000, backward=3800)
    """
    return Expected(images * steps * repeats * calls, images * guided_steps * repeats * backward)


def nearest(rows: Sequence[Measured], method: str, title: str, task: str) -> list[Measured]:
    """Return the measurements that are closest to a cell.

    Args:
        rows: the most trusted run first, each run's rows together.
        method: the cell's method.
        title: its name in the suite.
        task: the cell's task.

    Returns:
        Of the first run that has the method: the rows of this title and task, else of this title, else all of the
        method's; empty where no run has it.
    """
    of_method = [row for row in rows if row.method == method]
    of_method = [row for row in of_method if row.source == of_method[0].source]
    of_title = [row for row in of_method if row.title == title]
    of_cell = [row for row in of_title if row.task == task]
    return of_cell or of_title or of_method


def seconds(work: Expected, rows: Sequence[Measured], pace: Pace | None) -> float:
    """Return the seconds of sampling on one worker.

    Args:
        work: of the network.
        rows: of `nearest`; their mean seconds per call are taken.
        pace: of the model itself, where there are no rows.

    Raises:
        ValueError: there is neither.
    """
    if rows:
        return work.calls * sum(row.seconds_per_call for row in rows) / len(rows)
    if pace is None:
        raise ValueError("seconds need measured rows or a pace")
    return work.calls * pace.forward + work.backward * pace.backward


def rescaled(near: Sequence[Measured], run: Sequence[Measured], pace: Pace) -> list[Measured]:
    """Return measurements of another machine, rescaled to the speed of this one.

    A method's cost relative to vanilla transfers between machines better than its seconds do.

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


def fit_seconds(cells: Iterable[Sequence[Measured]]) -> float:
    """Return an upper bound on the seconds of all fits: each measured cost counts once.

    Methods share fits (the predictors of h-space, a network for all tasks), and equal costs are those of one fit.

    Args:
        cells: for every cell whose fit is not cached, its rows of `nearest`.
    """
    return sum({round(row.fit_seconds, 2) for rows in cells for row in rows})


def entry_bytes(row_bytes: Mapping[str, int], rows: int) -> int:
    """Return the bytes of a store entry: one file per array, and the manifest.

    Args:
        row_bytes: array name to bytes of one row.
        rows: of each array.

    >>> entry_bytes({"images": 3072, "assigned_class": 8}, 100)
    308656
    """
    return sum(NPY_HEADER + rows * size for size in row_bytes.values()) + ENTRY


def wall_hours(worker_seconds: float, longest: float, workers: int) -> float:
    """Return the hours of the whole work: spread evenly over workers, and at least the longest job."""
    return max(worker_seconds / workers, longest) / 3600
