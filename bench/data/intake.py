"""Read image files into the cache: check and hash every chosen file, then decode on first access.

Both results are cached: checks by the stamps of the files (path, size, times), pixels by the files' content. Memory
does not grow with the number of images.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import PIL

from bench.core.attributes import Attribute
from bench.core.cpus import usable_cpus
from bench.core.digest import digest_of
from bench.core.errors import ConfigError
from bench.core.progress import track
from bench.data.decode import Shape, Unusable, check, decode, quiet
from bench.data.table import Pictures
from bench.storage.files import Array, cache_root, remember

READING = 2  # increase when a rule of bench.data.decode changes: part of every set's hash
BLOCK = 256  # images in memory at once
Ints = npt.NDArray[np.int64]
T = TypeVar("T")


def checked(pictures: Pictures, rows: Ints, shape: Shape, title: str) -> tuple[npt.NDArray[np.uint8], dict[int, str]]:
    """Return the hashes and problems of some pictures, from the cache if they are unchanged.

    Args:
        pictures: all of a set.
        rows: indices of the chosen pictures.
        shape: pixel settings that the pictures must allow.
        title: of the set, for the progress bar.

    Returns:
        SHA-256 of each picture's bytes, uint8 [rows, 32], and the reasons of the unusable ones by row number.
    """
    order = np.sort(rows)  # the order on disk
    stamps = [pictures.stamp(int(i)) for i in order]
    key = digest_of([READING, PIL.__version__, shape.__dict__, stamps])

    def make() -> tuple[dict[str, Array], dict[str, str]]:
        hashes, problems = np.zeros((len(order), 32), np.uint8), {}
        what = f"checking {len(order):,} images of {title}"
        for i, (digest, reason) in enumerate(_parallel(lambda row: _check_one(pictures, row, shape), order, what)):
            hashes[i] = np.frombuffer(digest, np.uint8)
            if reason:
                problems[str(order[i])] = reason
        return {"sha256": hashes}, problems

    arrays, note = remember(cache_root() / "data" / f"checked-{key[:24]}", make)
    return arrays["sha256"][np.searchsorted(order, rows)], {int(row): reason for row, reason in note.items()}


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


def content(hashes: npt.NDArray[np.uint8], labels: Ints, attributes: Sequence[Attribute], shape: Shape) -> str:
    """Return the hash of a set: its files by content and order, labels, attributes, pixel settings and the reader."""
    parts = [hashlib.sha256(np.ascontiguousarray(a).tobytes()).hexdigest() for a in (hashes, labels)]
    return digest_of([READING, PIL.__version__, shape.__dict__, [[a.name, a.classes] for a in attributes], *parts])


def decoded(
    pictures: Pictures, rows: Ints, hashes: npt.NDArray[np.uint8], labels: Ints, shape: Shape, digest: str, title: str
) -> Mapping[str, Array]:
    """Return `images` uint8 [rows, 3, size, size] and `labels`, memory-mapped from the cache.

    Args:
        pictures: all of a set.
        rows: indices of the chosen pictures.
        hashes: result of `checked`.
        labels: int64 [rows, number of attributes].
        shape: of the images.
        digest: result of `content`.
        title: of the set, for the progress bar.

    Raises:
        ConfigError: a file has changed since it was checked, or the cache cannot be written.
    """
    order = np.argsort(rows)
    folder = cache_root() / "data" / f"files-{digest[:24]}"
    shape_of_all = (len(rows), 3, shape.size, shape.size)

    def make() -> tuple[dict[str, Array], dict[str, str]]:
        with tempfile.TemporaryFile(dir=folder.parent) as file:
            n_bytes = 3 * shape.size**2
            what = f"reading {len(rows):,} images of {title}"
            images = _parallel(lambda row: _decode_one(pictures, row, shape), rows[order], what)
            for i, (image, sha256) in zip(order, images, strict=True):
                if sha256 != hashes[i].tobytes():
                    raise ConfigError(f"{pictures.name(int(rows[i]))} of {title} changed while it was read; run again")
                file.seek(int(i) * n_bytes)
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


def _parallel(job: Callable[[int], T], rows: Ints, what: str) -> Iterator[T]:
    """Yield the job's results in order, from one thread per usable CPU: Pillow and hashlib release the interpreter."""
    with quiet(), ThreadPoolExecutor(usable_cpus()) as pool:
        blocks = [rows[i : i + BLOCK].tolist() for i in range(0, len(rows), BLOCK)]
        for block in track(blocks, what):
            yield from pool.map(job, block)
