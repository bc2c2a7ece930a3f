"""Intervals: parametric redraws of shares and means, percentiles, Wilson's interval, the grouped jackknife.

Every random draw takes its generator from the caller; nothing here keeps state.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy.stats import norm, t

Floats = npt.NDArray[np.float64]
LEVEL = 0.95  # confidence of every interval of the benchmark


def percentile_interval(draws: Floats) -> tuple[float, float]:
    """The central 95 % of bootstrap draws, float64 [n_draws]: (2.5th, 97.5th percentile)."""
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def redraw_shares(counts: npt.NDArray[np.int64], prior: Floats, n_draws: int, rng: np.random.Generator) -> Floats:
    """Parametric bootstrap of class shares: multinomial redraws of the counts.

    One pseudo-count, spread over the classes as `prior`, is added before drawing. Without it a class that was never
    seen is never drawn either, and a sample of one class would have an interval of width zero at any n.

    Args:
        counts: int64 [K], how often each class was seen; their sum n is the size of every redraw.
        prior: float64 [K], >= 0, summing to 1; a class with neither count nor prior is never drawn.
        n_draws: number of redraws.
        rng: source of randomness.

    Returns:
        float64 [n_draws, K], each row >= 0 and summing to 1.
    """
    n = int(counts.sum())
    smoothed = counts + prior
    shares: Floats = rng.multinomial(n, smoothed / smoothed.sum(), size=n_draws) / n
    return shares


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


def wilson_interval(count: int, n: int) -> tuple[float, float]:
    """95 % interval of a share; has width even where count is 0 or n.

    Source: Wilson 1927, "Probable inference, the law of succession, and statistical inference".

    Args:
        count: successes, in [0, n].
        n: trials, >= 1.

    Returns:
        (low, high), 0 <= low <= count / n <= high <= 1.
    """
    z = float(norm.ppf((1 + LEVEL) / 2))
    share = count / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return min(max(centre - half, 0.0), share), max(min(centre + half, 1.0), share)


def jackknife_interval(value: float, replicates: Floats) -> tuple[float, float]:
    """95 % interval of a statistic by the delete-a-group jackknife.

    Source: Kott 2001, "The delete-a-group jackknife": SE^2 = (G - 1) / G sum_g (theta_g - mean theta)^2, with
    Student's t of G - 1 degrees of freedom.

    Args:
        value: the statistic of the whole sample, the centre of the interval.
        replicates: float64 [G], G >= 2, the statistic without group g; groups of (nearly) equal size.

    Returns:
        (low, high), symmetric about `value`.
    """
    groups = replicates.size
    variance = (groups - 1) / groups * float(((replicates - replicates.mean()) ** 2).sum())
    half = float(t.ppf((1 + LEVEL) / 2, groups - 1)) * math.sqrt(variance)
    return value - half, value + half


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
