"""What a finished run measured, cell by cell: values with intervals, ties with the best, and costs."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from bench.core.errors import ConfigError, UnknownName
from bench.core.value import Value, mean_over_seeds
from bench.results.metric_info import metric
from bench.results.read import APOSTROPHE
from bench.results.run import Key, Run, Task

MARKS = {"best": "best", "yes": "tied", "no": "", "": ""}  # of leaderboard.csv's column tied_best


def value_of(rows: Sequence[Any]) -> Value:
    """Return the value of a score, averaged over seeds.

    Args:
        rows: the rows of one score that have a value, one per seed.
    """
    values = []
    for row in rows:
        low, high = (None, None) if math.isnan(row.ci_low) else (row.ci_low, row.ci_high)
        values.append(Value(row.value, low, high, int(row.n)))
    return mean_over_seeds(values, nonnegative=metric(rows[0].metric).nonnegative)


@dataclass(frozen=True)
class Measured:
    """A run's three CSVs; leaderboard.csv and costs.csv are read when first asked for, from beside results.csv."""

    run: Run

    def value(self, key: Key) -> Value | None:
        """A score over its seeds; None where it has no value."""
        good = self.run.good(key)
        return value_of(good) if good else None

    def mark(self, task: Task, method: str) -> str:
        """Where a method's ranking_metric stands on a task by the leaderboard's test: "best", "tied" or "".

        Raises:
            ConfigError: no leaderboard.csv, or one that is of another run.
        """
        row = self._leaderboard.get((task.name, method))
        ranking_metric = self.run.ranking_metric
        found = self.value(Key(task, method, ranking_metric, task.attributes))
        if row is None or found is None:
            return ""
        if row["status"] == "ok" and not _equal(row[ranking_metric], found.value):
            raise ConfigError(
                f"{self._beside('leaderboard.csv')} is not of the same run as {self.run.file}: {ranking_metric} of {method} "
                f"on {task.name} is {row[ranking_metric]!r:.40} there and {found.value!r} here; run the suite again"
            )
        if row["tied_best"] not in MARKS:
            raise ConfigError(
                f"{self._beside('leaderboard.csv')}: tied_best must be best, yes, no or blank, got "
                f"{row['tied_best']!r:.40}; run the suite again"
            )
        return MARKS[row["tied_best"]]

    def cost(self, task: Task, method: str, column: str) -> float | None:
        """The mean over seeds of a column of costs.csv; None where the cell has none.

        Raises:
            ConfigError: no costs.csv, or a field of it that is no finite number.
        """
        found = [row[column] for row in self._costs_of.get((task.name, method), [])]
        numbers = [_number(text) for text in found if text]
        if None in numbers:
            raise ConfigError(
                f"{self._beside('costs.csv')}: {column} of {method} on {task.name} must be finite, got {found}; "
                "restore the file that the run wrote"
            )
        # The digits of np.mean, without what it takes to begin: a page asks for some numbers of every cell.
        return float(np.add.reduce(np.array(numbers, dtype=np.float64)) / len(numbers)) if numbers else None

    def has_cost(self, column: str) -> bool:
        """Whether costs.csv has a column."""
        return column in self._costs[0]

    @property
    def devices(self) -> list[str]:
        """The devices that costs.csv names."""
        return list(dict.fromkeys(name for row in self._costs if (name := row.get("device", ""))))

    def no_cost(self, column: str) -> UnknownName:
        """The error that says so."""
        return UnknownName(f"column of {self._beside('costs.csv')}", column, self._costs[0])

    @cached_property
    def _leaderboard(self) -> dict[tuple[str, str], dict[str, str]]:
        rows = _read(
            self._beside("leaderboard.csv"), ("task", "method", self.run.ranking_metric, "status", "tied_best")
        )
        return {(row["task"], row["method"]): row for row in rows}

    @cached_property
    def _costs_of(self) -> dict[tuple[str, str], list[dict[str, str]]]:
        found: dict[tuple[str, str], list[dict[str, str]]] = {}
        for row in self._costs:
            found.setdefault((row["task"], row["method"]), []).append(row)
        return found

    @cached_property
    def _costs(self) -> list[dict[str, str]]:
        return _read(self._beside("costs.csv"), ("task", "method"))

    def _beside(self, name: str) -> Path:
        return self.run.file.parent / name


def _equal(text: str, value: float) -> bool:
    number = _number(text)
    return number is not None and math.isclose(number, value, rel_tol=1e-12)


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _read(path: Path, columns: Iterable[str]) -> list[dict[str, str]]:
    """The rows of a CSV that a run wrote, without the apostrophe that keeps a spreadsheet from computing a text."""
    try:
        with path.open(newline="", encoding="utf-8") as f:
            plain = cache(partial(APOSTROPHE.sub, ""))  # most texts of a table stand in many rows
            read = csv.DictReader(f, restval="")
            rows = [row if None in row else {k: plain(v) for k, v in row.items()} for row in read]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no table of UTF-8 text"
        raise ConfigError(f"cannot read {path}: {reason}; give the folder of a finished run") from error
    if not rows:
        raise ConfigError(f"{path} holds no rows; run the suite again")
    for column in columns:
        if column not in rows[0]:
            raise ConfigError(f"{path}, line 1: no column {column!r}; restore the file that the run wrote")
    if any(None in row for row in rows):
        raise ConfigError(f"{path} has a line with more fields than columns; restore the file that the run wrote")
    return rows
