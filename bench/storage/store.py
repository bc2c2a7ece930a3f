"""The content-addressed store: what was sampled, extracted and evaluated, by the hash of what decides it.

    ROOT/samples/ab/abcd.../000003-100/     shard 3 of a sample: images, assigned class; .../004/004123-100 from the
    1,000th on ROOT/features/<extractor>/<source>/...  what an extractor saw in the shard or block of that name
    ROOT/fits/...                           what methods learnt, in a thousand folders (`bench.storage.files.remember`);
                                            records/ab/... what the fit of a cell took
    ROOT/scores/ab/abcd....json             what the evaluators made of a cell

With a million shards no folder has more than some thousands of entries. Where an older store has an entry in the one
folder that held all of a kind, it stays there and is found.

Every entry appears whole, by a rename, with checksums; an entry that fails them counts as absent and is made again.
Two processes on one store make the same entries with the same content, so they do each other no harm.

A store can be this machine's copy of a bucket (`bench.storage.bucket`): machines that share no folder share that.
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
    json_bytes,
    read_arrays,
    read_note,
    read_shared,
    write_arrays,
    write_json,
    write_shared,
)


class Store:
    """A folder of entries."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def join(self, url: str) -> None:
        """Make the store a copy of a bucket: entries that it has are sent, and from now on every one that it makes.

        Raises:
            ConfigError: the bucket cannot be written, or the store is the copy of another.
        """
        known = Bucket.of(self.root / LINK)
        if known is not None and known != Bucket(self.root, url):
            raise ConfigError(f"{known.root} is a copy of {known.url}, not of {url}; give another folder with --out")
        bucket = Bucket(self.root, url)
        bucket.check()
        if known is None:
            for manifest in track(sorted(self.root.glob(f"**/[!.]*/{MANIFEST}")), f"entries to {url}"):
                bucket.send_folder(manifest.parent, manifest.parent, last=MANIFEST)
            for scores in track(sorted(self.root.glob("scores/*/*.json")), f"scores to {url}"):
                bucket.send(scores, scores)
            write_json(self.root / LINK, {"url": url})  # last, so that what was cut short is sent again

    @property
    def fits(self) -> Path:
        """Where methods keep what `build` learns."""
        return self.root / "fits"

    def shard(self, key: str, index: int, size: int) -> Path:
        """The folder of a shard: `size` samples, those of guidance batch `index`."""
        cell, name = f"{self.root}/samples/{key[:2]}/{key}", f"{index:06d}-{size}"
        if index < MOST or os.path.exists(f"{cell}/{name}"):
            return Path(f"{cell}/{name}")
        return Path(f"{cell}/{index // MOST:03d}/{name}")

    def record(self, key: str) -> Path:
        """Where cost and notes of the fit of a cell are kept, by its sample key."""
        name = f"record-{key[:24]}"
        flat = self.fits / name  # where stores of old have it; a grid would put all of its cells into one folder
        return flat if flat.exists() else self.fits / "records" / key[:2] / name

    def features(self, extractor: str, digest: str, source: Path) -> Path:
        """The folder of what an extractor saw in an entry's images."""
        inside = source.relative_to(self.root) if source.is_relative_to(self.root) else Path(source.name)
        return self.root / "features" / f"{extractor}-{digest[:16]}" / inside

    def read(self, folder: Path) -> dict[str, npt.NDArray[Any]] | None:
        """The arrays of an entry, or None where it must be made; a damaged one is said and removed."""
        arrays = read_arrays(folder)
        if arrays is None and folder.exists():
            console.print(f"damaged, made again: {folder}")
            shutil.rmtree(folder, ignore_errors=True)
        return arrays

    def write(self, folder: Path, arrays: Mapping[str, npt.NDArray[Any]], note: Mapping[str, Any]) -> None:
        """Write an entry."""
        write_arrays(folder, arrays, note)

    def note(self, folder: Path) -> dict[str, Any]:
        """What was written beside the arrays of an entry."""
        return read_note(folder)

    def read_scores(self, key: str) -> list[dict[str, Any]] | None:
        """The scores of a cell, or None where they must be computed."""
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
        """Keep the scores of a cell."""
        write_shared(self._scores(key), json_bytes({"sha256": digest_of(scores), "scores": scores}))

    def _scores(self, key: str) -> Path:
        return self.root / "scores" / key[:2] / f"{key}.json"


class Rows:
    """Arrays of several entries, read as one array along its first axis; no row is held until it is asked for."""

    def __init__(self, parts: Sequence[npt.NDArray[Any]]) -> None:
        self.parts = parts
        self.ends = np.cumsum([len(p) for p in parts])
        self.shape: tuple[int, ...] = (int(self.ends[-1]), *parts[0].shape[1:])
        self.dtype = parts[0].dtype
        self.ndim = len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> npt.NDArray[Any]:
        start, stop, step = rows.indices(len(self))
        first = int(np.searchsorted(self.ends, start, side="right"))
        found = [np.empty((0, *self.shape[1:]), self.dtype)]
        for part, end in zip(self.parts[first:], self.ends[first:], strict=True):
            begin = int(end) - len(part)
            if begin >= stop:
                break
            found.append(part[max(start - begin, 0) : stop - begin])
        return np.concatenate(found)[::step]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        return np.asarray(self[:], dtype=dtype)
