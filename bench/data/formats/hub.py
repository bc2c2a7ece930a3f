"""Image sets of the hub, or folders that the `datasets` library reads, through that library."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from bench.core.errors import ConfigError
from bench.data.table import Table


@dataclass(frozen=True)
class Format:
    """`root: OWNER/NAME` or a folder, read by the `datasets` library: `with: {split: train, revision: COMMIT}`.

    Attributes:
        root: the id, or a folder that the library can read.
        split: one split of it.
        image: the column of images.
        config: the configuration, for sets that have several.
        revision: the commit, tag or branch.
    """

    root: str
    split: str = "train"
    image: str = "image"
    config: str | None = None
    revision: str | None = None

    def table(self) -> Table:
        """As of `Format`; the library may fetch the set."""
        try:
            import datasets
        except ImportError as error:
            raise ConfigError("the format hub needs datasets; pip install 'fairdiff-bench[data]'") from error

        root = os.path.expanduser(self.root)
        try:
            found: Any = datasets.load_dataset(root, self.config, split=self.split, revision=self.revision)
        except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
            first = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise ConfigError(f"datasets cannot load {self.root}: {first}; download it and use parquet") from error
        if self.image not in found.column_names or not isinstance(found.features[self.image], datasets.Image):
            raise ConfigError(
                f"{self.root} must have a column {self.image!r} of images, got {', '.join(found.column_names)}; "
                "name it by `with: {image: COLUMN}`"
            )
        found = found.cast_column(self.image, datasets.Image(decode=False))
        columns, classes = {}, {}
        for name, feature in found.features.items():
            if isinstance(feature, datasets.ClassLabel):
                classes[name] = tuple(feature.names)
                columns[name] = ["" if k is None or k < 0 else classes[name][k] for k in found[name]]
            elif isinstance(feature, datasets.Value):
                columns[name] = ["" if value is None else str(value) for value in found[name]]
        return Table(Rows(found, self.root, self.image), columns, classes)


class Rows:
    """The images of a data set, not decoded."""

    def __init__(self, rows: Any, root: str, column: str) -> None:
        self.rows, self.root, self.column = rows, root, column

    def __len__(self) -> int:
        return len(self.rows)

    def name(self, index: int) -> str:
        """The set and the row."""
        return f"{self.root} row {index}"

    def stamp(self, index: int) -> list[int | str]:
        """The row, and the library's fingerprint of the set."""
        return [index, str(self.rows._fingerprint)]

    def read(self, index: int) -> bytes:
        """The encoded image; none where the row holds null.

        Raises:
            OSError: the file that the row names cannot be read.
        """
        value = self.rows[index][self.column]
        if value is None:
            return b""
        if value["bytes"] is not None:
            return bytes(value["bytes"])
        with open(value["path"], "rb") as file:
            return file.read()
