"""CelebA-HQ (Karras et al. 2018, arXiv 1710.10196), attributes of CelebAMask-HQ (Lee et al. 2020, arXiv 1907.11922)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bench.core.errors import ConfigError
from bench.data.attribute_list import CLASSES, read_attribute_list
from bench.data.table import FilePictures, Table, existing, files_below, matched, read_text

MAPPING = "CelebA-HQ-to-CelebA-mapping.txt"


@dataclass(frozen=True)
class Format:
    """CelebA-HQ-img/*.jpg, CelebAMask-HQ-attribute-anno.txt; for a split, its mapping to CelebA.

    Attributes:
        root: the folder of these files.
        images: the folder of the images, below the root.
        split: one of CelebA's official splits, by the number of the CelebA file of an image: up to 162770 train, up to
            182637 valid, then test; or all.
    """

    root: str
    images: str = "CelebA-HQ-img"
    split: Literal["all", "train", "valid", "test"] = "all"

    def table(self) -> Table:
        """Read the labels and list the files of the split; see `bench.data.table.Format`."""
        root = existing(self.root)
        labels = root / "CelebAMask-HQ-attribute-anno.txt"
        named, columns = read_attribute_list(labels)
        images = existing(str(root / self.images))
        indices, problems = matched(named, files_below(images), labels.name)
        if self.split != "all":
            split = _splits(root / MAPPING)
            for name in named:
                if name not in split:
                    raise ConfigError(f"{root / MAPPING} must have a line for each image, got none for {name}")
            indices = [i for i in indices if split[named[i]] == self.split]
            problems = {name: reason for name, reason in problems.items() if split.get(name, self.split) == self.split}
        classes = dict.fromkeys(columns, CLASSES)
        return Table(FilePictures(images, [named[i] for i in indices]), columns.rows(indices), classes, problems)


def _splits(path: Path) -> dict[str, str]:
    """Return file to split, from lines "idx orig_idx orig_file" such as "0 119613 119614.jpg" below a header."""
    split_of = {}
    for number, line in enumerate(read_text(path).splitlines()[1:], 2):
        parts = line.split()
        if parts:
            if len(parts) != 3 or not parts[0].isdigit() or not parts[2].split(".")[0].isdigit():
                raise ConfigError(f"{path}, line {number}: must hold idx, orig_idx and orig_file, got {line!r:.80}")
            number_of_celeba = int(parts[2].split(".")[0])
            late = "valid" if number_of_celeba <= 182637 else "test"
            split_of[f"{parts[0]}.jpg"] = "train" if number_of_celeba <= 162770 else late
    return split_of
