"""The read model of a finished run: its tables, its record, and the samples in the store beside it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from bench.core.errors import ConfigError, UnknownName
from bench.core.gc_pause import gc_paused
from bench.core.schema import ranking_metric_of
from bench.core.value import Value
from bench.results.frames import costs_frame, leaderboard_frame, scores_frame
from bench.results.key import Key, Task
from bench.results.leaderboard_csv import MARKS
from bench.results.metric_info import COUNTED, metric
from bench.results.noise_floors import NoiseFloors
from bench.results.read import read_results, results_file, tasks_of
from bench.results.run_record import NAME, RunRecord, read_run_record
from bench.results.score_row import ScoreRow, mean_value, score_rows
from bench.results.stored import StoredSamples
from bench.results.tables import Record, read_records

CELL = ("attributes", "target", "method", "seed")


@dataclass(frozen=True)
class Run:
    """A finished run.

    `file` is its results.csv and `rows` the checked rows of it (`bench.results.read.read_results`). leaderboard.csv,
    costs.csv, run.json and the store are read from beside that file when they are first needed.
    """

    file: Path
    rows: pd.DataFrame

    @classmethod
    def open(cls, path: Path) -> Run:
        """Read a run's folder or its results.csv.

        Raises:
            ConfigError: as `bench.results.read.read_results`.
        """
        file = results_file(path)
        return cls(file, read_results(file))

    @cached_property
    def scores(self) -> pd.DataFrame:
        """The scores, one row per cell and score (per cell where it has none).

        Columns: "task", "method", "seed", "metric", "scope", "classifier", "value", "ci_low", "ci_high",
        "noise_floor", "n", then the others of results.csv. Numbers are float64, NaN where blank; counts are integers.
        """
        return scores_frame(self.rows)

    @cached_property
    def leaderboard(self) -> pd.DataFrame:
        """The leaderboard, one row per method and task, best first within a task.

        Columns: "task", "method", then of every metric its value, "METRIC_low" and "METRIC_high", "fd_noise_floor",
        costs, "n", "seeds", "status", "reason" and "tied_best".

        Raises:
            ConfigError: no leaderboard.csv beside results.csv, or one that cannot be read.
        """
        return leaderboard_frame(list(self._leaderboard.values()))

    @cached_property
    def costs(self) -> pd.DataFrame:
        """The costs, one row per cell that ran: NFE and seconds per image, those of the fit, and the device.

        Raises:
            ConfigError: no costs.csv beside results.csv, or one that cannot be read.
        """
        return costs_frame(self._costs)

    @cached_property
    def record(self) -> RunRecord | None:
        """The run.json beside the tables; None where there is none, as in runs of earlier versions.

        Raises:
            ConfigError: a run.json that cannot be read, or one of another run.
        """
        path = self.file.parent / NAME
        if not path.is_file():
            return None
        record = read_run_record(path)
        suite, protocol = str(self.rows["suite"].iloc[0]), int(self.rows["protocol"].iloc[0])
        if (record.suite.get("suite"), record.protocol) != (suite, protocol):
            raise ConfigError(
                f"{path} is not of the same run as {self.file}: suite {record.suite.get('suite')} and protocol "
                f"{record.protocol} there, {suite} and {protocol} here; restore the files that the run wrote"
            )
        return record

    def images(
        self, method: str | None = None, task: str | None = None, seed: int | None = None, n: int = 16
    ) -> npt.NDArray[np.uint8]:
        """Return samples of one cell.

        Args:
            method: title of the method; may be left out where the run has one.
            task: name or attributes of the task; may be left out where the run has one.
            seed: seed of the cell; the run's lowest unless given.
            n: number of samples, at least 1.

        Returns:
            uint8 [at most n, 3, height, width]: the cell's first samples, in a suite with prompts the first of each.

        Raises:
            UnknownName: a method, task or seed that the run does not have.
            ConfigError: several cells are meant, `n` is below 1, or the store beside the run lacks the samples.
        """
        if n < 1:
            raise ConfigError(f"n must be at least 1, got {n}; give the number of images")
        row = self.cell(method, task, min(r.seed for r in self.cells) if seed is None else seed)
        images = self.stored.images(row, n)
        if images is None:
            raise ConfigError(
                f"{self.stored.root} must hold the samples of {row.method}, got not all of them; images are there only "
                "where the run was made: run the suite again with the same --out"
            )
        return images

    @cached_property
    def stored(self) -> StoredSamples:
        """The samples in the store beside the run, if it is still where it was made."""
        return StoredSamples(self.file, self.has_prompts)

    @property
    def store(self) -> Path:
        """The folder of the store beside the run; it may not exist."""
        return self.stored.root

    @cached_property
    def cells(self) -> list[ScoreRow]:
        """The first row of every cell, in the order of the file."""
        return list(score_rows(self.rows.drop_duplicates(list(CELL))))

    def row_of_cell(self, cell: tuple[str, str, str, int]) -> ScoreRow:
        """Return the first row of a cell, given its attributes, target, method and seed."""
        return self._row_of_cell[cell]

    @cached_property
    def _row_of_cell(self) -> dict[tuple[str, str, str, int], ScoreRow]:
        return {(row.attributes, row.target, row.method, row.seed): row for row in self.cells}

    def cell(self, method: str | None = None, task: str | None = None, seed: int | None = None) -> ScoreRow:
        """Return the first row of the one cell that is meant.

        Raises:
            UnknownName: a method, task or seed that the run does not have.
            ConfigError: several cells with different samples are meant, or none is.
        """
        cells = self.cells
        choices: tuple[tuple[str, str | None, list[set[str]]], ...] = (
            ("method", method, [{row.method} for row in cells]),
            ("task", task, [{row.task.name, row.attributes} for row in cells]),
            ("seed", None if seed is None else str(seed), [{str(row.seed)} for row in cells]),
        )
        chosen = set(range(len(cells)))
        for kind, name, names in choices:
            if name is not None:
                offered = set[str]().union(*names)
                if name not in offered:
                    raise UnknownName(f"{kind} of {self.file.parent}", name, offered)
                chosen &= {i for i, alternatives in enumerate(names) if name in alternatives}
        titles = {
            cells[i].sample_key: f"{cells[i].method} on {cells[i].task.name} with seed {cells[i].seed}"
            for i in sorted(chosen)
        }
        if len(titles) != 1:
            shown = "; ".join(list(titles.values())[:4]) or "none"
            raise ConfigError(
                f"one cell of {self.file} must be meant, got {len(titles)}: {shown}{'; ...' if len(titles) > 4 else ''}"
                "; narrow it by --method, --task and --seed"
            )
        return cells[min(chosen)]

    @cached_property
    def by_key(self) -> dict[Key, list[ScoreRow]]:
        """The rows of every metric, one per seed, in order of seeds; the counted costs of a cell among them."""
        with gc_paused():
            rows_of: dict[Key, list[ScoreRow]] = {}
            tasks = {(task.attributes, task.target): task for task in self.tasks}
            order = np.argsort(self.rows["seed"].to_numpy(), kind="stable")
            first = ~self.rows.duplicated(list(CELL)).to_numpy()[order]  # of its cell
            counted = zip(*(score_rows(_counted(self.rows.iloc[order[first]], name)) for name in COUNTED), strict=True)
            groups = self.rows.groupby([*CELL[:3], "metric", "scope", "classifier"], sort=False, observed=True).ngroup()
            of_group: dict[int, list[ScoreRow]] = {}
            rows = score_rows(self.rows, order)
            for row, is_first, group in zip(rows, first.tolist(), groups.to_numpy()[order].tolist(), strict=True):
                for cost in next(counted) if is_first else ():
                    if not math.isnan(cost.value):
                        key = Key(tasks[cost.attributes, cost.target], cost.method, cost.metric, cost.scope)
                        rows_of.setdefault(key, []).append(cost)
                if group not in of_group:
                    classified = row.classifier != self.classifier and metric(row.metric).classified
                    task, classifier = tasks[row.attributes, row.target], row.classifier if classified else ""
                    key = Key(task, row.method, row.metric, row.scope, classifier)
                    of_group[group] = rows_of.setdefault(key, []) if row.metric else []
                of_group[group].append(row)
            return rows_of

    @cached_property
    def classifier(self) -> str:
        """The first classifier, which decides the leaderboard's order."""
        return str(self.rows["classifier"].iloc[0])

    @cached_property
    def has_prompts(self) -> bool:
        """True where its samples are of several prompts."""
        return "prompts" in self.rows.columns

    @property
    def ranking_metric(self) -> str:
        """The metric that decides the leaderboard's order."""
        return ranking_metric_of(self.has_prompts)

    @cached_property
    def methods(self) -> list[str]:
        """The methods' titles, in the order of the file."""
        return list(dict.fromkeys(self.rows["method"]))

    @cached_property
    def tasks(self) -> list[Task]:
        """The tasks, in the order of the file."""
        return [Task(*pair) for pair in tasks_of(self.rows)]

    @cached_property
    def metrics(self) -> list[str]:
        """Names, in the order of the file, the counted costs last."""
        return [*(m for m in dict.fromkeys(self.rows["metric"]) if m), *COUNTED]

    @property
    def gateable(self) -> dict[str, set[tuple[str, str]]]:
        """Every metric that has a value, with its scopes and, where that is not the first, its classifier."""
        places: dict[str, set[tuple[str, str]]] = {}
        for key in self.by_key:
            if self.good(key):
                places.setdefault(key.metric, set()).add((key.scope, key.classifier))
        return places

    def good(self, key: Key) -> list[ScoreRow]:
        """Return the rows with a value, one per seed."""
        return [row for row in self.by_key.get(key, []) if row.status == "ok"]

    def value(self, key: Key) -> Value | None:
        """Return a score over the seeds that have it, with the noise floor of their mean; None where none has it."""
        good = self.good(key)
        return mean_value(good, self._noise_floors.of(key, good)) if good else None

    @cached_property
    def _noise_floors(self) -> NoiseFloors:
        return NoiseFloors(self.by_key)

    def mark(self, task: Task, method: str) -> str:
        """Return how a method ranks on a task by the leaderboard's test: "best", "tied" or "".

        Raises:
            ConfigError: no leaderboard.csv, or one that is of another run.
        """
        row = self._leaderboard.get((task.name, method))
        ranking_metric = self.ranking_metric
        value = self.value(Key(task, method, ranking_metric, task.attributes))
        if row is None or value is None:
            return ""
        number = row.number(ranking_metric) if row["status"] == "ok" else value.value
        if number is None or not math.isclose(number, value.value, rel_tol=1e-12):
            raise ConfigError(
                f"{row.path} is not of the same run as {self.file}: {ranking_metric} of {method} on {task.name} is "
                f"{row[ranking_metric]!r:.40} there and {value.value!r} here; run the suite again"
            )
        if row["tied_best"] not in MARKS:
            raise ConfigError(
                f"{row.path}: tied_best must be best, yes, no or blank, got {row['tied_best']!r:.40}; "
                "run the suite again"
            )
        return MARKS[row["tied_best"]]

    def cost(self, task: Task, method: str, column: str) -> float | None:
        """Return the mean over seeds of a column of costs.csv; None where the cell has none.

        Raises:
            ConfigError: no costs.csv, or a field of it that is no finite number.
        """
        numbers = [row.number(column) for row in self._costs_of.get((task.name, method), [])]
        finite = [number for number in numbers if number is not None]
        # The digits of np.mean, without what it takes to begin: a page asks for some numbers of every cell.
        return float(np.add.reduce(np.array(finite, dtype=np.float64)) / len(finite)) if finite else None

    def has_cost(self, column: str) -> bool:
        """Return whether costs.csv has a column."""
        return bool(self._costs) and column in self._costs[0]

    @property
    def devices(self) -> list[str]:
        """The devices that costs.csv names."""
        return list(dict.fromkeys(name for row in self._costs if (name := row.get("device", ""))))

    def no_cost(self, column: str) -> UnknownName:
        """Return the error that costs.csv has no such column."""
        names = self._costs[0] if self._costs else ()
        return UnknownName(f"column of {self.file.parent / 'costs.csv'}", column, names)

    @cached_property
    def _leaderboard(self) -> dict[tuple[str, str], Record]:
        columns = ("task", "method", self.ranking_metric, "status", "tied_best")
        rows = read_records(self.file.parent / "leaderboard.csv", columns)
        return {(row["task"], row["method"]): row for row in rows}

    @cached_property
    def _costs_of(self) -> dict[tuple[str, str], list[Record]]:
        rows_of: dict[tuple[str, str], list[Record]] = {}
        for row in self._costs:
            rows_of.setdefault((row["task"], row["method"]), []).append(row)
        return rows_of

    @cached_property
    def _costs(self) -> Sequence[Record]:
        return read_records(self.file.parent / "costs.csv", ("task", "method"), may_be_empty=True)

    @cached_property
    def _broken(self) -> dict[tuple[str, str, str], tuple[str, str] | None]:
        """Status and reason of the first seed without scores, of every attributes, target and method; None without one.

        A line without metric beside others of its seed is of an extractor.
        """
        of_method = list(CELL[:3])
        scored = (self.rows["metric"] != "").groupby([self.rows[c] for c in CELL], observed=True).transform("any")
        broken: dict[tuple[str, str, str], tuple[str, str] | None] = {}
        for row in score_rows(self.rows.drop_duplicates(of_method)):
            broken[row.attributes, row.target, row.method] = None
        for row in score_rows(self.rows[~scored].drop_duplicates(of_method)):
            broken[row.attributes, row.target, row.method] = row.status, row.reason
        return broken

    def reason(self, key: Key) -> tuple[str, str]:
        """Return why a number is missing for some seed: a status ("failed", "missing", ...) and a sentence.

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
        bad = [row for row in self.by_key.get(key, []) if row.status != "ok"]
        if bad:
            return bad[0].status, bad[0].reason or "no reason was given"
        evaluator = metric(key.metric).evaluator  # whose name stands for its scores where it has none
        for row in self.by_key.get(key._replace(metric=evaluator, scope="all"), []):
            if row.status in ("failed", "skipped"):
                return row.status, row.reason
        return ("", "") if key in self.by_key else ("missing", _no_metric(self, key))


def _counted(first: pd.DataFrame, name: str) -> pd.DataFrame:
    """Return a counted cost as scores, given one row per cell."""
    ends = {"ci_low": math.nan, "ci_high": math.nan}
    return first.assign(metric=name, scope="all", value=first[name], n=first["n_asked"], status="ok", reason="", **ends)


def _no_task(run: Run, task: Task) -> str:
    others = [t.name for t in run.tasks if t.attributes == task.attributes]
    why = (
        f"; its target is another: {', '.join(others)}"
        if others
        else f"; it has {', '.join(t.name for t in run.tasks)}"
    )
    return f"{run.file} has no task {task.name}{why}"


def _no_metric(run: Run, key: Key) -> str:
    classifiers = dict.fromkeys(k.classifier or run.classifier for k in run.by_key if k[:4] == key[:4])
    if classifiers:
        return f"another classifier: {run.file} has {key.metric} by {', '.join(classifiers)}, not by {key.classifier}"
    scopes = dict.fromkeys(k.scope for k in run.by_key if k[:3] == key[:3])
    if scopes:
        return f"another reference: {run.file} has {key.metric} against {', '.join(scopes)}, not {key.scope}"
    return f"{run.file} has no {key.metric} of {key.method} on {key.task.name}"
