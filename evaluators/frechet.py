"""Frechet distance between Gaussian fits of features, of the samples and of each reference set."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

from bench.core.gaussian import Gaussian
from bench.core.stats import jackknife_interval
from bench.protocols.evaluator import GROUP_JACKKNIFE, Card, Column, Reference, Sample, Score
from evaluators.features.frechet_distance import MIN_N, Distances, replicated
from evaluators.features.gaussian import fit
from evaluators.features.kept import Kept
from evaluators.features.walk import Compared, Interval, at_least, walk


@dataclass(frozen=True)
class Evaluator:
    """Frechet distance of the samples' features to each reference set, for each extractor.

    Source: Heusel et al. 2017, arXiv 1706.08500, Eq. 6; on Inception features it is the FID. It is reported for every
    reference set, since a set with the training data's bias rewards a biased sampler.

    >>> import numpy as np
    >>> from bench.protocols.evaluator import Reference, Sample
    >>> features = np.random.default_rng(0).standard_normal((50, 3))
    >>> target = Reference((), np.ones(1), {"toy": {"real": features + 1.0}})
    >>> sample = Sample({}, {"toy": features}, np.zeros(50, dtype=np.int64))
    >>> score = Evaluator().evaluate(sample, target)[0]
    >>> print(score.metric, score.scope, round(score.value, 6))
    frechet_toy real 3.0
    """

    card: ClassVar[Card] = Card(
        summary="Distance between Gaussian fits of image features, of the samples and of a reference set.",
        formula="|m1 - m2|^2 + tr S1 + tr S2 - 2 tr((S1 S2)^(1/2)), m and S the mean and covariance (over n - 1) of "
        "the features. On Inception features it is the FID.",
        source="Heusel et al. 2017, arXiv 1706.08500, Eq. 6",
        columns=(Column("frechet_*", "lower", 0.0, math.inf, "squared units of the features", GROUP_JACKKNIFE),),
        classifier="none",
        min_n=f"{MIN_N}",
        bias="Too large by about c / n, c depending on the sampler, and likewise in the size of the reference set: "
        "compare at equal n only (`fd_infinity_*` removes the first).",
        interval="The bias at this n is in it. The reference is held fixed, so its own sampling error is not in it.",
        limits="Anything beyond mean and covariance: other distributions can have a distance of 0. Whether a rare "
        "class is drawn badly (`worst_group_frechet_*`). Values of different extractors have nothing to do with each "
        "other.",
    )
    _fits: Kept[Gaussian] = field(default_factory=Kept, init=False, repr=False, compare=False)

    def evaluate(self, sample: Sample, reference: Reference) -> list[Score]:
        """One score for each extractor and reference set, in the order of `reference.features`.

        Args:
            sample: its `features` must hold every extractor of the reference.
            reference: its `features` are the sets to compare with. Pass the same arrays again, and their fits are
                reused.

        Returns:
            Scores named "frechet_" and the extractor, with the name of the set as scope.

        Raises:
            Incompatible: the samples lack an extractor's features.
            ConfigError: the widths of the features differ.
        """
        return walk(sample, reference, ("frechet",), MIN_N, replicated, self._compare, compare_fit=_to)

    def _compare(self, distances: Distances, against: Compared) -> tuple[Interval]:
        at_least(2, against.array, f"the reference set {against.name}")
        return _to(distances, self._fits.get(against.key, against.array, lambda: fit(against.array)))


def _to(distances: Distances, reference: Gaussian) -> tuple[Interval]:
    found = distances(reference)
    value = float(found[0])
    low, high = jackknife_interval(value, found[1:])
    return ((value, max(low, 0.0), high),)
