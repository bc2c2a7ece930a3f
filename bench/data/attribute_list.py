"""The attribute list of CelebA and CelebAMask-HQ: a count, the attributes' names, then a row of -1 and 1 a file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bench.core.errors import ConfigError
from bench.data.table import read_text, safe_name

CLASSES = ("absent", "present")


class Presence(Mapping[str, list[str]]):
    """The columns of an attribute list, a byte a value; a column is spelt out when it is asked for."""

    def __init__(self, names: list[str], present: npt.NDArray[np.bool_]) -> None:
        self.names, self.present = names, present

    def __getitem__(self, name: str) -> list[str]:
        if name not in self.names:
            raise KeyError(name)
        return [CLASSES[value] for value in self.present[:, self.names.index(name)].tolist()]

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)

    def rows(self, kept: list[int]) -> Presence:
        """Some of the files."""
        return Presence(self.names, self.present[kept])


def read_attribute_list(path: Path) -> tuple[list[str], Presence]:
    """The files, and each attribute's value of every file, "absent" or "present".

    Raises:
        ConfigError: the file is unreadable, its count or a row's length is wrong, a value is neither -1 nor 1, or a
            file is listed twice; the line is named.
    """
    lines = read_text(path).splitlines()
    if len(lines) < 2 or not lines[0].strip().isdigit():
        raise ConfigError(f"{path}, line 1: must hold the number of images, got {(lines or [''])[0]!r:.80}")
    header = lines[1].split()
    seen: dict[str, int] = {}
    rows = []
    for number, line in enumerate(lines[2:], 3):
        file, *values = line.split() or [""]
        if not file:
            continue
        where = f"{path}, line {number}"
        if len(values) != len(header):
            raise ConfigError(f"{where}: must have {len(header)} values, one an attribute, got {len(values)}")
        if seen.setdefault(safe_name(file, where), number) != number:
            raise ConfigError(f"{where}: {file} is listed on line {seen[file]} already; keep one")
        if not {"-1", "1"} >= set(values):
            name, value = next(pair for pair in zip(header, values, strict=True) if pair[1] not in ("-1", "1"))
            raise ConfigError(f"{where}: {name} must be -1 or 1, got {value!r}")
        rows.append("".join(values).replace("-1", "0").encode())
    if int(lines[0]) != len(rows):
        raise ConfigError(f"{path}: the first line says {int(lines[0]):,} images, got {len(rows):,}; copy it again")
    present = np.frombuffer(b"".join(rows), np.uint8).reshape(len(rows), len(header)) == ord("1")
    return list(seen), Presence(header, present)


def read_partition(path: Path) -> dict[str, str]:
    """CelebA's list_eval_partition.txt: file to its split, "train", "valid" or "test".

    Raises:
        ConfigError: the file is unreadable, or a line is not a file with 0, 1 or 2.
    """
    splits = {"0": "train", "1": "valid", "2": "test"}
    found = {}
    for number, line in enumerate(read_text(path).splitlines(), 1):
        file, _, part = line.strip().rpartition(" ")
        if line.strip():
            if part not in splits or not file:
                raise ConfigError(f"{path}, line {number}: must hold a file and 0, 1 or 2, got {line.strip()!r:.80}")
            found[file.strip()] = splits[part]
    return found
