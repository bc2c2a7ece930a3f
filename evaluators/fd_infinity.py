"""Frechet distance extrapolated to infinitely many samples."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from bench.core.errors import Undefined
from bench.core.gaussian import Gaussian
from bench.core.stats import jackknife_interval
from bench.protocols.evaluator import GROUP_JACKKNIFE, Card, Column, Reference, Sample, Score
from evaluators.features.frechet_distance import GROUPS, distance_to
from evaluators.features.gaussian import GroupedMoments, fit
from evaluators.features.kept import Kept
from evaluators.features.walk import Compared, Interval, at_least, walk

Floats = npt.NDArray[np.float64]
Features = npt.NDArray[np.floating]
SIZES = (5, 7, 9)  # groups in a window, beside all of them
MIN_N = 2 * GROUPS
PER_DIMENSION = 4  # samples for each dimension, below which the distance is no line in 1/N


def intercept(sizes: Floats, distances: Floats) -> float:
    """Value at 1/N = 0 of the least-squares line through distances over 1/N.

    Source: Chong & Forsyth 2020, arXiv 1911.07023: FID_N = FID_infinity + K / N + o(1 / N).

    Args:
        sizes: float64 [points], N > 0, at least two different ones.
        distances: float64 [points], the distance at each.
    """
    inverse = 1 / sizes
    shifted = inverse - inverse.mean()
    slope = float(shifted @ distances) / float(shifted @ shifted)
    return float(distances.mean()) - slope * float(inverse.mean())


def extrapolated(moments: GroupedMoments, reference: Gaussian) -> tuple[float, Floats]:
    """The distance at infinite n, and the jackknife replicates of the distance at n.

    The sizes are those of windows of 5, 7, 9 and all 10 of the interleaved groups. At each size the distance is the
    mean over the windows from every start, so that all samples count alike at every size and the noise that the
    points share leaves the slope alone.

    Returns:
        The value, and float64 [GROUPS], the distance without each group.
    """
    sizes, means, without = [], [], np.empty(0)
    for size in SIZES:
        windows = [[(start + i) % GROUPS for i in range(size)] for start in range(GROUPS)]
        without = np.array([distance_to(reference, moments.fit(groups)) for groups in windows])
        sizes.append(size / GROUPS * float(moments.counts.sum()))
        means.append(float(without.mean()))
    sizes.append(float(moments.counts.sum()))
    means.append(distance_to(reference, moments.fit(list(range(GROUPS)))))
    return intercept(np.array(sizes), np.array(means)), without  # the last windows lack one group each


@dataclass(frozen=True)
class Evaluator:
    """Frechet distance of the samples' features to each reference set, extrapolated to infinitely many samples.

    Source: Chong & Forsyth 2020, arXiv 1911.07023: the distance is biased by about K / n with a K that depends on the
    sampler, so that even equal n do not make it fair; a straight line over 1/N, read at 0, removes that bias. The
    paper draws 15 subsets of 5,000 to n samples at random; here every sample counts alike at each of four sizes from
    n / 2 to n, and nothing is drawn. The bias in the size of the reference set stays. The value may be below 0.

    The line holds where N is well above the width d of the features: fewer than 4 d samples have no value (with n of
    2 d and a flat spectrum, the worst case, the value falls short by a third).

    >>> from bench.protocols.evaluator import Reference, Sample
    >>> features = np.random.default_rng(0).standard_normal((50, 3))
    >>> sample = Sample({}, {"toy": features}, np.zeros(50, dtype=np.int64))
    >>> score = Evaluator().evaluate(sample, Reference((), np.ones(1), {"toy": {"real": features + 1.0}}))[0]
    >>> print(score.metric, score.scope, score.value < 3)
    fd_infinity_toy real True
    """

    card: ClassVar[Card] = Card(
        summary="Frechet distance of image features, extrapolated to infinitely many samples.",
        formula="the value at 1/N = 0 of the least-squares line through the mean distance of the samples' windows of "
        "N = n/2, 7n/10, 9n/10 and n over 1/N; distances as frechet_*.",
        source="Chong & Forsyth 2020, arXiv 1911.07023",
        columns=(
            Column("fd_infinity_*", "lower", -math.inf, math.inf, "squared units of the features", GROUP_JACKKNIFE),
        ),
        classifier="none",
        min_n=f"{MIN_N}, and {PER_DIMENSION} for each feature",
        bias="That of order 1/n is removed, what is left is of higher order: with n of 2 for each feature and a flat "
        "spectrum, the worst case, it falls short by a third. The bias in the size of the reference set stays.",
        interval="That of the distance at n, about this value: to first order both have the same error, since every "
        "sample counts alike in every point of the line; the jackknife of the line itself, whose windows do not, is "
        "twice too wide. The reference is held fixed.",
        limits="What frechet_* does not tell. It may be below 0, where the samples are as near as the reference's own "
        "sampling error.",
    )
    _fits: Kept[Gaussian] = field(default_factory=Kept, init=False, repr=False, compare=False)

    def evaluate(self, sample: Sample, reference: Reference) -> list[Score]:
        """`fd_infinity_<features>`, scope the set; raises as `walk` does."""
        return walk(sample, reference, ("fd_infinity",), MIN_N, moments_of, self._compare, compare_fit=_to)

    def _compare(self, moments: GroupedMoments, against: Compared) -> tuple[Interval]:
        at_least(2, against.array, f"the reference set {against.name}")
        return _to(moments, self._fits.get(against.key, against.array, lambda: fit(against.array)))


def _to(moments: GroupedMoments, reference: Gaussian) -> tuple[Interval]:
    value, replicates = extrapolated(moments, reference)
    return ((value, *jackknife_interval(value, replicates)),)


def moments_of(features: Features) -> GroupedMoments:
    """Moments of the groups of samples [n, d].

    Raises:
        Undefined: n is below 4 d.
    """
    n, d = features.shape
    if n < PER_DIMENSION * d:
        raise Undefined(f"needs {PER_DIMENSION * d} samples or more, {PER_DIMENSION} for each of {d} features, got {n}")
    return GroupedMoments(features, GROUPS)
