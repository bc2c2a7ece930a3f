"""The properties of metrics by their names: results.csv has names and numbers alone."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from bench.core.plugins import loaded
from bench.core.text import ARROWS
from bench.core.value import Scale
from bench.protocols.evaluator import WILSON, Better, Column


@dataclass(frozen=True)
class Metric:
    """A family of metrics.

    Attributes:
        better: the better direction; None where there is none, as of a share, or where it is not known.
        classified: whether it is computed from the classifier's classes.
        exact: whether it is counted, not estimated: any difference is a difference.
        scale: its range and the kind of its intervals.
        evaluator: public name of the evaluator; empty where it is not known.
    """

    better: Better | None
    classified: bool = True
    exact: bool = False
    scale: Scale = field(default_factory=Scale)
    evaluator: str = ""


COUNTED = ("nfe_per_image", "backward_per_image")

# fairness, prompt fit, quality, leakage, one metric each: variants of one would cost power and tell nothing new
DEFAULT = ("fd_l2_hard", "fd_l2_prompt_mean", "clip_score_*", "frechet_*", "epsilon_*")


@functools.cache
def metric(name: str) -> Metric:
    """Return the properties of a metric from its evaluator's card; of a name without a card, the cautious ones."""
    if name in COUNTED:
        return Metric("lower", classified=False, exact=True, scale=Scale(low=0.0))
    fits = [pattern for pattern in _of_cards() if fnmatchcase(name, pattern)]
    return _of_cards()[max(fits, key=len)] if fits else Metric(None)  # "kid_se_*" says more than "kid_*"


@functools.cache
def _of_cards() -> dict[str, Metric]:
    """Pattern to metric, of every evaluator that can be used."""
    cards = {name: evaluator.card for name, evaluator in loaded("evaluator", "Evaluator").items()}
    return {
        column.pattern: Metric(column.better, card.classifier != "none", scale=_scale(column), evaluator=name)
        for name, card in cards.items()
        for column in card.columns
    }


def _scale(column: Column) -> Scale:
    share = column.interval == WILSON
    distance = column.better == "lower" and column.low == 0 and not share
    return Scale(column.low, column.high, share, distance, column.interval.degrees_of_freedom)


def score_name(column: Column) -> str:
    """A score's name with the arrow of its better direction."""
    return column.pattern + ARROWS[column.better]


def value_range(column: Column) -> str:
    """The smallest and the largest possible value, such as "[0, 1]" or "[0, inf)"."""
    low = f"[{column.low:.4g}" if math.isfinite(column.low) else "(-inf"
    high = f"{column.high:.4g}]" if math.isfinite(column.high) else "inf)"
    return f"{low}, {high}"
