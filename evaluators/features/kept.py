"""What was computed of a reference set, kept for the next cell that is measured against it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

T = TypeVar("T")
Features = npt.NDArray[np.floating]


class Kept(Generic[T]):
    """One value a key, with the array it was computed of, so that "is it the same one" cannot be mistaken."""

    def __init__(self) -> None:
        self._values: dict[tuple[str, ...], tuple[Features, T]] = {}

    def get(self, key: tuple[str, ...], array: Features, compute: Callable[[], T]) -> T:
        """The value of a key, computed anew where none is kept or it was computed of another array."""
        known = self._values.get(key)
        if known is not None and known[0] is array:
            return known[1]
        value = compute()
        self._values[key] = (array, value)
        return value
