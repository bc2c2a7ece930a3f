"""Correction for the classifier's errors: known confusion gives back the true shares, and the intervals cover them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.core.attributes import Attribute
from bench.protocols.evaluator import Reference, Sample, Score
from evaluators.corrected_discrepancy import Evaluator, draw_rates, joint_confusion, rates, true_shares

TWO, THREE = Attribute("two", ("0", "1")), Attribute("three", ("0", "1", "2"))
C2 = np.array([[0.9, 0.1], [0.25, 0.75]])
C3 = np.array([[0.8, 0.15, 0.05], [0.1, 0.7, 0.2], [0.05, 0.1, 0.85]])


def test_two_classes_are_those_of_rogan_and_gladen() -> None:
    p = np.array([0.35, 0.65])
    q = p @ C2
    sensitivity, specificity = C2[1, 1], C2[0, 0]
    gladen = (q[1] + specificity - 1) / (sensitivity + specificity - 1)
    assert true_shares(q, C2) == pytest.approx([1 - gladen, gladen], abs=1e-6)
    assert true_shares(q, C2) == pytest.approx(p, abs=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0.01, 1), min_size=3, max_size=3))
def test_a_known_confusion_gives_back_the_true_shares(weights: list[float]) -> None:
    p = np.array(weights) / sum(weights)
    assert true_shares(p @ C3, C3) == pytest.approx(p, abs=1e-4)


def test_shares_that_no_true_shares_explain_end_on_the_border() -> None:
    q = np.array([0.02, 0.98])  # less of class 0 than class 1's own errors give
    assert np.linalg.solve(C2.T, q)[0] < 0
    assert true_shares(q, C2) == pytest.approx([0, 1], abs=1e-3)


def test_a_classifier_without_errors_corrects_nothing() -> None:
    q = np.array([0.2, 0.3, 0.5])
    assert true_shares(q, np.eye(3)) == pytest.approx(q, abs=1e-9)


def test_the_confusion_of_a_joint_is_that_of_independent_errors() -> None:
    joint = joint_confusion([C2, C3])
    assert joint.shape == (6, 6)
    assert joint.sum(1) == pytest.approx(np.ones(6))
    assert joint[1 * 3 + 2, 0 * 3 + 1] == pytest.approx(C2[1, 0] * C3[2, 1])


def one_hot(labels: np.ndarray, k: int) -> np.ndarray:
    return np.eye(k)[labels]


def classified(p: np.ndarray, confusion: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """Labels that a classifier of this confusion finds in n samples of shares p."""
    true = rng.choice(len(p), n, p=p)
    return np.array([rng.choice(len(p), p=confusion[t]) for t in true])


def scores(labels: np.ndarray, counts: np.ndarray, r: np.ndarray, attribute: Attribute) -> dict[tuple[str, str], Score]:
    probabilities = {attribute.name: one_hot(labels, attribute.n_classes)}
    sample = Sample(probabilities, {}, np.full(len(labels), -1), {attribute.name: counts})
    return {(s.metric, s.scope): s for s in Evaluator().evaluate(sample, Reference((attribute,), r))}


def test_the_corrected_discrepancy_is_that_of_the_true_shares() -> None:
    rng, p, r = np.random.default_rng(0), np.array([0.6, 0.3, 0.1]), np.full(3, 1 / 3)
    labels = classified(p, C3, 20_000, rng)
    actual = scores(labels, np.rint(C3 * 1_000_000).astype(int), r, THREE)
    plain = np.linalg.norm(np.bincount(labels) / 20_000 - r)
    truth = np.linalg.norm(p - r)
    assert actual["fd_l2_corrected", "three"].value == pytest.approx(truth, abs=0.02)
    assert abs(plain - truth) > 0.05
    for k in range(3):
        share = actual["share_corrected", f"three={k}"]
        assert share.ci_low < p[k] < share.ci_high


@pytest.mark.parametrize(("p", "confusion", "attribute"), [((0.7, 0.3), C2, TWO), ((0.5, 0.3, 0.2), C3, THREE)])
def test_intervals_cover_the_true_shares_and_a_known_confusion_alone_would_not(
    p: tuple[float, ...], confusion: np.ndarray, attribute: Attribute, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1,000 runs: 300 samples, and a classifier measured on 200 images a class."""
    monkeypatch.setattr("evaluators.classifiers.share_draws.N_DRAWS", 300)
    monkeypatch.setattr("evaluators.corrected_discrepancy.TOLERANCE", 1e-5)
    rng, true, runs, m = np.random.default_rng(0), np.array(p), 1000, 200
    hits, narrow = 0, 0
    for _ in range(runs):
        counts = np.stack([rng.multinomial(m, row) for row in confusion])
        actual = rng.multinomial(300, true @ confusion)
        labels = np.repeat(np.arange(len(true)), actual)
        share = scores(labels, counts, np.full(len(true), 1 / len(true)), attribute)[
            "share_corrected", f"{attribute.name}=0"
        ]
        hits += share.ci_low <= true[0] <= share.ci_high
        draws = true_shares(rng.multinomial(300, actual / 300, 100) / 300, rates(counts.astype(float)))[:, 0]
        low, high = np.quantile(draws, [0.025, 0.975])
        narrow += low <= true[0] <= high
    assert 0.93 <= hits / runs <= 0.97
    assert narrow / runs < 0.92


def test_drawn_confusion_allows_for_an_error_that_was_not_observed() -> None:
    draws = draw_rates(np.array([[100, 0], [0, 100]]), 2000, np.random.default_rng(0))
    assert draws.shape == (2000, 2, 2)
    assert draws.sum(2) == pytest.approx(np.ones((2000, 2)))
    assert 0.001 < draws[:, 0, 1].mean() < 0.02


@pytest.mark.parametrize(
    ("counts", "reason"),
    [
        (None, "no confusion matrix"),
        (np.array([[10, 0], [0, 0]]), "without held-out images of some class of two"),
        (np.array([[50, 50], [49, 51]]), "does not distinguish the classes of two"),
    ],
)
def test_what_cannot_be_corrected_is_undefined_with_a_reason(counts: np.ndarray | None, reason: str) -> None:
    labels = np.arange(20) % 2
    confusion = {} if counts is None else {"two": counts}
    sample = Sample({"two": one_hot(labels, 2)}, {}, np.full(20, -1), confusion)
    actual = Evaluator().evaluate(sample, Reference((TWO,), np.array([0.5, 0.5])))
    assert [s.metric for s in actual] == ["fd_l2_corrected", "share_corrected", "share_corrected"]
    assert all(s.status == "undefined" and reason in s.reason and s.value is None for s in actual)
