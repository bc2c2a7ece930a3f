"""Finished runs as lines that can be compared, and why two lines cannot be."""

from __future__ import annotations

import math
from collections import namedtuple
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property, partial
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from bench.core.attributes import target_name
from bench.core.gc_pause import gc_paused
from bench.core.schema import ranking_metric_of
from bench.results.metric_info import COUNTED, metric
from bench.results.read import distinct, read_results, results_file, target_shares

# Column to what a reader calls it: where two rows differ in one of these, their numbers mean different things.
PROTOCOL = {
    "protocol": "protocol",
    "model_sha256": "model weights",
    "sampler": "sampler",
    "steps": "sampler steps",
    "eta": "eta",
    "spacing": "spacing of the steps",
    "precision": "precision",
    "n_asked": "number of samples",
    "n": "number of samples scored",
}
BLOCK = 10_000  # rows that are made objects at a time
CELL = ("attributes", "target", "method", "seed")
JUDGE = {
    "classifier": "classifier",
    "classifier_sha256": "classifier's weights",
    "classifier_confusion": "classifier's measured confusion",
}


class Task(NamedTuple):
    """A task, as results.csv writes it."""

    attributes: str
    target: str

    @property
    def name(self) -> str:
        """As the leaderboard calls it."""
        return _name(self.attributes, self.target)

    def answers(self, asked: str) -> bool:
        """Whether `--task` means it."""
        return asked in (self.attributes, self.name)


@cache
def _name(attributes: str, target: str) -> str:
    return f"{attributes} {target_name(tuple(target_shares(target).tolist()))}"


class Key(NamedTuple):
    """What a number is of, apart from the seed."""

    task: Task
    method: str
    metric: str
    scope: str
    classifier: str = ""  # whose classes it is of, where that is not the run's first classifier

    @property
    def label(self) -> str:
        """The number's name within its task and method."""
        return f"{self.metric} over {self.scope}" + (f" by {self.classifier}" if self.classifier else "")


@dataclass(frozen=True)
class Run:
    """A finished run: its results.csv, checked."""

    file: Path
    rows: pd.DataFrame

    @classmethod
    def open(cls, path: Path) -> Run:
        """Read a run's folder or its CSV.

        Raises:
            ConfigError: as `bench.results.read.read_results`.
        """
        file = results_file(path)
        return cls(file, read_results(file))

    @cached_property
    def store(self) -> Path:
        """Where the run's arrays are, if it is still where it was made."""
        return self.file.resolve().parent.parent / "store"

    @cached_property
    @gc_paused()
    def scores(self) -> dict[Key, list[Any]]:
        """The rows of every metric, one a seed, in order of seeds; the counted costs of a cell among them."""
        found: dict[Key, list[Any]] = {}
        tasks = {(task.attributes, task.target): task for task in self.tasks}
        order = np.argsort(self.rows["seed"].to_numpy(), kind="stable")
        first = ~self.rows.duplicated(list(CELL)).to_numpy()[order]  # of its cell
        counted = zip(*(_lines(_counted(self.rows.iloc[order[first]], name)) for name in COUNTED), strict=True)
        groups = self.rows.groupby([*CELL[:3], "metric", "scope", "classifier"], sort=False, observed=True).ngroup()
        of_group: dict[int, list[Any]] = {}
        lines = _lines(self.rows, order)
        for row, is_first, group in zip(lines, first.tolist(), groups.to_numpy()[order].tolist(), strict=True):
            for line in next(counted) if is_first else ():
                if not math.isnan(line.value):
                    key = Key(tasks[line.attributes, line.target], line.method, line.metric, line.scope)
                    found.setdefault(key, []).append(line)
            if group not in of_group:
                other = row.classifier if row.classifier != self.classifier and metric(row.metric).classified else ""
                key = Key(tasks[row.attributes, row.target], row.method, row.metric, row.scope, other)
                of_group[group] = found.setdefault(key, []) if row.metric else []
            of_group[group].append(row)
        return found

    @cached_property
    def classifier(self) -> str:
        """The first classifier, which decides the leaderboard's order."""
        return str(self.rows["classifier"].iloc[0])

    @cached_property
    def has_prompts(self) -> bool:
        """Whether its samples are of several prompts."""
        return "prompts" in self.rows.columns

    @property
    def ranking_metric(self) -> str:
        """The metric that decides the leaderboard's order."""
        return ranking_metric_of(self.has_prompts)

    @cached_property
    def methods(self) -> list[str]:
        """In the order of the file."""
        return list(dict.fromkeys(self.rows["method"]))

    @cached_property
    def tasks(self) -> list[Task]:
        """In the order of the file."""
        return [Task(*pair) for pair in dict.fromkeys(zip(self.rows["attributes"], self.rows["target"], strict=True))]

    @cached_property
    def metrics(self) -> list[str]:
        """Names, in the order of the file, the counted costs last."""
        return [*(m for m in dict.fromkeys(self.rows["metric"]) if m), *COUNTED]

    @property
    def gateable(self) -> dict[str, set[tuple[str, str]]]:
        """Every metric that has a value, with its scopes and, where that is not the first, its classifier."""
        found: dict[str, set[tuple[str, str]]] = {}
        for key in self.scores:
            if self.good(key):
                found.setdefault(key.metric, set()).add((key.scope, key.classifier))
        return found

    def good(self, key: Key) -> list[Any]:
        """The rows with a value."""
        return [row for row in self.scores.get(key, []) if row.status == "ok"]

    @cached_property
    def _broken(self) -> dict[tuple[str, str, str], tuple[str, str] | None]:
        """Of every attributes, target and method: status and reason of the first seed without scores, if there is one.

        A line without metric beside others of its seed is of an extractor.
        """
        of_method = list(CELL[:3])
        scored = (self.rows["metric"] != "").groupby([self.rows[c] for c in CELL], observed=True).transform("any")
        found: dict[tuple[str, str, str], tuple[str, str] | None] = {}
        for row in _lines(self.rows.drop_duplicates(of_method)):
            found[row.attributes, row.target, row.method] = None
        for row in _lines(self.rows[~scored].drop_duplicates(of_method)):
            found[row.attributes, row.target, row.method] = row.status, row.reason
        return found

    def reason(self, key: Key) -> tuple[str, str]:
        """Why there is no value, or not one for every seed: a status ("failed", "missing", ...) and a sentence.

        ("", "") where there is one for every seed.
        """
        cell = (*key.task, key.method)
        if cell not in self._broken:
            if key.task not in self.tasks:
                return "missing", _no_task(self, key.task)
            return "missing", f"{self.file} has no {key.method} on {key.task.name}"
        broken = self._broken[cell]
        if broken is not None:
            return broken[0], broken[1] or "no reason was given"
        bad = [row for row in self.scores.get(key, []) if row.status != "ok"]
        if bad:
            return bad[0].status, bad[0].reason or "no reason was given"
        return ("", "") if key in self.scores else ("missing", _no_metric(self, key))


def _lines(rows: pd.DataFrame, order: npt.NDArray[np.intp] | None = None) -> Iterator[Any]:
    """The rows as named tuples, in an order of their places; equal values are one object, which takes less memory."""
    line = namedtuple("Line", ["Index", *rows.columns], rename=True)  # type: ignore[misc]
    make = partial(tuple.__new__, line)
    columns = [distinct(rows[name]) for name in rows.columns]
    index, order = rows.index.to_numpy(), np.arange(len(rows)) if order is None else order
    for start in range(0, len(rows), BLOCK):
        block = order[start : start + BLOCK]
        values = (of_column[places[block]].tolist() for places, of_column in columns)
        yield from map(make, zip(index[block].tolist(), *values, strict=True))


def _counted(first: pd.DataFrame, name: str) -> pd.DataFrame:
    """A counted cost as a score, given one row a cell."""
    blank: dict[str, Any] = {"ci_low": math.nan, "ci_high": math.nan, "status": "ok", "reason": ""}
    return first.assign(metric=name, scope="all", value=first[name], n=first["n_asked"], **blank)


def _no_task(run: Run, task: Task) -> str:
    others = [t.name for t in run.tasks if t.attributes == task.attributes]
    why = (
        f"; its target is another: {', '.join(others)}"
        if others
        else f"; it has {', '.join(t.name for t in run.tasks)}"
    )
    return f"{run.file} has no task {task.name}{why}"


def _no_metric(run: Run, key: Key) -> str:
    classifiers = dict.fromkeys(k.classifier or run.classifier for k in run.scores if k[:4] == key[:4])
    if classifiers:
        return f"another classifier: {run.file} has {key.metric} by {', '.join(classifiers)}, not by {key.classifier}"
    scopes = dict.fromkeys(k.scope for k in run.scores if k[:3] == key[:3])
    if scopes:
        return f"another reference: {run.file} has {key.metric} against {', '.join(scopes)}, not {key.scope}"
    return f"{run.file} has no {key.metric} of {key.method} on {key.task.name}"


def why_not(a: list[Any], b: list[Any]) -> str:
    """Why rows of two lines of one metric are not comparable; empty where they are."""
    one, two = a[0], b[0]
    names = {**PROTOCOL, **(JUDGE if metric(one.metric).classified else {})}
    facts = attrgetter(*names)
    columns = (map(set, zip(*map(facts, rows), strict=True)) for rows in (a, b))
    for name, mine, other in zip(names.values(), *columns, strict=True):
        if mine != other:
            return f"other {name}: {_short(sorted(mine))} and {_short(sorted(other))}"
    for row in (one, two):
        if not metric(row.metric).exact and math.isnan(row.ci_low):
            return f"{row.metric} has no interval, so there is no test of it"
    return ""


def _short(values: list[Any]) -> str:
    return ", ".join(str(v) if len(str(v)) <= 24 else str(v)[:12] + "..." for v in values)
