"""Cohen's kappa of two classifiers: by hand, by scikit-learn, with abstentions, and with an interval that covers."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from bench.core.attributes import Attribute
from bench.protocols.evaluator import Reference, Sample
from evaluators.classifier_agreement import Evaluator
from evaluators.classifiers.agreement import cohen_kappa

TONE = Attribute("tone", ("light", "medium", "dark"))
TASK = Reference((TONE,), np.full(3, 1 / 3))


def sure(labels: np.ndarray) -> np.ndarray:
    return np.eye(3)[labels]


def score(a: np.ndarray, b: np.ndarray):
    sample = Sample({"tone": a}, {}, np.full(len(a), -1), other_classifiers={"clip": {"tone": b}})
    [actual] = Evaluator().evaluate(sample, TASK)
    return actual


def test_kappa_by_hand() -> None:
    # 20 of 25 alike; shares 0.4, 0.6 and 0.4, 0.6: p_e = 0.52, kappa = (0.8 - 0.52) / 0.48
    assert cohen_kappa(np.array([[7.5, 2.5], [2.5, 12.5]])) == pytest.approx(0.28 / 0.48)
    assert cohen_kappa(np.array([[0.0, 5.0], [5.0, 0.0]])) == pytest.approx(-1.0)
    assert np.isnan(cohen_kappa(np.array([[9.0, 0.0], [0.0, 0.0]])))


@pytest.mark.parametrize("seed", range(5))
def test_kappa_agrees_with_scikit_learn_over_what_both_classified(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a = rng.integers(0, 3, 200)
    b = np.where(rng.random(200) < 0.6, a, rng.integers(0, 3, 200))
    ours, another = sure(a), sure(b)
    ours[:15] = np.nan
    another[10:30] = np.nan
    actual = score(ours, another)
    assert actual.n == 170
    assert actual.value == pytest.approx(cohen_kappa_score(a[30:], b[30:]), abs=1e-12)
    assert actual.ci_low < actual.value < actual.ci_high


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    truth = np.array([[0.4, 0.1], [0.05, 0.45]])
    covered = 0
    for _ in range(200):
        cells = rng.choice(4, 300, p=truth.ravel())
        pair = [np.eye(3)[labels] for labels in np.unravel_index(cells, (2, 2))]
        actual = score(*pair)
        covered += actual.ci_low <= float(cohen_kappa(truth)) <= actual.ci_high
    assert 180 <= covered <= 199  # 190 expected, standard error 3


def test_too_few_and_one_class_only_are_undefined_with_a_reason() -> None:
    few = score(sure(np.arange(19) % 3), sure(np.arange(19) % 3))
    assert (few.status, few.value) == ("undefined", None)
    assert few.reason == "needs 20 samples or more that both classifiers classified, got 19"
    alike = score(sure(np.zeros(30, dtype=int)), sure(np.zeros(30, dtype=int)))
    assert alike.reason == "both classifiers give all samples the same class"
    one_classifier = Sample({"tone": sure(np.zeros(30, dtype=int))}, {}, np.full(30, -1))
    assert Evaluator().evaluate(one_classifier, TASK) == []
