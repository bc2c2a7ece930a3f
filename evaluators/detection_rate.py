"""Detection rate: the share of samples in which a face detector finds a face."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from bench.core.errors import ConfigError
from bench.protocols.evaluator import CHUNK, WILSON, Column, MetricCard, Reference, Sample, Score
from evaluators.classifiers.share_draws import SHARE_INTERVAL, count


@dataclass(frozen=True)
class Evaluator:
    """The share of samples in which a face was found, for every extractor that detects faces.

    Attributes are predicted only for detected faces, so this is the share of samples that attribute scores cover. The
    interval is Wilson's (Wilson 1927).

    >>> from bench.protocols.evaluator import Reference, Sample
    >>> sample = Sample({}, {}, np.full(4, -1), detected={"toy": np.array([1.0, 1.0, 0.0, 1.0])})
    >>> score = Evaluator().evaluate(sample, Reference((), np.ones(1)))[0]
    >>> print(score.metric, score.scope, score.value, score.n)
    detection_rate_toy all 0.75 4
    """

    card: ClassVar[MetricCard] = MetricCard(
        summary="Share of the samples in which a face detector finds a face.",
        formula="a / n, a the number of samples in which the extractor found a face.",
        source="a binomial share; its interval: Wilson 1927",
        columns=(Column("detection_rate*", "higher", 0.0, 1.0, "share of the samples", WILSON),),
        classifier="none",
        min_n="1",
        bias="None.",
        interval=SHARE_INTERVAL,
        limits="Whether the detected faces are good: a detector for photographs may miss good drawings and accept bad "
        "ones, and its rate may differ between groups of people.",
    )

    def evaluate(self, sample: Sample, reference: Reference) -> list[Score]:
        """Return `detection_rate_<extractor>` over "all", in the order of `sample.detected`.

        Args:
            sample: its `detected` arrays are counted.
            reference: not used.

        Returns:
            One score per extractor; a single undefined "detection_rate" if none detects faces.

        Raises:
            ConfigError: an array is not one 0 or 1 per sample.
        """
        n = len(sample.assigned_class)
        if not sample.detected:
            reason = "no extractor detects faces; add one that does, such as facenet, to the suite's features"
            return [Score("detection_rate", "all", None, n=n, status="undefined", reason=reason)]
        return [_score(name, array, sample) for name, array in sample.detected.items()]


def _score(name: str, array: npt.NDArray[np.floating], sample: Sample) -> Score:
    metric, n = f"detection_rate_{name}", len(sample.assigned_class)
    if array.shape != (n,):
        raise ConfigError(f"the detections of {name} must have shape [{n}], one per sample, got {list(array.shape)}")
    if n == 0:
        return Score(metric, "all", None, status="undefined", reason="needs 1 sample or more, got 0")
    detected = np.zeros(n, dtype=np.int64)
    for start in range(0, n, CHUNK):
        rows = np.asarray(array[start : start + CHUNK])
        if not np.isin(rows, (0, 1)).all():
            raise ConfigError(f"the detections of {name} must be 0 or 1, got {rows[~np.isin(rows, (0, 1))][0]}")
        detected[start : start + CHUNK] = rows
    counts = count(detected, 2, sample)
    return Score(metric, "all", float(counts.total[1] / n), *counts.share_interval(1), n, reason=counts.note)
