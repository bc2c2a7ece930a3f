"""Parquet files with encoded images in a column, as the hub stores image sets."""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.core.errors import ConfigError
from bench.data.table import Table, existing, left_behind, stamp_of

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

MOST_ROWS = 100_000_000
SHARD = re.compile(r"([-_.]?\d+)?([-_.]of[-_.]\d+)?$")  # the end of a shard's name: -00000-of-00003


@dataclass(frozen=True)
class Format:
    """FILE.parquet or a folder of them, an image column of bytes and label columns: `with: {image: image}`.

    Attributes:
        root: the file, or the folder whose *.parquet are read in the order of their names.
        image: the column of encoded images: bytes, or a struct with the field `bytes` as the hub's are.
        split: of the folder's files, those named SPLIT.parquet, SPLIT-*.parquet or SPLIT/*.parquet.
        pattern: of the files below the folder, such as "data/train-*.parquet"; in place of `split`.
    """

    root: str
    image: str = "image"
    split: str | None = None
    pattern: str | None = None

    def table(self) -> Table:
        """Read the label columns; numbers for which the metadata has class names become these names."""
        try:
            import pyarrow as pa
            import pyarrow.parquet as pq
        except ImportError as error:
            raise ConfigError("the format parquet needs pyarrow; pip install 'fairdiff-bench[data]'") from error

        root = existing(self.root, "path")
        paths = self._paths(root) if root.is_dir() else [root]
        try:
            files = [pq.ParquetFile(path) for path in paths]
            schema = files[0].schema_arrow
            self._check(schema, paths, files)
            n = sum(file.metadata.num_rows for file in files)
            if n > MOST_ROWS:  # a column with one value takes a few bytes on disk, whatever its length
                raise ConfigError(f"{root} must have at most {MOST_ROWS:,} rows, got {n:,}; take a part of it")
            labels = [name for name in schema.names if name != self.image and _is_label(schema.field(name).type)]
            read = pa.concat_tables([file.read(columns=labels) for file in files])
        except (pa.ArrowException, OSError) as error:
            raise ConfigError(f"cannot read {root}: {str(error).splitlines()[0]}; copy it again") from error
        names = _class_names(schema.metadata or {})
        columns = {name: _texts(read.column(name).to_pylist(), names.get(name), name, root) for name in labels}
        return Table(RowGroups(paths, files, self.image), columns, {k: v for k, v in names.items() if k in columns})

    def _paths(self, root: Path) -> list[Path]:
        """Return the chosen files of a folder, sorted.

        Raises:
            ConfigError: there are none, or they are of several splits and none is chosen.
        """
        if self.split is not None and self.pattern is not None:
            raise ConfigError("parquet must have `split` or `pattern`, got both; leave one out")
        patterns = ["*.parquet"] if self.pattern is None else [self.pattern]
        if self.split is not None:
            patterns = [f"{self.split}.parquet", f"{self.split}-*.parquet", f"{self.split}/*.parquet"]
        try:
            matches = {path for pattern in patterns for path in root.glob(pattern)}
        except (ValueError, NotImplementedError) as error:  # an empty pattern, or one from /
            raise ConfigError(f"pattern must be one of files below {root}, got {patterns[0]!r}: {error}") from error
        paths = sorted(path for path in matches if path.is_file() and not left_behind(path.name))
        if not paths:
            raise ConfigError(f"{root} must hold {' or '.join(patterns)} files, got none")
        splits = dict.fromkeys(SHARD.sub("", path.stem) for path in paths)
        if len(splits) > 1 and self.split is None and self.pattern is None:
            raise ConfigError(
                f"{root} holds Parquet files of {len(splits)} splits, {', '.join(list(splits)[:5])}; choose by "
                f"`with: {{split: {next(iter(splits))}}}`, or by `with: {{pattern: ...}}` ('*.parquet' takes all)"
            )
        return paths

    def _check(self, schema: pa.Schema, paths: list[Path], files: list[pq.ParquetFile]) -> None:
        import pyarrow as pa

        if self.image not in schema.names:
            raise ConfigError(f"{paths[0]} must have a column {self.image!r}, got {', '.join(schema.names)}")
        kind = schema.field(self.image).type
        if pa.types.is_struct(kind):
            kind = kind.field("bytes").type if kind.get_field_index("bytes") >= 0 else kind
        if not (pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
            raise ConfigError(f"column {self.image!r} of {paths[0]} must hold encoded images as bytes, got {kind}")
        for path, file in zip(paths, files, strict=True):
            if not file.schema_arrow.equals(schema):
                raise ConfigError(f"{path} must have the columns of {paths[0].name}; keep one data set in a folder")


def _is_label(kind: pa.DataType) -> bool:
    from pyarrow import types

    tests = (types.is_integer, types.is_floating, types.is_boolean, types.is_string, types.is_large_string)
    return any(test(kind) for test in tests)


def _class_names(metadata: dict[bytes, bytes]) -> dict[str, tuple[str, ...]]:
    """Return the class names of ClassLabel columns from the metadata that `datasets` writes."""
    try:
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
        return {k: tuple(map(str, f["names"])) for k, f in features.items() if f.get("_type") == "ClassLabel"}
    except (KeyError, ValueError, TypeError, AttributeError):
        return {}


def _texts(values: Sequence[object], names: tuple[str, ...] | None, column: str, root: Path) -> list[str]:
    """Return values as text, "" for none; -1 is a missing ClassLabel."""
    if names is None:
        return ["" if value is None else str(value) for value in values]
    texts = []
    for i, value in enumerate(values):
        if value is not None and not (isinstance(value, int) and -1 <= value < len(names)):
            raise ConfigError(f"{root}, row {i}: {column} must be 0 to {len(names) - 1}, got {value}")
        texts.append(names[value] if isinstance(value, int) and value >= 0 else "")
    return texts


class RowGroups:
    """The images of Parquet files; the last row group is cached."""

    def __init__(self, paths: list[Path], files: list[pq.ParquetFile], column: str) -> None:
        self.paths, self.files, self.column = paths, files, column
        self.stamps = [stamp_of(os.path.abspath(path)) for path in paths]
        self.groups = [(f, g) for f, file in enumerate(files) for g in range(file.num_row_groups)]
        self.ends = np.cumsum([files[f].metadata.row_group(g).num_rows for f, g in self.groups])
        self.lock = threading.Lock()
        self.cached: tuple[int, pa.ChunkedArray] | None = None  # the number and the rows of a row group

    def __len__(self) -> int:
        return int(self.ends[-1]) if len(self.ends) else 0

    def _locate(self, index: int) -> tuple[int, int]:
        group = int(np.searchsorted(self.ends, index, side="right"))
        return group, index - (int(self.ends[group - 1]) if group else 0)

    def name(self, index: int) -> str:
        """Return the file and the row in the whole set."""
        return f"{self.paths[self.groups[self._locate(index)[0]][0]].name} row {index}"

    def stamp(self, index: int) -> list[int | str]:
        """Return the row, and the stamp of its file."""
        return [index, *self.stamps[self.groups[self._locate(index)[0]][0]]]

    def read(self, index: int) -> bytes:
        """Return the encoded image, b"" for null.

        Raises:
            OSError: the file cannot be read.
        """
        group, row = self._locate(index)
        with self.lock:
            if self.cached is None or self.cached[0] != group:
                file, number = self.groups[group]
                self.cached = group, self.files[file].read_row_group(number, columns=[self.column]).column(0)
            value = self.cached[1][row].as_py()
        data: bytes | None = value.get("bytes") if isinstance(value, dict) else value
        return data or b""
