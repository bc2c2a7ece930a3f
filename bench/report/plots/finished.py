"""The input of every plot: a finished run, the looks of its methods, and the reason where a number is missing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from bench.core.value import Value
from bench.report.plots.style import Look, legend_of, looks, text
from bench.results.key import Key, Task
from bench.results.run import Run
from bench.storage.files import slug

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Finished:
    """A finished run, as plots read it."""

    run: Run

    @classmethod
    def open(cls, path: Path) -> Finished:
        """Read a run's folder or its results.csv.

        Raises:
            ConfigError: as `bench.results.read.read_results`.
        """
        return cls(Run.open(path))

    @cached_property
    def files(self) -> dict[str, str]:
        """The stem of the method's file by the method's title, in the order of the run."""
        first = self.run.rows.drop_duplicates("method")
        return dict(zip(first["method"], first["method_file"], strict=True))

    @cached_property
    def looks(self) -> dict[str, Look]:
        """The look of every method, the same in every plot of the run."""
        return looks(self.files)

    def legend(
        self, fig: Figure, x_label: str, titles: Iterable[str], extra: Sequence[tuple[Artist, str]] = ()
    ) -> None:
        """Write below a figure the common label of its x axes, and a legend of methods and of extra artists."""
        from matplotlib.lines import Line2D

        methods = [(Line2D([], [], **self.looks[title].points()), text(title)) for title in titles]
        handles, names = zip(*methods, *extra, strict=True)
        legend_of(fig, handles, names, x_label)

    def methods(self, task: Task) -> list[str]:
        """Return the methods that the run has rows of on a task, in the order of the run."""
        rows = self.run.rows
        of_task = rows[(rows["attributes"] == task.attributes) & (rows["target"] == task.target)]
        return list(dict.fromkeys(of_task["method"]))

    @cached_property
    def stems(self) -> dict[Task, str]:
        """The stem of every task in file names; no two are equal."""
        return dict(zip(self.run.tasks, unlike([slug(task.name) for task in self.run.tasks]), strict=True))

    def ranked_by(self, task: Task, method: str) -> Key:
        """Return the key of the score that the leaderboard ranks by."""
        return Key(task, method, self.run.ranking_metric, task.attributes)

    def ranking_metric(self, task: Task, method: str) -> Value | None:
        """Return the discrepancy that the leaderboard ranks by; None where it has no value."""
        return self.run.value(self.ranked_by(task, method))

    def scopes(self, prefix: str) -> list[tuple[str, str]]:
        """Return (metric, scope) of every metric with a prefix that the run has rows of, in the order of the file."""
        rows = self.run.rows[self.run.rows["metric"].str.startswith(prefix)]
        return list(dict.fromkeys(zip(rows["metric"], rows["scope"], strict=True)))

    def status(self, key: Key) -> str:
        """Return one word on why a number is missing: "failed", "skipped", "undefined" or "missing"."""
        return self.run.reason(key)[0] or "missing"

    def gaps(self, keys: Sequence[Key]) -> str:
        """Name the methods without a value by reason, e.g. "failed: a, b; undefined: c"; empty where there are none."""
        by_status: dict[str, list[str]] = {}
        for key in keys:
            if not self.run.good(key):
                by_status.setdefault(self.status(key), []).append(key.method)
        return "; ".join(named(status, titles) for status, titles in by_status.items())

    def noise_floor(self, task: Task, method: str) -> float | None:
        """Return the 95th percentile of the ranking metric for a sampler that matches the target exactly at this n.

        None where the run does not record it.
        """
        value = self.ranking_metric(task, method)
        return None if value is None else value.noise_floor


def named(status: str, titles: Iterable[str]) -> str:
    """Return such as "failed: a, b"; empty without titles."""
    names = ", ".join(dict.fromkeys(map(text, titles)))
    return f"{status}: {names}" if names else ""


def unlike(names: Sequence[str]) -> list[str]:
    """Make names unique: a name that is empty or came before gets a number."""
    unique: list[str] = []
    for name in names:
        numbered = (f"{name}-{i}".strip("-") for i in range(2, len(names) + 2))
        unique.append(name if name and name not in unique else next(n for n in numbered if n not in unique))
    return unique
