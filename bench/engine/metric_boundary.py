"""The boundary between the engine and a metric: one that breaks its card fails alone, under its name."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import get_args

from bench.engine.jobs import guarded
from bench.protocols.evaluator import Column, Evaluator, MetricCard, Reference, Sample, Score, Status
from bench.results.read import ROUNDING

EVERYTHING = "all"  # the scope of a metric that gave no scores
FLOAT32 = 1e-6  # relative above 1: a cosine computed in float32 may exceed 1 by that much


def evaluated(
    name: str, card: MetricCard, make: Callable[[], Evaluator], sample: Sample, reference: Reference
) -> list[Score]:
    """Return the scores of a metric for a cell.

    Args:
        name: the metric's public name.
        card: its card.
        make: returns the evaluator.
        sample: the cell's samples.
        reference: what they are measured against.

    Returns:
        The metric's scores. Where it raises, returns a name that its card does not have, a value outside the card's
        range, or a score that no table can hold: one score of the metric's public name without a value, with status
        "failed", or "skipped" if it raised `Incompatible`, and the reason.
    """
    end = guarded(lambda: make().evaluate(sample, reference), ())
    n = len(sample.assigned_class)
    if end.status != "ok":
        return [without_scores(name, n, _raised(name, end.reason), end.status)]
    scores = end.result
    if not isinstance(scores, list | tuple) or not all(isinstance(score, Score) for score in scores):
        return [without_scores(name, n, f"metric {name} returned {scores!r:.80}, expected a list of Score")]
    complaint = next(filter(None, (_complaint(card, score) for score in scores)), "") or _repeated(scores)
    return [without_scores(name, n, f"metric {name} returned {complaint}")] if complaint else list(scores)


def without_scores(name: str, n: int, reason: str, status: Status = "failed") -> Score:
    """Return the score that stands for a metric without scores; the last line of its reason is a sentence."""
    return Score(name, EVERYTHING, None, n=n, status=status, reason=reason)


def _raised(name: str, reason: str) -> str:
    lines = reason.strip().splitlines()
    if len(lines) < 2:  # the sentence of an error that says what is wrong
        return f"metric {name}: {reason}"
    return f"{reason.strip()}\nmetric {name} raised {lines[-1]}"


def column_of(card: MetricCard, metric: str) -> Column | None:
    """Return the column of a card that a score's name fits best; None where it fits none."""
    fits = [column for column in card.columns if fnmatchcase(metric, column.pattern)]
    return max(fits, key=lambda column: len(column.pattern), default=None)  # "kid_se_*" says more than "kid_*"


def _complaint(card: MetricCard, score: Score) -> str:
    """Return what is wrong with a score, as an object of "returned"; empty where nothing is."""
    if not all(isinstance(text, str) and text.isprintable() and text for text in (score.metric, score.scope)):
        return f"the name {score.metric!r:.60} over {score.scope!r:.60}, expected printable texts"
    column = column_of(card, score.metric)
    if column is None:
        return (
            f"a score {score.metric!r:.80}, expected a name of its card: {', '.join(c.pattern for c in card.columns)}"
        )
    name = f"{score.metric} over {score.scope}"
    if score.status not in get_args(Status) or not isinstance(score.reason, str):
        return f"status {score.status!r:.40} for {name}, expected one of {', '.join(get_args(Status))}, and a reason"
    if type(score.n) is not int or score.n < 0:
        return f"n = {score.n!r:.40} for {name}, expected a whole number (int) >= 0"
    for part in ("value", "ci_low", "ci_high", "noise_floor"):
        number = getattr(score, part)
        if number is not None and (
            not isinstance(number, float | int) or isinstance(number, bool) or not math.isfinite(number)
        ):
            return f"{number!r:.40} as {part} of {name}, expected a finite number (float) or None"
    return _wrong_value(column, score, name)


def _wrong_value(column: Column, score: Score, name: str) -> str:
    if (score.status == "ok") != (score.value is not None):
        return (
            f"the value {score.value} for {name} with status {score.status}, expected one with status ok, and only then"
        )
    if (score.ci_low is None) != (score.ci_high is None):
        return f"one end of an interval for {name}, [{score.ci_low}, {score.ci_high}], expected both or none"
    if score.value is None:
        return ""
    slack = FLOAT32 * max(1.0, abs(score.value))
    if not column.low - slack <= score.value <= column.high + slack:
        return f"{score.value:.6g} for {name}, expected a value of its card's range, {column.low:g} to {column.high:g}"
    if score.ci_low is None or score.ci_high is None:
        return ""
    slack = ROUNDING * abs(score.value)  # as the reader of results.csv
    if not score.ci_low - slack <= score.value <= score.ci_high + slack:
        interval = f"[{score.ci_low:.6g}, {score.ci_high:.6g}]"
        return f"the interval {interval} for {name}, expected one that holds its value {score.value:.6g}"
    return ""


def _repeated(scores: Sequence[Score]) -> str:
    times = Counter((score.metric, score.scope) for score in scores)
    name, scope = max(times, key=times.__getitem__, default=("", ""))
    return f"{name} over {scope} twice, expected one score per name and scope" if times[name, scope] > 1 else ""
