"""Samples and references of stored features, as evaluators are handed them, and arrays that only slices can read."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from bench.protocols.evaluator import Reference, Sample, Score
from bench.storage.store import Rows

Features = npt.NDArray[np.floating]


def scores_of(evaluator: Any, features: Features, reference: Features) -> dict[str, Score]:
    """Scores by metric, of one extractor "net" and one reference set "real"."""
    sample = Sample({}, {"net": features}, np.zeros(len(features), dtype=np.int64))
    found = evaluator.evaluate(sample, Reference((), np.ones(1), {"net": {"real": reference}}))
    assert {s.scope for s in found} <= {"real", "all"}
    return {s.metric: s for s in found}


def in_shards(features: Features, size: int) -> Any:
    """The same rows as the store hands them over: in parts, read by slices alone."""
    return Rows([features[i : i + size] for i in range(0, len(features), size)])


def numbers(scores: dict[str, Score]) -> list[float]:
    """Values and interval ends, in order."""
    ends = [(s.value, s.ci_low, s.ci_high) for s in scores.values()]
    return [float(v) for row in ends for v in row if v is not None]
