"""95 % intervals: redraws (parametric bootstrap), Wilson's, jackknife, bootstrap.

Every random draw takes its generator from the caller; nothing here keeps state. Which interval a metric has, and why,
is in docs/metrics.md.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.stats import bootstrap, chi2, norm, t

from bench.core.errors import Undefined

Floats = npt.NDArray[np.float64]
LEVEL = 0.95  # confidence of every interval of the benchmark
SKEWNESS_FACTOR = 1.5  # of the sample skewness, see `skewed_interval`
MIN_SKEWED = 20  # contributions whose skewness is used; that of ten is mostly chance
TOLERANCE = 1e-12  # largest distance of two numbers of order 1 that exact arithmetic makes equal


def at_most(a: npt.ArrayLike, b: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Return whether a <= b, up to rounding: numbers within `TOLERANCE` (relative above 1) count as equal.

    Args:
        a: float64 [...].
        b: float64 of a shape that broadcasts with a's.

    Returns:
        bool [...].

    >>> bool(0.1 + 0.2 <= 0.3), bool(at_most(0.1 + 0.2, 0.3))
    (False, True)
    """
    x, y = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    return np.asarray(x <= y + TOLERANCE * np.maximum(1.0, np.abs(y)))


@functools.cache
def t_quantile(freedom: int) -> float:
    """The upper end of the central 95 % of Student's t; asked for once a cell of a grid."""
    return float(t.ppf((1 + LEVEL) / 2, freedom))


def percentile_interval(draws: Floats) -> tuple[float, float]:
    """The central 95 % of bootstrap draws, float64 [n_draws]: (2.5th, 97.5th percentile)."""
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def redraw_mean(mean: Floats, covariance: Floats, n: int, n_draws: int, rng: np.random.Generator) -> Floats:
    """Normal redraws of the mean of n rows.

    Args:
        mean: float64 [K], the mean of the rows.
        covariance: float64 [K, K], the covariance of one row; may be singular, as that of probabilities is.
        n: number of rows behind the mean.
        n_draws: number of redraws.
        rng: source of randomness.

    Returns:
        float64 [n_draws, K].
    """
    values, vectors = np.linalg.eigh(covariance / n)
    root = vectors * np.sqrt(np.clip(values, 0.0, None))  # a singular covariance has eigenvalues of about -1e-18
    draws: Floats = mean + rng.standard_normal((n_draws, mean.size)) @ root.T
    return draws


def wilson_interval(count: float, n: float, quantile: float | None = None) -> tuple[float, float]:
    """Return the 95 % interval of a share; it has width even where count is 0 or n.

    Source: Wilson 1927, "Probable inference, the law of succession, and statistical inference". For counts of at most 2
    (3 where n is above 50) the lower limit is that of a Poisson count, lambda / n with P(X >= count | lambda) = 0.05,
    where that is lower; for such counts of failures the upper limit, likewise: Brown, Cai & DasGupta 2001, "Interval
    estimation for a binomial proportion", section 4.1.1. Without it, coverage falls to 84 % for rare classes.

    Args:
        count: successes, in [0, n]; with an effective n no whole number.
        n: trials, > 0; an effective number where trials depend on one another.
        quantile: upper 2.5 % point of the distribution of the share's standardised error; None for the normal one.

    Returns:
        (low, high), 0 <= low <= count / n <= high <= 1.
    """
    z = float(norm.ppf((1 + LEVEL) / 2)) if quantile is None else quantile
    share = count / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(max(share * (1 - share), 0.0) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    few = 3 if n > 50 else 2
    low, high = centre - half, centre + half
    if 0 < count <= few:
        low = min(low, float(chi2.ppf(1 - LEVEL, 2 * count)) / (2 * n))
    if 0 < n - count <= few:
        high = max(high, 1 - float(chi2.ppf(1 - LEVEL, 2 * (n - count))) / (2 * n))
    return min(max(low, 0.0), share), max(min(high, 1.0), share)


def distance_low(
    distance: Callable[[Floats], Floats], point: Floats, target: Floats, noise: Floats, floor: float | None = None
) -> float:
    """Return the lower end of the 95 % interval of a distance that cannot go below 0 and is biased upwards.

    The distance is tested at the points target + s (point - target), s in [0, 1]: the end is that of the smallest s
    at which the measured distance is not too large, P(distance(point_s + noise) >= measured) >= 0.05 - 0.025 w. The
    weight w of the other tail rises from 0 at the target, below which no distance can fall, to 1 where the distance
    reaches the 95th percentile of that at the target. So the end is 0 if and only if the distance is within this
    percentile.

    Source: Carpenter 1999, "Test inversion bootstrap confidence intervals".

    Args:
        distance: points [..., K] to distances [...] from the target.
        point: float64 [K], the measured point.
        target: float64 [K].
        noise: float64 [n_draws, K], draws of the point's error.
        floor: the 95th percentile of the distance at the target; None to take it from the noise.

    Returns:
        In [0, distance(point)].
    """
    value = float(distance(point))
    if floor is None:
        floor = float(np.quantile(distance(target + noise), LEVEL))
    if at_most(value, floor):
        return 0.0

    def too_far(s: float) -> bool:
        centre = target + s * (point - target)
        draws = distance(centre + noise)
        tail = float(np.mean(draws > value) + np.mean(np.isclose(draws, value, rtol=0.0, atol=TOLERANCE)) / 2)
        weight = min(1.0, float(distance(centre)) / floor) if floor > 0 else 1.0
        return tail < (1 - LEVEL) * (1 - weight / 2)

    below, above = 0.0, 1.0
    for _ in range(12):  # 1 / 4096 of the distance
        middle = (below + above) / 2
        below, above = (middle, above) if too_far(middle) else (below, middle)
    return min(float(distance(target + above * (point - target))), value)


def skewed_interval(value: float, error: float, skewness: float, n: int, freedom: int) -> tuple[float, float]:
    """Return the 95 % interval of a mean, or of a statistic close to one, whose contributions may be skewed.

    Student's t, with the end on the long side moved out as far as Hall's transformation puts it. Student's t alone
    covers 75 to 90 % of the means of 20 lognormal numbers: a sample without the rare large ones has a mean that is too
    small, and a standard error that is too small as well. Few draws underestimate skewness, so 1.5 times that of the
    sample is used, up to where the transformation is longest (4.2 standard errors at many degrees of freedom for each
    of Student's 1.96). Fewer than `MIN_SKEWED` contributions tell too little of it, and have Student's interval.

    Source: Hall 1992, "On the removal of skewness by transformation", Eq. 2.1 (g(T) = T + a T^2 / 3 + a^2 T^3 / 27 +
    a / 6, a the skewness over sqrt(n)).

    Args:
        value: the statistic.
        error: its standard error, >= 0.
        skewness: sample skewness m3 / m2^(3/2) of the contributions.
        n: number of contributions, >= 2.
        freedom: degrees of freedom of the standard error, >= 1.

    Returns:
        (low, high), which holds that of Student's t.
    """
    quantile = t_quantile(freedom)
    unbiased = skewness * math.sqrt(n * (n - 1)) / (n - 2) if n >= MIN_SKEWED else 0.0
    a = min(SKEWNESS_FACTOR * abs(unbiased) / math.sqrt(n), 3 * (math.sqrt(quantile**2 + 0.75) - quantile))
    long = max(quantile, 3 / a * (1 - math.cbrt(1 - a * (quantile + a / 6)))) if a > 1e-9 else quantile
    below, above = (long, quantile) if unbiased < 0 else (quantile, long)
    return value - below * error, value + above * error


def jackknife_interval(
    value: float, replicates: Floats, sizes: npt.NDArray[np.int64] | None = None, pairs: float = 0.0
) -> tuple[float, float]:
    """Return the 95 % interval of a statistic by the delete-a-group jackknife, with the skewness of its groups.

    Source: Busing, Meijer & van der Leeden 1999, "Delete-m jackknife for unequal m", Eqs. 5-6; with equal groups it is
    Kott 2001, "The delete-a-group jackknife": SE^2 = (G - 1) / G sum_g (theta_g - mean theta)^2. Student's t of G - 1
    degrees of freedom; for skewness see `skewed_interval`.

    Args:
        value: the statistic of the whole sample.
        replicates: float64 [G], G >= 2, the statistic without group g.
        sizes: int64 [G], >= 1, number of samples of each group; None for groups of (nearly) equal size.
        pairs: variance to add, >= 0, for statistics of pairs of samples: that of the part that no sample has alone.

    Returns:
        (low, high), which holds `value`.
    """
    groups = replicates.size
    left_out = np.full(groups, 1 / groups) if sizes is None else sizes / sizes.sum()
    ratio = 1 / left_out
    pseudo = ratio * value - (ratio - 1) * replicates
    centre = groups * value - float(((1 - left_out) * replicates).sum())
    deviations = (pseudo - centre) / np.sqrt(ratio - 1)
    variance = float((deviations**2).mean())
    skewness = float(((deviations / math.sqrt(variance)) ** 3).mean()) if variance > 0 else 0.0
    return skewed_interval(value, math.sqrt(variance + pairs), skewness, groups, groups - 1)


def bootstrap_interval(
    rows: Floats,
    statistic: Callable[..., Floats],
    rng: np.random.Generator,
    method: Literal["BCa", "percentile"] = "BCa",
    n_draws: int = 2000,
) -> tuple[float, float]:
    """95 % interval of a smooth statistic of independent rows, such as a mean or a quantile of a per-image distance.

    Source: Efron 1987, "Better bootstrap confidence intervals" (BCa), as SciPy computes it. Not for statistics whose
    bias depends on how many rows differ (Frechet distance, nearest neighbours: `jackknife_interval`), nor for
    distances near the 0 that they cannot go below (`distance_low`).

    Args:
        rows: float64 [n], n >= 2.
        statistic: (rows, axis) to values, vectorised along `axis`.
        rng: source of randomness.
        method: "BCa" corrects bias and skew; "percentile" does not, and needs no jackknife.
        n_draws: number of redraws.

    Raises:
        Undefined: the rows are all equal, so that redraws tell nothing of the spread.
    """
    if np.ptp(rows) == 0:
        raise Undefined(f"a bootstrap needs rows that differ, got {rows.size} equal ones")
    resampled = bootstrap((rows,), statistic, n_resamples=n_draws, confidence_level=LEVEL, method=method, rng=rng)
    return float(resampled.confidence_interval.low), float(resampled.confidence_interval.high)
