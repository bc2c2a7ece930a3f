"""The Frechet distance of Gaussian fits, and that of a sample with its jackknife replicates."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from bench.core.errors import Undefined
from bench.core.gaussian import Features, Floats, Gaussian, GroupedMoments, factor, not_negative, streamed_mean
from evaluators.features.groups import FEW, Groups

MIN_N = 2 * FEW
TOO_LARGE = "the features are too large to compute their distance in float64"

# The squared distance of the whole sample, then of the sample without each group, float64 [1 + groups].
Distances = Callable[[Gaussian], Floats]


def frechet_distance(mu1: Floats, s1: Floats, mu2: Floats, s2: Floats) -> float:
    """Return |mu1 - mu2|^2 + tr s1 + tr s2 - 2 tr((s1 s2)^(1/2)), the squared Frechet distance.

    Source: Heusel et al. 2017, arXiv 1706.08500, Eq. 6. With s1 = A A', s1 s2 has the eigenvalues of the symmetric
    A' s2 A, so their square roots sum to the trace and no matrix square root is needed. Arguments are in the order of
    cleanfid.fid.frechet_distance.

    Args:
        mu1: float64 [d], a mean.
        s1: float64 [d, d], a covariance; may be singular.
        mu2: float64 [d], a mean.
        s2: float64 [d, d], a covariance; may be singular.

    Returns:
        The distance, >= 0.

    Raises:
        Undefined: an entry is not finite, or a matrix has a negative eigenvalue beyond rounding.

    >>> frechet_distance(np.zeros(2), np.eye(2), np.array([3.0, 4.0]), 4 * np.eye(2))
    27.0
    """
    if not all(np.isfinite(array).all() for array in (mu1, s1, mu2, s2)):
        raise Undefined("the features' means and covariances must be finite, got NaN or infinity")
    root = factor(s1)
    return _combine(mu1 - mu2, float(np.trace(s1)), float(np.trace(s2)), root.T @ s2 @ root)


def distance_to(reference: Gaussian, fitted: Gaussian) -> float:
    """Return the squared Frechet distance of two fits; the reference's factor is computed once and reused."""
    root = reference.factor
    traces = float(np.trace(fitted.covariance)), float(np.trace(reference.covariance))
    return _combine(fitted.mean - reference.mean, *traces, root.T @ fitted.covariance @ root)


def _combine(shift: Floats, trace1: float, trace2: float, inner: Floats, zeros: int = 0) -> float:
    """Return the distance from its parts; `zeros` eigenvalues of inner are 0 in exact arithmetic, the smallest."""
    if not np.isfinite(inner).all():
        raise Undefined(TOO_LARGE)
    cross = float(np.sqrt(not_negative(np.linalg.eigvalsh(inner)[zeros:])).sum())
    return max(float(shift @ shift) + trace1 + trace2 - 2 * cross, 0.0)  # below 0 only by rounding


def replicated(features: Features, groups: Groups) -> Distances:
    """Return the distances of features [n, d], n >= MIN_N, in the form that is faster for their shape."""
    return (from_gram if len(features) < features.shape[1] else from_moments)(features, groups)


def from_gram(features: Features, groups: Groups) -> Distances:
    """Return the distances computed with n x n matrices: exact, and faster if n < d.

    With X the centred rows, the sample's covariance is X'X / (n - 1), and s1 s2 has the non-zero eigenvalues of
    X s2 X' / (n - 1). Leaving out rows means taking a sub-block of X s2 X' and centring it again.
    """
    mean = streamed_mean(features)
    rows = features[:] - mean

    def distances(reference: Gaussian) -> Floats:
        gram = rows @ reference.covariance @ rows.T
        trace = float(np.trace(reference.covariance))
        return np.array([without(keep, gram, reference.mean, trace) for keep in _jackknife_rows(groups)])

    def without(keep: npt.NDArray[np.intp], gram: Floats, reference_mean: Floats, reference_trace: float) -> float:
        selected = rows[keep]
        shift = selected.mean(axis=0)
        inner = gram[np.ix_(keep, keep)]
        inner = inner - inner.mean(axis=0)
        inner = (inner - inner.mean(axis=1, keepdims=True)) / (keep.size - 1)
        trace = float(((selected - shift) ** 2).sum()) / (keep.size - 1)
        return _combine(mean + shift - reference_mean, trace, reference_trace, inner, zeros=1)  # centred rows sum to 0

    return distances


def _jackknife_rows(groups: Groups) -> list[npt.NDArray[np.intp]]:
    """Return the indices of all rows, then those without each group."""
    left = [np.flatnonzero(groups.labels != group) for group in range(groups.count)]
    return [np.arange(groups.labels.size), *left]


def from_moments(features: Features, groups: Groups) -> Distances:
    """Return the distances computed with d x d matrices: memory does not grow with n; the features are read twice."""
    moments = GroupedMoments(features, groups.labels)

    def distances(reference: Gaussian) -> Floats:
        return np.array([distance_to(reference, moments.fit(left)) for left in groups.without_each()])

    return distances
