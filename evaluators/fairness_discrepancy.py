"""Fairness discrepancy: distance of the class shares from the target distribution."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from bench.core.attributes import Attribute, marginal, product
from bench.core.distances import kl, l1, l2
from bench.core.intervals import LEVEL
from bench.protocols.evaluator import PARAMETRIC_BOOTSTRAP, WILSON, Column, MetricCard, Reference, Sample, Score
from evaluators.classifiers.share_draws import N_DRAWS, simplex
from evaluators.classifiers.shares import (
    INTERVAL_PER_CLASS,
    MIN_CLASSIFIED,
    MIN_N,
    Tally,
    distance,
    tally,
    why_undefined,
)

Floats = npt.NDArray[np.float64]
SEED = 20_191_012


def divergence(p: Floats, r: Floats) -> Floats:
    """Return `kl` of shares that random errors may have made negative: of the nearest shares that sum to 1."""
    return kl(simplex(p), r)


HARD: dict[str, Callable[[Floats, Floats], Floats]] = {"fd_l2_hard": l2, "fd_l1": l1, "kl": divergence}


DISTANCE_INTERVAL = (
    "A distance is never negative and is biased upwards. `ci_low` is 0 if the value is within the 95th percentile of a "
    "perfect sampler with the cell's own design (`noise_floor`, where samples are independent); else the smallest "
    "distance on the way from the target to the measured shares whose draws reach the value (inverted test). `ci_high` "
    "is the 97.5th percentile of draws from the Dirichlet posterior of the shares, with one pseudo-count spread over "
    "the classes, which gives width to a sample of one class. For two classes both follow from the interval of the "
    "share. Classes that a method assigns are strata; where it steers guidance batches and there are at least 8, draws "
    "are Student's t of the batches' means (with fewer, those of independent samples, and the score says so). "
    "share_hard has Wilson's interval, of the effective number of samples with batches, and percentiles of draws with "
    "strata. For fd_l1, classes within 1.96 standard errors of the target are put there before the test. With three "
    f"or more classes, fd_l1 and kl have no interval below {INTERVAL_PER_CLASS} samples per class. Measured coverage "
    "at shares of 50 to 0.5 % (200 to 500 draws each): two classes 94 to 100 %; three and four 93 to 99 % (fd_l2_hard "
    "from n = 10, fd_l1 and kl from 40); eight classes 95 to 99 %, of kl 91 to 98 %; at n = 2, 100 %. With assigned "
    "classes, or 10 and more steered batches: 92 to 98 %; with 5 batches of shares that spread widely 67 %. `python -m "
    "tests.benchmarks.coverage` prints the table."
)


@dataclass(frozen=True)
class Evaluator:
    """Distance of the class shares from the target, for every attribute and for their joint, and the shares themselves.

    Source: Choi et al. 2020, arXiv 1910.12008; Parihar et al. 2024, arXiv 2402.18206. Leaderboards rank by
    `fd_l2_hard`, which counts the attribute classifier's labels; `fd_l2_soft` is the papers' mean of probabilities.

    `noise_floor` is the 95th percentile of the metric when n labels are drawn from the target itself; for `fd_l2_soft`
    it is an upper bound, since the probabilities of an uncertain classifier vary less than labels do.

    Samples that the classifier abstained on are left out, and n counts the remaining ones; `abstained_share` is the
    share left out.

    >>> from bench.protocols.evaluator import Reference, Sample
    >>> glasses = Attribute("eyeglasses", ("absent", "present"))
    >>> classified = np.repeat([[1.0, 0.0], [0.0, 1.0]], [70, 30], axis=0)
    >>> sample = Sample({"eyeglasses": classified}, {}, np.zeros(100, dtype=np.int64))
    >>> scores = Evaluator().evaluate(sample, Reference((glasses,), np.array([0.5, 0.5])))
    >>> print(scores[0].metric, scores[0].scope, round(scores[0].value, 3))
    fd_l2_hard eyeglasses 0.283
    """

    card: ClassVar[MetricCard] = MetricCard(
        summary="Distance of the shares of the attribute's classes from the target distribution; 0 is fair.",
        formula="||r - p||_2 for the target r and the shares p of the attribute classifier's labels (fd_l2_hard), or "
        "its mean probabilities (fd_l2_soft); fd_l1 = sum_k |r_k - p_k|; kl = sum_k p_k log(p_k / r_k); share_hard = "
        "p_k.",
        source="Choi et al. 2020, arXiv 1910.12008; Parihar et al. 2024, arXiv 2402.18206",
        columns=(
            Column("fd_l2_hard", "lower", 0.0, math.sqrt(2), "distance of shares", PARAMETRIC_BOOTSTRAP),
            Column("fd_l1", "lower", 0.0, 2.0, "distance of shares", PARAMETRIC_BOOTSTRAP),
            Column("kl", "lower", 0.0, math.inf, "nats", PARAMETRIC_BOOTSTRAP),
            Column("fd_l2_soft", "lower", 0.0, math.sqrt(2), "distance of shares", PARAMETRIC_BOOTSTRAP),
            Column("share_hard", None, 0.0, 1.0, "share of the classified samples", WILSON),
        ),
        classifier="each",
        min_n=f"{MIN_N}; {MIN_CLASSIFIED} classified samples if the classifier abstained on some",
        bias="The distances are too large: E fd_l2_hard^2 = ||r - p||^2 + (1 - sum_k p_k^2) / n, so a perfect "
        "sampler of two even classes has about 0.056 at n = 100. `noise_floor` is its 95th percentile. Shares are "
        "unbiased.",
        interval=DISTANCE_INTERVAL,
        limits="Biases of a suite's prompts that cancel when all samples are pooled (see `fd_l2_prompt_mean`), errors "
        "of the classifier (see `fd_l2_corrected`, `kappa_*`), the quality of the images, and the diversity within a "
        "class.",
    )

    def evaluate(self, sample: Sample, reference: Reference) -> list[Score]:
        """Return scores of every attribute, then of the joint if there are two or more.

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


def _scores(attributes: tuple[Attribute, ...], counted: Tally, r: Floats) -> list[Score]:
    joint = product(attributes)
    reason = why_undefined(counted)
    if reason:
        scopes = [(metric, joint.name) for metric in (*HARD, "fd_l2_soft")]
        scopes += [("share_hard", f"{joint.name}={name}") for name in joint.classes]
        return [Score(m, scope, None, n=counted.n, status="undefined", reason=reason) for m, scope in scopes]
    # One generator per scope, so that a scope's interval does not depend on the other scopes.
    rng = np.random.default_rng(SEED)
    perfect = rng.multinomial(counted.n, r, size=N_DRAWS) / counted.n
    hard = counted.hard.draw(rng)
    shares = counted.counts / counted.n
    first = counted.hard.share_interval(0, hard) if len(r) == 2 else None
    scores = [
        distance(
            metric, joint.name, f, r, (shares, _possible(hard, r) if metric == "kl" else hard), perfect, counted, first
        )
        for metric, f in HARD.items()
    ]
    soft = counted.mean, counted.draw_soft(hard, rng)
    mean = None if first is None else counted.soft_interval(first)
    scores.append(distance("fd_l2_soft", joint.name, l2, r, soft, perfect, counted, mean))
    return scores + _shares(joint, counted, hard, perfect)


def _possible(draws: Floats, r: Floats) -> Floats:
    """Return draws without the classes that the target excludes: one of them makes the divergence infinite."""
    return simplex(np.where(r > 0, draws, 0.0))


def _shares(joint: Attribute, counted: Tally, hard: Floats, perfect: Floats) -> list[Score]:
    noise_floor = np.quantile(perfect, LEVEL, axis=0)
    scores = []
    for k, name in enumerate(joint.classes):
        low, high = counted.hard.share_interval(k, hard)
        share, scope = float(counted.counts[k] / counted.n), f"{joint.name}={name}"
        floor, note = float(noise_floor[k]), counted.hard.note
        scores.append(Score("share_hard", scope, share, low, high, counted.n, floor, reason=note))
    return scores
