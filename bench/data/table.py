"""The result of reading a format: pictures, opened on access, and the columns of their labels."""

from __future__ import annotations

import csv
import errno
import io
import os
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from bench.core.errors import ConfigError

NO_DATA = ("__MACOSX", "Thumbs.db", "desktop.ini")
MOST_BYTES = 2**30  # of one image file: 64 million pixels of 16 bits, uncompressed, take 384 MiB


class Pictures(Protocol):
    """Encoded images, by index."""

    def __len__(self) -> int: ...

    def name(self, index: int) -> str:
        """Return the image's name, for errors."""

    def stamp(self, index: int) -> list[int | str]:
        """Return JSON-able values that change when the image does, such as path, size and times; reads no image."""

    def read(self, index: int) -> bytes:
        """Return the bytes of the image file.

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
        """Return the path below the root."""
        return self.files[index]

    def stamp(self, index: int) -> list[int | str]:
        """Return path, size and times; the change time (ctime) reveals a file restored to an old date."""
        return stamp_of(f"{self.root}/{self.files[index]}")

    def read(self, index: int) -> bytes:
        """Return the file's bytes."""
        with open(f"{self.root}/{self.files[index]}", "rb") as file:
            if os.fstat(file.fileno()).st_size > MOST_BYTES:
                raise OSError(errno.EFBIG, f"more than {MOST_BYTES:,} bytes")
            return file.read()


def stamp_of(path: str) -> list[int | str]:
    """Return a file's path, size and times, or its path and "missing"."""
    try:
        status = os.stat(path)
    except OSError:
        return [path, "missing"]
    return [path, status.st_size, status.st_mtime_ns, status.st_ctime_ns]


@dataclass(frozen=True)
class Table:
    """The pictures of a format with their labels as text.

    Attributes:
        pictures: the images that have labels.
        columns: name of a column to its values, one per picture; "" for a picture without a value.
        classes: name of a column to all its values in label order, if the format defines them.
        problems: unusable file to the reason: labelled but missing, or present without a label.
    """

    pictures: Pictures
    columns: Mapping[str, Sequence[str]]
    classes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    problems: Mapping[str, str] = field(default_factory=dict)


class Format(Protocol):
    """The protocol of data formats: bench/data/formats/NAME.py defines a frozen dataclass `Format`.

    Its first field is `root`, from the declaration; its other fields are the keys of `with`. A field `unlabelled` with
    the default False is True where the declaration has no attributes. `run_bench.py list data` shows the first line of
    its docstring.
    """

    @property
    def root(self) -> str:
        """The folder or file of the declaration; for the format `hub`, the id."""

    def table(self) -> Table:
        """Read the labels and list the pictures, without reading a pixel.

        Raises:
            ConfigError: a file is missing, damaged or not of this format.
        """


def existing(root: str, kind: str = "folder") -> Path:
    """Return the path of a `root`, with "~" expanded.

    Args:
        root: of the declaration.
        kind: "folder", "file" or "path" (either).

    Raises:
        ConfigError: it does not exist.
    """
    path = Path(os.path.expanduser(root))
    exists = {"folder": path.is_dir, "file": path.is_file, "path": path.exists}[kind]
    if not exists():
        raise ConfigError(f"no {kind} {path}; give the data set's `root`, from the current folder or from /")
    return path


def read_text(path: Path) -> str:
    """Return the text of a label file.

    Raises:
        ConfigError: missing, unreadable, or not UTF-8 (with the line).
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
    """Return the rows of a CSV with a header, each with its line number.

    Raises:
        ConfigError: the file cannot be read; a column is missing or named twice, a row has more or fewer values than
            the header, or there are no rows.
    """
    lines = csv.reader(io.StringIO(read_text(path), newline=""), strict=True)
    try:
        header = [name.strip() for name in next(lines, [])]
        repeated = next((name for name in header if header.count(name) > 1), None)
        if repeated is not None:
            raise ConfigError(f"{path}: the header names {repeated!r} twice; keep one")
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
    """Return a file's path below the root in normal form, with "/" as separator.

    Raises:
        ConfigError: it is empty, absolute, or leads out of the root.
    """
    parts = [part for part in name.split("/") if part not in ("", ".")]
    away = ".." in name.replace("\\", "/").split("/") or name[:1] in ("/", "\\") or name[1:2] == ":"
    if not parts or away or "\0" in name:
        raise ConfigError(f"{where}: a file must lie below the data set's root, got {name!r}; name it from there")
    return "/".join(parts)


def files_below(root: Path) -> Iterator[str]:
    """Yield every file below a folder, sorted, as a path with "/"; a link to a folder above itself is not followed.

    Hidden files and folders and those of `NO_DATA`, which programs leave behind, are passed over.

    Raises:
        ConfigError: a folder cannot be read.
    """
    yield from _below(root, "", ())


def left_behind(name: str) -> bool:
    """Return True for the name of a file or folder that a program left in the data, such as .ipynb_checkpoints."""
    return name.startswith(".") or name in NO_DATA


def _below(folder: Path, prefix: str, above: tuple[str, ...]) -> Iterator[str]:
    here = os.path.realpath(folder)
    if here in above:
        return
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise ConfigError(f"cannot read {folder}: {error.strerror}; give yourself the right to") from error
    for entry in entries:
        if left_behind(entry.name):
            continue
        if entry.is_dir():
            yield from _below(folder / entry.name, f"{prefix}{entry.name}/", (*above, here))
        else:
            yield prefix + entry.name


def matched(labelled: Sequence[str], present: Iterable[str], labels: str) -> tuple[list[int], dict[str, str]]:
    """Compare the files that a label file names with those on disk.

    Args:
        labelled: the files in the label file.
        present: the files on disk.
        labels: name of the label file, for errors.

    Returns:
        The indices of `labelled` that are present, and every other file with its problem.
    """
    on_disk = set(present)
    unlabelled = sorted(on_disk - set(labelled))
    alike = {_plain(name): name for name in unlabelled}
    problems = {}
    for name in labelled:
        if name not in on_disk:
            near = alike.get(_plain(name))
            hint = f"; {near!r} is there, which differs in {_difference(name, near)}: rename one" if near else ""
            problems[name] = f"named in {labels} but missing{hint}"
    problems |= {name: f"not labelled in {labels}" for name in unlabelled}
    return [i for i, name in enumerate(labelled) if name in on_disk], problems


def _plain(name: str) -> str:
    """Return a name without the differences that file systems and spreadsheets make."""
    return unicodedata.normalize("NFC", name.replace("\\", "/")).casefold()


def _difference(name: str, near: str) -> str:
    """Return how two names with the same `_plain` differ."""
    differences = []
    if "\\" in name:
        differences.append("slashes")
    first, second = name.replace("\\", "/"), near.replace("\\", "/")
    if unicodedata.normalize("NFC", first) != first or unicodedata.normalize("NFC", second) != second:
        differences.append("Unicode form (é as one letter or as two)")
    if unicodedata.normalize("NFC", first) != unicodedata.normalize("NFC", second):
        differences.append("case")
    return " and ".join(differences)
