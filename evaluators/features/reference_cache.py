"""A cache of what was computed from a reference set, for the next cell that is compared with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

T = TypeVar("T")
Features = npt.NDArray[np.floating]


class ReferenceCache(Generic[T]):
    """One value per key, with the array it was computed from; another array under the same key replaces it.

    >>> cache, array = ReferenceCache(), np.ones((2, 3))
    >>> cache.get(("toy", "real"), array, lambda: float(array.sum()))
    6.0
    """

    def __init__(self) -> None:
        """Make an empty cache."""
        self._values: dict[tuple[str, ...], tuple[Features, T]] = {}

    def get(self, key: tuple[str, ...], array: Features, compute: Callable[[], T]) -> T:
        """Return the value of a key; compute it if there is none, or if it was computed from another array."""
        cached = self._values.get(key)
        if cached is not None and cached[0] is array:
            return cached[1]
        value = compute()
        self._values[key] = (array, value)
        return value
