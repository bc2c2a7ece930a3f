"""Fairness discrepancy: how far the shares of the classes are from the target distribution."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from scipy.special import rel_entr

from bench.core.attributes import Attribute, marginal, product
from bench.core.stats import LEVEL, redraw_mean, redraw_shares, wilson_interval
from bench.protocols.evaluator import REDRAWS, WILSON, Card, Column, Reference, Sample, Score
from evaluators.classifiers.shares import MIN_JUDGED, MIN_N, Tally, distance, l2, tally, why_undefined

Floats = npt.NDArray[np.float64]
N_DRAWS = 2000
SEED = 20_191_012


def l1(p: Floats, r: Floats) -> Floats:
    """||r - p||_1 over the last axis, in [0, 2]."""
    return np.asarray(np.abs(r - p).sum(axis=-1))


def kl(p: Floats, r: Floats) -> Floats:
    """sum_k p_k log(p_k / r_k) over the last axis, in nats; 0 log 0 is 0, and infinite where p_k > 0 = r_k."""
    return np.asarray(rel_entr(p, r).sum(axis=-1))


HARD: dict[str, Callable[[Floats, Floats], Floats]] = {"fd_l2_hard": l2, "fd_l1": l1, "kl": kl}


@dataclass(frozen=True)
class Evaluator:
    """The distance of class shares from the target, for every attribute and for their joint, with the shares.

    Source: Choi et al. 2020, arXiv 1910.12008; Parihar et al. 2024, arXiv 2402.18206. The ranking_metric `fd_l2_hard`
    counts labels; `fd_l2_soft` is the papers' mean of probabilities.

    `noise_floor` is the 95th percentile of the metric when n labels are drawn from the target itself; for a soft metric
    that is an upper bound, since a classifier in doubt spreads its probabilities less than labels do.

    Samples that the classifier abstained on are left out, and n counts the others; `abstained_share` is their number.

    >>> from bench.protocols.evaluator import Reference, Sample
    >>> glasses = Attribute("eyeglasses", ("absent", "present"))
    >>> classified = np.repeat([[1.0, 0.0], [0.0, 1.0]], [70, 30], axis=0)
    >>> sample = Sample({"eyeglasses": classified}, {}, np.zeros(100, dtype=np.int64))
    >>> scores = Evaluator().evaluate(sample, Reference((glasses,), np.array([0.5, 0.5])))
    >>> print(scores[0].metric, scores[0].scope, round(scores[0].value, 3))
    fd_l2_hard eyeglasses 0.283
    """

    card: ClassVar[Card] = Card(
        summary="Distance of the shares of the attribute's classes from the target distribution; 0 is fair.",
        formula="||r - p||_2 for the target r and the shares p of the classifier's labels (fd_l2_hard), or its mean "
        "probabilities (fd_l2_soft); fd_l1 = sum_k |r_k - p_k|; kl = sum_k p_k log(p_k / r_k); share_hard = p_k.",
        source="Choi et al. 2020, arXiv 1910.12008; Parihar et al. 2024, arXiv 2402.18206",
        columns=(
            Column("fd_l2_hard", "lower", 0.0, math.sqrt(2), "distance of shares", REDRAWS),
            Column("fd_l1", "lower", 0.0, 2.0, "distance of shares", REDRAWS),
            Column("kl", "lower", 0.0, math.inf, "nats", REDRAWS),
            Column("fd_l2_soft", "lower", 0.0, math.sqrt(2), "distance of shares", REDRAWS),
            Column("share_hard", None, 0.0, 1.0, "share of the classified samples", WILSON),
        ),
        classifier="each",
        min_n=f"{MIN_N}; {MIN_JUDGED} classified ones where the classifier abstained on others",
        bias="The distances are too large: E fd_l2_hard^2 = ||r - p||^2 + (1 - sum_k p_k^2) / n, so a perfect "
        "sampler of two even classes shows about 0.056 of 100 samples. `noise_floor` is its 95th percentile. Shares "
        "are unbiased.",
        interval="A distance is never negative, so redraws never reach 0 and the plain interval would exclude a "
        "perfect sampler every time: where the value is at or below `noise_floor`, `ci_low` is 0. One pseudo-count, "
        "spread as the target, gives width to a sample of one class. Measured coverage away from 0, at n = 300 and "
        "three classes, is 94 to 96 %; that of `fd_l1` falls to 93 % where a class is exactly on its target.",
        limits="Biases of a suite's prompts that cancel when all samples are pooled (`fd_l2_prompt_mean` has them), "
        "whether the classifier is right (`fd_l2_corrected`, `kappa_*`), whether the images are good, and whether a class "
        "is varied within itself.",
    )

    def evaluate(self, sample: Sample, reference: Reference) -> list[Score]:
        """Scores of every attribute, then of the joint where there are two or more.

        Args:
            sample: its `probabilities` must hold every attribute of the reference.
            reference: its `attributes` and `distribution` are the target.

        Returns:
            For each scope: fd_l2_hard, fd_l1, kl, fd_l2_soft, then share_hard of each class in class order.

        Raises:
            Incompatible: an attribute was not classified.
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
    reason = why_undefined(seen)
    if reason:
        scopes = [(metric, joint.name) for metric in (*HARD, "fd_l2_soft")]
        scopes += [("share_hard", f"{joint.name}={name}") for name in joint.classes]
        return [Score(m, scope, None, n=seen.n, status="undefined", reason=reason) for m, scope in scopes]
    # A generator for each scope, so that a scope's interval does not depend on which others are asked for.
    rng = np.random.default_rng(SEED)
    null = rng.multinomial(seen.n, r, size=N_DRAWS) / seen.n
    hard = redraw_shares(seen.counts, r, N_DRAWS, rng)
    shares = seen.counts / seen.n
    scores = [distance(metric, joint.name, seen.n, f(shares, r), f(hard, r), f(null, r)) for metric, f in HARD.items()]
    soft = redraw_mean(seen.mean, seen.covariance, seen.n, N_DRAWS, rng)
    scores.append(distance("fd_l2_soft", joint.name, seen.n, l2(seen.mean, r), l2(soft, r), l2(null, r)))
    return scores + _shares(joint, seen, null)


def _shares(joint: Attribute, seen: Tally, null: Floats) -> list[Score]:
    noise_floor = np.quantile(null, LEVEL, axis=0)
    scores = []
    for k, name in enumerate(joint.classes):
        low, high = wilson_interval(int(seen.counts[k]), seen.n)
        share = float(seen.counts[k] / seen.n)
        scores.append(Score("share_hard", f"{joint.name}={name}", share, low, high, seen.n, float(noise_floor[k])))
    return scores
