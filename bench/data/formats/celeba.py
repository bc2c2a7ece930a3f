"""CelebA in the folders of torchvision (Liu et al. 2015, arXiv 1411.7766)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bench.core.errors import ConfigError
from bench.data.attribute_list import CLASSES, read_attribute_list, read_partition
from bench.data.table import FilePictures, Table, existing, files_below, matched


@dataclass(frozen=True)
class Format:
    """img_align_celeba/*.jpg, list_attr_celeba.txt, list_eval_partition.txt; `with: {split: train}`.

    Kaggle's copy has the same lists as CSV files, and the images one folder deeper.

    Attributes:
        root: the folder of these files, or the parent of a folder `celeba`.
        split: one of the official splits, or all.
    """

    root: str
    split: Literal["all", "train", "valid", "test"] = "all"

    def table(self) -> Table:
        """Read the labels and list the files of the split; see `bench.data.table.Format`."""
        root = existing(self.root)
        if (root / "celeba").is_dir():
            root = root / "celeba"
        labels = _list(root, "list_attr_celeba")
        named, columns = read_attribute_list(labels)
        images = existing(str(root / "img_align_celeba"))
        if (images / "img_align_celeba").is_dir():
            images = images / "img_align_celeba"
        indices, problems = matched(named, files_below(images), labels.name)
        if self.split != "all":
            path = _list(root, "list_eval_partition")
            split = read_partition(path)
            for name in named:
                if name not in split:
                    raise ConfigError(f"{path} must have a line for each image, got none for {name}; copy it again")
            indices = [i for i in indices if split[named[i]] == self.split]
            problems = {name: reason for name, reason in problems.items() if split.get(name, self.split) == self.split}
        classes = dict.fromkeys(columns, CLASSES)
        return Table(FilePictures(images, [named[i] for i in indices]), columns.rows(indices), classes, problems)


def _list(root: Path, stem: str) -> Path:
    """Return the text file of a list, or the CSV in its place."""
    text, table = root / f"{stem}.txt", root / f"{stem}.csv"
    return table if table.is_file() and not text.is_file() else text
