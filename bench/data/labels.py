"""Turn columns of text into attributes with classes."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bench.config.data_source import AttributeChoice, DataSource
from bench.core.attributes import Attribute
from bench.core.errors import ConfigError, UnknownName
from bench.core.yaml_models import no_text
from bench.data.table import Table

MOST = 50  # limit of the distinct values of a column without declared classes


@dataclass(frozen=True)
class Labels:
    """The labels of a table's pictures.

    Attributes:
        attributes: the declared attributes, with their classes.
        values: int64 [pictures, number of attributes]; -1 where a picture has no label.
        problems: index of each picture without a label, with the reason.
    """

    attributes: tuple[Attribute, ...]
    values: npt.NDArray[np.int64]
    problems: Mapping[int, str]


def read_labels(table: Table, source: DataSource) -> Labels:
    """Return the declared attributes of a table.

    Raises:
        UnknownName: no such column.
        ConfigError: a value belongs to no class, is no number where `edges` are given, or a column has too many values
            to be classes.
    """
    attributes, columns = [], []
    problems: dict[int, str] = {}
    for choice in source.attributes:
        if choice.column not in table.columns:
            raise UnknownName(f"column of {source.title}", choice.column, table.columns)
        texts = table.columns[choice.column]
        problems |= {i: f"no value of {choice.column}" for i, text in enumerate(texts) if not text}
        attribute, column = _binned(choice, table, source) if choice.edges else _classed(choice, table, source)
        attributes.append(attribute)
        columns.append(column)
    blank = np.zeros((len(table.pictures), 0), dtype=np.int64)  # of a set without attributes
    return Labels(tuple(attributes), np.stack(columns, axis=1) if columns else blank, problems)


def _classed(choice: AttributeChoice, table: Table, source: DataSource) -> tuple[Attribute, npt.NDArray[np.int64]]:
    texts = table.columns[choice.column]
    values = table.classes.get(choice.column) or tuple(sorted(set(texts) - {""}))
    if isinstance(choice.classes, dict):
        names = tuple(choice.classes)
        class_of = {value: k for k, group in enumerate(choice.classes.values()) for value in group}
    elif choice.classes is not None and choice.column in table.classes:  # other names for the format's own classes
        names = choice.classes
        if set(names) != set(values) and len(names) != len(values):
            raise ConfigError(
                f"{choice.name} of {source.title} must have {len(values)} classes, for {', '.join(values)}, got "
                f"{', '.join(names)}; to group values, give each class its list"
            )
        class_of = {value: k for k, value in enumerate(names if set(names) == set(values) else values)}
    else:
        names = choice.classes or values
        class_of = {value: k for k, value in enumerate(names)}
        if choice.classes is None and not 2 <= len(values) <= MOST:
            raise ConfigError(
                f"{choice.name} of {source.title} must have 2 to {MOST} values to be classes, got {len(values)}: "
                f"{', '.join(values[:3])}; name its classes, or give `edges` if it is a number"
            )
    for name in names:
        if (odd := no_text(name)) is not None:
            raise ConfigError(f"a class of {choice.name} of {source.title} must not hold {odd}, got {name!r:.60}")
    for i, text in enumerate(texts):
        if text and text not in class_of:
            n = sum(1 for value in texts if value and value not in class_of)
            raise ConfigError(
                f"{choice.name} of {source.title} must be one of {', '.join(class_of)}, got {text!r} for "
                f"{table.pictures.name(i)} ({n:,} such images); mend the label or name a class for it"
            )
    return Attribute(choice.name, names), np.array([class_of.get(text, -1) for text in texts], dtype=np.int64)


def _binned(choice: AttributeChoice, table: Table, source: DataSource) -> tuple[Attribute, npt.NDArray[np.int64]]:
    assert choice.edges is not None
    edges = choice.edges
    numbers = np.full(len(table.pictures), np.nan)
    for i, text in enumerate(table.columns[choice.column]):
        try:
            numbers[i] = float(text) if text else np.nan
        except ValueError:
            text_is_number = False
        else:
            text_is_number = not text or bool(np.isfinite(numbers[i]))
        if not text_is_number:
            raise ConfigError(
                f"{choice.column} of {source.title} must be a number to have edges, got {text!r} for "
                f"{table.pictures.name(i)}; mend the label or name classes"
            )
    middle = (f"{low:g} to {high:g}" for low, high in itertools.pairwise(edges))
    assert not isinstance(choice.classes, dict)
    names = choice.classes or (f"below {edges[0]:g}", *middle, f"from {edges[-1]:g}")
    bins = np.searchsorted(np.array(edges), numbers, side="right")
    return Attribute(choice.name, names), np.where(np.isnan(numbers), -1, bins).astype(np.int64)
