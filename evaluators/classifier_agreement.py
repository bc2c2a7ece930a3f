"""Classifier agreement: Cohen's kappa between the attribute classifiers of a suite."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from scipy.stats import beta

from bench.core.attributes import Attribute
from bench.core.intervals import LEVEL, percentile_interval
from bench.core.probability_rows import answered_rows
from bench.protocols.evaluator import CHUNK, PARAMETRIC_BOOTSTRAP, Column, MetricCard, Reference, Sample, Score
from evaluators.classifiers.agreement import cohen_kappa
from evaluators.classifiers.share_draws import count

Probabilities = Mapping[str, npt.NDArray[np.floating]]
SEED = 19_600_401
FEW = 3  # samples on which classifiers differ, up to which the share of such samples has its exact lower limit
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
        interval="The table of both classifiers' classes is drawn from its Dirichlet posterior, with one pseudo-count "
        "spread over the table, so that classifiers that never differ have an interval with width. Where they differ "
        f"on {FEW} samples or fewer, the upper end is at least that of the exact lower limit of the share of such "
        "samples (Clopper & Pearson 1934), at the measured agreement by chance; for none it is 1. Measured coverage at "
        "shares of differing samples of 0.1 to 10 % and of the rarer class of 50 to 0.5 %: 92 to 100 % at n = 20, 93 "
        "to 99 % at 200, 92 to 99 % at 1,000; above 97 % where fewer than about 3 samples are expected to differ.",
        limits="Which classifier is right: both may make the same errors. Samples on which either abstains are left "
        "out.",
    )

    def evaluate(self, sample: Sample, reference: Reference) -> list[Score]:
        """Return one score per other classifier and attribute; none if the suite has one classifier."""
        return [
            _score(attribute, sample, name, probabilities)
            for name, probabilities in sample.other_classifiers.items()
            for attribute in reference.attributes
        ]


def _score(attribute: Attribute, sample: Sample, name: str, second: Probabilities) -> Score:
    metric, scope, size = f"kappa_{name}", attribute.name, attribute.n_classes
    counts = count(_labels(sample.probabilities[scope], second[scope], attribute), size**2, sample)
    table, n = counts.total.reshape(size, size).astype(np.float64), counts.n
    value = float(cohen_kappa(table)) if n >= MIN_N else math.nan
    if math.isnan(value):
        reason = "both classifiers give all samples the same class"
        if n < MIN_N:
            reason = f"needs {MIN_N} samples or more that both classifiers classified, got {n}"
        return Score(metric, scope, None, n=n, status="undefined", reason=reason)
    kappas = cohen_kappa(counts.draw(np.random.default_rng(SEED)).reshape(-1, size, size))
    low, high = percentile_interval(kappas[np.isfinite(kappas)])
    differ = n - int(table.trace())
    if differ <= FEW:
        fewest = float(beta.ppf((1 - LEVEL) / 2, differ, n - differ + 1)) if differ else 0.0
        high = max(high, 1 - fewest * (1 - value) * n / differ if differ else 1.0)
    return Score(metric, scope, value, min(low, value), max(high, value), n, reason=counts.note)


def _labels(a: npt.NDArray[np.floating], b: npt.NDArray[np.floating], attribute: Attribute) -> npt.NDArray[np.int64]:
    """Return the pair of two classifiers' classes of each sample as i K + j, int64 [n]; -1 where either abstained."""
    labels = np.full(len(a), -1, dtype=np.int64)
    for start in range(0, len(a), CHUNK):
        (x, x_answered), (y, y_answered) = (
            answered_rows(np.asarray(p[start : start + CHUNK]), attribute.name, start) for p in (a, b)
        )
        classes = x.argmax(1) * attribute.n_classes + y.argmax(1)
        labels[start : start + CHUNK] = np.where(x_answered & y_answered, classes, -1)
    return labels
