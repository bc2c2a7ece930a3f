"""A view of some rows of an array that may be too large for memory."""

from __future__ import annotations

from typing import cast

import numpy as np
import numpy.typing as npt

from bench.protocols.evaluator import CHUNK

Features = npt.NDArray[np.floating]


class Subset:
    """Rows `index` of `array`; a slice needs memory for its result and one chunk only."""

    def __init__(self, array: Features, index: npt.NDArray[np.int64]) -> None:
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
            block = self.array[start : int(index[last - 1]) + 1]
            selected[first:last] = block[index[first:last] - start]
            first = last
        return selected


def subset(array: Features, index: npt.NDArray[np.int64]) -> Features:
    """Return a `Subset`, typed as the arrays that evaluators read."""
    return cast(Features, Subset(array, index))


def head(array: Features, n: int) -> Features:
    """Return the first n rows of an array, or the array itself if it has no more."""
    return array if len(array) <= n else subset(array, np.arange(n))
