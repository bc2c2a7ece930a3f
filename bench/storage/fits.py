"""The cache of what methods learn, on disk: one folder per key, in the store or shipped with the package.

A folder holds the arrays as .npy files, and manifest.json with their checksums and the method's note: what the fit
cost, what it found, its key, what the key was made from (`recipe`), and the versions of the packages that made it.
The folders of a store and the shipped ones have the same form. To ship a fit, run a suite that needs it and copy its
folder from the store's `fits` to bench/assets/NAME/, under any name. A shipped fit is used wherever its key is needed.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.core.digest import digest_of
from bench.core.provenance import commit, versions
from bench.storage.files import MANIFEST, read_arrays, read_note, remember, write_bytes

Arrays = Mapping[str, npt.NDArray[np.generic]]
Note = dict[str, Any]  # JSON-able


@dataclass(frozen=True)
class FileCheckpoint:
    """The file of an unfinished training (`bench.protocols.cache.Checkpoint`)."""

    path: Path

    def read(self) -> bytes | None:
        """Return the bytes of the file; None where there is none."""
        return self.path.read_bytes() if self.path.is_file() else None

    def write(self, data: bytes) -> None:
        """Write the file by atomic rename.

        Raises:
            ConfigError: the folder cannot be written, or the disk is full.
        """
        write_bytes(self.path, data)

    def __str__(self) -> str:
        return str(self.path)


class FitCache:
    """The cache of a task (`bench.protocols.cache.Cache`), in a folder."""

    def __init__(self, folder: Path, shipped: Path | None = None) -> None:
        """Open a cache.

        Args:
            folder: for new entries; made when the first one is written.
            shipped: a folder of read-only entries, at NAME/*/ for every NAME of `get`; None for no such entries.
        """
        self.folder, self.shipped = folder, shipped

    def get(self, name: str, key: object, make: Callable[[], tuple[Arrays, Note]]) -> tuple[Arrays, Note]:
        """Return the entry of a key: shipped, from the folder, or made and written now.

        Args:
            name: prefix of the entry's folder.
            key: everything that determines the entry, JSON-able.
            make: returns named arrays and a JSON-able note. Of several processes that need one entry, one calls it
                and the others wait.

        Returns:
            The arrays, memory-mapped, and the note as JSON reads it back.

        Raises:
            ConfigError: the folder cannot be written, or the entry cannot be read back.
        """
        digest = digest_of(key)
        shipped = self._shipped_entry(name, digest)
        if shipped is not None:
            return shipped

        def make_with_provenance() -> tuple[Arrays, Note]:
            arrays, note = make()
            return arrays, {**note, "key": digest, "recipe": key, "made_with": _made_with()}

        return remember(self._entry(name, key), make_with_provenance)

    @contextmanager
    def checkpoint(self, name: str, key: object) -> Iterator[FileCheckpoint]:
        """Yield the file of an unfinished training; remove it where the block ends without an exception."""
        entry = self._entry(name, key)
        checkpoint = FileCheckpoint(entry.with_name(f"{entry.name}.checkpoint.pt"))
        yield checkpoint
        checkpoint.path.unlink(missing_ok=True)

    def _entry(self, name: str, key: object) -> Path:
        return self.folder / f"{name}-{digest_of(key)[:24]}"

    def _shipped_entry(self, name: str, digest: str) -> tuple[Arrays, Note] | None:
        folders = [] if self.shipped is None else sorted((self.shipped / name).glob("*/"))
        for folder in folders:
            if _key_of(folder) == digest and (arrays := read_arrays(folder)) is not None:
                return arrays, read_note(folder)
        return None


@functools.cache
def _made_with() -> Note:
    return {"versions": versions(), "commit": commit()}


def _key_of(folder: Path) -> str | None:
    """Return the key of a shipped entry; None for a folder that holds none."""
    try:
        key: str = json.loads((folder / MANIFEST).read_text())["note"]["key"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return key
