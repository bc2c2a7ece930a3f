"""Fairness discrepancy corrected for the attribute classifier's errors, by its confusion on held-out images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from bench.core.attributes import Attribute, marginal, product
from bench.core.intervals import LEVEL, distance_low, percentile_interval
from bench.core.probability_rows import predicted_classes
from bench.protocols.evaluator import CHUNK, PARAMETRIC_BOOTSTRAP, Column, MetricCard, Reference, Sample, Score
from evaluators.classifiers.share_draws import Counts, count, simplex

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

SEED = 20_231_029
ITERATIONS = 5000
TOLERANCE = 1e-9  # largest change of a share at which the iteration stops
MIN_CLASSIFIED = 20  # classified samples needed if the classifier abstained on some
SINGULAR = 1e-9  # determinant of a confusion matrix up to which it is not inverted
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
    shape = np.broadcast_shapes(predicted.shape, confusion.shape[:-1])
    predicted, confusion = np.broadcast_to(predicted, shape), np.broadcast_to(confusion, (*shape, shape[-1]))
    regular = np.abs(np.linalg.det(confusion)) > SINGULAR
    solvable = np.where(regular[..., None, None], confusion, np.eye(shape[-1]))
    p: Floats = np.linalg.solve(np.swapaxes(solvable, -1, -2), predicted[..., None])[..., 0].astype(np.float64)
    outside = ~regular | (p < 0).any(axis=-1)
    p[outside] = _most_likely(predicted[outside], confusion[outside])
    return p


def _most_likely(predicted: Floats, confusion: Floats) -> Floats:
    """Return `true_shares` [m, K] by expectation maximisation from even shares, for the same rows of both arguments."""
    result = np.full(predicted.shape, 1 / predicted.shape[-1])
    moving = np.arange(len(result))
    for _ in range(ITERATIONS):
        p, table = result[moving], confusion[moving]
        expected = np.einsum("...j,...jk->...k", p, table)
        # A predicted class that no true class leads to (0 / 0) cannot be explained: it contributes nothing.
        ratio = np.divide(predicted[moving], expected, out=np.zeros_like(expected), where=expected > 0)
        after = p * np.einsum("...jk,...k->...j", table, ratio)
        after /= after.sum(-1, keepdims=True)
        result[moving] = after
        moving = moving[np.abs(after - p).max(axis=-1) >= TOLERANCE]
        if not moving.size:
            break
    return result


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
        "and of every row of C (Dirichlet, with half a count added to every cell). If the value is within the 95th "
        "percentile of a perfect sampler with the cell's own design, `ci_low` is 0; `noise_floor` is that of n "
        "independent samples, with error rates drawn as those of C. Measured coverage with 200 held-out images per "
        "class (80 to 400 draws each): 94 to 99 % at a perfect sampler of two classes, 93 to 99 % elsewhere at n = 200 "
        "and of four classes; 91 % at n = 20 where the true share of a class is below the classifier's error rate.",
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
    predicted = _predicted(sample, attributes)
    n, rng = predicted.n, np.random.default_rng(SEED)
    reason = _why_undefined(counts, attributes, n, predicted.abstained)
    if reason:
        scopes = [("fd_l2_corrected", joint.name)]
        scopes += [("share_corrected", f"{joint.name}={name}") for name in joint.classes]
        return [Score(m, s, None, n=n, status="undefined", reason=reason) for m, s in scopes]
    measured = joint_confusion([rates(c.astype(np.float64)) for c in counts])
    p = true_shares(predicted.total / n, measured)
    labels = predicted.draw(rng)
    drawn = joint_confusion([draw_rates(c, len(labels), rng) for c in counts])
    draws = true_shares(labels, drawn)
    # A perfect sampler: its labels have the shares of the target as a classifier of these error rates sees it.
    expected = np.einsum("j,djk->dk", r, drawn)
    perfect = _corrected_distance(rng.multinomial(n, simplex(expected)) / n, measured, r)
    null = perfect
    if not predicted.independent:
        null = _corrected_distance(simplex(labels - labels.mean(axis=0) + expected), measured, r)
    value, scope, note = float(np.linalg.norm(r - p)), joint.name, predicted.note
    low = distance_low(
        lambda q: np.asarray(np.linalg.norm(simplex(q) - r, axis=-1)),
        p,
        r,
        draws.mean(axis=0) - draws,
        float(np.quantile(null, LEVEL)),
    )
    high = max(percentile_interval(np.linalg.norm(r - draws, axis=1))[1], value)
    floor = float(np.quantile(perfect, LEVEL))
    scores = [Score("fd_l2_corrected", scope, value, min(low, value), high, n, floor, reason=note)]
    for k, name in enumerate(joint.classes):
        low, high = percentile_interval(draws[:, k])
        ends, share = (min(low, float(p[k])), max(high, float(p[k]))), float(p[k])
        scores.append(Score("share_corrected", f"{scope}={name}", share, *ends, n, reason=note))
    return scores


def _corrected_distance(labels: Floats, confusion: Floats, r: Floats) -> Floats:
    """Return the corrected distances [n_draws] of shares of labels [n_draws, K]."""
    return np.asarray(np.linalg.norm(true_shares(labels, confusion) - r, axis=1))


def _predicted(sample: Sample, attributes: tuple[Attribute, ...]) -> Counts:
    labels = np.full(len(sample.assigned_class), -1, dtype=np.int64)
    for start in range(0, len(labels), CHUNK):
        rows = slice(start, start + CHUNK)
        arrays = [np.asarray(sample.probabilities[a.name][rows]) for a in attributes]
        labels[rows] = predicted_classes(arrays, attributes, start)
    return count(labels, product(attributes).n_classes, sample)


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
