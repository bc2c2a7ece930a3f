"""A measured number with its 95 % interval: the one type that a number has from the evaluator to the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Value:
    """A number, exactly as measured.

    Attributes:
        value: finite.
        low: lower end of the 95 % interval; None where there is none.
        high: upper end; None where there is none.
        n: samples of one seed behind it; None where they differ from seed to seed or are not known.
        seeds: number of seeds that were averaged.
    """

    value: float
    low: float | None = None
    high: float | None = None
    n: int | None = None
    seeds: int = 1


def mean_over_seeds(values: Sequence[Value], *, nonnegative: bool) -> Value:
    """Return the mean over seeds with Student's t interval of it; the value of a single seed unchanged.

    Args:
        values: the value of each seed, at least one.
        nonnegative: whether the metric cannot be negative, so that the interval ends at 0. It also does where the
            interval of every seed lies at or above 0.

    Returns:
        mean +- t_(n - 1) s / sqrt(n) over n seeds, where s is their standard deviation (ddof = 1). `n` is the number of
        samples that all seeds share, None where they differ.
    """
    if len(values) == 1:
        return values[0]
    from bench.core.intervals import t_quantile

    numbers = np.array([v.value for v in values], dtype=np.float64)
    count = len(numbers)  # the lines below give .mean() and .std(ddof=1) to the last bit, in a third of the time
    average = np.add.reduce(numbers) / count
    deviations = numbers - average
    spread = np.sqrt(np.add.reduce(deviations * deviations) / (count - 1))
    mean, half = float(average), float(t_quantile(count - 1) * spread / count**0.5)
    clipped = nonnegative or all(v.low is not None and v.low >= 0 for v in values)
    sizes = {v.n for v in values}
    n = sizes.pop() if len(sizes) == 1 else None
    return Value(mean, max(0.0, mean - half) if clipped else mean - half, mean + half, n, count)
