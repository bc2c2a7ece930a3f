"""Files that are whole or absent: atomic writes, checksummed arrays, and where caches live.

Arrays, and files that are written `shared`, are kept in a bucket too where their folder is the copy of one.
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
MOST = 1000  # folders that the entries of one folder are spread over, so that none has very many


def cache_root() -> Path:
    """The folder of everything that can be made again: $FAIRDIFF_CACHE, else ~/.cache/fairdiff-bench."""
    home = os.environ.get("FAIRDIFF_CACHE")
    return Path(home) if home else Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "fairdiff-bench"


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of `path` among processes: what is made once is made by one of them, the others wait.

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
    """A name as part of a file's name."""
    return "".join(c if c.isalnum() else "-" for c in name).strip("-")


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file by atomic rename, flushed to disk first: a reader sees the old file, the new one, or none.

    Raises:
        ConfigError: the folder cannot be written, or the disk is full.
    """
    write_pieces(path, [data])


def write_pieces(path: Path, pieces: Iterable[bytes]) -> None:
    """As `write_bytes`, of pieces that are made while they are written, so that the whole is never in memory."""
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


def json_bytes(value: Any) -> bytes:
    """JSON, readable and with sorted keys, as `write_json` writes it."""
    return (json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n").encode()


def write_json(path: Path, value: Any) -> None:
    """Write JSON by atomic rename, readable and with sorted keys."""
    write_bytes(path, json_bytes(value))


def write_shared(path: Path, data: bytes) -> None:
    """Write a file by atomic rename, in the bucket of its folder first: what is here is there."""
    bucket = Bucket.of(path)
    if bucket is not None:
        bucket.send(path, data)
    write_bytes(path, data)


def read_shared(path: Path) -> bytes:
    """The bytes of a file that is here or, where it is not, in the bucket of its folder.

    Raises:
        FileNotFoundError: it is in neither.
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
    """Remove a file, if it is there, here and in the bucket of its folder."""
    path.unlink(missing_ok=True)
    bucket = Bucket.of(path)
    if bucket is not None:
        bucket.remove(path)


def read_object(path: Path, otherwise: str) -> dict[str, Any]:
    """The JSON object of a file that the user gave.

    Args:
        path: the file.
        otherwise: what to do where there is no such file, for the error's sentence.

    Raises:
        ConfigError: the file is missing, unreadable, no JSON or no object.
    """
    try:
        value = json.loads(path.read_text())
        json.dumps(value, allow_nan=False)  # NaN, and 1e999, which Python reads and JSON has not: nothing could hash it
    except FileNotFoundError:
        raise ConfigError(f"no file {path}; {otherwise}") from None
    except (OSError, ValueError, RecursionError) as error:  # the last where it is nested without end
        raise ConfigError(f"cannot read {path}: {error}; copy it again from where it came") from error
    if not isinstance(value, dict):
        raise ConfigError(f"{path} must hold a JSON object, got {type(value).__name__}")
    return value


def write_arrays(folder: Path, arrays: Mapping[str, npt.NDArray[Any]], note: Mapping[str, Any] | None = None) -> None:
    """Write named arrays as one folder that appears whole, by a rename: a .npy each and a manifest of checksums.

    Where another process has written the same folder meanwhile, its folder stays: equal keys hold equal content.
    The bucket of the folder has it first, so that what is here is there.

    Raises:
        ConfigError: the folder cannot be written, the disk is full, or the bucket failed.
    """
    with _in_place_of(folder) as temporary:
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
def _in_place_of(folder: Path) -> Iterator[Path]:
    """A new folder beside another, which takes its place by a rename when the block ends, and goes where it fails.

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


def _fetched(folder: Path) -> bool:
    """Whether the bucket of a folder had its arrays, which are then here."""
    bucket = Bucket.of(folder)
    text = None if bucket is None else bucket.read(folder / MANIFEST)
    if bucket is None or text is None:
        return False
    try:
        names = [f"{name}.npy" for name in json.loads(text)["sha256"]]
        if any(Path(name).name != name for name in names):
            return False  # no name that was written; it would be a file elsewhere
        with _in_place_of(folder) as temporary:
            if not all(bucket.fetch(folder / name, temporary / name) for name in names):
                raise ValueError(f"{folder} was sent in part")
            (temporary / MANIFEST).write_bytes(text)
    except (ValueError, KeyError, TypeError, RecursionError):
        return False
    return True


def _swap_in(temporary: Path, folder: Path) -> None:
    try:
        os.rename(temporary, folder)
    except OSError:
        if _here(folder, verify=True) is not None:
            return  # another process was first, with the same content
        shutil.rmtree(folder, ignore_errors=True)  # damaged leftovers of the same key
        os.rename(temporary, folder)


def read_arrays(folder: Path, verify: bool = True) -> dict[str, npt.NDArray[Any]] | None:
    """The arrays of a folder, memory-mapped; None where it is absent, unfinished or damaged, here and in its bucket.

    Args:
        folder: as written by `write_arrays`.
        verify: recompute the checksums (a full read of the files).
    """
    found = _here(folder, verify)
    return _here(folder, verify) if found is None and _fetched(folder) else found


def is_kept(folder: Path, verify: bool = True) -> bool:
    """Whether `read_arrays` would give the arrays of a folder; nothing is fetched, nor verified in the bucket."""
    if (folder / MANIFEST).is_file():
        return not verify or _here(folder, verify) is not None
    bucket = Bucket.of(folder)
    return bucket is not None and bucket.has(folder / MANIFEST)


def _here(folder: Path, verify: bool) -> dict[str, npt.NDArray[Any]] | None:
    try:
        sums = json.loads((folder / MANIFEST).read_text())["sha256"]
        if verify and any(file_digest(folder / f"{name}.npy") != value for name, value in sums.items()):
            return None
        return {name: np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in sums}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def remember(
    folder: Path | None, make: Callable[[], tuple[Mapping[str, npt.NDArray[Any]], Mapping[str, Any]]]
) -> tuple[Mapping[str, npt.NDArray[Any]], dict[str, Any]]:
    """Arrays and the note beside them: read where the folder has them whole, else made now and kept.

    Args:
        folder: where they are kept, under a key of all that decides them: there where something is there already,
            else in one of a thousand folders beside it, by the hash of its name; None keeps nothing.
        make: gives arrays and a JSON-able note. Of several processes that ask, one makes and the others wait.

    Returns:
        The arrays (memory-mapped, if kept), and the note as it is read back from JSON.

    Raises:
        ConfigError: the folder cannot be written, or what was written cannot be read back.
    """
    if folder is None:
        arrays, note = make()
        return arrays, json.loads(json.dumps(note))
    folder = folder if folder.exists() else _spread(folder)
    with locked(folder):
        kept = read_arrays(folder)
        if kept is None:
            write_arrays(folder, *make())
            kept = read_arrays(folder)
            if kept is None:
                raise ConfigError(f"{folder} cannot be read back after it was written; check the disk")
    return kept, read_note(folder)


def _spread(folder: Path) -> Path:
    place = int(hashlib.sha256(folder.name.encode()).hexdigest()[:8], 16) % MOST
    return folder.parent / f"{place:03d}" / folder.name


def read_note(folder: Path) -> dict[str, Any]:
    """The note written beside the arrays of a folder; of one that is only in its bucket, the arrays stay there."""
    note: dict[str, Any] = json.loads(read_shared(folder / MANIFEST))["note"]
    return note
