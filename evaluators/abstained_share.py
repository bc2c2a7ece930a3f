"""Abstained share: the share of samples that the attribute classifier gives no answer for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from bench.core.attributes import Attribute, product
from bench.core.errors import Incompatible
from bench.core.probability_rows import answered_rows
from bench.protocols.evaluator import CHUNK, WILSON, Column, MetricCard, Reference, Sample, Score
from evaluators.classifiers.share_draws import SHARE_INTERVAL, count


@dataclass(frozen=True)
class Evaluator:
    """The share of samples on which the attribute classifier abstained: it found no face, or was not sure enough.

    An all-NaN row of probabilities is an abstention. Attribute scores use classified rows only, so a method could
    improve them by generating images that the classifier cannot read; this number shows it. The interval is Wilson's
    (Wilson 1927).

    >>> from bench.protocols.evaluator import Reference, Sample
    >>> glasses = Attribute("eyeglasses", ("absent", "present"))
    >>> classified = np.array([[0.9, 0.1], [np.nan, np.nan], [0.2, 0.8], [0.4, 0.6]])
    >>> sample = Sample({"eyeglasses": classified}, {}, np.full(4, -1))
    >>> score = Evaluator().evaluate(sample, Reference((glasses,), np.array([0.5, 0.5])))[0]
    >>> print(score.metric, score.scope, score.value)
    abstained_share eyeglasses 0.25
    """

    card: ClassVar[MetricCard] = MetricCard(
        summary="Share of the samples on which the attribute classifier gives no answer.",
        formula="a / n, a the number of samples without probabilities of the attribute; for a joint, without those of "
        "at least one of its attributes.",
        source="a binomial share; its interval: Wilson 1927",
        columns=(Column("abstained_share", "lower", 0.0, 1.0, "share of the samples", WILSON),),
        classifier="each",
        min_n="1",
        bias="None.",
        interval=SHARE_INTERVAL,
        limits="Why the classifier abstained, and what else the samples show. A classifier without a threshold never "
        "abstains, so 0 says nothing about its certainty.",
    )

    def evaluate(self, sample: Sample, reference: Reference) -> list[Score]:
        """Return `abstained_share` of every attribute, and of their joint if there are several.

        A sample is abstained on for the joint if it is for at least one attribute.

        Raises:
            Incompatible: the samples have no probabilities of an attribute.
            ConfigError: a row is neither probabilities nor NaN throughout.
        """
        scores = [_score((a,), sample) for a in reference.attributes]
        return [*scores, _score(reference.attributes, sample)] if len(scores) > 1 else scores


def _score(attributes: tuple[Attribute, ...], sample: Sample) -> Score:
    scope, n = product(attributes).name, len(sample.assigned_class)
    for a in attributes:
        if a.name not in sample.probabilities:
            raise Incompatible(
                f"the samples have no probabilities of {a.name}; add an extractor that classifies this attribute"
            )
    if n == 0:
        return Score("abstained_share", scope, None, status="undefined", reason="needs 1 sample or more, got 0")
    abstained = np.zeros(n, dtype=np.int64)
    for start in range(0, n, CHUNK):
        for a in attributes:
            rows = np.asarray(sample.probabilities[a.name][start : start + CHUNK])
            abstained[start : start + CHUNK] |= ~answered_rows(rows, a.name, start)[1]
    counts = count(abstained, 2, sample)
    share, ends = float(counts.total[1] / n), counts.share_interval(1)
    return Score("abstained_share", scope, share, *ends, n, reason=counts.note)
