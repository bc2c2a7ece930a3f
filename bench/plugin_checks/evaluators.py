"""Checks of an evaluator: what its card says of its scores, measured on samples made of numbers."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from bench.core.plugins import load
from bench.engine.metric_boundary import column_of, evaluated
from bench.plugin_checks.outcome import NotApplicable, global_generators_unused, require
from bench.plugin_checks.samples import Array, bad, good, in_shards, locked, rebuilt, reference, scattered
from bench.protocols.evaluator import NO_INTERVAL, Evaluator, MetricCard, Reference, Sample, Score

TEXTS = ("summary", "formula", "source", "min_n", "bias", "interval", "limits")
# The value of these depends on an order besides the set of samples, and so not tested for permutations.
ORDERED = {
    "epsilon_fairness": "the folds follow the order",
    "fd_infinity": "the groups that its windows are made of follow the order",
    "group_quality": "the first samples of a class are used",
    "downstream_accuracy": "its solver stops where it is near enough",
    "prompt_discrepancy": "a prompt's samples are those between two places",
    "prompt_alignment": "a prompt's samples are those between two places",
}


class Metric:
    """An evaluator under its public name.

    Attributes:
        name: public name.
        card: its card.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._evaluator: Callable[[], Evaluator] = load("evaluator", name, "Evaluator")
        self.card: MetricCard = load("evaluator", name, "Evaluator").card

    def make(self) -> Evaluator:
        """Return a new evaluator."""
        return self._evaluator()

    def scores(self, sample: Sample, against: Reference | None = None) -> list[Score]:
        """Return the scores of a sample, read as a run reads them.

        Raises:
            Complaint: the metric raises, or returns what its card does not have.
            NotApplicable: the sample lacks something that it needs.
        """
        scores = evaluated(self.name, self.card, self.make, sample, against or reference())
        for score in scores:
            if score.status == "skipped":
                raise NotApplicable(f"does not apply to the samples of the checks: {score.reason}")
            require(score.status != "failed", score.reason.strip().splitlines()[-1] if score.reason else "failed")
        self._check_each(scores)
        return scores

    def _check_each(self, scores: list[Score]) -> None:
        """Check what is true of every score for any samples."""
        for score in scores:
            column, name = column_of(self.card, score.metric), f"{score.metric} over {score.scope}"
            assert column is not None, "`evaluated` refuses others"
            if score.status != "ok":
                require(
                    score.status == "undefined", f'{name} must have status "ok" or "undefined", got {score.status!r}'
                )
                require(bool(score.reason), f"{name} is undefined and must say why, got no reason")
                continue
            assert score.value is not None
            assert math.isfinite(score.value)
            low, high = column.low - 1e-9, column.high + 1e-9
            require(
                low <= score.value <= high, f"{name} must be in [{column.low:g}, {column.high:g}], got {score.value}"
            )
            without = column.interval == NO_INTERVAL or "no interval: " in score.reason  # whose truth no method covers
            got = "none" if score.ci_low is None else "one"
            require(
                (score.ci_low is None) == without,
                f"{name} has an interval of kind {column.interval.name!r} on its card, got {got}; a score without one "
                'says "no interval: " and why in its reason',
            )


def check_card(metric: Metric) -> None:
    """Check that the card is complete, and that every column of it is used."""
    for field in TEXTS:
        text = getattr(metric.card, field)
        require(isinstance(text, str) and bool(text.strip()), f"the card's {field} must be a text, got {text!r:.60}")
        require(text == text.strip(), f"the card's {field} must not begin or end with a space")
    scores = metric.scores(good())
    used = {c.pattern for s in scores if s.status == "ok" and (c := column_of(metric.card, s.metric)) is not None}
    unused = [column.pattern for column in metric.card.columns if column.pattern not in used]
    require(not unused, f"every column of the card must have a score with a value, got none for {', '.join(unused)}")


def check_range(metric: Metric, seeds: tuple[int, ...] = (1, 2, 3)) -> None:
    """Check that scores and intervals stay in the card's range, whatever the samples."""
    metric.scores(bad(3))
    for seed in seeds:
        rng = np.random.default_rng(seed)
        metric.scores(scattered(seed, float(10 ** rng.uniform(-3, 3)), float(rng.uniform())))


def check_storage(metric: Metric) -> None:
    """Check that arrays in shards, which only slices can read, give the scores of arrays in memory."""
    sample = bad(5)
    expected, actual = metric.scores(sample), metric.scores(in_shards(sample, 37))
    labels = [[(s.metric, s.scope, s.n, s.status) for s in scores] for scores in (expected, actual)]
    require(labels[0] == labels[1], "arrays stored in shards must give the same scores, got others")
    require(
        np.allclose(values(actual), values(expected), rtol=1e-7, atol=1e-9, equal_nan=True),
        "arrays stored in shards must give the same numbers, got others; read rows as numpy.asarray(array[start:stop])",
    )


def check_inputs(metric: Metric) -> None:
    """Check that the metric writes into no input, and that the same samples have the same scores."""
    sample, against, evaluator = locked(good(2)), reference(), metric.make()
    with global_generators_unused(f"metric {metric.name}"):
        first = evaluator.evaluate(sample, against)
        again = evaluator.evaluate(sample, against)
    same = again == first == metric.make().evaluate(sample, reference())
    require(same, "the same samples must have the same scores, got others")


def check_few(metric: Metric) -> None:
    """Check that few samples have a score or a reason."""
    for n in (0, 1, 2, 19, 20):
        try:
            metric.scores(good(4, n))
        except NotApplicable:
            continue


def check_order(metric: Metric, seeds: tuple[int, ...] = (1, 2)) -> None:
    """Check that the order of the samples changes no value."""
    if metric.name in ORDERED:
        raise NotApplicable(ORDERED[metric.name])
    for seed in seeds:
        sample = bad(seed % 1000, 60)
        order = np.random.default_rng(seed).permutation(60)
        permuted = rebuilt(sample, functools.partial(_rows, order=order))
        expected, actual = metric.scores(sample), metric.scores(permuted)
        same = np.allclose(values(actual)[::4], values(expected)[::4], rtol=1e-7, atol=1e-9, equal_nan=True)
        require(same and [s.n for s in actual] == [s.n for s in expected], "the order of the samples changes a value")


def _rows(array: Array, order: npt.NDArray[np.int64]) -> Array:
    return array[order]


def values(scores: list[Score]) -> list[float]:
    """Return value, interval and noise floor of every score, NaN for what it has not."""
    return [math.nan if v is None else v for s in scores for v in (s.value, s.ci_low, s.ci_high, s.noise_floor)]


CHECKS: dict[str, Callable[[Metric], None]] = {
    "card": check_card,
    "ranges and intervals": check_range,
    "stored arrays": check_storage,
    "inputs and repetition": check_inputs,
    "few samples": check_few,
    "order of the samples": check_order,
}
