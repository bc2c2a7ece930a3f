"""Classifier agreement: Cohen's kappa between the attribute classifiers of a suite."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from bench.core.attributes import Attribute
from bench.core.intervals import percentile_interval
from bench.protocols.evaluator import CHUNK, PARAMETRIC_BOOTSTRAP, Column, MetricCard, Reference, Sample, Score
from evaluators.classifiers.agreement import cohen_kappa

Floats = npt.NDArray[np.float64]
Probabilities = Mapping[str, npt.NDArray[np.floating]]
N_DRAWS = 1000
SEED = 19_600_401
MIN_N = 20  # samples classified by both


class Evaluator:
    """Cohen's kappa between the first attribute classifier and every other one, by attribute.

    Samples on which either abstains are left out. A discrepancy that two classifiers agree on is better supported than
    one that depends on a single network.

    >>> from bench.core.attributes import Attribute
    >>> sure = np.repeat([[0.9, 0.1], [0.2, 0.8]], 20, axis=0)
    >>> sample = Sample({"a": sure}, {}, np.full(40, -1), other_classifiers={"clip": {"a": sure}})
    >>> task = Reference((Attribute("a", ("no", "yes")),), np.array([0.5, 0.5]))
    >>> [score] = Evaluator().evaluate(sample, task)
    >>> print(score.metric, score.scope, score.value)
    kappa_clip a 1.0
    """

    card: ClassVar[MetricCard] = MetricCard(
        summary="Agreement of two attribute classifiers beyond chance, by attribute.",
        formula="(p_o - p_e) / (1 - p_e), p_o the share of samples that both give the same class, p_e the share that "
        "independent classifiers with the same class shares would give the same class.",
        source="Cohen 1960, A coefficient of agreement for nominal scales, Eq. 1",
        columns=(Column("kappa_*", "higher", -1.0, 1.0, "agreement beyond chance", PARAMETRIC_BOOTSTRAP),),
        classifier="first",
        min_n=f"{MIN_N} that both classified",
        bias="Of order 1 / n, small compared with its interval. It depends on the shares: if nearly all samples have "
        "one class, it is low even for classifiers that rarely differ.",
        interval="The table of both classifiers' classes is drawn anew. For classifiers that never differ, the "
        "interval has no width.",
        limits="Which classifier is right: both may make the same errors. Samples on which either abstains are left "
        "out.",
    )

    def evaluate(self, sample: Sample, reference: Reference) -> list[Score]:
        """Return one score per other classifier and attribute; none if the suite has one classifier."""
        return [
            _score(attribute, sample.probabilities, name, probabilities)
            for name, probabilities in sample.other_classifiers.items()
            for attribute in reference.attributes
        ]


def _score(attribute: Attribute, first: Probabilities, name: str, second: Probabilities) -> Score:
    metric, scope = f"kappa_{name}", attribute.name
    table = _table(first[scope], second[scope], attribute.n_classes)
    n = int(table.sum())
    value = float(cohen_kappa(table)) if n >= MIN_N else math.nan
    if math.isnan(value):
        reason = "both classifiers give all samples the same class"
        if n < MIN_N:
            reason = f"needs {MIN_N} samples or more that both classifiers classified, got {n}"
        return Score(metric, scope, None, n=n, status="undefined", reason=reason)
    draws = np.random.default_rng(SEED).multinomial(n, table.ravel() / n, N_DRAWS).reshape(-1, *table.shape)
    kappas = cohen_kappa(draws.astype(np.float64))
    low, high = percentile_interval(kappas[np.isfinite(kappas)])
    return Score(metric, scope, value, min(low, value), max(high, value), n)


def _table(a: npt.NDArray[np.floating], b: npt.NDArray[np.floating], n_classes: int) -> Floats:
    """Return counts float64 [n_classes, n_classes] of two classifiers' classes, on samples that both classified."""
    table = np.zeros((n_classes, n_classes))
    for start in range(0, len(a), CHUNK):
        x, y = np.asarray(a[start : start + CHUNK]), np.asarray(b[start : start + CHUNK])
        both = ~(np.isnan(x).any(1) | np.isnan(y).any(1))
        np.add.at(table, (x[both].argmax(1), y[both].argmax(1)), 1.0)
    return table
