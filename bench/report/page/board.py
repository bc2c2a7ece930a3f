"""The leaderboard of a run as data: a row a method and task, a column a metric, every number exact and as shown."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any

from bench.core.rounding import shown
from bench.report.page.ties import marks
from bench.results.metric_info import COUNTED, DEFAULT, metric
from bench.results.quantities import Measured, Quantity, quantity
from bench.results.run import Key, Run, Task

NAMES = {
    "nfe_per_image": "calls/image",
    "backward_per_image": "backward passes/image",
    "seconds_per_image": "seconds/image",
    "fit_nfe": "calls of the fit",
    "fit_backward": "backward passes of the fit",
    "fit_seconds": "seconds of the fit",
}
TIMED = ("seconds_per_image", "fit_nfe", "fit_backward", "fit_seconds")  # columns of costs.csv alone


@dataclass(frozen=True)
class Board:
    """The leaderboard of a run.

    Its columns have a "label", which is unlike any other's, "metric" ("" for a cost), "scope" and "classifier" where
    they are not the task's and the first classifier's, "better" ("lower", "higher" or None), "shown" (whether a reader
    sees
    it before asking), and "cost". Its rows have the numbers of their "task" and "method", "status" and "reason",
    whether
    they are "guided" by their classifier, "lines" (places of their lines in `run.rows`), and "cells": by the number of
    the column, [value, low, high, texts, mark, bound, n, seeds], where texts are what is shown of value and interval,
    mark
    is "best", "tied", "" or None (not tested), and bound is what a perfect sampler reaches in 95 of 100 runs.
    """

    run: Run

    def record(self) -> dict[str, Any]:
        """Columns and rows, as JSON-able values.

        Raises:
            ConfigError: leaderboard.csv or costs.csv are there, and cannot be read or contradict results.csv.
        """
        return {"columns": list(self._columns.values()), "rows": list(self._rows())}

    @cached_property
    def measured(self) -> Measured:
        """The run's three CSVs."""
        return Measured(self.run)

    @property
    def has_costs(self) -> bool:
        """Whether costs.csv is there."""
        return self._has("costs.csv")

    def _has(self, name: str) -> bool:
        return (self.run.file.parent / name).is_file()

    @cached_property
    def _columns(self) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        for key in self.run.scores:
            name = label(key)
            if key.metric not in COUNTED and name not in found:
                found[name] = _column(name, key)
        order = sorted(
            found, key=lambda name: found[name]["metric"] != self.run.ranking_metric
        )  # stable: the ranking_metric first
        costs = [*COUNTED, *(c for c in TIMED if self.has_costs and self.measured.has_cost(c))]
        return {name: found[name] for name in order} | {name: _cost_column(name) for name in costs}

    def _rows(self) -> Iterable[dict[str, Any]]:
        numbers = {name: i for i, name in enumerate(self._columns)}
        marked = self._marks()
        lines: dict[tuple[str, str, str], list[int]] = {}
        columns = (self.run.rows[name].tolist() for name in ("attributes", "target", "method"))
        for i, place in enumerate(zip(*columns, strict=True)):
            lines.setdefault(place, []).append(i)
        guided = self.run.rows["guided_by_classifier"].tolist()
        tasks, methods = ({name: i for i, name in enumerate(all_)} for all_ in (self.run.tasks, self.run.methods))
        keys: dict[tuple[Task, str], list[Key]] = {}
        for key in self.run.scores:
            keys.setdefault((key.task, key.method), []).append(key)
        for (attributes, target, method), places in lines.items():
            task = Task(attributes, target)
            status, reason = self.run.reason(Key(task, method, self.run.ranking_metric, attributes))
            cells = {}
            for key in keys.get((task, method), []):
                good = self.run.good(key)
                if good:
                    mark = marked.get(key[:1] + key[2:], {}).get(method)
                    cells[numbers[label(key)]] = cell(quantity(good), mark, _bound(good))
            for name in TIMED:
                value = self.measured.cost(task, method, name) if name in numbers else None
                if value is not None:
                    cells[numbers[name]] = cell(Quantity(value), None, None)
            yield {
                "task": tasks[task],
                "method": methods[method],
                "status": status or "ok",
                "reason": reason,
                "guided": any(guided[i] for i in places),
                "lines": places,
                "cells": cells,
            }

    def _marks(self) -> dict[tuple[Any, ...], Mapping[str, str]]:
        """(task, metric, scope, classifier) to the marks of methods: of leaderboard.csv where it has them."""
        groups: dict[tuple[Any, ...], list[Key]] = {}
        for key in self.run.scores:
            if _tested(key):
                groups.setdefault(key[:1] + key[2:], []).append(key)
        found: dict[tuple[Any, ...], Mapping[str, str]] = {}
        for group, keys in groups.items():
            if group[1:] == (self.run.ranking_metric, group[0].attributes, "") and self._has("leaderboard.csv"):
                found[group] = {key.method: self.measured.mark(key.task, key.method) for key in keys}
            else:
                found[group] = marks(self.run, keys)
        return found


def _tested(key: Key) -> bool:
    """Whether there is a test: over the whole task, not over one attribute or class of several.

    Not of `fd_l1`, a variant of the ranking_metric, whose pairs would all be redrawn to tell the same again.
    """
    if key.metric in (*COUNTED, "fd_l1"):
        return False
    return key.scope == key.task.attributes or not key.scope.startswith(tuple(key.task.attributes.split("+")))


def _bound(good: Iterable[Any]) -> float | None:
    bounds = {float(row.noise_floor) for row in good}
    one = bounds.pop() if len(bounds) == 1 else None
    return None if one is None or math.isnan(one) else one


def label(key: Key) -> str:
    """The name of a number's column: its metric, over what if not over the task or all samples, and by which classifier."""
    scope = "" if key.scope in (key.task.attributes, "all") else f" over {key.scope}"
    return key.metric + scope + (f" by {key.classifier}" if key.classifier else "")


def cell(number: Quantity, mark: str | None, bound: float | None) -> list[Any]:
    """A number with all that is shown of it."""
    texts = shown(number.value, number.low, number.high, "brackets")
    return [number.value, number.low, number.high, list(texts), mark, bound, number.n, number.seeds]


def _column(name: str, key: Key) -> dict[str, Any]:
    usual = any(fnmatchcase(key.metric, pattern) for pattern in DEFAULT)
    inside = key.scope in key.task.attributes.split("+") and key.scope != key.task.attributes
    return {
        "label": name,
        "name": name,
        "metric": key.metric,
        "scope": "" if key.scope in (key.task.attributes, "all") else key.scope,
        "classifier": key.classifier,
        "better": metric(key.metric).better,
        "shown": usual and not inside,
        "cost": False,
    }


def _cost_column(name: str) -> dict[str, Any]:
    common = {"metric": "", "scope": "", "classifier": "", "better": "lower", "cost": True}
    return {"label": NAMES[name], "name": name, "shown": name in COUNTED, **common}
