"""The ranking of a run's methods over all of its tasks, in groups that no test separates: `run_bench.py rank RUN`."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import networkx as nx
import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import norm, rankdata

from bench.comparison.differences import compare_lines
from bench.core.errors import Incompatible
from bench.core.intervals import LEVEL
from bench.core.stats import (
    Difference,
    Estimate,
    holm_adjusted,
    independent_difference,
    minimum_detectable_difference,
)
from bench.core.value import Value
from bench.results.key import Key, Task
from bench.results.metric_info import COUNTED, metric
from bench.results.run import Run

ALPHA = 0.05
BASE = "vanilla"  # of the Fréchet ratio
COSTS = ("nfe_per_image", "backward_per_image", "fit_nfe", "fit_backward")

Floats = npt.NDArray[np.float64]

NOTHING = Estimate(np.asarray(0.0), np.asarray(0.0), np.asarray(0.0))  # 0 without error: what a difference is tested on


@dataclass(frozen=True)
class RankedMethod:
    """A method with its means over the tasks.

    Attributes:
        method: its title.
        groups: letters of its groups; two methods without a common letter differ significantly.
        discrepancy: mean of the ranking metric over tasks and seeds, with its 95 % interval.
        rank: mean rank over tasks and seeds; 1 is the lowest discrepancy, equal values share the mean of their ranks.
        frechet_ratio: mean over the tasks of the Fréchet distance to the first reference set, over vanilla's; None
            where the run has either not on every task.
        costs: mean over the tasks of each of `COSTS`; None where costs.csv lacks it.
    """

    method: str
    groups: str
    discrepancy: Value
    rank: float
    frechet_ratio: Value | None
    costs: tuple[float | None, ...]


@dataclass(frozen=True)
class Ranking:
    """The methods that have the ranking metric on every task, best first.

    Attributes:
        metric: the ranking metric.
        tasks: names of the tasks.
        seeds: number of seeds.
        methods: one per method, lowest mean discrepancy first.
        p: float64 [m, m], two-sided p of every pair in the order of `methods`, with Holm's correction over all pairs;
            1 on the diagonal.
        detectable: the smallest true difference of mean discrepancies that such a test finds in 80 of 100 runs of this
            size; the median over the pairs.
        left_out: methods without a value on some task, with the reason.
    """

    metric: str
    tasks: tuple[str, ...]
    seeds: int
    methods: tuple[RankedMethod, ...]
    p: Floats
    detectable: float
    left_out: dict[str, str]

    def to_frame(self) -> pd.DataFrame:
        """Return one row per method, numbers unrounded.

        Columns: method, groups, the ranking metric with its ends METRIC_low and METRIC_high, mean_rank, frechet_ratio
        with its ends, and the mean costs.
        """
        return pd.DataFrame(self.records())

    def records(self) -> list[dict[str, str | float | None]]:
        """Return the rows of `to_frame`."""
        return [self._record(method) for method in self.methods]

    def _record(self, ranked: RankedMethod) -> dict[str, str | float | None]:
        value, ratio = ranked.discrepancy, ranked.frechet_ratio
        return {
            "method": ranked.method,
            "groups": ranked.groups,
            **dict(zip(_ends(self.metric), (value.value, value.low, value.high), strict=True)),
            "mean_rank": ranked.rank,
            **dict(
                zip(_ends("frechet_ratio"), (ratio.value, ratio.low, ratio.high) if ratio else [None] * 3, strict=True)
            ),
            **dict(zip(COSTS, ranked.costs, strict=True)),
        }


def _ends(name: str) -> tuple[str, str, str]:
    return name, f"{name}_low", f"{name}_high"


def rank(run: Run) -> Ranking:
    """Rank the methods of a run by the mean of the ranking metric over its tasks.

    The difference of two methods on one task is tested as `compare` does it, paired where the store allows. Tasks share
    noise, and some methods share samples between tasks, so the errors of the tasks are added and not averaged as
    independent ones: intervals and tests of the mean are rather too wide than too narrow. All pairs are tested at 5 %
    with Holm's correction; a group is a largest set of methods of which no pair differs significantly.

    Raises:
        Incompatible: fewer than two methods have the ranking metric on every task.
    """
    left_out = {m: reason for m in run.methods if (reason := _why_left_out(run, m))}
    titles = [m for m in run.methods if m not in left_out]
    if len(titles) < 2:
        raise Incompatible(
            f"a ranking must have two methods with {run.ranking_metric} on every task, got "
            f"{', '.join(titles) or 'none'}"
        )
    estimates = {m: _over_tasks([_estimate(run, _key(run, task, m)) for task in run.tasks]) for m in titles}
    # Equal values that differ by rounding keep the order of the run.
    titles.sort(key=lambda m: round(float(estimates[m].value), 12))
    pairs = list(itertools.combinations(range(len(titles)), 2))
    differences = [_difference(run, titles[i], titles[j]) for i, j in pairs]
    p = np.eye(len(titles))
    rows, columns = np.array(pairs).T
    p[rows, columns] = holm_adjusted(np.array([float(d.p) for d in differences]))
    p = np.maximum(p, p.T)
    errors = np.array([float(d.standard_error) for d in differences])
    letters, ranks = _letters(p), _mean_ranks(run, titles)
    return Ranking(
        metric=run.ranking_metric,
        tasks=tuple(task.name for task in run.tasks),
        seeds=run.rows["seed"].nunique(),
        methods=tuple(
            RankedMethod(m, letters[i], _value(estimates[m]), ranks[m], _frechet_ratio(run, m), _costs(run, m))
            for i, m in enumerate(titles)
        ),
        p=p,
        detectable=float(minimum_detectable_difference(np.median(errors), ALPHA / len(pairs))),
        left_out=left_out,
    )


def _key(run: Run, task: Task, method: str) -> Key:
    return Key(task, method, run.ranking_metric, task.attributes)


def _why_left_out(run: Run, method: str) -> str:
    for task in run.tasks:
        status, reason = run.reason(_key(run, task, method))
        if status:  # the reason of a missing row names the file, which is of this machine
            return f"{task.name}: no such row" if status == "missing" else f"{task.name}: {status}: {reason}"
    return ""


def _estimate(run: Run, key: Key) -> Estimate:
    """Return a score with its errors; of one without an interval, with none."""
    value = run.value(key)
    assert value is not None
    freedom = metric(key.metric).scale.freedom
    low, high = (value.value if end is None else end for end in (value.low, value.high))
    return Estimate.of_interval(
        *(np.asarray(value.value), np.asarray(min(low, value.value)), np.asarray(max(high, value.value))), freedom
    )


def _over_tasks(parts: Sequence[Estimate]) -> Estimate:
    """Return the mean over the tasks, whose errors may go together: the mean of the errors bounds that of the mean."""
    value, below, above = (np.mean([getattr(e, side) for e in parts]) for side in ("value", "below", "above"))
    return Estimate(np.asarray(value), np.asarray(below), np.asarray(above), min(e.freedom for e in parts))


def _value(estimate: Estimate) -> Value:
    quantile = float(norm.ppf((1 + LEVEL) / 2))
    value, below, above = (float(x) for x in (estimate.value, estimate.below, estimate.above))
    return Value(value, max(value - quantile * below, 0.0), value + quantile * above)


def _difference(run: Run, a: str, b: str) -> Difference:
    """Return b's mean over the tasks less a's, with its interval and two-sided p."""

    def of_task(task: Task) -> Estimate:
        d = compare_lines(run, run.good(_key(run, task, a)), run, run.good(_key(run, task, b))).difference
        return Estimate.of_interval(d.value, d.low, d.high)

    return independent_difference(NOTHING, _over_tasks([of_task(task) for task in run.tasks]))


def _letters(p: Floats) -> list[str]:
    """Return the letters of each method's groups: the maximal cliques of pairs that do not differ, the best first."""
    graph = nx.from_numpy_array(p > ALPHA)
    groups = sorted(sorted(clique) for clique in nx.find_cliques(graph))
    return ["".join(_letter(g) for g, group in enumerate(groups) if i in group) for i in range(len(p))]


def _letter(group: int) -> str:
    return chr(ord("a") + group) if group < 26 else f"({group + 1})"


def _mean_ranks(run: Run, titles: Sequence[str]) -> dict[str, float]:
    """Return the mean rank over tasks and the seeds that every method has."""
    ranks: list[Floats] = []
    for task in run.tasks:
        values = {m: {row.seed: row.value for row in run.good(_key(run, task, m))} for m in titles}
        shared = set.intersection(*(set(of_seed) for of_seed in values.values()))
        ranks += [rankdata([round(values[m][seed], 12) for m in titles]) for seed in shared]
    mean = np.mean(ranks, axis=0) if ranks else np.full(len(titles), np.nan)
    return dict(zip(titles, mean.tolist(), strict=True))


def _frechet_ratio(run: Run, method: str) -> Value | None:
    """Return the mean over the tasks of the Fréchet distance over vanilla's; errors of both added on the log scale."""
    name = next((m for m in run.metrics if m.startswith("frechet_")), None)
    base = next((m for m, file in _files(run) if file == BASE), None)
    if name is None or base is None:
        return None
    scope = next(key.scope for key in run.by_key if key.metric == name)
    keys = [(Key(task, method, name, scope), Key(task, base, name, scope)) for task in run.tasks]
    if any(run.value(key) is None for pair in keys for key in pair):
        return None
    if method == base:
        return Value(1.0)
    ratios = [_ratio(_estimate(run, a), _estimate(run, b)) for a, b in keys]
    value, low, high = np.mean(ratios, axis=0).tolist()
    return Value(value, low, high)


def _ratio(a: Estimate, b: Estimate) -> tuple[float, float, float]:
    """Return a / b with a 95 % interval: independent errors on the log scale, by the delta method."""
    value, quantile = float(a.value / b.value), float(norm.ppf((1 + LEVEL) / 2))
    down, up = (float(np.hypot(x / a.value, y / b.value)) for x, y in ((a.below, b.above), (a.above, b.below)))
    return value, value * float(np.exp(-quantile * down)), value * float(np.exp(quantile * up))


def _files(run: Run) -> Iterable[tuple[str, str]]:
    first = run.rows.drop_duplicates("method")
    return zip(first["method"], first["method_file"], strict=True)


def _costs(run: Run, method: str) -> tuple[float | None, ...]:
    return tuple(_mean_cost(run, method, name) for name in COSTS)


def _mean_cost(run: Run, method: str, name: str) -> float | None:
    if name in COUNTED:  # in results.csv
        counted = [run.value(Key(task, method, name, "all")) for task in run.tasks]
        return None if None in counted else float(np.mean([v.value for v in counted if v is not None]))
    if not (run.file.parent / "costs.csv").is_file() or not run.has_cost(name):
        return None
    costs = [run.cost(task, method, name) for task in run.tasks]
    return None if any(c is None for c in costs) else float(np.mean([c for c in costs if c is not None]))
