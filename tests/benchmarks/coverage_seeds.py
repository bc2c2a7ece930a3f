"""Rows of the coverage table: means over seeds."""

from __future__ import annotations

import functools
import math

import numpy as np
from scipy.stats import t

from bench.core.attributes import Attribute
from bench.core.distances import mean_noise_floor
from bench.core.value import Scale, Value, mean_over_seeds
from bench.protocols.evaluator import Reference, Sample, Score
from bench.results.metric_info import metric
from evaluators.fairness_discrepancy import Evaluator
from tests.support.coverage import Draw, Row

SEEDS = (2, 3, 5)
EVEN = Reference((Attribute("glasses", ("no", "yes")),), np.array([0.5, 0.5]))


@functools.cache
def evaluated(n: int, present: int) -> dict[tuple[str, str], Score]:
    """Return the scores of n samples with so many glasses, by metric and scope."""
    labels = np.repeat([0, 1], [n - present, present])
    sample = Sample({"glasses": np.eye(2)[labels]}, {}, np.full(n, -1))
    return {(s.metric, s.scope): s for s in Evaluator().evaluate(sample, EVEN)}


def score_of(values: list[Value], scale: Scale, noise_floor: float | None = None) -> Score:
    """Return the mean over seeds as the table takes it."""
    mean = mean_over_seeds(values, scale, noise_floor)
    return Score("mean", "glasses", mean.value, mean.low, mean.high)


def of_classes(name: str, scope: str, share: float, seeds: int) -> Draw:
    """Return draws of a metric of class shares, averaged over seeds that all show glasses with one probability."""

    def draw(n: int, rng: np.random.Generator) -> Score:
        scores = [evaluated(n, int(k))[name, scope] for k in rng.binomial(n, share, seeds)]
        values = [Value(s.value or 0.0, s.ci_low, s.ci_high, n, noise_floor=s.noise_floor) for s in scores]
        floor = mean_noise_floor(name, (0.5, 0.5), ((n,),) * seeds, 1 if name == "share_hard" else None)
        return score_of(values, metric(name).scale, floor)

    return draw


def of_groups(between: float, seeds: int) -> Draw:
    """Return draws of means with the jackknife's interval; the seeds' true values have a standard deviation."""

    def draw(_n: int, rng: np.random.Generator) -> Score:
        groups = rng.normal(rng.normal(0, between, (seeds, 1)), math.sqrt(10), (seeds, 10))
        means, halves = groups.mean(1), t.ppf(0.975, 9) * groups.std(1, ddof=1) / math.sqrt(10)
        return score_of([Value(m, m - h, m + h) for m, h in zip(means, halves, strict=True)], Scale(freedom=9.0))

    return draw


def distance_of(share: float) -> float:
    """Return the discrepancy of a share of two classes from one half."""
    return math.sqrt(2) * abs(share - 0.5)


ROWS: tuple[Row, ...] = (
    *(
        Row(
            f"fd_l2_hard over {s} seeds",
            f"share {p:g}",
            of_classes("fd_l2_hard", "glasses", p, s),
            lambda n, p=p: distance_of(p),
            (60, 200, 1000),
        )  # type: ignore[misc]
        for s in SEEDS
        for p in (0.5, 0.45, 0.35, 0.2)
    ),
    *(
        Row(
            f"share_hard over {s} seeds",
            f"share {p:g}",
            of_classes("share_hard", "glasses=yes", p, s),
            lambda n, p=p: p,
            (60, 200, 1000),
        )  # type: ignore[misc]
        for s in SEEDS
        for p in (0.5, 0.05, 0.005)
    ),
    *(
        Row(
            f"jackknife over {s} seeds", f"seeds differ {b:g} times their error", of_groups(b, s), lambda n: 0.0, (200,)
        )
        for s in SEEDS
        for b in (0.0, 1.0, 3.0)
    ),
)
