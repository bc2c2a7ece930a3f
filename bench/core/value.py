"""A measured number with its 95 % interval: the one type that a number has from the evaluator to the page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Value:
    """A number, exactly as measured.

    Attributes:
        value: finite.
        low: lower end of the 95 % interval; None where there is none.
        high: upper end; None where there is none.
        n: samples of one seed behind it; None where they differ from seed to seed or are not known.
        seeds: number of seeds that were averaged.
        noise_floor: 95th percentile of the number for a sampler that matches the target exactly, at the same n and
            number of seeds; None where it is not known.
    """

    value: float
    low: float | None = None
    high: float | None = None
    n: int | None = None
    seeds: int = 1
    noise_floor: float | None = None


@dataclass(frozen=True, slots=True)
class Scale:
    """The range of a metric and the kind of its intervals.

    Attributes:
        low: smallest possible value; -inf if there is none.
        high: largest possible value; inf if there is none.
        share: whether it is a share of samples with a Wilson interval.
        distance: whether it is a distance from 0 that chance alone makes positive, so that a value at or below its
            noise floor cannot be told from 0.
        freedom: degrees of freedom behind the interval of one seed.
    """

    low: float = -math.inf
    high: float = math.inf
    share: bool = False
    distance: bool = False
    freedom: float = math.inf


def mean_over_seeds(values: Sequence[Value], scale: Scale, noise_floor: float | None = None) -> Value:
    """Return the mean over seeds with its 95 % interval; the value of a single seed unchanged.

    The interval holds each seed's own sampling error, from its interval. Where the seeds differ by more than these
    errors explain, it is widened by the variance between seeds, B = max(0, s^2 - W) for the variance s^2 of the values
    and the mean W of the own variances (method of moments; DerSimonian & Laird 1986): the mean has the variance
    (W + B) / S, with Student's t after Satterthwaite. Shares have the Wilson interval of the pooled samples, so that 0
    of 2 x 60 gives [0, 0.031]. The ends stay within the scale. Where some seed has no interval, it is Student's t of
    the seeds alone; none where these are equal.

    Args:
        values: the value of each seed, at least one.
        scale: of the metric.
        noise_floor: of the mean over these seeds; None where it is not known. The noise floors of the single seeds,
            which are larger, then decide on average whether a distance can be told from 0.

    Returns:
        `n` is the number of samples that all seeds share, None where they differ.
    """
    if len(values) == 1:
        return values[0]
    count = len(values)
    mean = math.fsum(v.value for v in values) / count
    spread = math.fsum((v.value - mean) ** 2 for v in values) / (count - 1)
    low, high = _ends(values, scale, mean, spread)
    sizes = {v.n for v in values}
    floors = [v.noise_floor for v in values if v.noise_floor is not None]
    if low is not None and high is not None:
        from bench.core.intervals import at_most

        largest = (
            noise_floor if noise_floor is not None else math.fsum(floors) / count if len(floors) == count else None
        )
        if scale.distance and largest is not None and at_most(mean, largest):
            low = scale.low
        low, high = min(max(low, scale.low), mean), max(min(high, scale.high), mean)
    return Value(mean, low, high, sizes.pop() if len(sizes) == 1 else None, count, noise_floor)


def _ends(values: Sequence[Value], scale: Scale, mean: float, spread: float) -> tuple[float | None, float | None]:
    """Return the ends of the interval of the mean, before they are cut to the scale, given the variance of values."""
    count = len(values)
    intervals = [(v.value, v.low, v.high) for v in values if v.low is not None and v.high is not None]
    if len(intervals) < count:
        half = _quantile(count - 1) * math.sqrt(spread / count)
        return (mean - half, mean + half) if half > 0 else (None, None)
    if scale.share and all(0 < high - low < 1 for _, low, high in intervals):
        return _pooled_wilson(intervals, mean, spread)
    quantile = _quantile(scale.freedom)
    below = math.fsum(((value - low) / quantile) ** 2 for value, low, _ in intervals) / count
    above = math.fsum(((high - value) / quantile) ** 2 for value, _, high in intervals) / count
    between, freedom = _between_seeds(spread, max(below, above), count, scale.freedom * count)
    quantile = _quantile(freedom)
    return (
        mean - quantile * math.sqrt((below + between) / count),
        mean + quantile * math.sqrt((above + between) / count),
    )


def _between_seeds(spread: float, within: float, count: int, freedom: float) -> tuple[float, float]:
    """Return the variance between seeds, and the degrees of freedom of the variance of their mean."""
    between = max(0.0, spread - within)
    if between == 0:
        return 0.0, freedom
    total = within + between
    return between, total**2 / (within**2 / freedom + between**2 / (count - 1))


def _pooled_wilson(intervals: Sequence[tuple[float, float, float]], mean: float, spread: float) -> tuple[float, float]:
    """Return the Wilson interval of the mean of shares, at the number of samples that has the mean's variance."""
    count = len(intervals)
    per_sample = math.fsum(1 / _effective_n(*interval) for interval in intervals) / count
    within = mean * (1 - mean) * per_sample
    between, freedom = _between_seeds(spread, within, count, math.inf)
    z, n = _quantile(freedom), count / per_sample
    if between > 0:
        n *= within / (within + between)
    centre, half = mean + z * z / (2 * n), z * math.sqrt(mean * (1 - mean) / n + z * z / (4 * n * n))
    return (centre - half) / (1 + z * z / n), (centre + half) / (1 + z * z / n)


def _effective_n(share: float, low: float, high: float) -> float:
    """Return the number of samples whose Wilson interval of a share is as wide as [low, high].

    With u = 1 / n and half the width h: h (1 + z^2 u) = z sqrt(p (1 - p) u + z^2 u^2 / 4), squared.
    """
    z, half = _quantile(math.inf), (high - low) / 2
    a, b = z**4 * (0.25 - half**2), z**2 * (share * (1 - share) - 2 * half**2)
    return (b + math.sqrt(b * b + 4 * a * half**2)) / (2 * half**2)


def _quantile(freedom: float) -> float:
    """Return the upper end of the central 95 % of Student's t."""
    from scipy.special import ndtri, stdtrit

    return float(ndtri(0.975)) if math.isinf(freedom) else float(stdtrit(freedom, 0.975))
