"""Frechet distance extrapolated to infinitely many samples."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from bench.core.errors import Undefined
from bench.core.gaussian import Gaussian, GroupedMoments, fit
from bench.core.intervals import jackknife_interval
from bench.protocols.evaluator import GROUP_JACKKNIFE, Column, MetricCard, Reference, Sample, Score
from evaluators.features.comparisons import INTERVAL_N, Compared, Estimate, at_least, compare_sets
from evaluators.features.frechet_distance import distance_to
from evaluators.features.groups import FEW, Groups
from evaluators.features.reference_cache import ReferenceCache

Floats = npt.NDArray[np.float64]
Features = npt.NDArray[np.floating]
MIN_N = 2 * FEW
PER_DIMENSION = 4  # samples per dimension, below which the distance is not linear in 1/N


def intercept(sizes: Floats, distances: Floats) -> float:
    """Return the value at 1/N = 0 of the least-squares line through distances over 1/N.

    Source: Chong & Forsyth 2020, arXiv 1911.07023: FID_N = FID_infinity + K / N + o(1 / N).

    Args:
        sizes: float64 [points], N > 0, at least two of them different.
        distances: float64 [points], the distance at each.
    """
    inverse = 1 / sizes
    shifted = inverse - inverse.mean()
    slope = float(shifted @ distances) / float(shifted @ shifted)
    return float(distances.mean()) - slope * float(inverse.mean())


def extrapolated(moments: GroupedMoments, reference: Gaussian) -> tuple[float, Floats]:
    """Return the distance at infinite n, and the distance at n with its jackknife replicates.

    The sizes are those of windows of 5, 7, 9 and all 10 groups (about half, 0.7 and all but one of other numbers of
    groups). At each size the distance is the mean over
    the windows from every start, so all samples have equal weight at every size and noise shared by the points does
    not affect the slope.

    Returns:
        The value, and float64 [1 + groups], the distance of all samples, then that without each group.
    """
    count, n = moments.counts.size, float(moments.counts.sum())
    sizes, means, without = [], [], np.empty(0)
    for size in (count // 2, round(0.7 * count), count - 1):
        # The windows of count - 1 groups start behind the group that they leave out.
        windows = [[(start + i) % count for i in range(1, size + 1)] for start in range(count)]
        without = np.array([distance_to(reference, moments.fit(groups)) for groups in windows])
        sizes.append(size / count * n)
        means.append(float(without.mean()))
    sizes.append(n)
    means.append(distance_to(reference, moments.fit(list(range(count)))))
    return intercept(np.array(sizes), np.array(means)), np.append(means[-1], without)


@dataclass(frozen=True)
class Evaluator:
    """Frechet distance of the samples' features to each reference set, extrapolated to infinitely many samples.

    Source: Chong & Forsyth 2020, arXiv 1911.07023: the distance is biased by about K / n with a K that depends on the
    sampler, so that comparing at equal n is not enough; extrapolating a line over 1/N to 0 removes that bias. The paper
    draws 15 random subsets of 5,000 to n samples; here every sample has equal weight at each of four sizes from n / 2
    to n, and nothing is random. The bias in the size of the reference set remains. The value may be below 0.

    The distance is linear in 1/N only if N is well above the width d of the features: with fewer than 4 d samples it is
    undefined (at n = 2 d with a flat spectrum, the worst case, the value is too small by a third).

    >>> from bench.protocols.evaluator import Reference, Sample
    >>> features = np.random.default_rng(0).standard_normal((50, 3))
    >>> sample = Sample({}, {"toy": features}, np.zeros(50, dtype=np.int64))
    >>> score = Evaluator().evaluate(sample, Reference((), np.ones(1), {"toy": {"real": features + 1.0}}))[0]
    >>> print(score.metric, score.scope, score.value < 3)
    fd_infinity_toy real True
    """

    card: ClassVar[MetricCard] = MetricCard(
        summary="Frechet distance of image features, extrapolated to infinitely many samples.",
        formula="the value at 1/N = 0 of the least-squares line through the mean distance of the samples' windows of "
        "N = n/2, 7n/10, 9n/10 and n over 1/N; distances as frechet_*.",
        source="Chong & Forsyth 2020, arXiv 1911.07023",
        columns=(
            Column("fd_infinity_*", "lower", -math.inf, math.inf, "squared units of the features", GROUP_JACKKNIFE),
        ),
        classifier="none",
        min_n=f"{MIN_N}, and {PER_DIMENSION} per feature",
        bias="That of order 1/n is removed; the remainder is of higher order: with 2 samples per feature and a flat "
        "spectrum, the worst case, the value is too small by a third. The bias in the size of the reference set "
        "remains.",
        interval="That of the distance at n, centred on this value: to first order both have the same error, since "
        "every sample has equal weight in every point of the line; the jackknife of the line itself, whose windows do "
        f"not, is twice too wide. The reference is held fixed. Below {INTERVAL_N} samples there is none. Measured (4 "
        "features) at n = 100, 200 and 1,000: 93 to 98 % for Gaussian and lognormal, 90 to 96 % with two classes, 74 "
        "to 93 % with a class of 2 %; it is not an interval for Student's t of 3 degrees of freedom (17 to 82 %).",
        limits="The limits of frechet_*. It may be below 0 if the samples are as close as the reference's own sampling "
        "error.",
    )
    _fits: ReferenceCache[Gaussian] = field(default_factory=ReferenceCache, init=False, repr=False, compare=False)

    def evaluate(self, sample: Sample, reference: Reference) -> list[Score]:
        """Return `fd_infinity_<features>`, scope the reference set; raises as `compare_sets` does."""
        return compare_sets(
            sample, reference, ("fd_infinity",), MIN_N, moments_of, self._compare, few=True, compare_fit=_to
        )

    def _compare(self, moments: GroupedMoments, against: Compared) -> tuple[Estimate]:
        at_least(2, against.array, f"the reference set {against.name}")
        return _to(moments, self._fits.get(against.key, against.array, lambda: fit(against.array)))


def _to(moments: GroupedMoments, reference: Gaussian) -> tuple[Estimate]:
    value, replicates = extrapolated(moments, reference)
    low, high = jackknife_interval(float(replicates[0]), replicates[1:], moments.counts)
    shift = value - float(replicates[0])
    return (Estimate(value, low + shift, high + shift).if_enough(int(moments.counts.sum())),)


def moments_of(features: Features, groups: Groups) -> GroupedMoments:
    """Return the moments of the groups of samples [n, d].

    Raises:
        Undefined: n is below 4 d.
    """
    n, d = features.shape
    if n < PER_DIMENSION * d:
        raise Undefined(f"needs {PER_DIMENSION * d} samples or more, {PER_DIMENSION} for each of {d} features, got {n}")
    return GroupedMoments(features, groups.labels)
