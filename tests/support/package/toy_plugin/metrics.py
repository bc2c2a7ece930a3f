"""Share of the most frequent class."""

from typing import ClassVar

import numpy as np

from bench.protocols.evaluator import CHUNK, NO_INTERVAL, Column, MetricCard, Reference, Sample, Score


class LargestShare:
    """Return the largest share of a predicted class, per attribute."""

    card: ClassVar[MetricCard] = MetricCard(
        summary="Share of the class that the classifier sees most often.",
        formula="max_k n_k / n, n_k the samples classified as class k",
        source="ours",
        columns=(Column("largest_share", "lower", 0.0, 1.0, "share of the samples", NO_INTERVAL),),
        classifier="each",
        min_n="1",
        bias="Upward in small samples.",
        interval="It has none.",
        limits="It does not show which class it is.",
    )

    def evaluate(self, sample: Sample, reference: Reference) -> list[Score]:
        return [self._score(a, sample.probabilities[a.name]) for a in reference.attributes]

    def _score(self, attribute, probabilities) -> Score:
        counts = np.zeros(attribute.n_classes, dtype=np.int64)
        for start in range(0, len(probabilities), CHUNK):
            rows = np.asarray(probabilities[start : start + CHUNK])
            predicted = rows[~np.isnan(rows).any(axis=1)].argmax(axis=1)
            counts += np.bincount(predicted, minlength=attribute.n_classes)
        n = int(counts.sum())
        if n == 0:
            reason = "needs at least 1 classified sample, got 0"
            return Score("largest_share", attribute.name, None, status="undefined", reason=reason)
        return Score("largest_share", attribute.name, float(counts.max() / n), n=n)
