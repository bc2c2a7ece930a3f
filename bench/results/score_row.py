"""The rows of results.csv as typed tuples."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from bench.core.value import Value, mean_over_seeds
from bench.results.key import Task
from bench.results.metric_info import metric

BLOCK = 10_000  # rows that become objects at a time


class ScoreRow(NamedTuple):
    """A row of results.csv: a score of a cell, or a cell that has none.

    Attributes:
        line: the line in the file.
        value: NaN unless `status` is "ok"; so are `ci_low` and `ci_high` where there is no interval.
        n: number of samples scored; None where blank.

    The others are the columns of the same name (docs/outputs.md).
    """

    line: int
    suite: str
    model: str
    attributes: str
    target: str
    method: str
    seed: int
    metric: str
    scope: str
    value: float
    ci_low: float
    ci_high: float
    noise_floor: float
    n: int | None
    status: str
    reason: str
    n_asked: int
    design: str
    guidance_batch: int
    sampler: str
    steps: int
    eta: float
    spacing: str
    precision: str
    nfe_per_image: float
    backward_per_image: float
    method_file: str
    fields: str
    model_sha256: str
    sample_key: str
    protocol: int
    bench_version: str
    commit: str
    classifier: str
    guided_by_classifier: bool
    classifier_confusion: str
    classifier_sha256: str

    @property
    def task(self) -> Task:
        """The task of the row's cell."""
        return Task(self.attributes, self.target)

    @property
    def measured(self) -> Value:
        """The number with its interval; of a row whose status is "ok"."""
        low, high = (None, None) if math.isnan(self.ci_low) else (self.ci_low, self.ci_high)
        floor = None if math.isnan(self.noise_floor) else self.noise_floor
        return Value(self.value, low, high, self.n, noise_floor=floor)


def mean_value(rows: Sequence[ScoreRow], noise_floor: float | None = None) -> Value:
    """Return the value of a score over its seeds.

    Args:
        rows: the rows of one score that have a value, one per seed.
        noise_floor: of the mean over several seeds; None where it is not known.
    """
    return mean_over_seeds([row.measured for row in rows], metric(rows[0].metric).scale, noise_floor)


def score_rows(frame: pd.DataFrame, order: npt.NDArray[np.intp] | None = None) -> Iterator[ScoreRow]:
    """Yield rows of `read_results` as tuples; equal values are one object, which takes less memory.

    Args:
        frame: rows, with the columns of results.csv; the index is the line in the file.
        order: places of the rows to yield, int [n]; all in the order of the frame unless given.
    """
    columns = [distinct(frame[name]) for name in ScoreRow._fields[1:]]
    index, order = frame.index.to_numpy(), np.arange(len(frame)) if order is None else order
    make = partial(tuple.__new__, ScoreRow)
    for start in range(0, len(frame), BLOCK):
        block = order[start : start + BLOCK]
        values = (of_column[places[block]].tolist() for places, of_column in columns)
        yield from map(make, zip(index[block].tolist(), *values, strict=True))


def distinct(column: pd.Series) -> tuple[npt.NDArray[np.integer], npt.NDArray[np.object_]]:
    """Return, for each value of a column, its place among the distinct ones, and these; 0.0 and -0.0 are two.

    Returns:
        Places, int [n], and distinct values, object [k]: str, int, float or bool; a blank whole number is None.
    """
    if isinstance(column.dtype, pd.CategoricalDtype):
        return column.cat.codes.to_numpy(), column.cat.categories.to_numpy()
    values: Sequence[object]
    if column.dtype == np.float64:
        places, bits = pd.factorize(column.to_numpy().view(np.int64))
        values = bits.view(np.float64).tolist()
    else:
        places, uniques = pd.factorize(column, use_na_sentinel=False)
        values = [None if value is pd.NA else value for value in uniques.tolist()]
    return places.astype(np.int32), np.array(values, dtype=object)
