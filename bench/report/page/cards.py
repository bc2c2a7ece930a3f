"""What the evaluators say of their metrics, and which metric is whose."""

from __future__ import annotations

import math
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Any

from bench.core.plugins import load, with_member

ARROWS = {"lower": "lower is better", "higher": "higher is better", None: "neither direction is better"}


def cards(metrics: Iterable[str]) -> list[dict[str, Any]]:
    """The cards of the evaluators that some of the metrics come from, in the order of the metrics.

    Args:
        metrics: names as in results.csv.

    Returns:
        A record a card: "name" of the evaluator, "metrics" (those given that are its), "columns" (what is said of each
        of its columns), and the card's texts. A metric that no evaluator here gives is in none of them.
    """
    found = {name: load("evaluator", name, "Evaluator").card for name in with_member("evaluator", "Evaluator")}
    records: dict[str, dict[str, Any]] = {}
    for metric in dict.fromkeys(metrics):
        patterns = [(len(c.pattern), name) for name, card in found.items() for c in card.columns if _fits(metric, c)]
        if patterns:
            name = max(patterns)[1]  # the longest pattern says most
            records.setdefault(name, _record(name, found[name]))["metrics"].append(metric)
    for record in records.values():
        columns = record.pop("_columns")
        record["columns"] = [_column(c) for c in columns if any(_fits(m, c) for m in record["metrics"])]
    return list(records.values())


def _fits(metric: str, column: Any) -> bool:
    return fnmatchcase(metric, column.pattern)


def _record(name: str, card: Any) -> dict[str, Any]:
    texts = {key: getattr(card, key) for key in ("summary", "formula", "source", "min_n", "bias", "interval", "limits")}
    return {"name": name, "metrics": [], "classifier": card.classifier, "_columns": card.columns, **texts}


def _column(column: Any) -> dict[str, str]:
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
