"""Any images, labelled by their folders or by a CSV."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from bench.core.errors import ConfigError
from bench.data.table import FilePictures, Table, existing, files_below, left_behind, matched, read_csv, safe_name


@dataclass(frozen=True)
class Format:
    """CLASS/any/file.png (attribute: class), images with a CSV (`with: {labels: labels.csv, file: file}`), or none.

    Attributes:
        root: the folder of the images.
        labels: a CSV with a row per image, below the root or from the current folder; by default, folders are the
            classes.
        file: the CSV's column of files, as paths below the root; every other column may be an attribute.
        unlabelled: every image below the root is taken, in whatever folder; so where no attributes are declared.
    """

    root: str
    labels: str | None = None
    file: str = "file"
    unlabelled: bool = False

    def table(self) -> Table:
        """Read the labels and list the files; see `bench.data.table.Format`."""
        root = existing(self.root)
        if self.labels is not None:
            return _by_csv(root, self.labels, self.file)
        return Table(FilePictures(root, list(files_below(root))), {}) if self.unlabelled else _by_folder(root)


def _by_folder(root: Path) -> Table:
    classes = sorted(entry.name for entry in os.scandir(root) if entry.is_dir() and not left_behind(entry.name))
    if not classes:
        raise ConfigError(
            f"{root} must hold a folder per class, got none; or give `with: {{labels: FILE.csv}}`, or leave "
            "`attributes` out for a reference set without labels"
        )
    files = list(files_below(root))
    labelled = [file for file in files if "/" in file]
    values = [file.split("/")[0] for file in labelled]
    for name in classes:
        if name not in values:
            raise ConfigError(f"class folder {root / name} is empty; put its images there or remove it")
    problems = {file: "not in a class folder" for file in files if "/" not in file}
    return Table(FilePictures(root, labelled), {"class": values}, {"class": tuple(classes)}, problems)


def _by_csv(root: Path, labels: str, column: str) -> Table:
    path = root / labels if (root / labels).is_file() else Path(os.path.expanduser(labels))
    rows = read_csv(path, [column])
    lines: dict[str, int] = {}
    for line, row in rows:
        where = f"{path}, line {line}"
        name = safe_name(row[column], where)
        if lines.setdefault(name, line) != line:
            raise ConfigError(f"{where}: {name} has a row on line {lines[name]} already; keep one")
    files = [file for file in files_below(root) if not (root / file).samefile(path)]
    indices, problems = matched(list(lines), files, path.name)
    columns = {name: [rows[i][1][name] for i in indices] for name in rows[0][1] if name != column}
    names = list(lines)
    return Table(FilePictures(root, [names[i] for i in indices]), columns, {}, problems)
