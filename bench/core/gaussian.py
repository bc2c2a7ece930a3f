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
LARGEST = 1e150  # largest magnitude of a feature: float64 holds its square, and sums of these
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


def check_features(rows: Features) -> None:
    """Check that statistics of features, which take their squares, can be computed in float64.

    Args:
        rows: float [m, d].

    Raises:
        Undefined: an entry is not finite, or above 1e150.
    """
    largest = float(np.abs(rows).max(initial=0.0))
    if not np.isfinite(largest):
        raise Undefined("the features must be finite, got NaN or infinity")
    if largest > LARGEST:
        raise Undefined(f"the features must be below {LARGEST:g}, whose square float64 holds, got {largest:.3g}")


def streamed_mean(features: Features) -> Floats:
    """Return the mean row of features [n, d], n >= 1, as float64 [d], read in chunks.

    Raises:
        Undefined: an entry is not finite, or too large (see `check_features`).
    """
    total = np.zeros(features.shape[1])
    for start in range(0, len(features), CHUNK):
        rows = features[start : start + CHUNK]
        check_features(rows)
        total += np.sum(rows, axis=0, dtype=np.float64)
    return np.asarray(total / len(features))


class GroupedMoments:
    """Sums and scatter matrices of groups of rows, from which any union of groups can be fitted.

    Attributes:
        counts: int64 [groups], number of rows of each group.
        centre: float64 [d], the mean of all rows, about which sums and scatters are taken.
        sums: float64 [groups, d].
        scatters: float64 [groups, d, d].
    """

    def __init__(self, features: Features, labels: npt.NDArray[np.int64]) -> None:
        """Read the features twice, in chunks: memory is groups * d^2 numbers for any n.

        Args:
            features: float [n, d].
            labels: int64 [n], the group of every row, in [0, groups).
        """
        n, d = features.shape
        self.counts = np.bincount(labels)
        groups = self.counts.size
        self.centre = streamed_mean(features)
        self.sums, self.scatters = np.zeros((groups, d)), np.zeros((groups, d, d))
        for start in range(0, n, CHUNK):
            rows = features[start : start + CHUNK] - self.centre
            for group in range(groups):
                members = rows[labels[start : start + CHUNK] == group]
                self.sums[group] += members.sum(axis=0)
                self.scatters[group] += members.T @ members

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
