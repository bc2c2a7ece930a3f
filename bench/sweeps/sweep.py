"""A whole sweep: the suites that it spans, what came of them, and its tables and plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from bench.config.suite import Suite
from bench.engine.options import Options
from bench.engine.runner import Outcome
from bench.report.tradeoff.plot import write_plot
from bench.report.tradeoff.points import Point, quality_of
from bench.report.tradeoff.tables import write_tables
from bench.sweeps.axes import Axis, Values, values_alone
from bench.sweeps.grid import check_varied, choose_method, choose_tasks, protocols, variants
from bench.sweeps.run import check_free, run_grid, run_search
from bench.sweeps.search import check_search

SEED = 1000  # no shipped suite reports it, so what is picked on it can be reported on theirs


@dataclass(frozen=True)
class SweepPlan:
    """A sweep that has not begun.

    Attributes:
        method: the method's name, or its title in the base suite.
        base: the suite that gives everything that is not swept.
        fields: axes over fields of the method.
        sampling: axes over the sampler's settings and the guidance batch; values alone.
        tasks: tasks of the base suite; all where none is named.
        seed: of noise and fits.
        trials: how many trials Optuna searches the ranges in; None runs the whole grid.
        name: of the sweep and its folder; "sweep-METHOD" where it is None.
    """

    method: str
    base: Suite
    fields: Sequence[Axis]
    sampling: Sequence[Axis] = ()
    tasks: Sequence[str] = ()
    seed: int = SEED
    trials: int | None = None
    name: str | None = None


@dataclass(frozen=True)
class Sweep:
    """A finished sweep.

    Attributes:
        points: one per task and setting, vanilla included.
        outcomes: of the suites that ran.
        quality: name of the Fréchet distance.
        files: the tables and the plot.
        note: what to keep in mind when a point is picked.
    """

    points: Sequence[Point]
    outcomes: Sequence[Outcome]
    quality: str
    files: Sequence[Path]
    note: str

    def to_frame(self) -> pd.DataFrame:
        """Return one row per point: task, method, what was set, fairness, quality and cost, status and reason.

        `fairness` is the ranking metric and `quality` the Fréchet distance (both lower is better), `calls` and
        `backward` network passes per image.
        """
        return pd.DataFrame([_record(point) for point in self.points])


def sweep(plan: SweepPlan, options: Options) -> Sweep:
    """Run a method at many settings, and write trade-off.csv, hypervolume.csv and trade-off.png.

    Raises:
        ConfigError: something in the plan or the options cannot be run; nothing is sampled or written.
        UnknownName: no such method, field or task.
    """
    sampling = values_alone(plan.sampling, "only --set takes a range")
    check_varied([*plan.fields, *sampling])
    base = choose_tasks(plan.base, plan.tasks)
    method = choose_method(base, plan.method)
    name = plan.name or f"sweep-{method.name}"
    suites = protocols(base, name, plan.seed, sampling)
    check_free(options.out, [protocol.suite for protocol in suites], name)
    if plan.trials is None:
        points, outcomes = run_grid(suites, variants(method, _values(plan.fields)), options)
    else:
        check_search(plan.trials, method, plan.fields, suites)
        points, outcomes = run_search(suites[0], method, plan.fields, plan.trials, options)
    folder, quality = options.out / name, quality_of(base)
    files = [*write_tables(points, quality, folder), *write_plot(points, quality, folder)]
    return Sweep(points, outcomes, quality, files, _note(base, plan.seed))


def _values(fields: Sequence[Axis]) -> list[Values]:
    return values_alone(fields, "add --search N to search it")


def _note(base: Suite, seed: int) -> str:
    reported = f" Suite {base.suite} reports that very seed: sweep on another --seed." if seed in base.seeds else ""
    return (
        f"All points are on seed {seed}. Selecting the best of many noisy results is biased: run the setting that you "
        f"pick on another seed, and report that run.{reported}"
    )


def _record(point: Point) -> Mapping[str, object]:
    return {
        "task": point.task,
        "method": point.title,
        **point.settings,
        "fairness": point.fairness and point.fairness.value,
        "quality": point.quality and point.quality.value,
        "calls": point.calls,
        "backward": point.backward,
        "status": point.status,
        "reason": point.reason,
    }
