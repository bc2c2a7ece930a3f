"""Rows as CSV text that no spreadsheet computes."""

from __future__ import annotations

import csv
import functools
import itertools
from collections.abc import Iterable, Sequence
from typing import Any


def to_csv(rows: Sequence[dict[str, Any]]) -> str:
    """Rows as CSV, blank where a row lacks a key; floats in the shortest form that reads back to the same number."""
    if not rows:
        return ""
    columns = list(dict.fromkeys(k for row in rows for k in row))
    lines = (_joined(map(row.get, columns)) for row in rows)
    return "".join(f"{line}\n" for line in itertools.chain([_fields(columns)], lines))


class _Echo:
    """A file that gives back what is written to it."""

    def write(self, text: str) -> str:
        return text


_csv = csv.writer(_Echo(), lineterminator="\n")


def _fields(values: Iterable[Any]) -> str:
    """Numbers and inert texts as a line of a CSV, or as a part of one, without the line's end."""
    return str(_csv.writerow(values))[:-1]


def _joined(values: Iterable[Any]) -> str:
    """As `_fields`, of any texts."""
    return _fields(map(_cell, values))


def _cell(value: Any) -> str:
    return "" if value is None else float.__repr__(value) if isinstance(value, float) else _inert(str(value))


@functools.lru_cache(maxsize=2**16)  # most texts of a table stand in many rows
def _inert(text: str) -> str:
    """A spreadsheet computes what begins so, spaces before it or not; an apostrophe makes it a text."""
    return "'" + text if text.lstrip().startswith(("=", "+", "-", "@")) and not _is_number(text) else text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
