"""Shares of predicted classes: counts, distance from a target, interval and noise floor."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

from bench.core.attributes import Attribute, joint_labels, product
from bench.core.distances import l1, l2
from bench.core.errors import ConfigError, Incompatible
from bench.core.intervals import LEVEL, at_most, distance_low, percentile_interval, redraw_mean, t_quantile
from bench.core.probability_rows import answered_rows
from bench.protocols.evaluator import CHUNK, Sample, Score
from evaluators.classifiers.share_draws import Counts, batch_numbers, count

Floats = npt.NDArray[np.float64]
Distance = Callable[[Floats, Floats], Floats]  # shares [..., K] and target [K] to distances [...]
MIN_N = 2  # one sample has no variance
MIN_CLASSIFIED = 20  # classified samples needed if the classifier abstained on some
# Samples per class that the intervals of fd_l1 and kl need with three or more classes: they are no smooth functions of
# the shares, and with fewer samples their intervals hold the truth in 81 to 94 % of simulated ones.
INTERVAL_PER_CLASS = 10


@dataclass(frozen=True)
class Tally:
    """Counts, and mean class probabilities, of a sample for one attribute or for a joint.

    Attributes:
        hard: counts of the most probable classes, by stratum and by batch.
        mean: float64 [K], the mean probabilities.
        covariance: float64 [K, K], covariance of the rows of probabilities, divided by n - 1; zero for one row.
        label_means: float64 [K, K], row k the mean probabilities of the samples labelled k; of a class without samples
            1 for the class itself.
        batch_sums: float64 [B, K], sums of probabilities per guidance batch; None where batches are not used.
    """

    hard: Counts
    mean: Floats
    covariance: Floats
    label_means: Floats
    batch_sums: Floats | None = None

    @property
    def counts(self) -> npt.NDArray[np.int64]:
        """Number of samples of each class, int64 [K]."""
        return self.hard.total

    @property
    def n(self) -> int:
        """Number of samples that were classified."""
        return self.hard.n

    @property
    def abstained(self) -> int:
        """Number of samples that were not classified."""
        return self.hard.abstained

    def draw_soft(self, hard: Floats, rng: np.random.Generator) -> Floats:
        """Draw mean probabilities, float64 [N_DRAWS, K].

        The shares of labels are those of `hard`, and each label has its mean probabilities; the spread of the rows of
        one label is added as normal noise. So a class that was never predicted has a mean with as much width as its
        share. With guidance batches: Student's t, from the spread of the batches' means.

        Args:
            hard: float64 [N_DRAWS, K], draws of the shares of labels.
            rng: source of randomness.
        """
        if self.batch_sums is not None:
            return self.mean + self.hard.batch_noise(self.batch_sums, rng)
        return redraw_mean(np.zeros_like(self.mean), self.within, self.n, len(hard), rng) + hard @ self.label_means

    @property
    def within(self) -> Floats:
        """Covariance of the rows of probabilities within the samples of one label, float64 [K, K]."""
        shares = self.counts / self.n
        between = (self.label_means * shares[:, None]).T @ self.label_means - np.outer(self.mean, self.mean)
        return np.asarray(self.covariance * ((self.n - 1) / self.n) - between)

    def soft_interval(self, hard: tuple[float, float]) -> tuple[float, float]:
        """Return the 95 % interval of the mean probability of the first of two classes.

        That of the label's share, with the labels' mean probabilities, and the normal error of the rows within labels,
        combined as squares of distances from the mean. With guidance batches: Student's t of the batches' means.

        Args:
            hard: the interval of the share of the first label.
        """
        mean = float(self.mean[0])
        if self.batch_sums is not None:
            half = t_quantile(int(self.hard.freedom)) * math.sqrt(self.hard.batch_covariance(self.batch_sums)[0, 0])
            return max(mean - half, 0.0), min(mean + half, 1.0)
        of_label = self.label_means[:, 0]
        within = math.sqrt(max(float(self.within[0, 0]), 0.0) / self.n) * float(norm.ppf((1 + LEVEL) / 2))
        ends = sorted(end * of_label[0] + (1 - end) * of_label[1] for end in hard)
        down, up = (math.hypot(mean - end, within) for end in ends)
        return max(mean - down, 0.0), min(mean + up, 1.0)


def joint_probabilities(marginals: list[Floats]) -> Floats:
    """Return the outer product of the attributes' probabilities, each [n, K_a], as [n, prod K_a], the last fastest."""
    joint = marginals[0]
    for factor in marginals[1:]:
        joint = (joint[:, :, None] * factor[:, None, :]).reshape(len(joint), -1)
    return joint


def tally(sample: Sample, attributes: tuple[Attribute, ...]) -> Tally:
    """Return counts, mean and covariance of the joint of `attributes`, read in chunks; one attribute is its own joint.

    A sample with an all-NaN row for one of the attributes was not classified, and only counts as abstained.

    Raises:
        Incompatible: the samples have no probabilities of an attribute.
        ConfigError: an array has the wrong shape, or a row that is neither probabilities nor NaN throughout.
    """
    size = product(attributes).n_classes
    labels, batches = [np.empty(0, dtype=np.int64)], batch_numbers(sample)
    by_label, square, start = np.zeros((size, size)), np.zeros((size, size)), 0
    batch_sums = None if batches is None else np.zeros((int(batches.max()) + 1, size))
    for rows in _chunks(sample, attributes):
        read = [answered_rows(p, a.name, start) for p, a in zip(rows, attributes, strict=True)]
        classified = np.all([answered for _, answered in read], axis=0)
        probabilities = [p[classified] for p, _ in read]
        classes = np.stack([p.argmax(axis=1) for p in probabilities], axis=1).astype(np.int64)
        chunk = np.full(len(classified), -1, dtype=np.int64)
        chunk[classified] = joint_labels(classes, attributes)
        joint = joint_probabilities(probabilities)
        np.add.at(by_label, chunk[classified], joint)
        square += joint.T @ joint
        if batches is not None and batch_sums is not None:
            np.add.at(batch_sums, batches[start : start + len(chunk)][classified], joint)
        labels.append(chunk)
        start += len(chunk)
    hard = count(np.concatenate(labels), size, sample)
    n = hard.n
    mean = by_label.sum(axis=0) / max(n, 1)
    label_means = np.where(hard.total[:, None] > 0, by_label / np.maximum(hard.total, 1)[:, None], np.eye(size))
    covariance = (square - n * np.outer(mean, mean)) / max(n - 1, 1)
    return Tally(hard, mean, covariance, label_means, batch_sums)


def _chunks(sample: Sample, attributes: tuple[Attribute, ...]) -> Iterator[list[npt.NDArray[np.floating]]]:
    arrays = [_probabilities(sample, attribute) for attribute in attributes]
    if len({len(array) for array in arrays}) > 1:
        raise ConfigError(
            f"the probabilities of {product(attributes).name} must have one row per sample, "
            f"got {[len(array) for array in arrays]} rows; classify the same samples for every attribute"
        )
    for start in range(0, len(arrays[0]), CHUNK):
        yield [np.asarray(array[start : start + CHUNK]) for array in arrays]


def _probabilities(sample: Sample, attribute: Attribute) -> npt.NDArray[np.floating]:
    if attribute.name not in sample.probabilities:
        raise Incompatible(
            f"the samples have no probabilities of {attribute.name}; add an extractor that classifies this attribute"
        )
    array = sample.probabilities[attribute.name]
    if array.ndim != 2 or array.shape[1] != attribute.n_classes:
        raise ConfigError(
            f"the probabilities of {attribute.name} must have shape [n, {attribute.n_classes}], got "
            f"{list(array.shape)}; use a classifier of the classes {', '.join(attribute.classes)}"
        )
    return array


def why_undefined(counted: Tally) -> str:
    """Return the reason why shares of these samples are undefined, as a sentence; empty if they are defined."""
    if counted.n < MIN_N:
        return f"needs {MIN_N} samples or more, got {counted.n}"
    if counted.abstained and counted.n < MIN_CLASSIFIED:
        return (
            f"needs {MIN_CLASSIFIED} classified samples or more, got {counted.n}; the classifier abstained on "
            f"{counted.abstained}"
        )
    return ""


def clear_of_kinks(point: Floats, target: Floats, errors: Floats) -> Floats:
    """Return a point as far from the target by `l1`, which differs only in the classes that are known to differ.

    A class whose share is that of the target adds its noise's size to the measured distance, and none to the true one.
    A test at a point on the way to the measured shares, which differ there too, takes too little of that bias into
    account: the interval of four classes holds the truth in 90 % of samples. So classes within 1.96 standard errors of
    the target are put there (generalised moment selection: Andrews & Soares 2010, Econometrica 78, section 4.2).

    Args:
        point: float64 [K], the measured shares.
        target: float64 [K].
        errors: float64 [K], standard errors of the shares.

    Returns:
        float64 [K]; the point itself where fewer than two classes differ.
    """
    differs = np.abs(point - target) > float(norm.ppf((1 + LEVEL) / 2)) * errors
    if differs.sum() < 2:
        return point
    moved = np.where(differs, point - target, 0.0)
    moved[differs] -= moved[differs].mean()
    size = float(np.abs(moved).sum())
    return target + moved * (float(l1(point, target)) / size) if size > 0 else point


def distance(
    metric: str,
    scope: str,
    f: Distance,
    target: Floats,
    measured: tuple[Floats, Floats],
    perfect: Floats,
    counted: Tally,
    share: tuple[float, float] | None = None,
) -> Score:
    """Return the score of a distance of shares from their target; `ci_low` is 0 if the value is within its null.

    The null is that of a perfect sampler with the cell's own design: `perfect` for independent samples, the draws
    moved to the target for others.

    Args:
        metric: name of the score.
        scope: the attribute or joint that it was computed over.
        f: the distance.
        target: float64 [K].
        measured: the shares float64 [K], and draws of them float64 [n_draws, K].
        perfect: float64 [n_draws, K], shares of n independent samples of the target.
        counted: what the shares were counted from.
        share: for two classes, the interval of the first one's share: that of the distance follows from it.
    """
    point, draws = measured
    value, n = float(f(point, target)), counted.n
    if not np.isfinite(value):
        reason = "a class that the target excludes was generated, so the divergence is infinite"
        return Score(metric, scope, None, n=n, status="undefined", reason=reason)
    floor = float(np.quantile(f(perfect, target), LEVEL))
    null = floor if counted.hard.independent else None

    def of(shares: Floats) -> Floats:
        return f(shares, target)

    if share is None:
        start = clear_of_kinks(point, target, draws.std(axis=0)) if f is l1 else point
        low = distance_low(of, start, target, draws.mean(axis=0) - draws, null)
        high = percentile_interval(of(draws))[1]
    else:
        ends = [float(f(np.array([end, 1 - end]), target)) for end in share]
        within = share[0] <= target[0] <= share[1] or (null is not None and bool(at_most(value, null)))
        low, high = (0.0 if within else min(ends)), max(ends)
    high = high if math.isfinite(high) else value
    needed = INTERVAL_PER_CLASS * len(target)
    if len(target) > 2 and f is not l2 and n < needed:
        note = f"no interval: {len(target)} classes need {needed} samples or more, got {n}"
        reason = "; ".join(filter(None, (note, counted.hard.note)))
        return Score(metric, scope, value, n=n, noise_floor=floor, reason=reason)
    return Score(metric, scope, value, min(low, value), max(high, value), n, floor, reason=counted.hard.note)
