"""Read the attribute list of CelebA and CelebAMask-HQ: a count, attribute names, then a row of -1 and 1 per file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bench.core.errors import ConfigError
from bench.data.table import read_text, safe_name

CLASSES = ("absent", "present")


class Presence(Mapping[str, list[str]]):
    """The columns of an attribute list, stored in one byte per value; access to a column makes its texts."""

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

    def rows(self, indices: list[int]) -> Presence:
        """Return the columns of some of the files."""
        return Presence(self.names, self.present[indices])


def read_attribute_list(path: Path) -> tuple[list[str], Presence]:
    """Return the files, and the columns of attributes with values "absent" and "present".

    A file *.csv, as Kaggle has it, begins with its header and has commas in place of spaces.

    Raises:
        ConfigError: the file is unreadable, its count or a row's length is wrong, a value is neither -1 nor 1, or a
            file is listed twice; with the line.
    """
    lines = _lines(path)
    is_csv = path.suffix == ".csv"
    if is_csv and lines:
        header, first = lines[0].split()[1:], 2
    elif len(lines) < 2 or not lines[0].strip().isdigit():
        raise ConfigError(f"{path}, line 1: must hold the number of images, got {(lines or [''])[0]!r:.80}")
    else:
        header, first = lines[1].split(), 3
    line_of: dict[str, int] = {}
    rows = []
    for number, line in enumerate(lines[first - 1 :], first):
        file, *values = line.split() or [""]
        if not file:
            continue
        where = f"{path}, line {number}"
        if len(values) != len(header):
            raise ConfigError(f"{where}: must have {len(header)} values, one per attribute, got {len(values)}")
        if line_of.setdefault(safe_name(file, where), number) != number:
            raise ConfigError(f"{where}: {file} is listed on line {line_of[file]} already; keep one")
        if not {"-1", "1"} >= set(values):
            name, value = next(pair for pair in zip(header, values, strict=True) if pair[1] not in ("-1", "1"))
            raise ConfigError(f"{where}: {name} must be -1 or 1, got {value!r}")
        rows.append("".join(values).replace("-1", "0").encode())
    if not is_csv and int(lines[0]) != len(rows):
        raise ConfigError(f"{path}: the first line says {int(lines[0]):,} images, got {len(rows):,}; copy it again")
    present = np.frombuffer(b"".join(rows), np.uint8).reshape(len(rows), len(header)) == ord("1")
    return list(line_of), Presence(header, present)


def _lines(path: Path) -> list[str]:
    text = read_text(path)
    return (text.replace(",", " ") if path.suffix == ".csv" else text).splitlines()


def read_partition(path: Path) -> dict[str, str]:
    """Return CelebA's list_eval_partition.txt, or Kaggle's .csv, as file to split, "train", "valid" or "test".

    Raises:
        ConfigError: the file is unreadable, or a line is not a file with 0, 1 or 2.
    """
    splits = {"0": "train", "1": "valid", "2": "test"}
    split_of = {}
    for number, line in enumerate(_lines(path), 1):
        if number == 1 and path.suffix == ".csv":
            continue  # the header
        file, _, code = line.strip().rpartition(" ")
        if line.strip():
            if code not in splits or not file:
                raise ConfigError(f"{path}, line {number}: must hold a file and 0, 1 or 2, got {line.strip()!r:.80}")
            split_of[file.strip()] = splits[code]
    return split_of
