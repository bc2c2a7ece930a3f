"""Kernel inception distance: MMD of features under the cubic polynomial kernel."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from bench.core.stats import jackknife_interval
from bench.protocols.evaluator import JACKKNIFE, NO_INTERVAL, Card, Column, Reference, Sample, Score
from evaluators.features.kept import Kept
from evaluators.features.mmd import MIN_N, Features, Floats, Within, across, standard_error, unbiased, within
from evaluators.features.subset import head
from evaluators.features.walk import Compared, Interval, at_least, walk

MAX_N = 10_000  # samples, and images of a reference set, that are used: the time is quadratic in both


def scaled(features: Features) -> Floats:
    """Rows [m, d] over sqrt(d), so that their inner products are x.y / d; float64 [m, d]."""
    return np.asarray(features, dtype=np.float64) / math.sqrt(features.shape[1])


def cubic(inner: npt.NDArray[np.float64]) -> Floats:
    """(x.y / d + 1)^3 of the inner products of scaled rows."""
    shifted = inner + 1.0
    return shifted * shifted * shifted


@dataclass(frozen=True)
class Evaluator:
    """Squared MMD between the samples' features and each reference set's, kernel (x.y / d + 1)^3, unbiased.

    Source: Binkowski et al. 2018, arXiv 1801.01401; the estimator is Gretton et al. 2012, Eq. 3. It is
    unbiased at any n, so that small samples may be compared, and may be below 0 where the two sets agree.

    Released codes average the estimate over 100 random subsets of 1,000; this one takes every pair once (the first
    10,000 samples and the first 10,000 images of a set; beyond that the score says so). Same expectation, smaller
    variance, nothing drawn, and the standard error is that of the estimate, not of a subset's.

    The standard error, a score of its own, is that of the delete-one jackknife, as the interval.

    >>> from bench.protocols.evaluator import Reference, Sample
    >>> features = np.random.default_rng(0).standard_normal((50, 3))
    >>> sample = Sample({}, {"toy": features}, np.zeros(50, dtype=np.int64))
    >>> target = Reference((), np.ones(1), {"toy": {"real": features + 1.0}})
    >>> [(s.metric, s.scope) for s in Evaluator().evaluate(sample, target)]
    [('kid_toy', 'real'), ('kid_se_toy', 'real')]
    """

    card: ClassVar[Card] = Card(
        summary="Squared MMD of image features under a cubic kernel, unbiased at any n, with its standard error.",
        formula="mean over i != j of k(x_i, x_j) + mean over i != j of k(y_i, y_j) - 2 mean k(x_i, y_j), k(x, y) = "
        "(x.y / d + 1)^3 of features x of samples, y of the reference, of width d; kid_se is its standard error.",
        source="Binkowski et al. 2018, arXiv 1801.01401",
        columns=(
            Column("kid_*", "lower", -math.inf, math.inf, "squared kernel distance", JACKKNIFE),
            Column("kid_se_*", None, 0.0, math.inf, "squared kernel distance", NO_INTERVAL),
        ),
        classifier="none",
        min_n=f"{MIN_N}",
        bias=f"None, in n or in the size of the reference. Of more than {MAX_N:,} samples, or images of a set, the "
        f"first {MAX_N:,} are used, since the time is quadratic.",
        interval="The reference is held fixed, so its own sampling error is not in it.",
        limits="Moments of the features beyond the third. Its kernel has heavy tails: a few far samples decide it, "
        "and of few samples its order of two methods may be chance.",
    )
    _sums: Kept[Within] = field(default_factory=Kept, init=False, repr=False, compare=False)

    def evaluate(self, sample: Sample, reference: Reference) -> list[Score]:
        """`kid_<features>` and its standard error `kid_se_<features>`, scope the set; raises as `walk` does."""
        return walk(
            sample, reference, ("kid", "kid_se"), MIN_N, lambda x: within(x, scaled, cubic), self._compare, MAX_N
        )

    def _compare(self, x: Within, against: Compared) -> tuple[Interval, Interval]:
        at_least(2, against.array, f"the reference set {against.name}")
        y = self._sums.get(against.key, against.array, lambda: within(head(against.array, MAX_N), scaled, cubic))
        estimates = unbiased(x, y, across(x.features, y.features, scaled, cubic))
        value, replicates = float(estimates[0]), estimates[1:]
        return (value, *jackknife_interval(value, replicates)), (standard_error(replicates), None, None)
