"""Rows of the coverage table: metrics of class shares."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bench.core.attributes import Attribute
from bench.core.design import Design
from bench.core.distances import kl, l1, l2
from bench.protocols.evaluator import Reference, Sample, Score
from evaluators import (
    abstained_share,
    attribute_drift,
    classifier_agreement,
    corrected_discrepancy,
    detection_rate,
    epsilon_fairness,
    fairness_discrepancy,
    prompt_discrepancy,
)
from evaluators.classifiers.agreement import cohen_kappa
from methods.targeting.assigned_classes import assign_classes
from tests.support.coverage import Row

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Rng = np.random.Generator
SETTINGS: tuple[tuple[tuple[float, ...], tuple[float, ...]], ...] = (  # shares of the samples, target
    ((0.5, 0.5), (0.5, 0.5)),
    ((0.6, 0.4), (0.5, 0.5)),
    ((0.95, 0.05), (0.5, 0.5)),
    ((0.995, 0.005), (0.5, 0.5)),
    ((0.995, 0.005), (0.995, 0.005)),
    ((0.98, 0.02), (0.995, 0.005)),
    ((0.25, 0.25, 0.25, 0.25), (0.25, 0.25, 0.25, 0.25)),
    ((0.3, 0.25, 0.25, 0.2), (0.25, 0.25, 0.25, 0.25)),
    ((0.4, 0.25, 0.25, 0.1), (0.25, 0.25, 0.25, 0.25)),
    ((0.7, 0.25, 0.045, 0.005), (0.25, 0.25, 0.25, 0.25)),
    ((0.5, 0.3, 0.195, 0.005), (0.5, 0.3, 0.15, 0.05)),
)


def attribute(k: int, name: str = "a") -> Attribute:
    """Return an attribute of k classes."""
    return Attribute(name, tuple(map(str, range(k))))


def one_hot(labels: Ints, k: int) -> Floats:
    """Return the probabilities of a classifier that is sure of its labels."""
    return np.eye(k)[labels]


def text(shares: Sequence[float]) -> str:
    """Return shares as a setting names them."""
    return "/".join(f"{share:g}" for share in shares)


@dataclass(frozen=True)
class Plan:
    """A design of labels: how n samples are drawn.

    Attributes:
        name: as a setting names it.
        draw: n and a generator to labels int64 [n] and their design.
        shares: the expected shares of the labels, float64 [K].
    """

    name: str
    draw: Callable[[int, Rng], tuple[Ints, Design]]
    shares: Floats


def by_class(target: Sequence[float], confusion: Sequence[Sequence[float]]) -> Plan:
    """Return a method that assigns classes of a target and generates class k of assigned class s at confusion[s][k]."""
    r, table = np.array(target), np.array(confusion)

    def draw(n: int, rng: Rng) -> tuple[Ints, Design]:
        assigned = assign_classes(r, int(rng.integers(1 << 31)), np.arange(n))
        cumulative = table[assigned].cumsum(axis=1)
        labels = (rng.random(n)[:, None] > cumulative[:, :-1]).sum(axis=1)
        return labels.astype(np.int64), Design(assigned, block=60)

    return Plan(f"classes assigned, right at {table[0, 0]:g}", draw, r @ table)


def by_batch(shares: Sequence[float], concentration: float, size: int) -> Plan:
    """Return a method whose guidance batches have Dirichlet shares, each met as exactly as `size` samples allow."""
    p = np.array(shares)

    def draw(n: int, rng: Rng) -> tuple[Ints, Design]:
        labels = []
        for start in range(0, n, size):
            m = min(size, n - start)
            exact = rng.dirichlet(p * concentration) * m
            counts = np.floor(exact).astype(np.int64)
            remainder = exact - counts
            counts += rng.multinomial(m - counts.sum(), remainder / remainder.sum()) if m > counts.sum() else 0
            labels.append(rng.permutation(np.repeat(np.arange(len(p)), counts)))
        return np.concatenate(labels).astype(np.int64), Design(np.zeros(n, dtype=np.int64), np.arange(n) // size)

    return Plan(f"batches of {size} steered, concentration {concentration:g}", draw, p)


def independent(shares: Sequence[float]) -> Plan:
    """Return independent draws of labels."""
    p = np.array(shares)

    def draw(n: int, rng: Rng) -> tuple[Ints, Design]:
        return rng.choice(len(p), n, p=p), Design.independent(n)

    return Plan("independent", draw, p)


def fairness(metric: str, plan: Plan, target: Sequence[float], sharp: float = 1.0, sizes: tuple[int, ...] = ()) -> Row:
    """Return a row of a column of fairness_discrepancy.

    Args:
        metric: the column.
        plan: the design of the labels.
        target: the target.
        sharp: the probability of the label; the others share what is left.
        sizes: numbers of samples, those of `Row` by default.
    """
    k, r = len(target), np.array(target)
    rows = np.full((k, k), (1 - sharp) / (k - 1)) + np.eye(k) * (sharp - (1 - sharp) / (k - 1))

    def draw(n: int, rng: Rng) -> Score:
        labels, design = plan.draw(n, rng)
        probabilities = rows[labels] if metric == "fd_l2_soft" else one_hot(labels, k)
        sample = Sample({"a": probabilities}, {}, np.full(n, -1), design=design)
        scores = fairness_discrepancy.Evaluator().evaluate(sample, Reference((attribute(k),), r))
        return [score for score in scores if score.metric == metric][-1]

    p = plan.shares @ rows if metric == "fd_l2_soft" else plan.shares
    distances = {"fd_l1": l1, "kl": kl}
    truth = float(p[-1]) if metric == "share_hard" else float(distances.get(metric, l2)(p, r))
    setting = f"{plan.name}, shares {text(np.round(plan.shares, 4).tolist())}, target {text(target)}"
    setting += f", probability {sharp:g}" if metric == "fd_l2_soft" else ""
    return Row(metric, setting, draw, lambda n: truth, sizes or (2, 20, 200, 1000))


def kappa(differ: float, rare: float) -> Row:
    """Return a row of two classifiers that differ on a share of the samples, of which a share has the second class."""
    table = np.array([[1 - rare - differ / 2, differ / 2], [differ / 2, rare - differ / 2]])

    def draw(n: int, rng: Rng) -> Score:
        pairs = rng.choice(4, n, p=table.ravel())
        second = {"b": {"a": one_hot(pairs % 2, 2)}}
        sample = Sample({"a": one_hot(pairs // 2, 2)}, {}, np.full(n, -1), other_classifiers=second)
        return classifier_agreement.Evaluator().evaluate(sample, Reference((attribute(2),), np.full(2, 0.5)))[0]

    truth = float(cohen_kappa(table))
    return Row("kappa", f"classifiers differ on {differ:g}, rarer class {rare:g}", draw, lambda n: truth)


def corrected(shares: Sequence[float], target: Sequence[float], accuracy: float, plan: Plan | None = None) -> Row:
    """Return a row of the corrected discrepancy: a classifier measured on 200 images per class."""
    k, p, r = len(target), np.array(shares), np.array(target)
    confusion = np.full((k, k), (1 - accuracy) / (k - 1)) + np.eye(k) * (accuracy - (1 - accuracy) / (k - 1))
    true = plan or independent(shares)

    def draw(n: int, rng: Rng) -> Score:
        measured = np.stack([rng.multinomial(200, row) for row in confusion])
        labels, design = true.draw(n, rng)
        predicted = (rng.random(n)[:, None] > confusion[labels].cumsum(axis=1)[:, :-1]).sum(axis=1)
        sample = Sample({"a": one_hot(predicted, k)}, {}, np.full(n, -1), {"a": measured}, design=design)
        return corrected_discrepancy.Evaluator().evaluate(sample, Reference((attribute(k),), r))[0]

    setting = f"{true.name}, shares {text(shares)}, target {text(target)}, accuracy {accuracy:g}"
    return Row("fd_l2_corrected", setting, draw, lambda n: float(l2(p, r)), draws=300)


def drift(metric: str, forth: float, back: float, share: float = 0.5) -> Row:
    """Return a row of attribute_drift: shares of pairs that gain and that lose the second class."""
    table = np.array([1 - share - forth, forth, back, share - back])

    def draw(n: int, rng: Rng) -> Score:
        pairs = rng.choice(4, n, p=table)
        task, unassigned = one_hot(np.zeros(n, dtype=np.int64), 2), np.full(n, -1)
        before = Sample({"t": task, "a": one_hot(pairs // 2, 2)}, {}, unassigned)
        after = Sample({"t": task, "a": one_hot(pairs % 2, 2)}, {}, unassigned, paired_baseline=before)
        scores = attribute_drift.Evaluator().evaluate(after, Reference((attribute(2, "t"),), np.full(2, 0.5)))
        return next(score for score in scores if score.metric == metric)

    truth = forth + back if metric == "drift_changed" else abs(forth - back) * math.sqrt(2)
    return Row(metric, f"{forth:g} gain a class, {back:g} lose it", draw, lambda n: truth)


def prompts(metric: str, n_prompts: int, spread: float) -> Row:
    """Return a row of prompt_discrepancy: n samples of each prompt, whose first shares spread around one half."""
    shares = 0.5 + spread * np.linspace(-1, 1, n_prompts)

    def draw(n: int, rng: Rng) -> Score:
        labels = np.concatenate([rng.random(n) > share for share in shares]).astype(np.int64)
        rows = {f"p{j}": slice(j * n, (j + 1) * n) for j in range(n_prompts)}
        sample = Sample({"a": one_hot(labels, 2)}, {}, np.full(len(labels), -1), prompts=rows)
        scores = prompt_discrepancy.Evaluator().evaluate(sample, Reference((attribute(2),), np.full(2, 0.5)))
        return next(score for score in scores if score.metric == metric)

    setting = f"{n_prompts} prompts, shares within {spread:g} of the target"
    return Row(metric, setting, draw, None, sizes=(20, 100), draws=300)


def epsilon(shift: float, width: int = 4) -> Row:
    """Return a row of epsilon-fairness: normal features of two classes, `shift` standard deviations apart in one.

    The truth is the mean over the draws: the error of probes that learn from four fifths of n samples.
    """

    def draw(n: int, rng: Rng) -> Score:
        group = np.arange(n) % 2
        features = rng.standard_normal((n, width))
        features[:, 0] += shift * group
        task = Reference((attribute(2),), np.full(2, 0.5))
        return epsilon_fairness.Evaluator().evaluate(Sample({}, {"toy": features}, group), task)[0]

    return Row("epsilon", f"{width} features, classes {shift:g} apart", draw, sizes=(40, 200), draws=200)


def binary(metric: str, plan: Plan) -> Row:
    """Return a row of the share of samples without an answer, or without a face."""

    def draw(n: int, rng: Rng) -> Score:
        labels, design = plan.draw(n, rng)
        probabilities = np.where(labels[:, None] == 1, np.nan, [[1.0, 0.0]])
        detected = {"toy": labels.astype(np.float64)}
        sample = Sample({"a": probabilities}, {}, np.full(n, -1), detected=detected, design=design)
        evaluator = abstained_share.Evaluator() if metric == "abstained_share" else detection_rate.Evaluator()
        return evaluator.evaluate(sample, Reference((attribute(2),), np.full(2, 0.5)))[0]

    setting = f"{plan.name}, share {plan.shares[1]:g}"
    return Row(metric, setting, draw, lambda n: float(plan.shares[1]))


HALF = (0.5, 0.5)
ASSIGNED = functools.partial(by_class, HALF)
STEERED: tuple[Plan, ...] = (by_batch(HALF, 100.0, 20), by_batch(HALF, 5.0, 20), by_batch((0.65, 0.35), 100.0, 20))
DESIGNS: tuple[Plan, ...] = (
    *(ASSIGNED(((p, 1 - p), (1 - p, p))) for p in (1.0, 0.95, 0.8)),
    ASSIGNED(((0.95, 0.05), (0.4, 0.6))),
    *STEERED,
)
ROWS: tuple[Row, ...] = (
    *(
        fairness(metric, independent(p), r)
        for metric in ("fd_l2_hard", "fd_l1", "kl", "fd_l2_soft", "share_hard")
        for p, r in SETTINGS
    ),
    *(fairness("fd_l2_soft", independent(p), r, 0.9) for p, r in SETTINGS),
    *(
        fairness(metric, plan, HALF, sizes=(100, 200, 1000))
        for metric in ("fd_l2_hard", "fd_l2_soft", "share_hard")
        for plan in DESIGNS
    ),
    *(
        kappa(differ, rare)
        for rare in (0.5, 0.1, 0.02, 0.005)
        for differ in (0.001, 0.005, 0.03, 0.1)
        if differ < 2 * rare
    ),
    *(
        corrected(p, r, accuracy)
        for p, r in (SETTINGS[0], SETTINGS[2], SETTINGS[5], SETTINGS[6], SETTINGS[8])
        for accuracy in (0.9, 0.99)
    ),
    *(
        drift(m, *moves)
        for m in ("drift_changed", "drift_l2")
        for moves in ((0.005, 0.005), (0.05, 0.05), (0.1, 0.02), (0.02, 0.0))
    ),
    *(prompts(m, k, s) for m in prompt_discrepancy.OVER for k, s in ((8, 0.0), (8, 0.3), (30, 0.2))),
    *(epsilon(shift) for shift in (0.0, 1.0, 2.5)),
    *(
        binary(m, plan)
        for m in ("abstained_share", "detection_rate")
        for plan in (
            independent((0.5, 0.5)),
            independent((0.95, 0.05)),
            independent((0.995, 0.005)),
            by_batch((0.9, 0.1), 5.0, 20),
        )
    ),
)
