"""Some rows of an array that may be too large to hold, read as an array of their own."""

from __future__ import annotations

from typing import cast

import numpy as np
import numpy.typing as npt

from bench.protocols.evaluator import CHUNK

Features = npt.NDArray[np.floating]


class Subset:
    """Rows `index` of `array`, of which a slice holds no more than it returns and one chunk."""

    def __init__(self, array: Features, index: npt.NDArray[np.int64]) -> None:
        """Choose the rows.

        Args:
            array: float [n, d]; may be memory-mapped, and need know no more than slices.
            index: int64 [m], strictly rising, in [0, n).
        """
        self.array, self.index = array, index
        self.shape: tuple[int, ...] = (index.size, *array.shape[1:])
        self.dtype = array.dtype
        self.ndim = len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> Features:
        wanted = self.index[rows]
        found = np.empty((wanted.size, *self.shape[1:]), self.dtype)
        first = 0
        while first < wanted.size:
            start = int(wanted[first])
            last = int(np.searchsorted(wanted, start + CHUNK))
            block = self.array[start : int(wanted[last - 1]) + 1]
            found[first:last] = block[wanted[first:last] - start]
            first = last
        return found


def subset(array: Features, index: npt.NDArray[np.int64]) -> Features:
    """The rows of a `Subset`, under the type that evaluators read features by."""
    return cast(Features, Subset(array, index))


def head(array: Features, n: int) -> Features:
    """The first n rows of an array, or the array itself where it has no more."""
    return array if len(array) <= n else subset(array, np.arange(n))
