"""Atomic files, checksummed entries of arrays, and the cache folder.

An entry is a folder of .npy files with a manifest of their checksums, which is written last. Where the folder mirrors
a bucket, entries and `shared` files are uploaded before they appear here.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from filelock import FileLock

from bench.core.digest import file_digest
from bench.core.errors import ConfigError
from bench.storage.bucket import Bucket

MANIFEST = "manifest.json"
Array = npt.NDArray[Any]  # of any dtype
MOST = 1000  # subfolders that the entries of a folder are spread over, to keep each of them small


def cache_root() -> Path:
    """Return the folder of everything that can be computed again: $FAIRDIFF_CACHE, else ~/.cache/fairdiff-bench."""
    home = os.environ.get("FAIRDIFF_CACHE")
    return Path(home) if home else Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "fairdiff-bench"


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of `path` among processes, so that one of them does the work and the others wait.

    Raises:
        ConfigError: the folder cannot be written.
    """
    lock = FileLock(path.with_name(path.name + ".lock"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as error:
        raise ConfigError(
            f"cannot write {path.parent}: {error.strerror or error}; choose a folder that can be written and has room"
        ) from error
    try:
        yield
    finally:
        lock.release()


def slug(name: str) -> str:
    """Return a name with every character that is not alphanumeric as "-", for use in a file's name."""
    return "".join(c if c.isalnum() else "-" for c in name).strip("-")


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file by atomic rename, flushed to disk first: a reader sees the old file, the new one, or none.

    Raises:
        ConfigError: the folder cannot be written, or the disk is full.
    """
    write_pieces(path, [data])


def write_pieces(path: Path, pieces: Iterable[bytes]) -> None:
    """Write a file as `write_bytes` does, from pieces that are produced while they are written, to save memory."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as f:
                f.writelines(pieces)
                f.flush()
                os.fsync(f.fileno())
            os.chmod(temporary, 0o644)
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise ConfigError(
            f"cannot write {path}: {error.strerror or error}; choose a folder that can be written and has room"
        ) from error


def json_bytes(value: object) -> bytes:
    """Return indented JSON with sorted keys, as `write_json` writes it."""
    return (json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n").encode()


def write_json(path: Path, value: object) -> None:
    """Write indented JSON with sorted keys by atomic rename."""
    write_bytes(path, json_bytes(value))


def write_shared(path: Path, data: bytes) -> None:
    """Write a file by atomic rename, after uploading it if its folder mirrors a bucket."""
    bucket = Bucket.of(path)
    if bucket is not None:
        bucket.send(path, data)
    write_bytes(path, data)


def read_shared(path: Path) -> bytes:
    """Return the bytes of a local file or, if there is none, of the file in the bucket of its folder.

    Raises:
        FileNotFoundError: neither exists.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        bucket = Bucket.of(path)
        data = None if bucket is None else bucket.read(path)
        if data is None:
            raise
        return data


def remove_shared(path: Path) -> None:
    """Remove a file, if it exists, from the folder and from its bucket."""
    path.unlink(missing_ok=True)
    bucket = Bucket.of(path)
    if bucket is not None:
        bucket.remove(path)


def write_arrays(folder: Path, arrays: Mapping[str, Array], note: Mapping[str, object] | None = None) -> None:
    """Write an entry: a folder with a .npy file per array and a manifest of checksums, in place by one rename.

    If another process has written the same folder meanwhile, its folder stays: equal keys hold equal content.
    If the folder mirrors a bucket, the entry is uploaded before the rename.

    Raises:
        ConfigError: the folder cannot be written, the disk is full, or the bucket failed.
    """
    with _replacing(folder) as temporary:
        sums = {}
        for name, array in arrays.items():
            path = temporary / f"{name}.npy"
            with path.open("wb") as f:
                np.save(f, np.ascontiguousarray(array), allow_pickle=False)
                f.flush()
                os.fsync(f.fileno())
            sums[name] = file_digest(path)
        write_json(temporary / MANIFEST, {"sha256": sums, "note": dict(note or {})})
        bucket = Bucket.of(folder)
        if bucket is not None:
            bucket.send_folder(temporary, folder, last=MANIFEST)


@contextmanager
def _replacing(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder that is renamed to `folder` when the block ends, and removed if the block fails.

    Raises:
        ConfigError: the folder cannot be written, or the disk is full.
    """
    temporary = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
        yield temporary
        os.chmod(temporary, 0o755)
        _swap_in(temporary, folder)
    except OSError as error:
        reason = error.strerror or f"no room is left ({error} bytes)"  # numpy's own error has numbers alone
        raise ConfigError(
            f"cannot write {folder}: {reason}; choose a folder that can be written and has room"
        ) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def _download(folder: Path) -> bool:
    """Download the entry of a folder from its bucket; return False if the bucket does not have it whole."""
    bucket = Bucket.of(folder)
    text = None if bucket is None else bucket.read(folder / MANIFEST)
    if bucket is None or text is None:
        return False
    try:
        names = [f"{name}.npy" for name in json.loads(text)["sha256"]]
        if any(Path(name).name != name for name in names):
            return False  # a path out of the folder, which `write_arrays` never writes
        with _replacing(folder) as temporary:
            if not all(bucket.fetch(folder / name, temporary / name) for name in names):
                raise ValueError(f"the upload of {folder} is incomplete")
            (temporary / MANIFEST).write_bytes(text)
    except (ValueError, KeyError, TypeError, RecursionError):
        return False
    return True


def _swap_in(temporary: Path, folder: Path) -> None:
    try:
        os.rename(temporary, folder)
    except OSError:
        if _local(folder, verify=True) is not None:
            return  # another process was first, with the same content
        shutil.rmtree(folder, ignore_errors=True)  # a damaged entry of the same key
        os.rename(temporary, folder)


def read_arrays(folder: Path, verify: bool = True) -> dict[str, Array] | None:
    """Return the arrays of an entry, memory-mapped, downloading it if needed; None if it is absent or damaged.

    Args:
        folder: as written by `write_arrays`.
        verify: recompute the checksums (a full read of the files).
    """
    arrays = _local(folder, verify)
    return _local(folder, verify) if arrays is None and _download(folder) else arrays


def has_arrays(folder: Path, verify: bool = True) -> bool:
    """Return True if `read_arrays` would return arrays; downloads nothing and trusts the bucket's checksums."""
    if (folder / MANIFEST).is_file():
        return not verify or _local(folder, verify) is not None
    bucket = Bucket.of(folder)
    return bucket is not None and bucket.has(folder / MANIFEST)


def _local(folder: Path, verify: bool) -> dict[str, Array] | None:
    try:
        sums = json.loads((folder / MANIFEST).read_text())["sha256"]
        if verify and any(file_digest(folder / f"{name}.npy") != value for name, value in sums.items()):
            return None
        return {name: np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in sums}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def remember(
    folder: Path | None, make: Callable[[], tuple[Mapping[str, Array], Mapping[str, object]]]
) -> tuple[Mapping[str, Array], dict[str, Any]]:
    """Return the arrays and the note of an entry, computing and writing it if it is absent or damaged.

    Args:
        folder: of the entry, named by a key of everything that decides its content: this folder if it exists, else
            one of the same name in one of a thousand subfolders of its parent; None caches nothing.
        make: computes the arrays and a JSON-able note. Of several processes, one computes and the others wait.

    Returns:
        The arrays (memory-mapped, if cached), and the note as read back from JSON.

    Raises:
        ConfigError: the folder cannot be written, or what was written cannot be read back.
    """
    if folder is None:
        arrays, note = make()
        return arrays, json.loads(json.dumps(note))
    folder = folder if folder.exists() else _spread(folder)
    with locked(folder):
        stored = read_arrays(folder)
        if stored is None:
            write_arrays(folder, *make())
            stored = read_arrays(folder)
            if stored is None:
                raise ConfigError(f"{folder} cannot be read back after it was written; check the disk")
    return stored, read_note(folder)


def _spread(folder: Path) -> Path:
    number = int(hashlib.sha256(folder.name.encode()).hexdigest()[:8], 16) % MOST
    return folder.parent / f"{number:03d}" / folder.name


def read_note(folder: Path) -> dict[str, Any]:
    """Return the note of an entry; of an entry that only its bucket has, the manifest alone is downloaded."""
    note: dict[str, Any] = json.loads(read_shared(folder / MANIFEST))["note"]
    return note
