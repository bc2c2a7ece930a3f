"""The one reader of run tables: results.csv, leaderboard.csv, costs.csv and prompts.csv."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

from bench.core.csv_text import read_csv_lines, unescape
from bench.core.errors import ConfigError

ADVICE = "restore the file that the run wrote"
COMMAND = re.compile(r"[\x1b\x80-\x9f]")  # a character that begins a terminal's command

# Files written before are read under today's names, for this one release.
RENAMED_COLUMNS = {
    "null_bound": "noise_floor",
    "judge": "classifier",
    "guided_by_judge": "guided_by_classifier",
    "judge_confusion": "classifier_confusion",
    "judge_sha256": "classifier_sha256",
    "fd_null_bound": "fd_noise_floor",
    "judge_accuracy": "classifier_accuracy",
}
RENAMED_METRICS = {"twin_cosine_": "paired_cosine_", "twin_distance_": "paired_distance_"}  # how they begin


class Record(dict[str, str]):
    """A row of a run's table as texts by column, with its place in the file for errors.

    Attributes:
        path: the file.
        line: the line that the row ends in.
    """

    def __init__(self, fields: Mapping[str, str], path: Path, line: int) -> None:
        """Take a row's fields and its place."""
        super().__init__(fields)
        self.path, self.line = path, line

    def number(self, column: str) -> float | None:
        """Return the finite number of a column; None where it is blank or the table has no such column.

        Raises:
            ConfigError: the field is no finite number.
        """
        text = self.get(column, "")
        if not text:
            return None
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise self.wrong(column, "must be a finite number or blank")
        return value

    def required(self, column: str) -> float:
        """Return the finite number of a column.

        Raises:
            ConfigError: the field is blank, or no finite number.
        """
        value = self.number(column)
        if value is None:
            raise self.wrong(column, "must be a finite number")
        return value

    def whole(self, column: str) -> int:
        """Return the whole number of a column, at least 0.

        Raises:
            ConfigError: the field is another text, or blank.
        """
        text = self.get(column, "")
        if not (text.isascii() and text.isdigit()) or len(text) > 15:
            raise self.wrong(column, "must be a whole number")
        return int(text)

    def wrong(self, column: str, must: str) -> ConfigError:
        """Return the error that names file, line and column."""
        return ConfigError(
            f"{self.path}, line {self.line}, column {column}: {must}, got {self.get(column, '')!r:.60}; {ADVICE}"
        )


def current_metric(name: str) -> str:
    """Return the name that a metric has today, given the one that a file has."""
    for old, new in RENAMED_METRICS.items():
        if name.startswith(old):
            return new + name.removeprefix(old)
    return name


def read_lines(path: Path) -> tuple[list[str], Iterator[tuple[int, list[str]]]]:
    """Read a run's table line by line.

    Returns:
        The names of the columns, as they are called today, and the rows: line number and as many fields as there are
        names, each as it stands in the file.

    Raises:
        ConfigError: the file cannot be read, two columns have one name, or a name holds a command of the terminal. The
            rows raise it for a line that has another number of fields.
    """
    lines = read_csv_lines(path, ADVICE)
    _, header = next(lines, (0, []))
    names = [RENAMED_COLUMNS.get(name, name) for name in header]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ConfigError(f"{path}, line 1: two columns are called {twice!r}; {ADVICE}")
    for name in filter(COMMAND.search, names):
        raise ConfigError(f"{path}, line 1, column {name}: must hold no terminal's command, got {name!r:.60}; {ADVICE}")
    return names, _checked(path, lines, len(names))


def _checked(path: Path, lines: Iterator[tuple[int, list[str]]], width: int) -> Iterator[tuple[int, list[str]]]:
    for line, fields in lines:
        if len(fields) != width:
            raise ConfigError(
                f"{path}, line {line}: must have {width} fields, as many as line 1, got {len(fields)}; {ADVICE}"
            )
        yield line, fields


def read_records(path: Path, columns: Sequence[str], *, may_be_empty: bool = False) -> list[Record]:
    """Read a run's table as rows of texts, without the apostrophes that spreadsheets need.

    Args:
        path: the file.
        columns: names that the table must have.
        may_be_empty: whether a table without rows is none, as costs.csv is where every cell failed.

    Raises:
        ConfigError: as `read_lines`; no rows where there must be some; a missing column; or a field that holds a
            command of the terminal.
    """
    names, lines = read_lines(path)
    plain = cache(_plain)  # most texts of a table stand in many rows
    metric = names.index("metric") if "metric" in names else None
    records = []
    for line, fields in lines:
        texts = [plain(text) for text in fields]
        if metric is not None and texts[metric] is not None:
            texts[metric] = current_metric(texts[metric] or "")
        record = Record({n: t for n, t in zip(names, texts, strict=True) if t is not None}, path, line)
        if None in texts:
            column = names[texts.index(None)]
            record[column] = fields[names.index(column)]
            raise record.wrong(column, "must hold no terminal's command")
        records.append(record)
    if not records and may_be_empty:
        return records
    if not records:
        raise ConfigError(f"{path} holds no rows; run the suite again, or copy the file again")
    for column in columns:
        if column not in names:
            raise ConfigError(f"{path}, line 1: no column {column!r}; {ADVICE}")
    return records


def _plain(text: str) -> str | None:
    """Return a field's text without the writer's apostrophe; None where it holds a command of the terminal."""
    return None if COMMAND.search(text) else unescape(text)
