"""The points of a trade-off: fairness, quality and cost of each cell of finished runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.config.suite import Suite
from bench.core.errors import ConfigError, UnknownName
from bench.core.schema import POOLED, ranking_metric_of
from bench.core.value import Value
from bench.results.leaderboard_csv import LEADERBOARD, method_name
from bench.results.tables import Record, read_records

# The value of a method's field, or of a sampler's key, as YAML reads it.
Setting = bool | int | float | str | list["Setting"] | dict[str, "Setting"] | None


@dataclass(frozen=True)
class Point:
    """A method on a task, averaged over the seeds of its run.

    Attributes:
        task: the task's name.
        run: the name of its suite.
        title: the method's title in the leaderboard.
        method: the method's public name.
        settings: the values that the sweep set, by name; only those that this method has.
        fairness: the ranking metric, >= 0, lower is better; None where it has no value.
        quality: the Fréchet distance, lower is better; None where it has no value.
        calls: NFE (network function evaluations) per image while sampling.
        backward: backward passes through the network per image while sampling.
        noise_floor: 95th percentile of the ranking metric for a sampler that matches the target exactly at this n.
        n: samples per seed.
        seeds: number of seeds.
        status: as in the leaderboard; "undefined" where the status is ok but a value is missing.
        reason: why there is no value.
        ranking_metric: the name of `fairness`'s column.
    """

    task: str
    run: str
    title: str
    method: str
    settings: Mapping[str, Setting]
    fairness: Value | None
    quality: Value | None
    calls: float | None
    backward: float | None
    noise_floor: float | None
    n: int
    seeds: int
    status: str
    reason: str
    ranking_metric: str = POOLED

    @property
    def passes(self) -> float | None:
        """Network passes per image, the cost of sampling: NFE plus backward passes.

        A backward pass to the input, without gradients of the weights, takes about as many FLOPs as a forward pass.
        """
        return None if self.calls is None or self.backward is None else self.calls + self.backward

    @property
    def objectives(self) -> tuple[float, float, float] | None:
        """Discrepancy, Fréchet distance and passes, all to be minimised; None where one has no value."""
        if self.fairness is None or self.quality is None or self.passes is None:
            return None
        return self.fairness.value, self.quality.value, self.passes


def quality_of(suite: Suite) -> str:
    """Return the leaderboard's column of quality: the first Fréchet distance to the suite's first reference set.

    Raises:
        ConfigError: the suite measures no discrepancy or no Fréchet distance.
    """
    if not {"fairness_discrepancy", "frechet"} <= set(suite.metrics) or not suite.features or not suite.references:
        raise ConfigError(
            f"a trade-off needs fairness and quality: suite {suite.suite} must name the metrics fairness_discrepancy "
            "and frechet, a feature extractor and a reference set; add them, or take another suite"
        )
    return f"frechet_{suite.features[0].spec.title} to {next(iter(suite.references))}"


def read_points(folder: Path, suite: Suite, settings: Mapping[str, Mapping[str, Setting]]) -> list[Point]:
    """Read the points of a finished run, in the order of the suite.

    Args:
        folder: the run's folder.
        suite: the run's suite.
        settings: of each method by its title.

    Raises:
        ConfigError: as `quality_of`.
    """
    files = {m.title: m.name for m in suite.methods}
    order = list(files)
    quality, ranking_metric = quality_of(suite), ranking_metric_of(suite.prompts is not None)
    path = folder / "leaderboard.csv"
    rows = read_records(path, (*LEADERBOARD, ranking_metric))
    for row in rows:
        if row["method"] not in files:
            raise UnknownName(f"method of suite {suite.suite}, in {path}, line {row.line},", row["method"], files)
    points = [
        Point(
            task=row["task"],
            run=suite.suite,
            title=method_name(row),
            method=files[row["method"]],
            settings=settings[row["method"]],
            fairness=_value(row, ranking_metric),
            ranking_metric=ranking_metric,
            quality=_value(row, quality),
            calls=row.number("nfe_per_image"),
            backward=row.number("backward_per_image"),
            noise_floor=row.number("fd_noise_floor"),
            n=row.whole("n"),
            seeds=row.whole("seeds"),
            **_status(row, ranking_metric, quality),
        )
        for row in sorted(rows, key=lambda row: order.index(row["method"]))
    ]
    tasks = list(dict.fromkeys(row.task for row in points))
    return sorted(points, key=lambda point: tasks.index(point.task))


def _status(row: Mapping[str, str], ranking_metric: str, quality: str) -> dict[str, str]:
    if row["status"] == "ok" and not (row[ranking_metric] and row.get(quality)):
        missing = quality if row[ranking_metric] else ranking_metric
        return {"status": "undefined", "reason": f"no {missing}; results.csv says why"}
    return {"status": row["status"], "reason": row["reason"]}


def by_task(points: Sequence[Point]) -> dict[str, list[Point]]:
    """Return the points of each task, in their order."""
    return {task: [p for p in points if p.task == task] for task in dict.fromkeys(p.task for p in points)}


def _value(row: Record, column: str) -> Value | None:
    value = row.number(column)
    return None if value is None else Value(value, row.number(f"{column}_low"), row.number(f"{column}_high"))
