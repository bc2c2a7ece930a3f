"""Gaussian fits of features that are read in chunks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from bench.errors import Undefined
from evaluators.base import CHUNK

Floats = npt.NDArray[np.float64]
Features = npt.NDArray[np.floating]
NEGATIVE = 1e-8  # share of the largest eigenvalue below which a negative one is rounding


@dataclass(frozen=True)
class Gaussian:
    """A fit of features.

    Attributes:
        mean: float64 [d].
        covariance: float64 [d, d], symmetric, positive semi-definite, over n - 1 as numpy.cov and clean-fid have it.
    """

    mean: Floats
    covariance: Floats

    @cached_property
    def factor(self) -> Floats:
        """A with A A' = covariance, float64 [d, d]; computed once, since a reference is used many times."""
        return factor(self.covariance)


def factor(covariance: Floats) -> Floats:
    """A with A A' = covariance: Cholesky's, or the eigenvectors' where the matrix is singular.

    Args:
        covariance: float64 [d, d], symmetric.

    Returns:
        float64 [d, d].

    Raises:
        Undefined: an eigenvalue is negative, and not by rounding.
    """
    try:
        return np.asarray(np.linalg.cholesky(covariance), dtype=np.float64)
    except np.linalg.LinAlgError:
        values, vectors = np.linalg.eigh(covariance)
        return np.asarray(vectors * np.sqrt(not_negative(values)))


def not_negative(values: npt.NDArray[np.floating]) -> Floats:
    """Eigenvalues [d] of a positive semi-definite matrix with those that rounding made negative set to 0.

    Raises:
        Undefined: one is further below 0 than rounding takes it.
    """
    if values.min() < -NEGATIVE * np.abs(values).max():
        raise Undefined(
            f"a covariance must have no negative eigenvalue, got {values.min():.3g} beside {values.max():.3g}; "
            "compute it in float64"
        )
    clipped: Floats = np.clip(values, 0.0, None, dtype=np.float64)
    return clipped


def fit(features: Features) -> Gaussian:
    """Gaussian fit of features [n, d], n >= 2, read in chunks, in two passes so that a large mean costs no digits."""
    mean = streamed_mean(features)
    scatter = np.zeros((mean.size, mean.size))
    for start in range(0, len(features), CHUNK):
        rows = features[start : start + CHUNK] - mean
        scatter += rows.T @ rows
    return Gaussian(mean, scatter / (len(features) - 1))


def streamed_mean(features: Features) -> Floats:
    """Mean row of features [n, d], n >= 1, as float64 [d], read in chunks.

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
        counts: int64 [groups], rows of each group; row i is in group i % groups.
        centre: float64 [d], the mean of all rows, about which sums and scatters are taken.
        sums: float64 [groups, d].
        scatters: float64 [groups, d, d].
    """

    def __init__(self, features: Features, groups: int) -> None:
        """Read features [n, d] twice, in chunks: memory is groups d^2 numbers, whatever n is."""
        n, d = features.shape
        self.centre = streamed_mean(features)
        self.sums, self.scatters = np.zeros((groups, d)), np.zeros((groups, d, d))
        for start in range(0, n, CHUNK):
            rows = features[start : start + CHUNK] - self.centre
            for group in range(groups):
                part = rows[(group - start) % groups :: groups]
                self.sums[group] += part.sum(axis=0)
                self.scatters[group] += part.T @ part
        self.counts = np.array([len(range(group, n, groups)) for group in range(groups)])

    def fit(self, groups: list[int]) -> Gaussian:
        """Gaussian fit of the rows of the given groups, at least 2 rows."""
        n, total = int(self.counts[groups].sum()), self.sums[groups].sum(axis=0)
        scatter = sum((self.scatters[group] for group in groups), np.zeros((total.size, total.size)))
        return Gaussian(self.centre + total / n, (scatter - np.outer(total, total) / n) / (n - 1))
