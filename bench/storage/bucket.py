"""Buckets that mirror local folders: missing entries are downloaded, new entries are uploaded.

A folder with a file `fairdiff-bucket.json`, such as {"url": "s3://team/grid"}, is a copy of that bucket, with
everything below it. Entries never change once written, so a copy is never out of date. A bucket has no atomic rename:
writers
upload the manifest of checksums last, and readers treat an entry that fails its checksums as absent.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar
from uuid import uuid4

from bench.core.errors import ConfigError

LINK = "fairdiff-bucket.json"
T = TypeVar("T")


class FileSystem(Protocol):
    """The methods of fsspec's `AbstractFileSystem` that a bucket needs."""

    def exists(self, path: str) -> bool: ...  # noqa: D102
    def cat_file(self, path: str) -> bytes: ...  # noqa: D102
    def get_file(self, rpath: str, lpath: str) -> None: ...  # noqa: D102
    def put_file(self, lpath: str, rpath: str) -> None: ...  # noqa: D102
    def pipe_file(self, path: str, value: bytes) -> None: ...  # noqa: D102
    def rm_file(self, path: str) -> None: ...  # noqa: D102


@dataclass(frozen=True)
class Bucket:
    """A local folder and the bucket that it mirrors.

    Attributes:
        root: the local folder.
        url: of the folder in the bucket, in any protocol that fsspec knows.
    """

    root: Path
    url: str

    @staticmethod
    def of(path: Path) -> Bucket | None:
        """Return the bucket of the nearest folder above a path that mirrors one, or None.

        Raises:
            ConfigError: the link is damaged.
        """
        for folder in path.parents:
            try:
                return Bucket(folder, str(json.loads((folder / LINK).read_text())["url"]))
            except (FileNotFoundError, NotADirectoryError):
                continue
            except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
                raise ConfigError(
                    f"cannot read {folder / LINK}: {error}; remove it, and name the bucket again with --bucket"
                ) from error
        return None

    def has(self, path: Path) -> bool:
        """Return True if the bucket has the file."""
        return bool(self._call(lambda fs, remote: fs.exists(remote), path))

    def read(self, path: Path) -> bytes | None:
        """Return the bytes of a file, or None if the bucket does not have it."""
        return self._call(lambda fs, remote: fs.cat_file(remote), path)

    def fetch(self, path: Path, to: Path) -> bool:
        """Download the file of `path` to `to`; return False if the bucket does not have it."""

        def download(fs: FileSystem, remote: str) -> bool:
            fs.get_file(remote, str(to))
            return True

        return self._call(download, path) is not None

    def send(self, path: Path, data: bytes | Path) -> None:
        """Upload bytes or a local file to the file of `path` in the bucket."""
        if isinstance(data, Path):
            self._call(lambda fs, remote: fs.put_file(str(data), remote), path, may_be_absent=False)
        else:
            self._call(lambda fs, remote: fs.pipe_file(remote, data), path, may_be_absent=False)

    def send_folder(self, written: Path, folder: Path, last: str) -> None:
        """Upload the files of `written` to the folder of `folder` in the bucket; the file named `last` goes last."""
        for file in sorted(written.iterdir(), key=lambda file: file.name == last):
            self.send(folder / file.name, file)

    def check(self) -> None:
        """Upload a small file, read it back and remove it.

        Raises:
            ConfigError: no such bucket, or it cannot be written.
        """
        probe, content = self.root / f".writable-{uuid4().hex}", b"written by fairdiff-bench"
        self.send(probe, content)
        if self.read(probe) != content:
            raise ConfigError(f"{self.url} must return the bytes that were written, got others; use another bucket")
        self.remove(probe)

    def remove(self, path: Path) -> None:
        """Remove a file, if the bucket has it."""
        self._call(lambda fs, remote: fs.rm_file(remote), path)

    def _call(self, call: Callable[[FileSystem, str], T], path: Path, may_be_absent: bool = True) -> T | None:
        """Return the result of a call on the file's remote path; None if the file is absent and `may_be_absent`."""
        try:
            system, base = _system(self.url)
            return call(system, f"{base.rstrip('/')}/{path.relative_to(self.root).as_posix()}")
        except Exception as error:  # every protocol has exceptions of its own
            if may_be_absent and isinstance(error, FileNotFoundError):
                return None
            reason = str(error).strip().partition("\n")[0] or type(error).__name__
            raise ConfigError(
                f"the bucket {self.url} failed: {reason}; check its name, the credentials and the network, then run "
                "the same command again"
            ) from error


@functools.lru_cache(maxsize=4)
def _system(url: str) -> tuple[FileSystem, str]:
    """Return fsspec's file system of a URL, one per process, and the path in it."""
    from fsspec.core import split_protocol, url_to_fs

    protocol, _ = split_protocol(url)
    if protocol is None:
        raise ValueError("it must be a URL such as s3://bucket/folder")
    # No listing cache: another machine may add files at any time. Local folders are created as they are needed.
    options = {"auto_mkdir": True} if protocol in ("file", "local") else {"use_listings_cache": False}
    system: FileSystem
    system, path = url_to_fs(url, **options)
    return system, str(path)
