"""Fairness discrepancy: how far the shares of the classes are from the target distribution."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from scipy.special import rel_entr

from bench.attributes import Attribute, joint_labels, marginal, product
from bench.errors import ConfigError, Incompatible
from bench.stats import LEVEL, percentile_interval, redraw_mean, redraw_shares, wilson_interval
from evaluators.base import CHUNK, REDRAWS, WILSON, Card, Column, Reference, Sample, Score

Floats = npt.NDArray[np.float64]
N_DRAWS = 2000
SEED = 20_191_012
MIN_N = 2  # one sample has no spread
MIN_JUDGED = 20  # samples that must be left where the judge abstained on others


def l2(p: Floats, r: Floats) -> Floats:
    """||r - p||_2 over the last axis (Choi et al. 2020, arXiv 1910.12008), in [0, sqrt(2)]."""
    return np.asarray(np.sqrt(((r - p) ** 2).sum(axis=-1)))


def l1(p: Floats, r: Floats) -> Floats:
    """||r - p||_1 over the last axis, in [0, 2]."""
    return np.asarray(np.abs(r - p).sum(axis=-1))


def kl(p: Floats, r: Floats) -> Floats:
    """sum_k p_k log(p_k / r_k) over the last axis, in nats; 0 log 0 is 0, and infinite where p_k > 0 = r_k."""
    return np.asarray(rel_entr(p, r).sum(axis=-1))


HARD: dict[str, Callable[[Floats, Floats], Floats]] = {"fd_l2_hard": l2, "fd_l1": l1, "kl": kl}


@dataclass(frozen=True)
class Tally:
    """What a sample's class probabilities come to, for one attribute or for the joint.

    Attributes:
        counts: int64 [K], how often each class is the most probable one.
        mean: float64 [K], the mean probabilities.
        covariance: float64 [K, K], the covariance of one row of probabilities, over n - 1; zero for one row.
        abstained: number of samples that were not judged, and are in none of the above.
    """

    counts: npt.NDArray[np.int64]
    mean: Floats
    covariance: Floats
    abstained: int = 0

    @property
    def n(self) -> int:
        """Number of samples that were judged."""
        return int(self.counts.sum())


def joint_probabilities(parts: list[Floats]) -> Floats:
    """Outer product of the attributes' probabilities, each [n, K_a], as [n, prod K_a], the last one fastest."""
    joint = parts[0]
    for part in parts[1:]:
        joint = (joint[:, :, None] * part[:, None, :]).reshape(len(joint), -1)
    return joint


def tally(sample: Sample, attributes: tuple[Attribute, ...]) -> Tally:
    """Counts, mean and covariance of the joint of `attributes`, read in chunks; one attribute is its own joint.

    A row that is NaN throughout for one of the attributes was not judged, and is counted as that alone.
    """
    size = product(attributes).n_classes
    counts = np.zeros(size, dtype=np.int64)
    total, square = np.zeros(size), np.zeros((size, size))
    abstained = 0
    for rows in _chunks(sample, attributes):
        judged = ~np.any([np.isnan(part).all(axis=1) for part in rows], axis=0)
        abstained += int((~judged).sum())
        parts = rows if judged.all() else [part[judged] for part in rows]
        labels = np.stack([part.argmax(axis=1) for part in parts], axis=1).astype(np.int64)
        counts += np.bincount(joint_labels(labels, attributes), minlength=size)
        joint = joint_probabilities(parts)
        total += joint.sum(axis=0)
        square += joint.T @ joint
    n = int(counts.sum())
    mean = total / max(n, 1)
    return Tally(counts, mean, (square - n * np.outer(mean, mean)) / max(n - 1, 1), abstained)


def _chunks(sample: Sample, attributes: tuple[Attribute, ...]) -> Iterator[list[Floats]]:
    arrays = [_probabilities(sample, attribute) for attribute in attributes]
    if len({len(array) for array in arrays}) > 1:
        raise ConfigError(
            f"the probabilities of {product(attributes).name} must have one row a sample, "
            f"got {[len(array) for array in arrays]} rows; judge the same samples for every attribute"
        )
    for start in range(0, len(arrays[0]), CHUNK):
        yield [np.asarray(array[start : start + CHUNK], dtype=np.float64) for array in arrays]


def _probabilities(sample: Sample, attribute: Attribute) -> npt.NDArray[np.floating]:
    if attribute.name not in sample.probabilities:
        raise Incompatible(
            f"the samples have no probabilities of {attribute.name}; add an extractor that judges this attribute"
        )
    array = sample.probabilities[attribute.name]
    if array.ndim != 2 or array.shape[1] != attribute.n_classes:
        raise ConfigError(
            f"the probabilities of {attribute.name} must have shape [n, {attribute.n_classes}], got "
            f"{list(array.shape)}; use a judge of the classes {', '.join(attribute.classes)}"
        )
    return array


@dataclass(frozen=True)
class Evaluator:
    """The distance of class shares from the target, for every attribute and for their joint, with the shares.

    Source: Choi et al. 2020, arXiv 1910.12008; Parihar et al. 2024, arXiv 2402.18206. The headline `fd_l2_hard`
    counts labels; `fd_l2_soft` is the papers' mean of probabilities.

    `null_bound` is the 95th percentile of the metric when n labels are drawn from the target itself; for a soft metric
    that is an upper bound, since a judge in doubt spreads its probabilities less than labels do.

    Samples that the judge abstained on are left out, and n counts the others; `abstained_share` is their number.

    >>> from evaluators.base import Reference, Sample
    >>> glasses = Attribute("eyeglasses", ("absent", "present"))
    >>> judged = np.repeat([[1.0, 0.0], [0.0, 1.0]], [70, 30], axis=0)
    >>> sample = Sample({"eyeglasses": judged}, {}, np.zeros(100, dtype=np.int64))
    >>> scores = Evaluator().evaluate(sample, Reference((glasses,), np.array([0.5, 0.5])))
    >>> print(scores[0].metric, scores[0].scope, round(scores[0].value, 3))
    fd_l2_hard eyeglasses 0.283
    """

    card: ClassVar[Card] = Card(
        summary="Distance of the shares of the attribute's classes from the target distribution; 0 is fair.",
        formula="||r - p||_2 for the target r and the shares p of the judge's labels (fd_l2_hard), or its mean "
        "probabilities (fd_l2_soft); fd_l1 = sum_k |r_k - p_k|; kl = sum_k p_k log(p_k / r_k); share_hard = p_k.",
        source="Choi et al. 2020, arXiv 1910.12008; Parihar et al. 2024, arXiv 2402.18206",
        columns=(
            Column("fd_l2_hard", "lower", 0.0, math.sqrt(2), "distance of shares", REDRAWS),
            Column("fd_l1", "lower", 0.0, 2.0, "distance of shares", REDRAWS),
            Column("kl", "lower", 0.0, math.inf, "nats", REDRAWS),
            Column("fd_l2_soft", "lower", 0.0, math.sqrt(2), "distance of shares", REDRAWS),
            Column("share_hard", None, 0.0, 1.0, "share of the judged samples", WILSON),
        ),
        judge="each",
        min_n=f"{MIN_N}; {MIN_JUDGED} judged ones where the judge abstained on others",
        bias="The distances are too large: E fd_l2_hard^2 = ||r - p||^2 + (1 - sum_k p_k^2) / n, so a perfect "
        "sampler of two even classes shows about 0.056 of 100 samples. `null_bound` is its 95th percentile. Shares "
        "are unbiased.",
        interval="A distance is never negative, so redraws never reach 0 and the plain interval would exclude a "
        "perfect sampler every time: where the value is at or below `null_bound`, `ci_low` is 0. One pseudo-count, "
        "spread as the target, gives width to a sample of one class. Measured coverage away from 0, at n = 300 and "
        "three classes, is 94 to 96 %; that of `fd_l1` falls to 93 % where a class is exactly on its target.",
        limits="Whether the judge is right (`fd_l2_corrected`, `kappa_*`), whether the images are good, and whether "
        "a class is varied within itself.",
    )

    def evaluate(self, sample: Sample, reference: Reference) -> list[Score]:
        """Scores of every attribute, then of the joint where there are two or more.

        Args:
            sample: its `probabilities` must hold every attribute of the reference.
            reference: its `attributes` and `distribution` are the target.

        Returns:
            For each scope: fd_l2_hard, fd_l1, kl, fd_l2_soft, then share_hard of each class in class order.

        Raises:
            Incompatible: an attribute was not judged.
            ConfigError: an array has the wrong shape.
        """
        scores = []
        for attribute in reference.attributes:
            r = marginal(reference.distribution, reference.attributes, attribute)
            scores += _scores((attribute,), tally(sample, (attribute,)), r)
        if len(reference.attributes) > 1:
            scores += _scores(reference.attributes, tally(sample, reference.attributes), reference.distribution)
        return scores


def _scores(attributes: tuple[Attribute, ...], seen: Tally, r: Floats) -> list[Score]:
    joint = product(attributes)
    reason = _why_undefined(seen)
    if reason:
        scopes = [(metric, joint.name) for metric in (*HARD, "fd_l2_soft")]
        scopes += [("share_hard", f"{joint.name}={name}") for name in joint.classes]
        return [Score(m, scope, None, n=seen.n, status="undefined", reason=reason) for m, scope in scopes]
    # A generator for each scope, so that a scope's interval does not depend on which others are asked for.
    rng = np.random.default_rng(SEED)
    null = rng.multinomial(seen.n, r, size=N_DRAWS) / seen.n
    hard = redraw_shares(seen.counts, r, N_DRAWS, rng)
    shares = seen.counts / seen.n
    scores = [_distance(metric, joint.name, seen.n, f(shares, r), f(hard, r), f(null, r)) for metric, f in HARD.items()]
    soft = redraw_mean(seen.mean, seen.covariance, seen.n, N_DRAWS, rng)
    scores.append(_distance("fd_l2_soft", joint.name, seen.n, l2(seen.mean, r), l2(soft, r), l2(null, r)))
    return scores + _shares(joint, seen, null)


def _why_undefined(seen: Tally) -> str:
    if seen.n < MIN_N:
        return f"needs {MIN_N} samples or more, got {seen.n}"
    if seen.abstained and seen.n < MIN_JUDGED:
        return f"needs {MIN_JUDGED} judged samples or more, got {seen.n}; the judge abstained on {seen.abstained}"
    if not np.isfinite(seen.mean).all():
        return "the judge's probabilities hold NaN or infinity"
    return ""


def _distance(metric: str, scope: str, n: int, value: Floats, draws: Floats, null: Floats) -> Score:
    if not np.isfinite(value):
        reason = "a class that the target excludes was generated, so the divergence is infinite"
        return Score(metric, scope, None, n=n, status="undefined", reason=reason)
    null_bound = float(np.quantile(null, LEVEL))
    low, high = percentile_interval(draws)
    low = 0.0 if value <= null_bound else min(low, float(value))
    return Score(metric, scope, float(value), low, max(high, float(value)), n, null_bound)


def _shares(joint: Attribute, seen: Tally, null: Floats) -> list[Score]:
    null_bound = np.quantile(null, LEVEL, axis=0)
    scores = []
    for k, name in enumerate(joint.classes):
        low, high = wilson_interval(int(seen.counts[k]), seen.n)
        share = float(seen.counts[k] / seen.n)
        scores.append(Score("share_hard", f"{joint.name}={name}", share, low, high, seen.n, float(null_bound[k])))
    return scores
