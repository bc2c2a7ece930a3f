"""Shares of predicted classes: counts, distance from a target, interval and noise floor."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bench.core.attributes import Attribute, joint_labels, product
from bench.core.errors import ConfigError, Incompatible
from bench.core.intervals import LEVEL, percentile_interval
from bench.protocols.evaluator import CHUNK, Sample, Score

Floats = npt.NDArray[np.float64]
MIN_N = 2  # one sample has no variance
MIN_CLASSIFIED = 20  # classified samples needed if the classifier abstained on some


@dataclass(frozen=True)
class Tally:
    """Counts, mean and covariance of a sample's class probabilities, for one attribute or for a joint.

    Attributes:
        counts: int64 [K], number of samples for which each class is the most probable one.
        mean: float64 [K], the mean probabilities.
        covariance: float64 [K, K], covariance of the rows of probabilities, divided by n - 1; zero for one row.
        abstained: number of samples that were not classified; they are in none of the above.
    """

    counts: npt.NDArray[np.int64]
    mean: Floats
    covariance: Floats
    abstained: int = 0

    @property
    def n(self) -> int:
        """Number of samples that were classified."""
        return int(self.counts.sum())


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
        ConfigError: an array has the wrong shape.
    """
    size = product(attributes).n_classes
    counts = np.zeros(size, dtype=np.int64)
    total, square = np.zeros(size), np.zeros((size, size))
    abstained = 0
    for rows in _chunks(sample, attributes):
        classified = ~np.any([np.isnan(p).all(axis=1) for p in rows], axis=0)
        abstained += int((~classified).sum())
        answered = rows if classified.all() else [p[classified] for p in rows]
        labels = np.stack([p.argmax(axis=1) for p in answered], axis=1).astype(np.int64)
        counts += np.bincount(joint_labels(labels, attributes), minlength=size)
        joint = joint_probabilities(answered)
        total += joint.sum(axis=0)
        square += joint.T @ joint
    n = int(counts.sum())
    mean = total / max(n, 1)
    return Tally(counts, mean, (square - n * np.outer(mean, mean)) / max(n - 1, 1), abstained)


def _chunks(sample: Sample, attributes: tuple[Attribute, ...]) -> Iterator[list[Floats]]:
    arrays = [_probabilities(sample, attribute) for attribute in attributes]
    if len({len(array) for array in arrays}) > 1:
        raise ConfigError(
            f"the probabilities of {product(attributes).name} must have one row per sample, "
            f"got {[len(array) for array in arrays]} rows; classify the same samples for every attribute"
        )
    for start in range(0, len(arrays[0]), CHUNK):
        yield [np.asarray(array[start : start + CHUNK], dtype=np.float64) for array in arrays]


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
    if not np.isfinite(counted.mean).all():
        return "the classifier's probabilities hold NaN or infinity"
    return ""


def distance(metric: str, scope: str, n: int, value: Floats, draws: Floats, perfect: Floats) -> Score:
    """Return the score of a distance of shares from their target; `ci_low` is 0 if the value is within the noise floor.

    Args:
        metric: name of the score.
        scope: the attribute or joint that it was computed over.
        n: number of classified samples.
        value: float64, 0-dimensional.
        draws: float64 [n_draws], distances of bootstrap draws of the shares.
        perfect: float64 [n_draws], distances of shares drawn from the target itself.
    """
    if not np.isfinite(value):
        reason = "a class that the target excludes was generated, so the divergence is infinite"
        return Score(metric, scope, None, n=n, status="undefined", reason=reason)
    noise_floor = float(np.quantile(perfect, LEVEL))
    low, high = percentile_interval(draws)
    low = 0.0 if value <= noise_floor else min(low, float(value))
    return Score(metric, scope, float(value), low, max(high, float(value)), n, noise_floor)
