"""The bucket that a folder is a copy of: what is missing here is fetched from there, what is made here is sent there.

A folder that has a file `fairdiff-bucket.json`, such as {"url": "s3://team/grid"}, is a copy, with everything below it.
What is kept so never changes once it is written, so a copy is never out of date. A bucket knows no rename: readers must
tell from checksums what is whole, and writers send the file that names the checksums last.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

from bench.core.errors import ConfigError

LINK = "fairdiff-bucket.json"
T = TypeVar("T")


@dataclass(frozen=True)
class Bucket:
    """The place of a folder in a bucket.

    Attributes:
        root: the folder here.
        url: its place there, of any protocol that fsspec knows.
    """

    root: Path
    url: str

    @staticmethod
    def of(path: Path) -> Bucket | None:
        """The bucket of the nearest folder above a path that is a copy of one; None where none is.

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
        """Whether the bucket has a file."""
        return bool(self._ask(lambda fs, there: fs.exists(there), path))

    def read(self, path: Path) -> bytes | None:
        """The bytes of a file, or None where the bucket has none."""
        return self._ask(lambda fs, there: fs.cat_file(there), path)

    def fetch(self, path: Path, to: Path) -> bool:
        """Copy the bucket's file of a path to a file here; False where the bucket has none."""
        return self._ask(lambda fs, there: fs.get_file(there, str(to)) or True, path) is not None

    def send(self, path: Path, data: bytes | Path) -> None:
        """Put bytes, or a file of here, into the bucket's file of a path."""
        if isinstance(data, Path):
            self._ask(lambda fs, there: fs.put_file(str(data), there), path, may_be_absent=False)
        else:
            self._ask(lambda fs, there: fs.pipe_file(there, data), path, may_be_absent=False)

    def send_folder(self, written: Path, folder: Path, last: str) -> None:
        """Put the files of a folder here into the bucket's folder of a path, the one named `last` after the others."""
        for file in sorted(written.iterdir(), key=lambda file: file.name == last):
            self.send(folder / file.name, file)

    def check(self) -> None:
        """Write a file, read it back and remove it.

        Raises:
            ConfigError: no such bucket, or it cannot be written.
        """
        probe, content = self.root / f".writable-{uuid4().hex}", b"written by fairdiff-bench"
        self.send(probe, content)
        if self.read(probe) != content:
            raise ConfigError(f"{self.url} does not give back what was written; use another bucket")
        self.remove(probe)

    def remove(self, path: Path) -> None:
        """Remove a file, if it is there."""
        self._ask(lambda fs, there: fs.rm_file(there), path)

    def _ask(self, call: Callable[[Any, str], T], path: Path, may_be_absent: bool = True) -> T | None:
        """What a call gives for the file's name in the bucket; None where there is no such file, if that may be."""
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
def _system(url: str) -> tuple[Any, str]:
    """fsspec's file system of a URL, made once a process, and the path in it."""
    from fsspec.core import split_protocol, url_to_fs

    protocol, _ = split_protocol(url)
    if protocol is None:
        raise ValueError("it must be a URL such as s3://bucket/folder")
    # A folder that another machine fills is looked at anew each time; on disks, folders are made as they are needed.
    options = {"auto_mkdir": True} if protocol in ("file", "local") else {"use_listings_cache": False}
    system, path = url_to_fs(url, **options)
    return system, str(path)
