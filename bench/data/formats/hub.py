"""Image sets of the hub, or folders that the `datasets` library reads, through that library."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.core.errors import ConfigError
from bench.data.table import Table

if TYPE_CHECKING:
    import datasets


@dataclass(frozen=True)
class Format:
    """`root: OWNER/NAME` or a folder, read by the `datasets` library: `with: {split: train, revision: COMMIT}`.

    Attributes:
        root: the id, or a folder that the library can read.
        split: one of its splits.
        image: the column of images.
        config: the configuration, for a set with several.
        revision: the commit, tag or branch.
    """

    root: str
    split: str = "train"
    image: str = "image"
    config: str | None = None
    revision: str | None = None

    def table(self) -> Table:
        """Load the set with the `datasets` library, which may download it."""
        try:
            import datasets
        except ImportError as error:
            raise ConfigError("the format hub needs datasets; pip install 'fairdiff-bench[data]'") from error

        root = os.path.expanduser(self.root)
        try:
            rows: datasets.Dataset = datasets.load_dataset(root, self.config, split=self.split, revision=self.revision)
        except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
            first = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise ConfigError(f"datasets cannot load {self.root}: {first}; download it and use parquet") from error
        if self.image not in rows.column_names or not isinstance(rows.features[self.image], datasets.Image):
            raise ConfigError(
                f"{self.root} must have a column {self.image!r} of images, got {', '.join(rows.column_names)}; "
                "name it by `with: {image: COLUMN}`"
            )
        rows = rows.cast_column(self.image, datasets.Image(decode=False))
        columns, classes = {}, {}
        for name, feature in rows.features.items():
            if isinstance(feature, datasets.ClassLabel):
                classes[name] = tuple(feature.names)
                columns[name] = ["" if k is None or k < 0 else classes[name][k] for k in rows[name]]
            elif isinstance(feature, datasets.Value):
                columns[name] = ["" if value is None else str(value) for value in rows[name]]
        return Table(Rows(rows, self.root, self.image), columns, classes)


class Rows:
    """The encoded images of a data set."""

    def __init__(self, rows: datasets.Dataset, root: str, column: str) -> None:
        self.rows, self.root, self.column = rows, root, column

    def __len__(self) -> int:
        return len(self.rows)

    def name(self, index: int) -> str:
        """Return the set and the row."""
        return f"{self.root} row {index}"

    def stamp(self, index: int) -> list[int | str]:
        """Return the row, and the library's fingerprint of the set."""
        return [index, str(self.rows._fingerprint)]

    def read(self, index: int) -> bytes:
        """Return the encoded image, b"" for null.

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
