"""What a format reads: pictures that are opened when they are looked at, and the columns of their labels."""

from __future__ import annotations

import csv
import errno
import io
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from bench.core.errors import ConfigError

MOST_BYTES = 2**30  # of one image file: 64 million pixels of 16 bits, uncompressed, take 384 MiB


class Pictures(Protocol):
    """Encoded images, by index."""

    def __len__(self) -> int: ...

    def name(self, index: int) -> str:
        """What an error calls the image."""

    def stamp(self, index: int) -> list[int | str]:
        """What changes when the image does, without reading it; JSON-able, the place of the file included."""

    def read(self, index: int) -> bytes:
        """The image file's bytes.

        Raises:
            OSError: it cannot be read.
        """


class FilePictures:
    """Image files below a root."""

    def __init__(self, root: Path, files: Sequence[str]) -> None:
        self.root, self.files = os.path.abspath(root), files

    def __len__(self) -> int:
        return len(self.files)

    def name(self, index: int) -> str:
        """The path below the root."""
        return self.files[index]

    def stamp(self, index: int) -> list[int | str]:
        """Path, size and times; the time of change is the system's own, so a file restored to an old date differs."""
        return stamp_of(f"{self.root}/{self.files[index]}")

    def read(self, index: int) -> bytes:
        """The file's bytes."""
        with open(f"{self.root}/{self.files[index]}", "rb") as file:
            if os.fstat(file.fileno()).st_size > MOST_BYTES:
                raise OSError(errno.EFBIG, f"more than {MOST_BYTES:,} bytes")
            return file.read()


def stamp_of(path: str) -> list[int | str]:
    """A file's path, size and times; the path and "missing" where there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return [path, "missing"]
    return [path, found.st_size, found.st_mtime_ns, found.st_ctime_ns]


@dataclass(frozen=True)
class Table:
    """The pictures of a format with their labels as text.

    Attributes:
        pictures: the images that have labels.
        columns: name to one value a picture; "" where a picture has none.
        classes: name to all values of a column in label order, where the format knows them.
        problems: file to the reason why it cannot be used: named but missing, there but without a label.
    """

    pictures: Pictures
    columns: Mapping[str, Sequence[str]]
    classes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    problems: Mapping[str, str] = field(default_factory=dict)


class Format(Protocol):
    """One way in which image sets lie on disk: bench/data/formats/NAME.py has a frozen dataclass `Format`.

    Its first field is `root`, as the declaration gives it; the others are what a declaration may say in `with`. The
    first line of its docstring is what `run_bench.py list data` shows.
    """

    root: str

    def table(self) -> Table:
        """Read everything but the pixels.

        Raises:
            ConfigError: the format is not as it must be.
        """


def existing(root: str, kind: str = "folder") -> Path:
    """The path of a `root`, "~" expanded.

    Args:
        root: as declared.
        kind: "folder", "file" or "path", what it must be.

    Raises:
        ConfigError: there is none.
    """
    path = Path(os.path.expanduser(root))
    there = {"folder": path.is_dir, "file": path.is_file, "path": path.exists}[kind]
    if not there():
        raise ConfigError(f"no {kind} {path}; give the data set's `root`, from the current folder or from /")
    return path


def read_text(path: Path) -> str:
    """A label file as text.

    Raises:
        ConfigError: missing, unreadable, or not UTF-8 (the line is named).
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}; it belongs to the data set") from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ConfigError(f"{path}, line {line}: not UTF-8 text; save the file as UTF-8") from error


def read_csv(path: Path, needed: Iterable[str]) -> list[tuple[int, dict[str, str]]]:
    """The rows of a CSV with a header, each with its line.

    Raises:
        ConfigError: as `read_text`; a column is missing or named twice, a row has more or fewer values than the
            header, or there are no rows.
    """
    lines = csv.reader(io.StringIO(read_text(path), newline=""), strict=True)
    try:
        header = [name.strip() for name in next(lines, [])]
        twice = next((name for name in header if header.count(name) > 1), None)
        if twice is not None:
            raise ConfigError(f"{path}: the header names {twice!r} twice; keep one")
        for name in needed:
            if name not in header:
                raise ConfigError(f"{path} must have a column {name!r}, got {', '.join(header) or 'an empty file'}")
        rows = []
        for values in lines:
            if len(values) != len(header) and values:
                raise ConfigError(
                    f"{path}, line {lines.line_num}: must have {len(header)} values as the header, got {len(values)}"
                )
            if values:
                cells = (value.strip() for value in values)
                rows.append((lines.line_num, dict(zip(header, cells, strict=True))))
    except csv.Error as error:
        raise ConfigError(f"{path}, line {lines.line_num}: not valid CSV: {error}") from error
    if not rows:
        raise ConfigError(f"{path} must have a row for each image, got none")
    return rows


def safe_name(name: str, where: str) -> str:
    """A file's path below the root, with "/" between its parts.

    Raises:
        ConfigError: it is empty, absolute, or leads out of the root.
    """
    parts = [part for part in name.split("/") if part not in ("", ".")]
    away = ".." in name.replace("\\", "/").split("/") or name[:1] in ("/", "\\") or name[1:2] == ":"
    if not parts or away or "\0" in name:
        raise ConfigError(f"{where}: a file must lie below the data set's root, got {name!r}; name it from there")
    return "/".join(parts)


def files_below(root: Path) -> Iterator[str]:
    """Every file below a folder, sorted, as paths with "/"; links are followed, a link to a folder above it once.

    Raises:
        ConfigError: a folder cannot be read.
    """
    yield from _below(root, "", ())


def _below(folder: Path, prefix: str, above: tuple[str, ...]) -> Iterator[str]:
    here = os.path.realpath(folder)
    if here in above:
        return
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise ConfigError(f"cannot read {folder}: {error.strerror}; give yourself the right to") from error
    for entry in entries:
        if entry.is_dir():
            yield from _below(folder / entry.name, f"{prefix}{entry.name}/", (*above, here))
        else:
            yield prefix + entry.name


def matched(named: Sequence[str], found: Iterable[str], labels: str) -> tuple[list[int], dict[str, str]]:
    """Hold the files that a label file names against those that are there.

    Args:
        named: the files that have labels.
        found: the files that are there.
        labels: what the label file is called.

    Returns:
        The indices of `named` that are there, and every other file with its problem.
    """
    there, known = set(found), set(named)
    problems = {name: f"named in {labels} but missing" for name in named if name not in there}
    problems |= {name: f"not labelled in {labels}" for name in sorted(there - known)}
    return [i for i, name in enumerate(named) if name in there], problems
