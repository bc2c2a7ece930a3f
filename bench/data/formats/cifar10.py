"""CIFAR-10's binary version (Krizhevsky 2009): rows of a label and 3,072 bytes, one colour plane after another.

The Python version is not read: its batches are pickles, and a pickle runs code when it is read.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from bench.core.errors import ConfigError
from bench.data.table import Table, existing, read_text, stamp_of

SIDE, ROW = 32, 1 + 3 * 32 * 32
NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
FILES = {"train": tuple(f"data_batch_{i}.bin" for i in range(1, 6)), "test": ("test_batch.bin",)}


@dataclass(frozen=True)
class Format:
    """cifar-10-batches-bin/*.bin, the binary version (attribute: label); `with: {split: test}`.

    Attributes:
        root: this folder, or its parent.
        split: the five training batches, or the test batch.
    """

    root: str
    split: Literal["train", "test"] = "train"

    def table(self) -> Table:
        """Read the batches in their order; the values of `label` are the names of the classes."""
        root = existing(self.root)
        if (root / "cifar-10-batches-bin").is_dir():
            root = root / "cifar-10-batches-bin"
        elif (root / "cifar-10-batches-py").is_dir() or (root / "data_batch_1").is_file():
            raise ConfigError(f"{root} holds CIFAR-10's Python version, which is pickles; get the binary version")
        paths = [existing(str(root / name), "file") for name in FILES[self.split]]
        names = tuple(read_text(root / "batches.meta.txt").split()) if (root / "batches.meta.txt").is_file() else NAMES
        batches = [_rows(path) for path in paths]
        labels = np.concatenate([batch[:, 0] for batch in batches])
        if len(names) != 10 or labels.max() > 9:
            bad = f"label {labels.max()}" if len(names) == 10 else f"{len(names)} names in batches.meta.txt"
            raise ConfigError(f"{root} must hold labels from 0 to 9 with a name each, got {bad}; copy it again")
        return Table(Batches(paths, batches), {"label": [names[k] for k in labels]}, {"label": names})


def _rows(path: Path) -> npt.NDArray[np.uint8]:
    size = path.stat().st_size
    if not size or size % ROW:
        raise ConfigError(f"{path} must hold rows of {ROW} bytes, got {size} bytes; copy it again")
    return np.memmap(path, np.uint8, "r").reshape(-1, ROW)


class Batches:
    """The images of batches, as portable pixmaps, so that they are decoded like any other file."""

    def __init__(self, paths: list[Path], batches: list[npt.NDArray[np.uint8]]) -> None:
        self.paths, self.batches = paths, batches
        self.stamps = [stamp_of(os.path.abspath(path)) for path in paths]
        self.ends = np.cumsum([len(batch) for batch in batches])

    def __len__(self) -> int:
        return int(self.ends[-1])

    def _locate(self, index: int) -> tuple[int, int]:
        batch = int(np.searchsorted(self.ends, index, side="right"))
        return batch, index - int(self.ends[batch]) + len(self.batches[batch])

    def name(self, index: int) -> str:
        """Return the batch and the row."""
        batch, row = self._locate(index)
        return f"{self.paths[batch].name} row {row}"

    def stamp(self, index: int) -> list[int | str]:
        """Return the row, and the stamp of its batch."""
        batch, row = self._locate(index)
        return [row, *self.stamps[batch]]

    def read(self, index: int) -> bytes:
        """Return the image as a portable pixmap."""
        batch, row = self._locate(index)
        planes = self.batches[batch][row, 1:].reshape(3, SIDE, SIDE)
        return b"P6 %d %d 255\n" % (SIDE, SIDE) + planes.transpose(1, 2, 0).tobytes()
