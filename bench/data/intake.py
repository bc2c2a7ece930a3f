"""Image files read into the cache: first each checked and hashed, then those that are used decoded.

Both are kept under the cache folder, the check under the stamps of the files (path, size, times), the pixels under
their content. Memory does not grow with the number of images.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import PIL

from bench.core.digest import digest_of
from bench.core.errors import ConfigError
from bench.core.progress import track
from bench.data.decode import Shape, Unusable, check, decode, quiet
from bench.data.table import Pictures
from bench.storage.files import cache_root, remember

READING = 1  # raise when a rule of bench.data.decode changes: it is part of every set's hash
BLOCK = 256  # images in memory at once
Ints = npt.NDArray[np.int64]


def checked(pictures: Pictures, rows: Ints, shape: Shape, title: str) -> tuple[npt.NDArray[np.uint8], dict[int, str]]:
    """Hash and check some pictures, or recall it.

    Args:
        pictures: all of a set.
        rows: which of them.
        shape: what they must allow.
        title: what a line of progress calls the set.

    Returns:
        SHA-256 of each picture's bytes, uint8 [rows, 32], and the reasons of the unusable ones by row number.
    """
    order = np.sort(rows)  # as they lie on disk
    stamps = [pictures.stamp(int(i)) for i in order]
    key = digest_of([READING, PIL.__version__, shape.__dict__, stamps])

    def make() -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]:
        hashes, problems = np.zeros((len(order), 32), np.uint8), {}
        found = _parallel(lambda i: _check_one(pictures, i, shape), order, f"checking {len(order):,} images of {title}")
        for place, (digest, reason) in enumerate(found):
            hashes[place] = np.frombuffer(digest, np.uint8)
            if reason:
                problems[str(order[place])] = reason
        return {"sha256": hashes}, problems

    arrays, note = remember(cache_root() / "data" / f"checked-{key[:24]}", make)
    return arrays["sha256"][np.searchsorted(order, rows)], {int(i): why for i, why in note.items()}


def _check_one(pictures: Pictures, index: int, shape: Shape) -> tuple[bytes, str]:
    try:
        data = pictures.read(index)
    except OSError as error:
        return bytes(32), f"cannot be read: {error.strerror or error}"
    try:
        check(data, shape)
    except Unusable as error:
        return bytes(32), str(error)
    return hashlib.sha256(data).digest(), ""


def content(hashes: npt.NDArray[np.uint8], labels: Ints, attributes: Sequence[Any], shape: Shape) -> str:
    """Hash of all that decides a set's images and labels: files by content and order, labels, size, and the reader."""
    parts = [hashlib.sha256(np.ascontiguousarray(a).tobytes()).hexdigest() for a in (hashes, labels)]
    return digest_of([READING, PIL.__version__, shape.__dict__, [[a.name, a.classes] for a in attributes], *parts])


def decoded(
    pictures: Pictures, rows: Ints, hashes: npt.NDArray[np.uint8], labels: Ints, shape: Shape, digest: str, title: str
) -> Mapping[str, npt.NDArray[Any]]:
    """`images` uint8 [rows, 3, size, size] and `labels`, memory-mapped from the cache.

    Args:
        pictures: all of a set.
        rows: which of them.
        hashes: as of `checked`.
        labels: int64 [rows, number of attributes].
        shape: of the images.
        digest: as of `content`.
        title: what a line of progress calls the set.

    Raises:
        ConfigError: a file has changed since it was checked, or the cache cannot be written.
    """
    order = np.argsort(rows)
    folder = cache_root() / "data" / f"files-{digest[:24]}"
    shape_of_all = (len(rows), 3, shape.size, shape.size)

    def make() -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]:
        with tempfile.TemporaryFile(dir=folder.parent) as file:
            one = 3 * shape.size**2
            places = iter(order)
            read = _parallel(
                lambda i: _decode_one(pictures, i, shape), rows[order], f"reading {len(rows):,} images of {title}"
            )
            for place, (image, found) in zip(places, read, strict=True):
                if found != hashes[place].tobytes():
                    raise ConfigError(
                        f"{pictures.name(int(rows[place]))} of {title} changed while it was read; run again"
                    )
                file.seek(int(place) * one)
                file.write(image.tobytes())
            file.flush()
            return {"images": np.memmap(file, np.uint8, "r", shape=shape_of_all), "labels": labels}, {}

    try:
        return remember(folder, make)[0]
    except OSError as error:
        raise ConfigError(
            f"cannot write {folder.parent}: {error.strerror or error}; choose a folder that can be written and has room"
        ) from error


def _decode_one(pictures: Pictures, index: int, shape: Shape) -> tuple[npt.NDArray[np.uint8], bytes]:
    try:
        data = pictures.read(index)
        return decode(data, shape), hashlib.sha256(data).digest()
    except (OSError, Unusable) as error:
        raise ConfigError(f"{pictures.name(index)} cannot be decoded: {error}; mend or remove it") from error


def _parallel(job: Any, indices: Ints, what: str) -> Iterator[Any]:
    """Results in order, on every core: Pillow and hashlib let other threads run meanwhile."""
    with quiet(), ThreadPoolExecutor(os.cpu_count()) as pool:
        blocks = [indices[i : i + BLOCK].tolist() for i in range(0, len(indices), BLOCK)]
        for block in track(blocks, what):
            yield from pool.map(job, block)
