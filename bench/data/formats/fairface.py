"""FairFace (Karkkainen & Joo 2021, arXiv 1908.04913)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bench.core.errors import ConfigError
from bench.data.table import FilePictures, Table, existing, files_below, matched, read_csv, safe_name

CLASSES = {
    "age": ("0-2", "3-9", "10-19", "20-29", "30-39", "40-49", "50-59", "60-69", "more than 70"),
    "gender": ("Male", "Female"),
    "race": (*("White", "Black", "Latino_Hispanic", "East Asian", "Southeast Asian", "Indian", "Middle Eastern"),),
}

SERVICE_TEST = {"service_test": ("False", "True")}  # faces that the paper used to test commercial services


@dataclass(frozen=True)
class Format:
    """train/*.jpg, val/*.jpg, fairface_label_train.csv, fairface_label_val.csv (age, gender, race, service_test).

    Attributes:
        root: the folder of these files.
        split: one of the official splits.
    """

    root: str
    split: Literal["train", "val"] = "train"

    def table(self) -> Table:
        """Read the labels and list the files of the split; see `bench.data.table.Format`."""
        root = existing(self.root)
        path = root / f"fairface_label_{self.split}.csv"
        rows = read_csv(path, ["file", *CLASSES])
        lines: dict[str, int] = {}
        for line, row in rows:
            name = safe_name(row["file"], f"{path}, line {line}")
            if lines.setdefault(name, line) != line:
                raise ConfigError(f"{path}, line {line}: {name} has a row on line {lines[name]} already; keep one")
        images = existing(str(root / self.split))
        indices, problems = matched(list(lines), (f"{self.split}/{f}" for f in files_below(images)), path.name)
        names = list(lines)
        classes = CLASSES | (SERVICE_TEST if "service_test" in rows[0][1] else {})
        columns = {name: [rows[i][1][name] for i in indices] for name in classes}
        return Table(FilePictures(root, [names[i] for i in indices]), columns, classes, problems)
