"""Assemble a declared set: read its format's table, choose rows, check and hash their files."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bench.config.data_source import DataSource
from bench.config.shipped_sets import SETS
from bench.core.digest import digest_of
from bench.core.errors import ConfigError
from bench.core.plugins import load
from bench.core.yaml_models import fill
from bench.data.decode import Shape
from bench.data.intake import checked, content, decoded
from bench.data.labels import Labels, read_labels
from bench.data.subsample import choose
from bench.data.table import Format, Table
from bench.protocols.images import ImagesOnDemand, LabelledImages

SHOWN = 5  # number of unusable files that an error names


def assemble(source: DataSource, n: int | None, size: int) -> LabelledImages:
    """Return the declared set; every chosen file has been read to its end and hashed, none is decoded yet.

    Args:
        source: the declaration.
        n: number of images, all by default.
        size: side in pixels.

    Raises:
        UnknownName: no such attribute, or no such field of the format.
        ConfigError: a file or label does not have its format, more files are unusable than are tolerated, or there
            are too few for the subsample.
    """
    table = _format(source).table()
    labels = read_labels(table, source)
    shape = Shape(size, source.crop, source.resample, source.enlarge, source.max_pixels)
    unusable = dict(labels.problems)
    while True:
        try:
            rows = choose(labels.values, labels.attributes, source.subsample, n, source.seed, unusable, source.title)
        except ConfigError:
            _tolerate(_problems(table, unusable), source, table)  # likely the reason that too few are left
            raise
        hashes, broken = checked(table.pictures, rows, shape, source.title)
        broken |= _contradictions(table, rows, hashes, labels.values, broken)
        unusable |= broken
        problems = _problems(table, unusable)
        _tolerate(problems, source, table)  # after the files were read, so that one round names all problems
        if not broken:
            return _labelled(source, table, labels, rows, hashes, shape, problems)


def stamp(source: DataSource) -> str:
    """Return a hash of the declaration and of the files' names, sizes and times, without reading an image."""
    if source.name in SETS:
        return digest_of(source.model_dump(mode="json"))  # drawn by code that is part of the run's fingerprint
    table = _format(source).table()
    stamps = [table.pictures.stamp(i) for i in range(len(table.pictures))]
    columns = {choice.column: list(table.columns.get(choice.column, ())) for choice in source.attributes}
    return digest_of([source.model_dump(mode="json"), stamps, columns, dict(table.problems)])


def _format(source: DataSource) -> Format:
    format: type[Format] = load("data format", source.name, "Format")
    unlabelled = {"unlabelled": True} if not source.attributes and hasattr(format, "unlabelled") else {}
    return fill(format, {"root": source.root, **unlabelled, **source.fields}, "format", source.name)


def _problems(table: Table, unusable: dict[int, str]) -> dict[str, str]:
    return dict(table.problems) | {table.pictures.name(i): why for i, why in unusable.items()}


def _contradictions(
    table: Table,
    rows: npt.NDArray[np.int64],
    hashes: npt.NDArray[np.uint8],
    values: npt.NDArray[np.int64],
    broken: dict[int, str],
) -> dict[int, str]:
    """Return the chosen pictures that have the bytes of another one and other labels, with the reason."""
    usable = [k for k, row in enumerate(rows.tolist()) if row not in broken]
    first: dict[bytes, int] = {}
    problems: dict[int, str] = {}
    for k in usable:
        row = int(rows[k])
        duplicate = first.setdefault(hashes[k].tobytes(), row)
        if (values[row] != values[duplicate]).any():
            problems[row] = f"the same file as {table.pictures.name(duplicate)}, with another label"
            problems[duplicate] = f"the same file as {table.pictures.name(row)}, with another label"
    return problems


def _tolerate(problems: dict[str, str], source: DataSource, table: Table) -> None:
    n = len(table.pictures) + len(table.problems)
    if len(problems) > source.tolerate:
        examples = ", ".join(f"{name} ({why})" for name, why in list(problems.items())[:SHOWN])
        remainder = f" and {len(problems) - SHOWN:,} more" if len(problems) > SHOWN else ""
        raise ConfigError(
            f"data set {source.title} must have at most {source.tolerate:,} unusable files, got {len(problems):,} of "
            f"{n:,}: {examples}{remainder}; mend them, or set `tolerate: {len(problems)}` to do without"
        )


def _labelled(
    source: DataSource,
    table: Table,
    labels: Labels,
    rows: npt.NDArray[np.int64],
    hashes: npt.NDArray[np.uint8],
    shape: Shape,
    problems: dict[str, str],
) -> LabelledImages:
    values = labels.values[rows]
    counts = np.zeros(tuple(a.n_classes for a in labels.attributes))
    np.add.at(counts, tuple(values.T), 1.0)
    digest = content(hashes, values, labels.attributes, shape)
    return ImagesOnDemand(
        source.title,
        len(rows),
        lambda: decoded(table.pictures, rows, hashes, values, shape, digest, source.title),
        labels.attributes,
        counts / counts.sum(),
        digest,
        left_out=tuple(f"{name}: {why}" for name, why in problems.items()),
    )
