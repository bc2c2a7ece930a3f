"""The content-addressed store of samples, features, fits and scores, by the hash of everything that decides them.

    ROOT/samples/ab/abcd.../000003-100/   shard 3 of a sample: images and assigned classes; .../004/004123-100 from the
                                          1,000th shard on
    ROOT/features/<extractor>/<source>/   an extractor's output for the shard or block of that name
    ROOT/fits/...                         results of `build`, in a thousand folders (`bench.storage.files.remember`);
                                          records/ab/... cost and notes of the fit of a cell
    ROOT/scores/ab/abcd....json           scores of a cell

With a million shards no folder has more than a few thousand entries. Older stores have all entries of a kind in one
folder; those entries are read where they are.

Every entry appears in place by one rename, with checksums; an entry that fails them counts as absent and is computed
again. Two processes on one store write the same entries with the same content, so they do each other no harm.

A store can mirror a bucket (`bench.storage.bucket`), which machines without a common folder share.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.core.digest import digest_of
from bench.core.errors import ConfigError
from bench.core.progress import console, track
from bench.storage.bucket import LINK, Bucket
from bench.storage.files import (
    MANIFEST,
    MOST,
    Array,
    json_bytes,
    read_arrays,
    read_note,
    read_shared,
    write_arrays,
    write_json,
    write_shared,
)


class Store:
    """The entries below a root folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def join(self, url: str) -> None:
        """Let the store mirror a bucket: upload its entries now, and every new entry before it appears here.

        Raises:
            ConfigError: the bucket cannot be written, or the store mirrors another bucket.
        """
        linked = Bucket.of(self.root / LINK)
        if linked is not None and linked != Bucket(self.root, url):
            raise ConfigError(f"{linked.root} is a copy of {linked.url}, not of {url}; give another folder with --out")
        bucket = Bucket(self.root, url)
        bucket.check()
        if linked is None:
            for manifest in track(sorted(self.root.glob(f"**/[!.]*/{MANIFEST}")), f"entries to {url}"):
                bucket.send_folder(manifest.parent, manifest.parent, last=MANIFEST)
            for scores in track(sorted(self.root.glob("scores/*/*.json")), f"scores to {url}"):
                bucket.send(scores, scores)
            write_json(self.root / LINK, {"url": url})  # last: an interrupted upload starts again

    @property
    def fits(self) -> Path:
        """Folder of the cached results of `Method.build`."""
        return self.root / "fits"

    def shard(self, key: str, index: int, size: int) -> Path:
        """Return the folder of a shard: the `size` samples of guidance batch `index`."""
        cell, name = f"{self.root}/samples/{key[:2]}/{key}", f"{index:06d}-{size}"
        if index < MOST or os.path.exists(f"{cell}/{name}"):
            return Path(f"{cell}/{name}")
        return Path(f"{cell}/{index // MOST:03d}/{name}")

    def record(self, key: str) -> Path:
        """Return the folder of the cost and notes of the fit of a cell, by its sample key."""
        name = f"record-{key[:24]}"
        flat = self.fits / name  # of older stores; a grid would have all its cells in one folder
        return flat if flat.exists() else self.fits / "records" / key[:2] / name

    def features(self, extractor: str, digest: str, source: Path) -> Path:
        """Return the folder of an extractor's output for the images of an entry."""
        inside = source.relative_to(self.root) if source.is_relative_to(self.root) else Path(source.name)
        return self.root / "features" / f"{extractor}-{digest[:16]}" / inside

    def read(self, folder: Path) -> dict[str, Array] | None:
        """Return the arrays of an entry, or None if it must be computed; a damaged one is reported and removed."""
        arrays = read_arrays(folder)
        if arrays is None and folder.exists():
            console.print(f"damaged, made again: {folder}")
            shutil.rmtree(folder, ignore_errors=True)
        return arrays

    def write(self, folder: Path, arrays: Mapping[str, Array], note: Mapping[str, object]) -> None:
        """Write an entry."""
        write_arrays(folder, arrays, note)

    def note(self, folder: Path) -> dict[str, Any]:
        """Return the note of an entry."""
        return read_note(folder)

    def read_scores(self, key: str) -> list[dict[str, Any]] | None:
        """Return the scores of a cell, or None if they must be computed; damaged ones are reported."""
        path = self._scores(key)
        try:
            value = json.loads(read_shared(path))
            if value["sha256"] == digest_of(value["scores"]):
                scores: list[dict[str, Any]] = value["scores"]
                return scores
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            pass
        console.print(f"damaged, made again: {path}")
        return None

    def write_scores(self, key: str, scores: list[dict[str, Any]]) -> None:
        """Write the scores of a cell, with their checksum."""
        write_shared(self._scores(key), json_bytes({"sha256": digest_of(scores), "scores": scores}))

    def _scores(self, key: str) -> Path:
        return self.root / "scores" / key[:2] / f"{key}.json"


class Rows:
    """The arrays of several entries as one array along the first axis; rows are read on access."""

    def __init__(self, arrays: Sequence[Array]) -> None:
        self.arrays = arrays
        self.ends = np.cumsum([len(array) for array in arrays])
        self.shape: tuple[int, ...] = (int(self.ends[-1]), *arrays[0].shape[1:])
        self.dtype = arrays[0].dtype
        self.ndim = len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> Array:
        start, stop, step = rows.indices(len(self))
        first = int(np.searchsorted(self.ends, start, side="right"))
        pieces = [np.empty((0, *self.shape[1:]), self.dtype)]
        for array, end in zip(self.arrays[first:], self.ends[first:], strict=True):
            begin = int(end) - len(array)
            if begin >= stop:
                break
            pieces.append(array[max(start - begin, 0) : stop - begin])
        return np.concatenate(pieces)[::step]

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> Array:
        return np.asarray(self[:], dtype=dtype)
