"""Gaussian fits of features, read in chunks."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bench.core.errors import Undefined
from bench.core.gaussian import Floats, Gaussian
from bench.protocols.evaluator import CHUNK

Features = npt.NDArray[np.floating]


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
