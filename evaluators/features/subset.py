"""A view of some rows of an array that may be too large for memory, and the choice of these rows."""

from __future__ import annotations

from typing import cast

import numpy as np
import numpy.typing as npt

from bench.protocols.evaluator import CHUNK

Features = npt.NDArray[np.floating]
Ints = npt.NDArray[np.int64]
SEED = 20_261_128
SPARSE = 8  # rows per selected row, from which rows are read one by one


class Subset:
    """Rows `index` of `array`; a slice needs memory for its result and one chunk only."""

    def __init__(self, array: Features, index: Ints) -> None:
        """Select the rows.

        Args:
            array: float [n, d]; may be memory-mapped, and needs to support slices only.
            index: int64 [m], strictly rising, in [0, n).
        """
        self.array, self.index = array, index
        self.shape: tuple[int, ...] = (index.size, *array.shape[1:])
        self.dtype = array.dtype
        self.ndim = len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> Features:
        index = self.index[rows]
        selected = np.empty((index.size, *self.shape[1:]), self.dtype)
        first = 0
        while first < index.size:
            start = int(index[first])
            last = int(np.searchsorted(index, start + CHUNK))
            stop = int(index[last - 1]) + 1
            if stop - start > SPARSE * (last - first):
                for position in range(first, last):
                    row = int(index[position])
                    selected[position] = self.array[row : row + 1][0]
            else:
                selected[first:last] = self.array[start:stop][index[first:last] - start]
            first = last
        return selected


def subset(array: Features, index: Ints) -> Features:
    """Return a `Subset`, typed as the arrays that evaluators read."""
    return cast(Features, Subset(array, index))


def drawn_rows(n: int, most: int, among: Ints | None = None) -> Ints:
    """Return which of n rows a metric uses that uses `most` at most: rising int64.

    They are the first of one seeded permutation of the rows, so they are spread over prompts and classes; all metrics
    with the same limit use the same rows, and a smaller limit uses some of them.

    Args:
        n: number of rows.
        most: largest number of rows to use.
        among: int64 [m], rows that may be used, e.g. those of a class; None allows all.

    >>> drawn_rows(3, 5).tolist(), drawn_rows(9, 2, among=np.array([4, 7])).tolist()
    ([0, 1, 2], [4, 7])
    """
    order = np.random.default_rng(SEED).permutation(n)
    if among is not None:
        order = order[np.isin(order, among)]
    return np.sort(order[:most])


def drawn(array: Features, most: int) -> Features:
    """Return the `drawn_rows` of an array, or the array itself if it has no more."""
    return array if len(array) <= most else subset(array, drawn_rows(len(array), most))


def drawn_note(used: int, n: int) -> str:
    """Return the note of a score of `used` of n samples; empty if it uses all."""
    return "" if used >= n else f"{used:,} of {n:,} samples, drawn at random with a fixed seed"
