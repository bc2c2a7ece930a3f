"""Frechet distance between Gaussian fits of features, of the samples and of each reference set."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from bench.errors import ConfigError, Incompatible, Undefined
from bench.stats import jackknife_interval
from evaluators.base import CHUNK, Card, Reference, Sample, Score

Floats = npt.NDArray[np.float64]
Features = npt.NDArray[np.floating]
GROUPS = 10  # of the jackknife; sample i is in group i % GROUPS
MIN_N = 2 * GROUPS
NEGATIVE = 1e-8  # share of the largest eigenvalue below which a negative one is rounding


@dataclass(frozen=True)
class Gaussian:
    """A fit of features.

    Attributes:
        mean: float64 [d].
        covariance: float64 [d, d], symmetric, positive semi-definite, over n - 1 as numpy.cov and clean-fid have it.
    """

    mean: Floats
    covariance: Floats

    @cached_property
    def factor(self) -> Floats:
        """A with A A' = covariance, float64 [d, d]; computed once, since a reference is used many times."""
        return factor(self.covariance)


def frechet_distance(mu1: Floats, s1: Floats, mu2: Floats, s2: Floats) -> float:
    """|mu1 - mu2|^2 + tr s1 + tr s2 - 2 tr((s1 s2)^(1/2)), the squared Frechet distance.

    Source: Heusel et al. 2017, arXiv 1706.08500, Eq. 6. With s1 = A A', s1 s2 has the eigenvalues of the symmetric
    A' s2 A, so their square roots sum to the trace and no matrix square root is taken. Arguments are in the order of
    cleanfid.fid.frechet_distance.

    Args:
        mu1: float64 [d], a mean.
        s1: float64 [d, d], a covariance; may be singular.
        mu2: float64 [d], a mean.
        s2: float64 [d, d], a covariance; may be singular.

    Returns:
        The distance, >= 0.

    Raises:
        Undefined: an entry is not finite, or a matrix has a negative eigenvalue that is not rounding.

    >>> frechet_distance(np.zeros(2), np.eye(2), np.array([3.0, 4.0]), 4 * np.eye(2))
    27.0
    """
    if not all(np.isfinite(array).all() for array in (mu1, s1, mu2, s2)):
        raise Undefined("the features' means and covariances must be finite, got NaN or infinity")
    root = factor(s1)
    return _combine(mu1 - mu2, float(np.trace(s1)), float(np.trace(s2)), root.T @ s2 @ root)


def factor(covariance: Floats) -> Floats:
    """A with A A' = covariance: Cholesky's, or the eigenvectors' where the matrix is singular."""
    try:
        return np.asarray(np.linalg.cholesky(covariance), dtype=np.float64)
    except np.linalg.LinAlgError:
        values, vectors = np.linalg.eigh(covariance)
        return np.asarray(vectors * np.sqrt(_not_negative(values)))


def _combine(shift: Floats, trace1: float, trace2: float, inner: Floats) -> float:
    cross = float(np.sqrt(_not_negative(np.linalg.eigvalsh(inner))).sum())
    return max(float(shift @ shift) + trace1 + trace2 - 2 * cross, 0.0)  # below 0 by rounding alone


def _not_negative(values: npt.NDArray[np.floating]) -> Floats:
    if values.min() < -NEGATIVE * np.abs(values).max():
        raise Undefined(
            f"a covariance must have no negative eigenvalue, got {values.min():.3g} beside {values.max():.3g}; "
            "compute it in float64"
        )
    clipped: Floats = np.clip(values, 0.0, None, dtype=np.float64)
    return clipped


def fit(features: Features) -> Gaussian:
    """Gaussian fit of features [n, d], n >= 2, read in chunks, in two passes so that a large mean costs no digits."""
    mean = streamed_mean(features)
    scatter = np.zeros((mean.size, mean.size))
    for start in range(0, len(features), CHUNK):
        rows = features[start : start + CHUNK] - mean
        scatter += rows.T @ rows
    return Gaussian(mean, scatter / (len(features) - 1))


def streamed_mean(features: Features) -> Floats:
    """Mean row of features [n, d], n >= 1, as float64 [d], read in chunks."""
    starts = range(0, len(features), CHUNK)
    total = sum(np.sum(features[start : start + CHUNK], axis=0, dtype=np.float64) for start in starts)
    mean = np.asarray(total / len(features))
    if not np.isfinite(mean).all():
        raise Undefined("the features must be finite, got NaN or infinity")
    return mean


# The squared distance of the whole sample, then of the sample without each group, float64 [1 + GROUPS].
Distances = Callable[[Gaussian], Floats]


def from_gram(features: Features) -> Distances:
    """The distances by n x n matrices: exact, and the faster way where n < d.

    With X the centred rows, the sample's covariance is X'X / (n - 1), and s1 s2 has the non-zero eigenvalues of
    X s2 X' / (n - 1). Leaving out rows takes a sub-block of X s2 X' and centres it again.
    """
    mean = streamed_mean(features)
    rows = features - mean

    def distances(reference: Gaussian) -> Floats:
        gram = rows @ reference.covariance @ rows.T
        trace = float(np.trace(reference.covariance))
        return np.array([one(keep, gram, reference.mean, trace) for keep in _kept(len(rows))])

    def one(keep: npt.NDArray[np.intp], gram: Floats, reference_mean: Floats, reference_trace: float) -> float:
        kept = rows[keep]
        shift = kept.mean(axis=0)
        inner = gram[np.ix_(keep, keep)]
        inner = inner - inner.mean(axis=0)
        inner = (inner - inner.mean(axis=1, keepdims=True)) / (keep.size - 1)
        trace = float(((kept - shift) ** 2).sum()) / (keep.size - 1)
        return _combine(mean + shift - reference_mean, trace, reference_trace, inner)

    return distances


def _kept(n: int) -> list[npt.NDArray[np.intp]]:
    index = np.arange(n)
    return [index, *(index[index % GROUPS != group] for group in range(GROUPS))]


def from_moments(features: Features) -> Distances:
    """The distances by d x d matrices: memory does not grow with n, for which it reads the features twice."""
    n, d = features.shape
    mean = streamed_mean(features)
    sums, scatters = np.zeros((GROUPS, d)), np.zeros((GROUPS, d, d))
    for start in range(0, n, CHUNK):
        rows = features[start : start + CHUNK] - mean
        for group in range(GROUPS):
            part = rows[(group - start) % GROUPS :: GROUPS]
            sums[group] += part.sum(axis=0)
            scatters[group] += part.T @ part
    counts = np.array([len(range(group, n, GROUPS)) for group in range(GROUPS)])
    total_sum, total_scatter = sums.sum(axis=0), scatters.sum(axis=0)

    def distances(reference: Gaussian) -> Floats:
        left = [one(n - counts[g], total_sum - sums[g], total_scatter - scatters[g], reference) for g in range(GROUPS)]
        return np.array([one(n, total_sum, total_scatter, reference), *left])

    def one(kept: int, kept_sum: Floats, scatter: Floats, reference: Gaussian) -> float:
        covariance = (scatter - np.outer(kept_sum, kept_sum) / kept) / (kept - 1)
        inner = reference.factor.T @ covariance @ reference.factor
        traces = float(np.trace(covariance)), float(np.trace(reference.covariance))
        return _combine(mean + kept_sum / kept - reference.mean, *traces, inner)

    return distances


@dataclass(frozen=True)
class Evaluator:
    """Frechet distance of the samples' features to each reference set, for each extractor.

    Source: Heusel et al. 2017, arXiv 1706.08500, Eq. 6; on Inception features it is the FID. It is reported for every
    reference set, since a set with the training data's bias rewards a biased sampler.

    The interval is the delete-a-group jackknife over 10 groups (sample i in group i % 10) with Student's t of 9
    degrees of freedom. The ordinary bootstrap is wrong here: the distance is biased upward by an amount that grows as
    the number of different samples falls, and a draw with replacement holds about 63 % of them, so the whole
    bootstrap distribution lies too high. The interval is that of the distance at this n, its bias included: compare
    distances at equal n only. The reference is held fixed, so its own sampling error is not in the interval.

    >>> from evaluators.base import Reference, Sample
    >>> features = np.random.default_rng(0).standard_normal((50, 3))
    >>> target = Reference((), np.ones(1), {"toy": {"real": features + 1.0}})
    >>> sample = Sample({}, {"toy": features}, np.zeros(50, dtype=np.int64))
    >>> score = Evaluator().evaluate(sample, target)[0]
    >>> print(score.metric, score.scope, round(score.value, 6))
    frechet_toy real 3.0
    """

    card: ClassVar[Card] = Card(
        summary="Distance between Gaussian fits of image features, of the samples and of a reference set.",
        source="Heusel et al. 2017, arXiv 1706.08500, Eq. 6",
        better="lower",
        low=0.0,
        high=math.inf,
    )
    # (extractor, set) to the array and its fit. The array is kept so that "is it the same one" cannot be mistaken.
    _fits: dict[tuple[str, str], tuple[Features, Gaussian]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

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
        scores = []
        for extractor, sets in reference.features.items():
            features = _checked(sample, extractor, {name: array.shape[1] for name, array in sets.items()})
            scores += self._scores(extractor, features, sets)
        return scores

    def _scores(self, extractor: str, features: Features, sets: Mapping[str, Features]) -> list[Score]:
        metric, n = f"frechet_{extractor}", len(features)
        try:
            if n < MIN_N:
                raise Undefined(f"needs {MIN_N} samples or more, got {n}")
            distances = from_gram(features) if n < features.shape[1] else from_moments(features)
        except Undefined as error:
            return [_undefined(metric, name, n, error) for name in sets]
        scores = []
        for name, array in sets.items():
            try:
                value, *replicates = distances(self._fit(extractor, name, array)).tolist()
            except Undefined as error:
                scores.append(_undefined(metric, name, n, error))
                continue
            low, high = jackknife_interval(value, np.array(replicates))
            scores.append(Score(metric, name, value, max(low, 0.0), high, n))
        return scores

    def _fit(self, extractor: str, name: str, features: Features) -> Gaussian:
        known = self._fits.get((extractor, name))
        if known is not None and known[0] is features:
            return known[1]
        if len(features) < 2:
            raise Undefined(f"the reference set {name} needs 2 images or more, got {len(features)}")
        fitted = fit(features)
        self._fits[extractor, name] = (features, fitted)
        return fitted


def _checked(sample: Sample, extractor: str, widths: dict[str, int]) -> Features:
    if extractor not in sample.features:
        raise Incompatible(f"the samples have no features of {extractor}; run that extractor on them")
    features = sample.features[extractor]
    for name, width in widths.items():
        if features.shape[1] != width:
            raise ConfigError(
                f"the features of {extractor} must have the width of reference set {name}, {width}, got "
                f"{features.shape[1]}; extract both with the same extractor"
            )
    return features


def _undefined(metric: str, scope: str, n: int, error: Undefined) -> Score:
    return Score(metric, scope, None, n=n, status="undefined", reason=str(error))
