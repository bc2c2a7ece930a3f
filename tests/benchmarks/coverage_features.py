"""Rows of the coverage table: metrics of image features."""

from __future__ import annotations

import math

import numpy as np

from bench.protocols.evaluator import Reference, Sample, Score
from evaluators import paired_baseline
from tests.support.coverage import Draw, Row

NO_REFERENCE = Reference((), np.ones(1))


def lognormal_pairs(sigma: float) -> Draw:
    """Return draws of pairs whose squared distances are lognormal with mean exp(sigma^2 / 2)."""

    def draw(n: int, rng: np.random.Generator) -> Score:
        points, unassigned = np.exp(0.5 * sigma * rng.standard_normal((n, 1))), np.full(n, -1)
        vanilla = Sample({}, {}, unassigned, perceptual={"toy": np.zeros((n, 1))})
        sample = Sample({}, {}, unassigned, perceptual={"toy": points}, paired_baseline=vanilla)
        return paired_baseline.Evaluator().evaluate(sample, NO_REFERENCE)[0]

    return draw


ROWS: tuple[Row, ...] = (
    Row("paired_distance", "lognormal, sigma 0.5", lognormal_pairs(0.5), lambda n: math.exp(0.125)),
    Row("paired_distance", "lognormal, sigma 1", lognormal_pairs(1.0), lambda n: math.exp(0.5)),
)
