"""Classifier agreement: how far the classifiers of a suite give the same samples the same class."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from bench.core.attributes import Attribute
from bench.core.stats import percentile_interval
from bench.protocols.evaluator import CHUNK, REDRAWS, Card, Column, Reference, Sample, Score
from evaluators.classifiers.agreement import cohen_kappa

Floats = npt.NDArray[np.float64]
Probabilities = Mapping[str, npt.NDArray[np.floating]]
N_DRAWS = 1000
SEED = 19_600_401
MIN_N = 20  # samples that both must have classified


class Evaluator:
    """Cohen's kappa of the classifier and every other classifier, by attribute, over the samples on which neither abstained.

    A discrepancy that two classifiers see alike is worth more than one that rests on a single network.

    >>> from bench.core.attributes import Attribute
    >>> sure = np.repeat([[0.9, 0.1], [0.2, 0.8]], 20, axis=0)
    >>> sample = Sample({"a": sure}, {}, np.full(40, -1), other_classifiers={"clip": {"a": sure}})
    >>> task = Reference((Attribute("a", ("no", "yes")),), np.array([0.5, 0.5]))
    >>> [score] = Evaluator().evaluate(sample, task)
    >>> print(score.metric, score.scope, score.value)
    kappa_clip a 1.0
    """

    card: ClassVar[Card] = Card(
        summary="Agreement of two classifiers beyond chance, by attribute.",
        formula="(p_o - p_e) / (1 - p_e), p_o the share of samples that both give the same class, p_e the share that "
        "independent classifiers with the same class shares would.",
        source="Cohen 1960, A coefficient of agreement for nominal scales, Eq. 1",
        columns=(Column("kappa_*", "higher", -1.0, 1.0, "agreement beyond chance", REDRAWS),),
        classifier="first",
        min_n=f"{MIN_N} that both classified",
        bias="Of order 1 / n, small beside its interval. It depends on the shares: near one class for all it is low "
        "even where the classifiers seldom differ.",
        interval="The table of both classifiers' classes is redrawn. Classifiers that never differ have an interval without "
        "width.",
        limits="Which of them is right: both may err alike. Samples on which either abstains are left out.",
    )

    def evaluate(self, sample: Sample, reference: Reference) -> list[Score]:
        """One score a pair of classifiers and attribute; none where there is one classifier."""
        return [
            _score(attribute, sample.probabilities, other, probabilities)
            for other, probabilities in sample.other_classifiers.items()
            for attribute in reference.attributes
        ]


def _score(attribute: Attribute, mine: Probabilities, name: str, other: Probabilities) -> Score:
    metric, scope = f"kappa_{name}", attribute.name
    table = _table(mine[scope], other[scope], attribute.n_classes)
    n = int(table.sum())
    value = float(cohen_kappa(table)) if n >= MIN_N else math.nan
    if math.isnan(value):
        reason = "both classifiers name one and the same class throughout"
        if n < MIN_N:
            reason = f"needs {MIN_N} samples or more that both classifiers classified, got {n}"
        return Score(metric, scope, None, n=n, status="undefined", reason=reason)
    draws = np.random.default_rng(SEED).multinomial(n, table.ravel() / n, N_DRAWS).reshape(-1, *table.shape)
    found = cohen_kappa(draws.astype(np.float64))
    low, high = percentile_interval(found[np.isfinite(found)])
    return Score(metric, scope, value, min(low, value), max(high, value), n)


def _table(a: npt.NDArray[np.floating], b: npt.NDArray[np.floating], n_classes: int) -> Floats:
    """Counts float64 [n_classes, n_classes] of the classes that two classifiers give the samples that both classified."""
    table = np.zeros((n_classes, n_classes))
    for start in range(0, len(a), CHUNK):
        mine, other = np.asarray(a[start : start + CHUNK]), np.asarray(b[start : start + CHUNK])
        both = ~(np.isnan(mine).any(1) | np.isnan(other).any(1))
        np.add.at(table, (mine[both].argmax(1), other[both].argmax(1)), 1.0)
    return table
