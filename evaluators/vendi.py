"""Vendi score: the effective number of different samples."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from bench.core.design import Design
from bench.core.errors import Undefined
from bench.core.gaussian import check_features
from bench.protocols.evaluator import CHUNK, GROUP_JACKKNIFE, Column, MetricCard, Reference, Sample, Score
from evaluators.features.comparisons import jackknifed, undefined
from evaluators.features.groups import FEW, Groups, groups_of

Floats = npt.NDArray[np.float64]
Features = npt.NDArray[np.floating]
MIN_N = 2 * FEW


def effective_number(matrix: Floats) -> float:
    """Return exp(-sum_i l_i log l_i), l_i the eigenvalues of a positive semi-definite matrix of trace 1; 0 log 0 = 0.

    Source: Friedman & Dieng 2023, arXiv 2210.02410, Definition 3.1 and Eq. 1.

    Args:
        matrix: float64 [m, m], symmetric.

    Returns:
        A number in [1, m].
    """
    values = np.clip(np.linalg.eigvalsh(matrix), 0.0, None)
    values = values[values > 0]
    return float(np.exp(-(values * np.log(values)).sum()))


def replicates(features: Features, groups: Groups) -> Floats:
    """Return the score of features [n, d] under the cosine kernel, then that without each group; float64 [1 + groups].

    K / n, with K = X X' of unit rows X, has the same non-zero eigenvalues as X'X / n; the smaller matrix is used, so
    memory is bounded by d^2.

    Raises:
        Undefined: an entry is not finite or too large, or a row is zero.
    """
    n, d = features.shape
    return (_from_gram if n <= d else _from_dual)(features, groups)


def _unit(features: Features) -> Iterator[tuple[int, Floats]]:
    for start in range(0, len(features), CHUNK):
        rows = np.asarray(features[start : start + CHUNK], dtype=np.float64)
        check_features(rows)
        norms = np.linalg.norm(rows, axis=1, keepdims=True)
        if (norms == 0).any():
            raise Undefined("the features must have a direction, got a row of zeros")
        yield start, rows / norms


def _from_gram(features: Features, groups: Groups) -> Floats:
    x = np.concatenate([rows for _, rows in _unit(features)])
    kernel = x @ x.T
    selections = [np.arange(len(x)), *(np.flatnonzero(groups.labels != group) for group in range(groups.count))]
    return np.array([effective_number(kernel[np.ix_(rows, rows)] / rows.size) for rows in selections])


def _from_dual(features: Features, groups: Groups) -> Floats:
    n, d = features.shape
    duals = np.zeros((groups.count, d, d))
    for start, rows in _unit(features):
        for group in range(groups.count):
            members = rows[groups.members(group, slice(start, start + len(rows)))]
            duals[group] += members.T @ members
    total = duals.sum(axis=0)
    left = [effective_number((total - duals[g]) / (n - groups.sizes[g])) for g in range(groups.count)]
    return np.array([effective_number(total / n), *left])


@dataclass(frozen=True)
class Evaluator:
    """Vendi score of the samples' features under the cosine kernel: the effective number of different samples.

    Source: Friedman & Dieng 2023, arXiv 2210.02410, Definition 3.1. 1 if all samples are equal, n if they are
    orthogonal.

    >>> from bench.protocols.evaluator import Reference, Sample
    >>> sample = Sample({}, {"toy": np.tile(np.eye(4), (10, 1))}, np.zeros(40, dtype=np.int64))
    >>> score = Evaluator().evaluate(sample, Reference((), np.ones(1)))[0]
    >>> print(score.metric, score.scope, round(score.value, 6))
    vendi_toy all 4.0
    """

    card: ClassVar[MetricCard] = MetricCard(
        summary="Effective number of different samples, from the cosines of their features.",
        formula="exp(-sum_i l_i log l_i), l_i the eigenvalues of X X' / n, X the samples' features divided by their "
        "norms.",
        source="Friedman & Dieng 2023, arXiv 2210.02410, Definition 3.1",
        columns=(Column("vendi_*", "higher", 1.0, math.inf, "effective samples", GROUP_JACKKNIFE),),
        classifier="none",
        min_n=f"{MIN_N}",
        bias="Too small: it rises with n, up to min(n, number of features). Compare at equal n only.",
        interval="That of the score at this n, including its bias. Measured (4 features): 95 to 100 % at n = 20 and "
        "200; conservative near the largest score, where the replicates differ by their bias alone.",
        limits="Quality: it uses no reference, and noise is diverse too. Features without negative entries, e.g. after "
        "a ReLU, have cosines far above 0 and so low scores: compare within one extractor only.",
    )

    def evaluate(self, sample: Sample, reference: Reference) -> list[Score]:
        """Return `vendi_<features>` of all samples, one score per extractor in the order of `sample.features`."""
        return [_score(f"vendi_{name}", features, sample.design) for name, features in sample.features.items()]


def _score(metric: str, features: Features, design: Design | None) -> Score:
    n = len(features)
    groups = groups_of(design, np.arange(n), few=True)
    try:
        if n < MIN_N:
            raise Undefined(f"needs {MIN_N} samples or more, got {n}")
        values = replicates(features, groups)
    except Undefined as error:
        return undefined(metric, "all", n, error)
    return jackknifed(values, groups, 1.0).score(metric, "all", n, groups.note)
