"""Fairness discrepancy corrected for the classifier's errors, as its confusion on held-out faces tells them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from bench.core.attributes import Attribute, joint_labels, marginal, product
from bench.core.stats import percentile_interval
from bench.protocols.evaluator import CHUNK, REDRAWS, Card, Column, Reference, Sample, Score

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

N_DRAWS = 2000
SEED = 20_231_029
ITERATIONS = 5000
TOLERANCE = 1e-9  # largest change of a share at which the iteration stops
MIN_JUDGED = 20  # samples that must be left where the classifier abstained on others
CONDITION = 50.0  # a confusion matrix nearer to singular than this tells nothing of the true shares


def true_shares(found: Floats, confusion: Floats) -> Floats:
    """The shares p on the simplex that make the found shares q most likely: argmax_p sum_k q_k log (p^T C)_k.

    Where C^-T q is a distribution it is that (for two classes: Rogan & Gladen 1978; the centre of CLEAM, Teo et al.
    2023, arXiv 2310.19297), and otherwise its projection onto the simplex in likelihood. By expectation maximisation:
    p_j <- p_j sum_k C_jk q_k / (p^T C)_k, which cannot leave the simplex.

    Args:
        found: [..., K], the shares of the classes found, rows summing to 1.
        confusion: [..., K, K], P(found k | true j) in row j; rows summing to 1.

    Returns:
        [..., K], >= 0, rows summing to 1.
    """
    p = np.full(np.broadcast_shapes(found.shape, confusion.shape[:-1]), 1 / found.shape[-1])
    for _ in range(ITERATIONS):
        expected = np.einsum("...j,...jk->...k", p, confusion)
        # A class that was found though no true class leads to it (0 / 0) cannot be explained: it moves nothing.
        ratio = np.divide(found, expected, out=np.zeros_like(expected), where=expected > 0)
        after = p * np.einsum("...jk,...k->...j", confusion, ratio)
        after /= after.sum(-1, keepdims=True)
        done = float(np.abs(after - p).max()) < TOLERANCE
        p = after
        if done:
            break
    return p


def rates(counts: Floats) -> Floats:
    """Confusion counts [..., K, K], rows the true class, as P(found | true)."""
    return np.asarray(counts / counts.sum(-1, keepdims=True), dtype=np.float64)


def redraw_rates(counts: Ints, n_draws: int, rng: np.random.Generator) -> Floats:
    """Draws of P(found | true) [n_draws, K, K] from what m held-out images a class leave open.

    Dirichlet with half a count added to every cell (Jeffreys): a classifier that made no error in 1,000 images may
    still make one in 2,000.
    """
    return np.stack([rng.dirichlet(row + 0.5, n_draws) for row in counts], axis=1)


def joint_confusion(parts: list[Floats]) -> Floats:
    """P(found | true) of the joint, the attributes' errors being independent given the true classes."""
    joint = parts[0]
    for part in parts[1:]:
        k = joint.shape[-1] * part.shape[-1]
        joint = np.einsum("...ab,...cd->...acbd", joint, part).reshape(*joint.shape[:-2], k, k)
    return joint


@dataclass(frozen=True)
class Evaluator:
    """||r - p||_2 for the shares p that the classifier's labels and its measured confusion make most likely.

    It holds for the p of a classifier that errs on generated images as it does on held-out ones. Samples that the
    classifier abstained on are left out, and n counts the others.
    """

    card: ClassVar[Card] = Card(
        summary="Distance of the class shares from the target, corrected for the classifier's measured errors.",
        formula="||r - p||_2 for the target r and p = argmax over the simplex of sum_k q_k log((p^T C)_k), q the "
        "shares of the classifier's labels and C_jk its P(found k | true j) on held-out images; share_corrected = p_k.",
        source="Teo et al. 2023, arXiv 2310.19297; its K-class form by maximum likelihood",
        columns=(
            Column("fd_l2_corrected", "lower", 0.0, 2**0.5, "distance of shares", REDRAWS),
            Column("share_corrected", None, 0.0, 1.0, "share of the classified samples", REDRAWS),
        ),
        classifier="each",
        min_n=f"2; {MIN_JUDGED} classified ones where the classifier abstained on others",
        bias="The distance is too large, as fd_l2_hard's but more so: the correction magnifies the samples' noise by "
        "up to the inverse of C. It depends on the held-out images too.",
        interval="Covers both what n samples and what the held-out images leave open: the labels are redrawn, and so "
        "is every row of C (Dirichlet, with half a count in every cell). Redraws never reach 0, so it "
        "excludes 0 even for a perfect sampler.",
        limits="Whether the classifier errs on generated images as it does on held-out ones: it holds only where that is "
        "so. On a joint, errors are taken for independent given the true classes.",
    )

    def evaluate(self, sample: Sample, reference: Reference) -> list[Score]:
        """`fd_l2_corrected` and `share_corrected` of every attribute, and of their joint where there are several."""
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
    found = _label_counts(sample, attributes)
    n, rng = int(found.sum()), np.random.default_rng(SEED)
    reason = _why_undefined(counts, attributes, n, len(sample.assigned_class) - n)
    if reason:
        scopes = [("fd_l2_corrected", joint.name)]
        scopes += [("share_corrected", f"{joint.name}={name}") for name in joint.classes]
        return [Score(m, s, None, n=n, status="undefined", reason=reason) for m, s in scopes]
    p = true_shares(found / n, joint_confusion([rates(c.astype(np.float64)) for c in counts]))
    smoothed = found + 1 / len(r)  # as `bench.core.stats.redraw_shares`: a class not seen may still be there
    labels = rng.multinomial(n, smoothed / smoothed.sum(), N_DRAWS) / n
    draws = true_shares(labels, joint_confusion([redraw_rates(c, N_DRAWS, rng) for c in counts]))
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
        classified = ~np.any([np.isnan(part).all(axis=1) for part in parts], axis=0)
        rows = [part[classified].argmax(1) for part in parts]
        counts += np.bincount(joint_labels(np.stack(rows, 1), attributes), minlength=len(counts))
    return counts


def _why_undefined(counts: list[Ints], attributes: tuple[Attribute, ...], n: int, abstained: int) -> str:
    if abstained and n < MIN_JUDGED:
        return f"needs {MIN_JUDGED} classified samples or more, got {n}; the classifier abstained on {abstained}"
    if n < 2:
        return f"there must be at least 2 samples, got {n}"
    if len(counts) < len(attributes):
        return "the classifier has no confusion matrix measured on labelled images"
    for table, attribute in zip(counts, attributes, strict=True):
        if table.sum(1).min() == 0:
            return f"the classifier was measured without a held-out image of some class of {attribute.name}"
        if np.linalg.cond(rates(table.astype(np.float64))) > CONDITION:
            return f"the classifier does not tell the classes of {attribute.name} apart"
    return ""
