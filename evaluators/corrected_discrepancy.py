"""Fairness discrepancy corrected for the attribute classifier's errors, by its confusion on held-out images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from bench.core.attributes import Attribute, joint_labels, marginal, product
from bench.core.intervals import percentile_interval
from bench.protocols.evaluator import CHUNK, PARAMETRIC_BOOTSTRAP, Column, MetricCard, Reference, Sample, Score

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

N_DRAWS = 2000
SEED = 20_231_029
ITERATIONS = 5000
TOLERANCE = 1e-9  # largest change of a share at which the iteration stops
MIN_CLASSIFIED = 20  # classified samples needed if the classifier abstained on some
CONDITION = 50.0  # a confusion matrix closer to singular than this does not determine the true shares


def true_shares(predicted: Floats, confusion: Floats) -> Floats:
    """Return the most likely true shares p on the simplex given predicted shares q: argmax_p sum_k q_k log (p^T C)_k.

    If C^-T q is a distribution, that is the result (for two classes: Rogan & Gladen 1978; the centre of CLEAM, Teo et
    al. 2023, arXiv 2310.19297); otherwise it is its projection onto the simplex in likelihood. Computed by expectation
    maximisation, p_j <- p_j sum_k C_jk q_k / (p^T C)_k, which cannot leave the simplex.

    Args:
        predicted: [..., K], the shares of the predicted classes, rows summing to 1.
        confusion: [..., K, K], P(predicted k | true j) in row j; rows summing to 1.

    Returns:
        [..., K], >= 0, rows summing to 1.
    """
    p = np.full(np.broadcast_shapes(predicted.shape, confusion.shape[:-1]), 1 / predicted.shape[-1])
    for _ in range(ITERATIONS):
        expected = np.einsum("...j,...jk->...k", p, confusion)
        # A predicted class that no true class leads to (0 / 0) cannot be explained: it contributes nothing.
        ratio = np.divide(predicted, expected, out=np.zeros_like(expected), where=expected > 0)
        after = p * np.einsum("...jk,...k->...j", confusion, ratio)
        after /= after.sum(-1, keepdims=True)
        done = float(np.abs(after - p).max()) < TOLERANCE
        p = after
        if done:
            break
    return p


def rates(counts: Floats) -> Floats:
    """Return P(predicted | true) from confusion counts [..., K, K], rows the true class."""
    return np.asarray(counts / counts.sum(-1, keepdims=True), dtype=np.float64)


def draw_rates(counts: Ints, n_draws: int, rng: np.random.Generator) -> Floats:
    """Draw P(predicted | true), float64 [n_draws, K, K], from its posterior given the held-out counts.

    Dirichlet with half a count added to every cell (Jeffreys): a classifier without errors in 1,000 images may still
    make one in 2,000.
    """
    return np.stack([rng.dirichlet(row + 0.5, n_draws) for row in counts], axis=1)


def joint_confusion(confusions: list[Floats]) -> Floats:
    """Return P(predicted | true) of the joint, if the attributes' errors are independent given the true classes."""
    joint = confusions[0]
    for confusion in confusions[1:]:
        k = joint.shape[-1] * confusion.shape[-1]
        joint = np.einsum("...ab,...cd->...acbd", joint, confusion).reshape(*joint.shape[:-2], k, k)
    return joint


@dataclass(frozen=True)
class Evaluator:
    """||r - p||_2 for the most likely true shares p, given the attribute classifier's labels and measured confusion.

    Valid if the classifier's error rates on generated images equal those on held-out ones. Samples that the classifier
    abstained on are left out, and n counts the remaining ones.
    """

    card: ClassVar[MetricCard] = MetricCard(
        summary="Distance of the class shares from the target, corrected for the attribute classifier's measured "
        "errors.",
        formula="||r - p||_2 for the target r and p = argmax over the simplex of sum_k q_k log((p^T C)_k), q the "
        "shares of the classifier's labels and C_jk its P(predicted k | true j) on held-out images; share_corrected = "
        "p_k.",
        source="Teo et al. 2023, arXiv 2310.19297; K-class form by maximum likelihood",
        columns=(
            Column("fd_l2_corrected", "lower", 0.0, 2**0.5, "distance of shares", PARAMETRIC_BOOTSTRAP),
            Column("share_corrected", None, 0.0, 1.0, "share of the classified samples", PARAMETRIC_BOOTSTRAP),
        ),
        classifier="each",
        min_n=f"2; {MIN_CLASSIFIED} classified samples if the classifier abstained on some",
        bias="The distance is too large, like fd_l2_hard's but more so: the correction amplifies the samples' noise by "
        "up to the inverse of C. It depends on the held-out images too.",
        interval="Covers the sampling error of both the samples and the held-out images: bootstrap draws of the labels "
        "and of every row of C (Dirichlet, with half a count added to every cell). Draws never reach 0, so it excludes "
        "0 even for a perfect sampler.",
        limits="Whether the classifier's error rates on generated images equal those on held-out ones: it is valid "
        "only if they do. For a joint, errors are assumed independent given the true classes.",
    )

    def evaluate(self, sample: Sample, reference: Reference) -> list[Score]:
        """Return `fd_l2_corrected` and `share_corrected` of every attribute, and of the joint if there are several."""
        scores = []
        for attribute in reference.attributes:
            r = marginal(reference.distribution, reference.attributes, attribute)
            scores += _scores((attribute,), sample, r)
        if len(reference.attributes) > 1:
            scores += _scores(reference.attributes, sample, reference.distribution)
        return scores


def _scores(attributes: tuple[Attribute, ...], sample: Sample, r: Floats) -> list[Score]:
    joint = product(attributes)
    counts = [np.asarray(sample.confusion[a.name]) for a in attributes if a.name in sample.confusion]
    predicted = _label_counts(sample, attributes)
    n, rng = int(predicted.sum()), np.random.default_rng(SEED)
    reason = _why_undefined(counts, attributes, n, len(sample.assigned_class) - n)
    if reason:
        scopes = [("fd_l2_corrected", joint.name)]
        scopes += [("share_corrected", f"{joint.name}={name}") for name in joint.classes]
        return [Score(m, s, None, n=n, status="undefined", reason=reason) for m, s in scopes]
    p = true_shares(predicted / n, joint_confusion([rates(c.astype(np.float64)) for c in counts]))
    smoothed = predicted + 1 / len(r)  # as in `bench.core.stats.redraw_shares`: an unobserved class may still occur
    labels = rng.multinomial(n, smoothed / smoothed.sum(), N_DRAWS) / n
    draws = true_shares(labels, joint_confusion([draw_rates(c, N_DRAWS, rng) for c in counts]))
    value, low, high = _with_interval(np.linalg.norm(r - p), np.linalg.norm(r - draws, axis=1))
    scores = [Score("fd_l2_corrected", joint.name, value, low, high, n)]
    for k, name in enumerate(joint.classes):
        share, low, high = _with_interval(p[k], draws[:, k])
        scores.append(Score("share_corrected", f"{joint.name}={name}", share, low, high, n))
    return scores


def _with_interval(value: float | np.floating, draws: Floats) -> tuple[float, float, float]:
    low, high = percentile_interval(draws)
    return float(value), min(low, float(value)), max(high, float(value))


def _label_counts(sample: Sample, attributes: tuple[Attribute, ...]) -> Ints:
    counts = np.zeros(product(attributes).n_classes, dtype=np.int64)
    for start in range(0, len(sample.assigned_class), CHUNK):
        parts = [np.asarray(sample.probabilities[a.name][start : start + CHUNK]) for a in attributes]
        classified = ~np.any([np.isnan(p).all(axis=1) for p in parts], axis=0)
        rows = [p[classified].argmax(1) for p in parts]
        counts += np.bincount(joint_labels(np.stack(rows, 1), attributes), minlength=len(counts))
    return counts


def _why_undefined(counts: list[Ints], attributes: tuple[Attribute, ...], n: int, abstained: int) -> str:
    if abstained and n < MIN_CLASSIFIED:
        return f"needs {MIN_CLASSIFIED} classified samples or more, got {n}; the classifier abstained on {abstained}"
    if n < 2:
        return f"there must be at least 2 samples, got {n}"
    if len(counts) < len(attributes):
        return "the classifier has no confusion matrix measured on labelled images"
    for table, attribute in zip(counts, attributes, strict=True):
        if table.sum(1).min() == 0:
            return f"the classifier was measured without held-out images of some class of {attribute.name}"
        if np.linalg.cond(rates(table.astype(np.float64))) > CONDITION:
            return f"the classifier does not distinguish the classes of {attribute.name}"
    return ""
