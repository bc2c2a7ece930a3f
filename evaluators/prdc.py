"""Precision, recall, density and coverage of samples and reference among each other's nearest neighbours."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from bench.core.gaussian import streamed_mean
from bench.core.intervals import wilson_interval
from bench.protocols.evaluator import GROUP_JACKKNIFE, JACKKNIFE, WILSON, Column, MetricCard, Reference, Sample, Score
from evaluators.features.comparisons import INTERVAL_N, Compared, Estimate, at_least, compare_sets, jackknifed
from evaluators.features.groups import FEW, Groups, means, one_group, singles
from evaluators.features.neighbours import TIE, covered, distance_blocks, keep_nearest, nearest, radii
from evaluators.features.reference_cache import ReferenceCache
from evaluators.features.subset import drawn

Floats = npt.NDArray[np.float64]
Features = npt.NDArray[np.floating]
K = 5  # the neighbour whose distance is a ball's radius
MIN_N = 2 * FEW
MAX_N = 10_000  # samples, and images of a reference set, that are used: the time is quadratic in both


@dataclass(frozen=True)
class Samples:
    """The samples and their balls.

    Attributes:
        features: float [n, d].
        radii: float64 [1 + groups, n], squared radius of every sample's ball, then that without the samples of each
            group; the balls of the left-out group are empty (-1).
        groups: the groups that the jackknife leaves out.
    """

    features: Features
    radii: Floats
    groups: Groups


@dataclass(frozen=True)
class Reals:
    """A reference set and its balls.

    Attributes:
        features: float [m, d].
        centre: float64 [d], their mean.
        radii: float64 [m], squared radius of every image's ball.
    """

    features: Features
    centre: Floats
    radii: Floats


def samples_of(features: Features, groups: Groups) -> Samples:
    """Return the balls of samples [n, d], n >= MIN_N."""
    neighbours = nearest(features, K, groups, streamed_mean(features))
    radius = np.stack([radii(neighbours[:, left], K) for left in groups.without_each()])
    radius[1 + groups.labels, np.arange(len(features))] = -1.0
    return Samples(features, radius, groups)


def reals_of(features: Features) -> Reals:
    """Return the balls of a reference set [m, d], m > K."""
    centre = streamed_mean(features)
    return Reals(features, centre, radii(nearest(features, K, one_group(len(features)), centre), K))


@dataclass(frozen=True)
class Counts:
    """Counts of which images lie in which balls.

    Attributes:
        balls: int64 [n], number of real images whose ball contains the sample.
        recalled: bool [m, 1 + groups], true if a sample's ball contains the real image; then without each group.
        nearest: float64 [m, groups], squared distance of every real image to the nearest sample of each group.
    """

    balls: npt.NDArray[np.int64]
    recalled: npt.NDArray[np.bool_]
    nearest: Floats


def count(samples: Samples, reals: Reals) -> Counts:
    """Return all counts, in one pass over the distances of every real image to every sample."""
    n, m = len(samples.features), len(reals.features)
    balls = np.zeros(n, dtype=np.int64)
    groups = samples.groups
    recalled, near = np.zeros((m, 1 + groups.count), dtype=np.bool_), np.full((m, groups.count), np.inf)
    for rows, columns, squared in distance_blocks(reals.features, samples.features, reals.centre):
        balls[columns] += (squared <= TIE * reals.radii[rows, None]).sum(axis=0)
        for i, radius in enumerate(samples.radii):
            recalled[rows, i] |= (squared <= TIE * radius[columns]).any(axis=1)
        keep_nearest(near[rows], squared, columns, groups)
    return Counts(balls, recalled, near)


@dataclass(frozen=True)
class Evaluator:
    """Precision, recall, density and coverage of the samples against each reference set, with 5 neighbours.

    Source: precision and recall of Kynkaanniemi et al. 2019, arXiv 1904.06991; density and coverage of Naeem et al.
    2020, arXiv 2002.09797, "Density and Coverage". The ball of an image reaches, border included, to its 5th nearest
    neighbour in its own set. Precision: share of samples in a real image's ball. Density: number of real images' balls
    that contain a sample, divided by 5, averaged. Recall: share of real images in a sample's ball. Coverage: share of
    real images whose ball contains a sample.

    All four depend on n and on the size of the set: compare at equal n only. A sampler that matches the set's
    distribution has an expected density of 1 and an expected coverage of 1 - (m-1)...(m-5) / ((m+n-1)...(m+n-5)), about
    0.97 at n = m; its precision and recall are below 1 too. At most 10,000 samples and images of a set are used,
    drawn with a fixed seed, and the score's note says so.

    >>> from bench.protocols.evaluator import Reference, Sample
    >>> features = np.random.default_rng(0).standard_normal((50, 3))
    >>> sample = Sample({}, {"toy": features}, np.zeros(50, dtype=np.int64))
    >>> scores = Evaluator().evaluate(sample, Reference((), np.ones(1), {"toy": {"real": features + 100.0}}))
    >>> [(s.metric, s.value) for s in scores]
    [('precision_k5_toy', 0.0), ('recall_k5_toy', 0.0), ('density_k5_toy', 0.0), ('coverage_k5_toy', 0.0)]
    """

    card: ClassVar[MetricCard] = MetricCard(
        summary="Shares of samples and reference images that lie among each other's 5 nearest neighbours.",
        formula=f"balls reach, border included, to the {K}th nearest neighbour in the same set. precision: share of "
        "samples in a real image's ball; recall: share of real images in a sample's ball; density: number of real "
        f"images' balls that contain a sample, divided by {K}, averaged; coverage: share of real images whose ball "
        "contains a sample.",
        source="Kynkaanniemi et al. 2019, arXiv 1904.06991; Naeem et al. 2020, arXiv 2002.09797",
        columns=(
            Column(f"precision_k{K}_*", "higher", 0.0, 1.0, "share of the samples", WILSON),
            Column(f"recall_k{K}_*", "higher", 0.0, 1.0, "share of the reference", GROUP_JACKKNIFE),
            Column(f"density_k{K}_*", "higher", 0.0, math.inf, "1 for the reference's own distribution", JACKKNIFE),
            Column(f"coverage_k{K}_*", "higher", 0.0, 1.0, "share of the reference", GROUP_JACKKNIFE),
        ),
        classifier="none",
        min_n=f"{MIN_N}, and a reference of {K + 1}",
        bias="precision and density: none in n, but they depend on the size of the reference. recall and coverage "
        "depend on both: a sampler that matches the reference's distribution has an expected coverage of "
        "1 - (m-1)...(m-5) / ((m+n-1)...(m+n-5)), about 0.97 at n = m. Compare at equal n only. At most "
        f"{MAX_N:,} samples and images of a set are used, drawn at random with a fixed seed, since the time is "
        "quadratic.",
        interval="The reference is held fixed. If every replicate of recall or coverage is equal, it has none. "
        f"Precision and recall have none below {INTERVAL_N} samples (Wilson's interval of a share near 1 covers 89 to "
        "99 % at 20). Measured (4 features) at n = 100, 200 and 1,000: precision 93 to 99 %, recall 94 to 100 %; at 20 "
        "and 200: density 90 to 99 %, coverage 94 to 100 %.",
        limits="The quality of images within a ball: an outlier among the real images has a large ball that accepts "
        "anything (which affects precision most), and an outlier among the samples does the same to recall. A density "
        "above 1 means a sampler that concentrates where real images are dense, not a better one.",
    )
    _reals: ReferenceCache[Reals] = field(default_factory=ReferenceCache, init=False, repr=False, compare=False)

    def evaluate(self, sample: Sample, reference: Reference) -> list[Score]:
        """Return `precision_k5_<features>`, likewise recall, density and coverage; raises as `compare_sets` does."""
        metrics = tuple(f"{name}_k{K}" for name in ("precision", "recall", "density", "coverage"))
        return compare_sets(sample, reference, metrics, MIN_N, samples_of, self._compare, few=True, cap=MAX_N)

    def _compare(self, samples: Samples, against: Compared) -> tuple[Estimate, ...]:
        at_least(K + 1, against.array, f"the reference set {against.name}")
        reals = self._reals.get(against.key, against.array, lambda: reals_of(drawn(against.array, MAX_N)))
        counts, groups = count(samples, reals), samples.groups
        inside = (counts.balls > 0).astype(np.float64)
        n, drawn_apart = inside.size, groups if groups.batches else singles(inside.size)
        wilson = Estimate(float(inside.mean()), *wilson_interval(int(inside.sum()), n))
        precision = jackknifed(means(inside, groups), groups, 0.0, 1.0) if groups.batches else wilson
        return (
            precision.if_enough(n),
            jackknifed(counts.recalled.mean(axis=0), groups, 0.0, 1.0).if_enough(n),
            jackknifed(means(counts.balls / K, drawn_apart), drawn_apart, 0.0),
            jackknifed(covered(counts.nearest, reals.radii, groups), groups, 0.0, 1.0),
        )
