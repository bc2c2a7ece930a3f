"""Gaussian fits of features, read in chunks, also without some groups of rows; factors of their covariances."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from bench.core.errors import Undefined

Floats = npt.NDArray[np.float64]
Features = npt.NDArray[np.floating]

CHUNK = 4096  # rows of features read at a time
NEGATIVE = 1e-8  # negative eigenvalues smaller than this share of the largest one count as rounding


@dataclass(frozen=True)
class Gaussian:
    """Mean and covariance of features.

    Attributes:
        mean: float64 [d].
        covariance: float64 [d, d], symmetric, positive semi-definite, divided by n - 1 as in numpy.cov and clean-fid.

    >>> fitted = Gaussian(np.zeros(2), np.diag([4.0, 9.0]))
    >>> fitted.factor.tolist()
    [[2.0, 0.0], [0.0, 3.0]]
    """

    mean: Floats
    covariance: Floats

    @cached_property
    def factor(self) -> Floats:
        """A with A A' = covariance, float64 [d, d]; computed once, since a reference is used many times."""
        return factor(self.covariance)


def fit(features: Features) -> Gaussian:
    """Fit a Gaussian to features [n, d], n >= 2, in chunks; two passes, so that a large mean loses no digits.

    Raises:
        Undefined: an entry is not finite.
    """
    mean = streamed_mean(features)
    scatter = np.zeros((mean.size, mean.size))
    for start in range(0, len(features), CHUNK):
        rows = features[start : start + CHUNK] - mean
        scatter += rows.T @ rows
    return Gaussian(mean, scatter / (len(features) - 1))


def streamed_mean(features: Features) -> Floats:
    """Return the mean row of features [n, d], n >= 1, as float64 [d], read in chunks.

    Raises:
        Undefined: an entry is not finite.
    """
    starts = range(0, len(features), CHUNK)
    total = sum(np.sum(features[start : start + CHUNK], axis=0, dtype=np.float64) for start in starts)
    mean = np.asarray(total / len(features))
    if not np.isfinite(mean).all():
        raise Undefined("the features must be finite, got NaN or infinity")
    return mean


class GroupedMoments:
    """Sums and scatter matrices of interleaved groups of rows, from which any union of groups can be fitted.

    Attributes:
        counts: int64 [groups], number of rows of each group; row i is in group i % groups.
        centre: float64 [d], the mean of all rows, about which sums and scatters are taken.
        sums: float64 [groups, d].
        scatters: float64 [groups, d, d].
    """

    def __init__(self, features: Features, groups: int) -> None:
        """Read features [n, d] twice, in chunks: memory is groups * d^2 numbers for any n."""
        n, d = features.shape
        self.centre = streamed_mean(features)
        self.sums, self.scatters = np.zeros((groups, d)), np.zeros((groups, d, d))
        for start in range(0, n, CHUNK):
            rows = features[start : start + CHUNK] - self.centre
            for group in range(groups):
                members = rows[(group - start) % groups :: groups]
                self.sums[group] += members.sum(axis=0)
                self.scatters[group] += members.T @ members
        self.counts = np.array([len(range(group, n, groups)) for group in range(groups)])

    def fit(self, groups: list[int]) -> Gaussian:
        """Fit a Gaussian to the rows of some groups, at least 2 rows."""
        n, total = int(self.counts[groups].sum()), self.sums[groups].sum(axis=0)
        scatter = sum((self.scatters[group] for group in groups), np.zeros((total.size, total.size)))
        return Gaussian(self.centre + total / n, (scatter - np.outer(total, total) / n) / (n - 1))


def factor(covariance: Floats) -> Floats:
    """Return A with A A' = covariance: the Cholesky factor, or one from eigenvectors if the matrix is singular.

    Args:
        covariance: float64 [d, d], symmetric.

    Returns:
        float64 [d, d].

    Raises:
        Undefined: an eigenvalue is negative beyond rounding.
    """
    try:
        return np.asarray(np.linalg.cholesky(covariance), dtype=np.float64)
    except np.linalg.LinAlgError:
        values, vectors = np.linalg.eigh(covariance)
        return np.asarray(vectors * np.sqrt(not_negative(values)))


def not_negative(values: npt.NDArray[np.floating]) -> Floats:
    """Return eigenvalues [d] of a positive semi-definite matrix, with values that are negative by rounding set to 0.

    Raises:
        Undefined: an eigenvalue is negative beyond rounding.

    >>> not_negative(np.array([-1e-12, 2.0])).tolist()
    [0.0, 2.0]
    """
    if values.min() < -NEGATIVE * np.abs(values).max():
        raise Undefined(
            f"a covariance must have no negative eigenvalue, got {values.min():.3g} beside {values.max():.3g}; "
            "compute it in float64"
        )
    clipped: Floats = np.clip(values, 0.0, None, dtype=np.float64)
    return clipped
