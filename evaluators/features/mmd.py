"""The maximum mean discrepancy of two sets of features, exact over all pairs, in blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bench.core.gaussian import check_features
from evaluators.features.groups import Groups, singles
from evaluators.features.subset import subset

Floats = npt.NDArray[np.float64]
Features = npt.NDArray[np.floating]
Rows = Callable[[Features], Floats]  # stored rows [m, d] to the kernel's float64 [m, d]
Kernel = Callable[[Floats], Floats]  # inner products of such rows, any shape, to the kernel's values
BLOCK = 1024  # rows of a block; a block of kernel values is BLOCK^2 numbers
MIN_N = 20  # samples needed for a meaningful interval


@dataclass(frozen=True)
class Within:
    """Kernel sums of a set with itself.

    Attributes:
        features: float [n, d], the set.
        others: float64 [n], row i's sum of k(x_i, x_j) over j != i.
        itself: float64 [n], k(x_i, x_i).
        groups: the groups that a jackknife leaves out.
        inner: float64 [groups], the sum of k(x_i, x_j) over i != j of each group.
        squares: the sum of k(x_i, x_j)^2 over i != j.
    """

    features: Features
    others: Floats
    itself: Floats
    groups: Groups
    inner: Floats
    squares: float

    @property
    def variance_of_pairs(self) -> float:
        """Variance of `mean_of_pairs` that remains where no row has an influence of its own.

        2 / (n (n - 1)) times the mean square of the doubly centred kernel (Serfling 1980, section 5.2.1). The jackknife
        estimates it from the rows' sums, which are small by chance together with the value itself.
        """
        n = self.others.size
        pairs, rows = n * (n - 1), self.others / (n - 1)
        centred = self.squares / pairs - 2 * float((rows**2).mean()) + self.mean_of_pairs**2
        return 2 / pairs * max(centred, 0.0)

    @property
    def mean_of_pairs(self) -> float:
        """Mean of k(x_i, x_j) over i != j."""
        n = self.others.size
        return float(self.others.sum()) / (n * (n - 1))

    @property
    def mean_of_all(self) -> float:
        """Mean of k(x_i, x_j) over all i and j."""
        return float(self.others.sum() + self.itself.sum()) / self.others.size**2


def _blocks(features: Features, rows: Rows) -> Iterator[tuple[slice, Floats]]:
    for start in range(0, len(features), BLOCK):
        block = slice(start, min(start + BLOCK, len(features)))
        stored = features[block]
        check_features(stored)
        yield block, rows(stored)


def within(features: Features, rows: Rows, kernel: Kernel, groups: Groups | None = None) -> Within:
    """Return kernel sums of features [n, d], n >= 2, with themselves: n^2 / 2 kernel values, one block at a time.

    Args:
        features: float [n, d].
        rows: what the kernel takes in place of stored rows.
        kernel: of inner products.
        groups: that a jackknife leaves out; None leaves out single rows.

    Raises:
        Undefined: an entry is not finite, or too large.
    """
    n = len(features)
    others, itself, squares = _pair_sums(features, rows, kernel)
    if groups is None or groups.count == n:
        return Within(features, others, itself, singles(n), np.zeros(n), squares)
    members = [subset(features, groups.members(group)) for group in range(groups.count)]
    inner = np.array([_pair_sums(m, rows, kernel)[0].sum() for m in members])
    return Within(features, others, itself, groups, inner, squares)


def _pair_sums(features: Features, rows: Rows, kernel: Kernel) -> tuple[Floats, Floats, float]:
    """Return `others`, `itself` and `squares` of `Within`."""
    n = len(features)
    others, itself, squares = np.zeros(n), np.zeros(n), 0.0
    for block, x in _blocks(features, rows):
        values = kernel(x @ x.T)
        itself[block] = np.diagonal(values)
        np.fill_diagonal(values, 0.0)
        squares += float(np.vdot(values, values))
        others[block] += values.sum(axis=1)
        for start in range(block.stop, n, BLOCK):  # blocks to the right; those below the diagonal are their transposes
            right = slice(start, min(start + BLOCK, n))
            values = kernel(x @ rows(features[right]).T)
            squares += 2 * float(np.vdot(values, values))
            others[block] += values.sum(axis=1)
            others[right] += values.sum(axis=0)
    return others, itself, squares


def across(features: Features, reference: Features, rows: Rows, kernel: Kernel) -> Floats:
    """Return float64 [n]: sum_y k(x_i, y) over rows y of a reference [m, d], for each row x_i of features [n, d]."""
    total = np.zeros(len(features))
    for block, x in _blocks(features, rows):
        for _, y in _blocks(reference, rows):
            total[block] += kernel(x @ y.T).sum(axis=1)
    return total


def unbiased(x: Within, y: Within, cross: Floats) -> Floats:
    """Return the unbiased estimate of MMD^2, then that without each group of samples.

    Source: Gretton et al. 2012, "A kernel two-sample test", Eq. 3. It uses all n (n - 1) pairs, without random draws.

    Args:
        x: kernel sums of n samples, 2 or more of which are in every union of all groups but one.
        y: those of m >= 2 reference rows.
        cross: float64 [n], as returned by `across`.

    Returns:
        float64 [1 + groups]: the value, and its jackknife replicates. It may be below 0.
    """
    n, m, groups = x.others.size, y.others.size, x.groups
    pairs = np.append(x.others.sum(), x.others.sum() - 2 * groups.sums(x.others) + x.inner)
    sums = np.append(cross.sum(), cross.sum() - groups.sums(cross))
    left = np.append(n, n - groups.sizes)
    return np.asarray(pairs / (left * (left - 1)) - 2 * sums / (left * m) + y.mean_of_pairs)


def biased(x: Within, y: Within, cross: Floats) -> Floats:
    """Return the biased estimate of MMD^2 (V-statistic, including self-pairs), then that without each group of samples.

    Source: Gretton et al. 2012, Eq. 5. Arguments and result as for `unbiased`; the value is >= 0 up to rounding.
    """
    n, m, groups = x.others.size, y.others.size, x.groups
    whole = x.itself.sum() + x.others.sum()
    pairs = np.append(whole, whole - groups.sums(2 * x.others + x.itself) + x.inner)
    sums = np.append(cross.sum(), cross.sum() - groups.sums(cross))
    left = np.append(n, n - groups.sizes)
    return np.asarray(pairs / left**2 - 2 * sums / (left * m) + y.mean_of_all)


def standard_error(replicates: Floats) -> float:
    """Return the delete-one jackknife standard error of an estimate, from its replicates float64 [n].

    Source: Efron & Stein 1981: SE^2 = (n - 1) / n sum_i (theta_i - mean theta)^2.
    """
    return float(np.sqrt((replicates.size - 1) * replicates.var()))
