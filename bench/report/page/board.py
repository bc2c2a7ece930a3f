"""The leaderboard of a run as the page's data: a row per method and task, a column per metric, every number exact."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from typing import NamedTuple, TypedDict

from bench.core.rounding import shown
from bench.core.value import Value
from bench.protocols.evaluator import Better
from bench.report.page.ties import marks
from bench.results.key import Key, Task
from bench.results.metric_info import COUNTED, DEFAULT, metric
from bench.results.run import Run

LABELS = {
    "nfe_per_image": "NFE per image",
    "backward_per_image": "backward passes per image",
    "seconds_per_image": "seconds per image",
    "fit_nfe": "NFE of the fit",
    "fit_backward": "backward passes of the fit",
    "fit_seconds": "seconds of the fit",
}
TIMED = ("seconds_per_image", "fit_nfe", "fit_backward", "fit_seconds")  # columns of costs.csv only


class Number(NamedTuple):
    """A number and everything that the page shows of it; a list in the page's JSON.

    Attributes:
        value: exact.
        low: lower end of the 95 % interval, None where there is none.
        high: upper end.
        texts: value and interval, rounded.
        mark: "best", "tied" (not significantly different from the best), "", or None where nothing was tested.
        noise_floor: 95th percentile of the metric for a sampler that matches the target exactly at this n and number
            of seeds; None where it is not known.
        n: samples per seed.
        seeds: number of seeds averaged, which are fewer than the run's where a seed has no value.
    """

    value: float
    low: float | None
    high: float | None
    texts: list[str]
    mark: str | None
    noise_floor: float | None
    n: int | None
    seeds: int

    @classmethod
    def of(cls, value: Value, mark: str | None = None) -> Number:
        """Return a value with its texts."""
        texts = list(shown(value.value, value.low, value.high, "brackets"))
        return cls(value.value, value.low, value.high, texts, mark, value.noise_floor, value.n, value.seeds)


class BoardColumn(TypedDict):
    """A column of the leaderboard.

    Attributes:
        label: what the page shows; no two columns share it.
        name: in URLs; the label, or the cost's name in costs.csv.
        metric: "" for a cost.
        scope: "" for the task's attributes or all samples.
        classifier: "" for the run's first classifier.
        better: the better direction; None where there is none.
        shown: whether the page shows the column before the reader chooses columns.
        cost: whether it is a cost.
    """

    label: str
    name: str
    metric: str
    scope: str
    classifier: str
    better: Better | None
    shown: bool
    cost: bool


class BoardRow(TypedDict):
    """A method on a task.

    Attributes:
        task: its index in the run.
        method: its index in the run.
        status: "ok", or why there is no number.
        reason: a sentence on the status.
        guided: whether the method was guided by the classifier that classifies its samples.
        lines: indices of its lines in `Run.rows`.
        cells: index of the column to the number.
    """

    task: int
    method: int
    status: str
    reason: str
    guided: bool
    lines: list[int]
    cells: dict[int, Number]


class BoardRecord(TypedDict):
    """Columns and rows of the leaderboard."""

    columns: list[BoardColumn]
    rows: list[BoardRow]


class Group(NamedTuple):
    """Scores that are compared with each other: one per method."""

    task: Task
    metric: str
    scope: str
    classifier: str

    @classmethod
    def of(cls, key: Key) -> Group:
        """Return the group of a score."""
        return cls(key.task, key.metric, key.scope, key.classifier)


@dataclass(frozen=True)
class Board:
    """The leaderboard of a run."""

    run: Run

    def record(self) -> BoardRecord:
        """Return columns and rows, as JSON-able values.

        Raises:
            ConfigError: leaderboard.csv or costs.csv exist, and cannot be read or contradict results.csv.
        """
        return {"columns": list(self._columns.values()), "rows": list(self._rows())}

    @property
    def has_costs(self) -> bool:
        """True if costs.csv exists."""
        return self._has("costs.csv")

    def _has(self, name: str) -> bool:
        return (self.run.file.parent / name).is_file()

    @cached_property
    def _columns(self) -> dict[str, BoardColumn]:
        columns: dict[str, BoardColumn] = {}
        for key in self.run.by_key:
            name = label(key)
            if key.metric not in COUNTED and name not in columns:
                columns[name] = _column(name, key)
        # The sort is stable: the ranking metric first, the others in the order of the run.
        order = sorted(columns, key=lambda name: columns[name]["metric"] != self.run.ranking_metric)
        costs = [*COUNTED, *(c for c in TIMED if self.has_costs and self.run.has_cost(c))]
        return {name: columns[name] for name in order} | {name: _cost_column(name) for name in costs}

    def _rows(self) -> Iterable[BoardRow]:
        lines: dict[tuple[str, str, str], list[int]] = {}
        columns = (self.run.rows[name].tolist() for name in ("attributes", "target", "method"))
        for i, cell in enumerate(zip(*columns, strict=True)):
            lines.setdefault(cell, []).append(i)
        guided = self.run.rows["guided_by_classifier"].tolist()
        tasks, methods = ({name: i for i, name in enumerate(names)} for names in (self.run.tasks, self.run.methods))
        for (attributes, target, method), indices in lines.items():
            task = Task(attributes, target)
            status, reason = self.run.reason(Key(task, method, self.run.ranking_metric, attributes))
            yield {
                "task": tasks[task],
                "method": methods[method],
                "status": status or "ok",
                "reason": reason,
                "guided": any(guided[i] for i in indices),
                "lines": indices,
                "cells": self._cells(task, method),
            }

    def _cells(self, task: Task, method: str) -> dict[int, Number]:
        """Return the numbers of a method on a task by the index of their column."""
        cells = {}
        for key in self._keys.get((task, method), []):
            value = self.run.value(key)
            if value is not None:
                mark = self._marks.get(Group.of(key), {}).get(method)
                cells[self._index[label(key)]] = Number.of(value, mark)
        for name in TIMED:
            cost = self.run.cost(task, method, name) if name in self._index else None
            if cost is not None:
                cells[self._index[name]] = Number.of(Value(cost, seeds=self.run.rows["seed"].nunique()))
        return cells

    @cached_property
    def _index(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(self._columns)}

    @cached_property
    def _keys(self) -> dict[tuple[Task, str], list[Key]]:
        keys: dict[tuple[Task, str], list[Key]] = {}
        for key in self.run.by_key:
            keys.setdefault((key.task, key.method), []).append(key)
        return keys

    @cached_property
    def _marks(self) -> dict[Group, Mapping[str, str]]:
        """The marks of methods by group; those of the ranking metric are leaderboard.csv's where the file exists."""
        groups: dict[Group, list[Key]] = {}
        for key in self.run.by_key:
            if _tested(key):
                groups.setdefault(Group.of(key), []).append(key)
        return {group: self._marks_of(group, keys) for group, keys in groups.items()}

    def _marks_of(self, group: Group, keys: Sequence[Key]) -> Mapping[str, str]:
        ranked = Group(group.task, self.run.ranking_metric, group.task.attributes, "")
        if group == ranked and self._has("leaderboard.csv"):
            return {key.method: self.run.mark(key.task, key.method) for key in keys}
        return marks(self.run, keys)


def _tested(key: Key) -> bool:
    """Return whether a score is tested: it is of the whole task, not of one of several attributes or classes.

    `fd_l1` is a variant of the ranking metric: a bootstrap of all its pairs would repeat the ranking metric's marks.
    """
    if key.metric in (*COUNTED, "fd_l1"):
        return False
    return key.scope == key.task.attributes or not key.scope.startswith(tuple(key.task.attributes.split("+")))


def label(key: Key) -> str:
    """Return the name of a score's column: metric, scope unless it is the task or all samples, and other classifier."""
    scope = "" if key.scope in (key.task.attributes, "all") else f" over {key.scope}"
    return key.metric + scope + (f" by {key.classifier}" if key.classifier else "")


def _column(name: str, key: Key) -> BoardColumn:
    by_default = any(fnmatchcase(key.metric, pattern) for pattern in DEFAULT)
    of_one_attribute = key.scope in key.task.attributes.split("+") and key.scope != key.task.attributes
    return {
        "label": name,
        "name": name,
        "metric": key.metric,
        "scope": "" if key.scope in (key.task.attributes, "all") else key.scope,
        "classifier": key.classifier,
        "better": metric(key.metric).better,
        "shown": by_default and not of_one_attribute,
        "cost": False,
    }


def _cost_column(name: str) -> BoardColumn:
    return {
        "label": LABELS[name],
        "name": name,
        "metric": "",
        "scope": "",
        "classifier": "",
        "better": "lower",
        "shown": name in COUNTED,
        "cost": True,
    }
