"""CelebA as torchvision lays it out (Liu et al. 2015, arXiv 1411.7766)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bench.core.errors import ConfigError
from bench.data.attribute_list import CLASSES, read_attribute_list, read_partition
from bench.data.table import FilePictures, Table, existing, files_below, matched


@dataclass(frozen=True)
class Format:
    """img_align_celeba/*.jpg, list_attr_celeba.txt, list_eval_partition.txt; `with: {split: train}`.

    Attributes:
        root: the folder of these, or the one above its `celeba`.
        split: which of the official splits.
    """

    root: str
    split: Literal["all", "train", "valid", "test"] = "all"

    def table(self) -> Table:
        """As of `Format`; the files of other splits are no part of it."""
        root = existing(self.root)
        if (root / "celeba").is_dir():
            root = root / "celeba"
        named, columns = read_attribute_list(root / "list_attr_celeba.txt")
        images = existing(str(root / "img_align_celeba"))
        kept, problems = matched(named, files_below(images), "list_attr_celeba.txt")
        if self.split != "all":
            path = root / "list_eval_partition.txt"
            split = read_partition(path)
            for name in named:
                if name not in split:
                    raise ConfigError(f"{path} must have a line for each image, got none for {name}; copy it again")
            kept = [i for i in kept if split[named[i]] == self.split]
            problems = {name: why for name, why in problems.items() if split.get(name, self.split) == self.split}
        classes = dict.fromkeys(columns, CLASSES)
        return Table(FilePictures(images, [named[i] for i in kept]), columns.rows(kept), classes, problems)
