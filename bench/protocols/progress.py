"""The protocol of progress displays."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

T = TypeVar("T")


class Progress(Protocol):
    """Shows how far a loop has come; the engine hands in `bench.core.progress.track`."""

    def __call__(self, items: Iterable[T], label: str, /, total: int | None = None) -> Iterator[T]:
        """Iterate over `items`.

        Args:
            items: to iterate over.
            label: shown beside the bar, such as "fitting the attribute distribution predictor".
            total: number of items, where `items` has no length.
        """
        ...


def silent(items: Iterable[T], label: str, /, total: int | None = None) -> Iterator[T]:
    """Iterate over `items` and show nothing; see `Progress`.

    >>> list(silent([1, 2], "counting"))
    [1, 2]
    """
    return iter(items)
