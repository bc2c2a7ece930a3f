"""Exact nearest neighbours, in blocks of squared distances."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from evaluators.features.groups import Groups

Floats = npt.NDArray[np.float64]
Features = npt.NDArray[np.floating]
BLOCK = 1024  # rows of a block; a block of distances is BLOCK^2 numbers
ROUNDING = 1e-12  # share of |x|^2 + |y|^2 below which a squared distance is rounding error
TIE = 1.0 + 1e-9  # two squared distances whose ratio is below this are equal


def distance_blocks(x: Features, y: Features, centre: Floats) -> Iterator[tuple[slice, slice, Floats]]:
    """Yield squared Euclidean distances of every row of x to every row of y, one block at a time.

    Computed as |x|^2 + |y|^2 - 2 x.y, one matrix product per block. `centre` is subtracted from both first, so that a
    large mean loses no digits; values below rounding are set to 0, so that equal rows have distance 0.

    Args:
        x: float [n, d].
        y: float [m, d].
        centre: float64 [d], a point among the rows, e.g. their mean.

    Yields:
        The rows of x, the rows of y, and the distances float64 [rows of x, rows of y], which the caller may change.
    """
    for i in range(0, len(x), BLOCK):
        rows = slice(i, min(i + BLOCK, len(x)))
        a = x[rows] - centre
        a2 = np.einsum("ij,ij->i", a, a)[:, None]
        for j in range(0, len(y), BLOCK):
            columns = slice(j, min(j + BLOCK, len(y)))
            b = y[columns] - centre
            sizes = a2 + np.einsum("ij,ij->i", b, b)
            squared = sizes - 2 * (a @ b.T)
            squared[squared <= ROUNDING * sizes] = 0.0
            yield rows, columns, squared


def nearest(features: Features, k: int, groups: Groups, centre: Floats) -> Floats:
    """Return squared distances of every row of features [n, d] to its k nearest neighbours in each group.

    Returns:
        float64 [n, groups, k], unordered; infinite for missing neighbours if a group has fewer than k others.
    """
    smallest = np.full((len(features), groups.count, k), np.inf)
    for rows, columns, squared in distance_blocks(features, features, centre):
        if rows == columns:
            np.fill_diagonal(squared, np.inf)  # a row is not its own neighbour; an equal row is
        for group in range(groups.count):
            among = squared[:, groups.members(group, columns)]
            both = np.concatenate([smallest[rows, group], among], axis=1)
            smallest[rows, group] = np.partition(both, k - 1, axis=1)[:, :k]
    return smallest


def radii(neighbours: Floats, k: int) -> Floats:
    """Return the k-th smallest squared distance [n] of neighbours [n, ...], as `nearest` returns them."""
    flat = neighbours.reshape(len(neighbours), -1)
    return np.asarray(np.partition(flat, k - 1, axis=1)[:, k - 1])


def nearest_across(x: Features, y: Features, groups: Groups, centre: Floats) -> Floats:
    """Return float64 [n, groups]: squared distances of rows of x [n, d] to the nearest row of y [m, d] per group."""
    smallest = np.full((len(x), groups.count), np.inf)
    for rows, columns, squared in distance_blocks(x, y, centre):
        keep_nearest(smallest[rows], squared, columns, groups)
    return smallest


def keep_nearest(smallest: Floats, squared: Floats, columns: slice, groups: Groups) -> None:
    """Lower `smallest` [rows, groups] to the nearest of each group in a block of distances, in place."""
    for group in range(groups.count):
        distances = squared[:, groups.members(group, columns)]
        if distances.shape[1]:
            np.minimum(smallest[:, group], distances.min(axis=1), out=smallest[:, group])


def covered(nearest_of: Floats, radius: Floats, groups: Groups) -> Floats:
    """Return the coverage of real images by samples, then by those without each group; float64 [1 + groups].

    Source: Naeem et al. 2020, arXiv 2002.09797, Eq. 9: the share of real images whose k-nearest-neighbour ball
    contains a sample.

    Args:
        nearest_of: float64 [m, groups], squared distance of every real image to the nearest sample of each group.
        radius: float64 [m], squared distance of every real image to its k-th nearest neighbour.
        groups: the groups of the samples.
    """
    selections = groups.without_each()
    return np.array([np.mean(nearest_of[:, left].min(axis=1) <= TIE * radius) for left in selections])
