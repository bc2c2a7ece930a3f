"""The cards of the evaluators on the page: what each says of its metrics."""

from __future__ import annotations

import math
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import TypedDict

from bench.core.plugins import loaded
from bench.protocols.evaluator import Column, MetricCard

ARROWS = {"lower": "lower is better", "higher": "higher is better", None: "neither direction is better"}


class CardColumn(TypedDict):
    """A family of metrics on a card: names, better direction, range, unit and kind of interval, as texts."""

    pattern: str
    better: str
    range: str
    unit: str
    interval: str


class CardRecord(TypedDict):
    """An evaluator's card, and those of the run's metrics that the evaluator computes."""

    name: str
    metrics: list[str]
    classifier: str
    summary: str
    formula: str
    source: str
    min_n: str
    bias: str
    interval: str
    limits: str
    columns: list[CardColumn]


def cards(metrics: Iterable[str]) -> list[CardRecord]:
    """Return the cards of the evaluators that compute some of the metrics, in the order of the metrics.

    Args:
        metrics: names as in results.csv; a metric that no evaluator names is on no card.
    """
    of_evaluator = {name: evaluator.card for name, evaluator in loaded("evaluator", "Evaluator").items()}
    of_card: dict[str, list[str]] = {}
    for metric in dict.fromkeys(metrics):
        patterns = [
            (len(c.pattern), name) for name, card in of_evaluator.items() for c in card.columns if _fits(metric, c)
        ]
        if patterns:
            of_card.setdefault(max(patterns)[1], []).append(metric)  # the longest pattern is the most specific
    return [_record(name, of_evaluator[name], names) for name, names in of_card.items()]


def _fits(metric: str, column: Column) -> bool:
    return fnmatchcase(metric, column.pattern)


def _record(name: str, card: MetricCard, metrics: list[str]) -> CardRecord:
    return {
        "name": name,
        "metrics": metrics,
        "classifier": card.classifier,
        "summary": card.summary,
        "formula": card.formula,
        "source": card.source,
        "min_n": card.min_n,
        "bias": card.bias,
        "interval": card.interval,
        "limits": card.limits,
        "columns": [_column(c) for c in card.columns if any(_fits(metric, c) for metric in metrics)],
    }


def _column(column: Column) -> CardColumn:
    low, high = _end(column.low), _end(column.high)
    return {
        "pattern": column.pattern,
        "better": ARROWS[column.better],
        "range": f"{'(' if math.isinf(column.low) else '['}{low}, {high}{')' if math.isinf(column.high) else ']'}",
        "unit": column.unit,
        "interval": column.interval.name,
    }


def _end(value: float) -> str:
    return f"{value:g}".replace("inf", "∞")
