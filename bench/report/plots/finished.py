"""What plots are drawn from: a finished run, the looks of its methods, and why a number of it is not there."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from bench.report.plots.style import Look, legend_of, looks, text
from bench.results.quantities import Measured, Quantity
from bench.results.run import Key, Run, Task
from bench.storage.files import slug


@dataclass(frozen=True)
class Finished:
    """A finished run, as plots read it."""

    measured: Measured

    @classmethod
    def open(cls, path: Path) -> Finished:
        """Read a run's folder or its results.csv.

        Raises:
            ConfigError: as `bench.results.read.read_results`.
        """
        return cls(Measured(Run.open(path)))

    @property
    def run(self) -> Run:
        """The checked results.csv."""
        return self.measured.run

    @cached_property
    def files(self) -> dict[str, str]:
        """The method's file by its title, in the order of the run."""
        first = self.run.rows.drop_duplicates("method")
        return dict(zip(first["method"], first["method_file"], strict=True))

    @cached_property
    def looks(self) -> dict[str, Look]:
        """The look of every method, the same in every plot of the run."""
        return looks(self.files)

    def legend(self, fig: Any, x_label: str, titles: Iterable[str], more: Sequence[tuple[Any, str]] = ()) -> None:
        """What the x axes of a figure show, and a legend: of these methods, and of more artists, each with its name."""
        from matplotlib.lines import Line2D

        methods = [(Line2D([], [], **self.looks[title].points()), text(title)) for title in titles]
        handles, names = zip(*methods, *more, strict=True)
        legend_of(fig, handles, names, x_label)

    def methods(self, task: Task) -> list[str]:
        """The methods that were asked for on a task, in the order of the run."""
        rows = self.run.rows
        of_task = rows[(rows["attributes"] == task.attributes) & (rows["target"] == task.target)]
        return list(dict.fromkeys(of_task["method"]))

    @cached_property
    def stems(self) -> dict[Task, str]:
        """Every task as part of a file's name, no two alike."""
        return dict(zip(self.run.tasks, unlike([slug(task.name) for task in self.run.tasks]), strict=True))

    def ranked_by(self, task: Task, method: str) -> Key:
        """What the leaderboard ranks by."""
        return Key(task, method, self.run.ranking_metric, task.attributes)

    def ranking_metric(self, task: Task, method: str) -> Quantity | None:
        """The discrepancy that the leaderboard ranks by; None where it has no value."""
        return self.measured.quantity(self.ranked_by(task, method))

    def scopes(self, prefix: str) -> list[tuple[str, str]]:
        """(metric, scope) of every metric of a prefix that the run has rows of, in the order of the file."""
        rows = self.run.rows[self.run.rows["metric"].str.startswith(prefix)]
        return list(dict.fromkeys(zip(rows["metric"], rows["scope"], strict=True)))

    def status(self, key: Key) -> str:
        """One word on why a number is not there: "failed", "skipped", "undefined" or "missing"."""
        return self.run.reason(key)[0] or "missing"

    def gaps(self, keys: Sequence[Key]) -> str:
        """Which of the methods have no value, and why, such as "failed: a, b; undefined: c"; empty where all have."""
        found: dict[str, list[str]] = {}
        for key in keys:
            if not self.run.good(key):
                found.setdefault(self.status(key), []).append(key.method)
        return "; ".join(named(status, titles) for status, titles in found.items())

    def noise_floor(self, task: Task, method: str) -> float | None:
        """What a perfect sampler's discrepancy stays below in 95 of 100 runs of this size; None where not recorded."""
        good = self.run.good(self.ranked_by(task, method))
        return None if not good or math.isnan(good[0].noise_floor) else float(good[0].noise_floor)


def named(what: str, titles: Iterable[str]) -> str:
    """Such as "failed: a, b"; empty without titles."""
    names = ", ".join(dict.fromkeys(map(text, titles)))
    return f"{what}: {names}" if names else ""


def unlike(names: Sequence[str]) -> list[str]:
    """The names, each that came before, or is empty, with a number behind it."""
    found: list[str] = []
    for name in names:
        again = (f"{name}-{i}".strip("-") for i in range(2, len(names) + 2))
        found.append(name if name and name not in found else next(n for n in again if n not in found))
    return found
