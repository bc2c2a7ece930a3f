"""Simulated coverage of an interval: how often it holds the truth over many samples drawn from a known distribution."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from zlib import crc32

import numpy as np

from bench.protocols.evaluator import Score

Draw = Callable[[int, np.random.Generator], Score]


@dataclass(frozen=True)
class Row:
    """A metric under one setting.

    Attributes:
        metric: the column, without the extractor, e.g. "kid".
        setting: the distribution of the samples, e.g. "lognormal features, shifted".
        draw: draws n samples and returns their score; a score without value or interval counts as undefined.
        truth: n to the true value; None: the expectation at this n, estimated by the mean over the draws (for
            statistics that are biased in n).
        sizes: the numbers n of samples.
        draws: simulated samples per n.
    """

    metric: str
    setting: str
    draw: Draw
    truth: Callable[[int], float] | None = None
    sizes: tuple[int, ...] = (20, 200, 1000)
    draws: int = 1000


@dataclass(frozen=True)
class Coverage:
    """The measured coverage of a row at one n.

    Attributes:
        row: what was drawn.
        n: samples per draw.
        draws: number of draws.
        coverage: share of the intervals that hold the truth, in [0, 1]; NaN if no draw has an interval.
        below: share of the intervals that end below the truth.
        above: share of the intervals that begin above the truth.
        width: mean width of the intervals; NaN if there is none.
        undefined: share of the draws without value or interval.
    """

    row: Row
    n: int
    draws: int
    coverage: float
    below: float
    above: float
    width: float
    undefined: float


def measure(row: Row, n: int, draws: int | None = None) -> Coverage:
    """Simulate a row at one n. Equal arguments give equal results: the seed depends on the row's names and n.

    Args:
        row: what to draw.
        n: samples per draw.
        draws: number of draws; None takes that of the row.
    """
    count = draws or row.draws
    seed = crc32(f"{row.metric}/{row.setting}".encode())
    scores = [row.draw(n, np.random.default_rng((seed, n, i))) for i in range(count)]
    intervals = np.array(
        [(s.ci_low, s.ci_high) for s in scores if None not in (s.value, s.ci_low, s.ci_high)], dtype=float
    ).reshape(-1, 2)
    undefined = 1 - len(intervals) / count
    if not len(intervals):
        return Coverage(row, n, count, np.nan, np.nan, np.nan, np.nan, undefined)
    low, high = intervals.T
    # Every value counts, also those without interval: they may be refused where the value is extreme.
    truth = float(np.mean([s.value for s in scores if s.value is not None])) if row.truth is None else row.truth(n)
    slack = 1e-12 * max(1.0, abs(truth))  # an end that is the truth in exact arithmetic holds it
    below, above = float(np.mean(high < truth - slack)), float(np.mean(low > truth + slack))
    return Coverage(row, n, count, 1 - below - above, below, above, float(np.mean(high - low)), undefined)
