"""The protocol of caches: storage for what methods learn."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Arrays = Mapping[str, npt.NDArray[np.generic]]
Note = dict[str, Any]  # JSON-able; what JSON reads back has no narrower type


class Checkpoint(Protocol):
    """A place for the bytes of one unfinished training; `str` names it in messages."""

    def read(self) -> bytes | None:
        """Return what was written last, in this process or an earlier one; None where nothing was.

        Raises:
            OSError: it cannot be read.
        """
        ...

    def write(self, data: bytes) -> None:
        """Replace what was written before, as a whole or not at all.

        Raises:
            ConfigError: it cannot be written.
        """
        ...


class Cache(Protocol):
    """Storage for what `build` learns, so that a later run with the same inputs reads it.

    The engine hands in a cache on disk (`bench.storage.fits.FitCache`). `NoCache` stores nothing.
    """

    def get(self, name: str, key: object, make: Callable[[], tuple[Arrays, Note]]) -> tuple[Arrays, Note]:
        """Return the stored entry of a key, or make it and store it.

        Args:
            name: prefix of the entry, such as "adp".
            key: everything that determines the entry, JSON-able. Include a version number of the algorithm and the
                digests of the model and of the data.
            make: returns named arrays and a JSON-able note. Of several processes that need one entry, one calls it
                and the others wait.

        Returns:
            The arrays (memory-mapped where they lie on disk, so copy what must be writable) and the note as JSON reads
            it back.

        Raises:
            ConfigError: the entry cannot be stored.
        """
        ...

    def checkpoint(self, name: str, key: object) -> AbstractContextManager[Checkpoint]:
        """Return a context manager of the place in which `make` may save an unfinished training of an entry.

        What was written stays where the block raises, so the next run can resume. It is removed where the block ends
        normally.
        """
        ...


class MemoryCheckpoint:
    """A checkpoint in memory.

    >>> checkpoint = MemoryCheckpoint()
    >>> checkpoint.read() is None
    True
    >>> checkpoint.write(b"half a network")
    >>> checkpoint.read()
    b'half a network'
    """

    def __init__(self) -> None:
        self._data: bytes | None = None

    def read(self) -> bytes | None:
        """Return what was written last; see `Checkpoint`."""
        return self._data

    def write(self, data: bytes) -> None:
        """Replace what was written before; see `Checkpoint`."""
        self._data = data


class NoCache:
    """A cache that stores nothing: every entry is made again. For tests and for use outside the engine.

    >>> NoCache().get("square", [3], lambda: ({"nine": np.array(9)}, {"from": [3]}))
    ({'nine': array(9)}, {'from': [3]})
    """

    def get(self, name: str, key: object, make: Callable[[], tuple[Arrays, Note]]) -> tuple[Arrays, Note]:
        """Return what `make` returns, the note as JSON reads it back; see `Cache`."""
        arrays, note = make()
        return arrays, json.loads(json.dumps(note))

    @contextmanager
    def checkpoint(self, name: str, key: object) -> Iterator[Checkpoint]:
        """Yield a checkpoint in memory; see `Cache`."""
        yield MemoryCheckpoint()
