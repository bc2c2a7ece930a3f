"""Tests of differences, corrections for many comparisons, the smallest difference that a test can find.

Every random draw takes its generator from the caller; nothing here keeps state. Which test is used for what is in
docs/regression-gate.md; intervals are `bench.core.intervals`. The Benjamini-Hochberg correction is
`scipy.stats.false_discovery_control`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import norm, t

from bench.core.intervals import LEVEL, percentile_interval, redraw_mean

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def paired_discrepancy_p(
    a: npt.NDArray[np.int64], b: npt.NDArray[np.int64], target: Floats, rng: np.random.Generator, n_draws: int = 4000
) -> float:
    """Two-sided p of "both methods have the same fairness discrepancy", by paired bootstrap.

    Sample i of both methods began from the same noise, so the pairs (a_i, b_i) are redrawn together: multinomial
    redraws of their contingency table.

    Args:
        a: int64 [n], classes of the samples of one method, in [0, K).
        b: int64 [n], classes of the other's, in the same order.
        target: float64 [K], the distribution wanted.
        rng: source of randomness.
        n_draws: number of redraws; the smallest p is 2 / (n_draws + 1).

    Returns:
        p in (0, 1].
    """
    k = len(target)
    table = np.bincount(a * k + b, minlength=k * k)
    draws = rng.multinomial(len(a), table / len(a), size=n_draws).reshape(n_draws, k, k) / len(a)
    gap_a, gap_b = (np.linalg.norm(draws.sum(axis) - target, axis=1) for axis in (2, 1))
    fewer = min((gap_a <= gap_b).sum(), (gap_a >= gap_b).sum())
    return min(1.0, 2 * (int(fewer) + 1) / (n_draws + 1))


def holm(p: list[float], alpha: float) -> list[bool]:
    """Which hypotheses Holm's step-down procedure rejects, at a family-wise error of alpha.

    Source: Holm 1979, "A simple sequentially rejective multiple test procedure".
    """
    rejected = [False] * len(p)
    for rank, i in enumerate(sorted(range(len(p)), key=lambda j: p[j])):
        if p[i] > alpha / (len(p) - rank):
            break
        rejected[i] = True
    return rejected


def holm_adjusted(p: Floats) -> Floats:
    """Holm's adjusted p: the smallest family-wise error at which his procedure rejects each hypothesis.

    Source: Holm 1979; adjusted p_(i) = max over j <= i of min(1, (m - j + 1) p_(j)).

    Args:
        p: float64 [..., m], every row a family of its own.

    Returns:
        float64 [..., m] in [0, 1], each >= its p.
    """
    order = np.argsort(p, axis=-1)
    scaled = np.take_along_axis(p, order, axis=-1) * np.arange(p.shape[-1], 0, -1)
    adjusted = np.empty_like(scaled)
    np.put_along_axis(adjusted, order, np.minimum(np.maximum.accumulate(scaled, axis=-1), 1.0), axis=-1)
    return adjusted


@dataclass(frozen=True)
class Estimate:
    """Values with standard errors to either side, as their intervals tell them.

    Attributes:
        value: float64 of any shape.
        below: standard error downwards, >= 0, of the same shape.
        above: standard error upwards.
        freedom: degrees of freedom behind the standard errors; inf where the interval is a normal one.
    """

    value: Floats
    below: Floats
    above: Floats
    freedom: float = math.inf

    @classmethod
    def of_interval(cls, value: Floats, low: Floats, high: Floats, freedom: float = math.inf) -> Estimate:
        """From 95 % intervals, low <= value <= high."""
        quantile = float(t.ppf((1 + LEVEL) / 2, freedom))
        return cls(value, (value - low) / quantile, (high - value) / quantile, freedom)

    def mean(self) -> Estimate:
        """Return the mean over the last axis, whose entries are independent."""
        n = self.value.shape[-1]
        below, above = (np.sqrt((side**2).sum(-1)) / n for side in (self.below, self.above))
        return Estimate(self.value.mean(-1), below, above, self.freedom)


@dataclass(frozen=True)
class Difference:
    """b - a, its 95 % interval, and the two-sided p of "no difference"; all of one shape."""

    value: Floats
    low: Floats
    high: Floats
    p: Floats

    @property
    def standard_error(self) -> Floats:
        """Half the interval's width, in units of a normal interval's."""
        return (self.high - self.low) / (2 * float(norm.ppf((1 + LEVEL) / 2)))


def independent_difference(a: Estimate, b: Estimate) -> Difference:
    """b - a of independent estimates, from their intervals alone.

    Source: Zou & Donner 2008, "Construction of confidence limits about effect measures" (MOVER): the lower limit takes
    b's error downwards and a's upwards, the upper limit the others, so skewed and clipped intervals stay so. p is the
    level at which the limit on the side of 0 reaches 0; degrees of freedom after Welch and Satterthwaite. Where both
    began from the same noise their errors go together, and the test is conservative.

    Where neither has a standard error, p is 1 for equal values and 0 for others.
    """
    value = b.value - a.value
    down, up = np.hypot(b.below, a.above), np.hypot(b.above, a.below)
    freedom_low, freedom_high = (
        _freedom(x, y, a.freedom, b.freedom) for x, y in ((a.above, b.below), (a.below, b.above))
    )
    level = (1 + LEVEL) / 2
    towards = np.where(value > 0, down, up)
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.where(value == 0, 0.0, np.abs(value) / towards)
    p = 2 * t.sf(z, np.where(value > 0, freedom_low, freedom_high))
    low, high = value - t.ppf(level, freedom_low) * down, value + t.ppf(level, freedom_high) * up
    return Difference(value, low, high, np.asarray(p))


def _freedom(a: Floats, b: Floats, freedom_a: float, freedom_b: float) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        freedom = (a**2 + b**2) ** 2 / (a**4 / freedom_a + b**4 / freedom_b)
    return np.where(np.isfinite(freedom), freedom, np.inf)


def paired_difference(
    pairs: Sequence[tuple[Ints, Ints]],
    statistic: Callable[[Floats], Floats],
    n_classes: int,
    rng: np.random.Generator,
    n_draws: int = 20_000,
) -> Difference:
    """Difference of a statistic of class shares between two methods on the same noise, by paired bootstrap.

    As `paired_discrepancy_p`, for any statistic and several seeds: pairs are redrawn together, within their seed, and
    the statistic's differences averaged over seeds. Percentile interval; the smallest p is 2 / (n_draws + 1).

    Args:
        pairs: one a seed: the classes, int64 [n] in [0, n_classes), of one method's samples and of the other's.
        statistic: shares float64 [..., n_classes] to values [...].
        n_classes: number of classes.
        rng: source of randomness.
        n_draws: number of redraws.

    Returns:
        Of 0-dimensional arrays: second minus first.
    """
    value, draws = 0.0, np.zeros(n_draws)
    for a, b in pairs:
        table = np.bincount(a * n_classes + b, minlength=n_classes**2)
        cells = np.flatnonzero(table)  # an empty cell is never drawn
        shares = rng.multinomial(len(a), table[cells] / len(a), size=n_draws) / len(a)
        first, second = np.eye(n_classes)[cells // n_classes], np.eye(n_classes)[cells % n_classes]
        draws += (statistic(shares @ second) - statistic(shares @ first)) / len(pairs)
        measured = table[cells] / len(a)
        value += float(statistic(measured @ second) - statistic(measured @ first)) / len(pairs)
    return _of_draws(value, draws)


def paired_mean_difference(
    pairs: Sequence[tuple[Floats, Floats]],
    statistic: Callable[[Floats], Floats],
    rng: np.random.Generator,
    n_draws: int = 20_000,
) -> Difference:
    """Test a statistic of mean rows by normal draws of both means with their joint covariance.

    Args:
        pairs: one a seed: rows float64 [n, K], n >= 2, of one method's samples and of the other's.
        statistic: means float64 [..., K] to values [...].
        rng: source of randomness.
        n_draws: number of redraws.
    """
    value, draws = 0.0, np.zeros(n_draws)
    for a, b in pairs:
        both = np.hstack([a, b])
        mean, k = both.mean(axis=0), a.shape[1]
        means = redraw_mean(mean, np.cov(both, rowvar=False), len(a), n_draws, rng)
        draws += (statistic(means[:, k:]) - statistic(means[:, :k])) / len(pairs)
        value += float(statistic(mean[k:]) - statistic(mean[:k])) / len(pairs)
    return _of_draws(value, draws)


def _of_draws(value: float, draws: Floats) -> Difference:
    draws = draws.round(12)  # equal distances on either side of the target differ by rounding
    fewer = min((draws <= 0).sum(), (draws >= 0).sum())
    low, high = percentile_interval(draws)
    p = min(1.0, 2 * (int(fewer) + 1) / (draws.size + 1))
    return Difference(*(np.asarray(x) for x in (value, min(low, value), max(high, value), p)))


def minimum_detectable_difference(standard_error: Floats, alpha: float = 1 - LEVEL, power: float = 0.8) -> Floats:
    """The smallest true difference that a two-sided test at `alpha` finds with probability `power`.

    Of a normal statistic: (z_(1 - alpha/2) + z_power) standard errors; its chance of being found with the wrong sign
    is neglected. The standard error of the difference of two independent means of n rows each is sd sqrt(2 / n); that
    of two shares sqrt(2 p (1 - p) / n).

    Args:
        standard_error: of the difference, of any shape.
        alpha: level of the test; divide it by the number of tests of a table.
        power: in (0.5, 1).
    """
    difference: Floats = (norm.ppf(1 - alpha / 2) + norm.ppf(power)) * standard_error
    return difference
