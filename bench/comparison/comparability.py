"""The settings that two scores must share to be compared."""

from __future__ import annotations

import math
from collections.abc import Sequence
from operator import attrgetter

from bench.results.metric_info import metric
from bench.results.score_row import ScoreRow

# Column to what a reader calls it: where two rows differ in one of these, their numbers mean different things.
PROTOCOL = {
    "protocol": "protocol",
    "model_sha256": "model weights",
    "sampler": "sampler",
    "steps": "sampler steps",
    "eta": "eta",
    "spacing": "spacing of the steps",
    "precision": "precision",
    "n_asked": "number of samples",
}
CLASSIFIER = {
    "classifier": "classifier",
    "classifier_sha256": "classifier's weights",
    "classifier_confusion": "classifier's measured confusion",
}


def why_not(a: Sequence[ScoreRow], b: Sequence[ScoreRow]) -> str:
    """Return why two scores of a metric, one row per seed each, are not comparable; empty where they are."""
    return other_settings(a, b) or no_interval(a, b)


def other_settings(a: Sequence[ScoreRow], b: Sequence[ScoreRow]) -> str:
    """Return the first setting in which two scores of a metric differ, one row per seed each; empty for equal ones."""
    names = {**PROTOCOL, **(CLASSIFIER if metric(a[0].metric).classified else {})}
    settings = attrgetter(*names)
    columns = (map(set, zip(*map(settings, rows), strict=True)) for rows in (a, b))
    for name, first, second in zip(names.values(), *columns, strict=True):
        if first != second:
            return f"other {name}: {_short(sorted(first))} and {_short(sorted(second))}"
    return ""


def no_interval(a: Sequence[ScoreRow], b: Sequence[ScoreRow]) -> str:
    """Return that a score has no interval to test it by, if some seed of either has none; else an empty text."""
    for row in (*a, *b):
        if not metric(row.metric).exact and math.isnan(row.ci_low):
            return f"{row.metric} has no interval, so there is no test of it"
    return ""


def _short(values: Sequence[object]) -> str:
    return ", ".join(str(v) if len(str(v)) <= 24 else str(v)[:12] + "..." for v in values)
