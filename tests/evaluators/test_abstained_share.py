"""Shares of samples that were not classified, and what scores of attributes make of those samples."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from bench.core.attributes import Attribute
from bench.core.errors import ConfigError, Incompatible
from bench.protocols.evaluator import Reference, Sample, Score
from evaluators import abstained_share, corrected_discrepancy, fairness_discrepancy
from evaluators.abstained_share import Evaluator

TWO, THREE = Attribute("two", ("0", "1")), Attribute("three", ("0", "1", "2"))
BOTH, UNIFORM = (TWO, THREE), np.full(6, 1 / 6)
CONFUSION = {"two": np.array([[90, 10], [20, 80]]), "three": np.diag([50, 50, 50]) + 2}


def classified(n: int = 120) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {"two": rng.dirichlet([3, 1], n), "three": rng.dirichlet([3, 2, 1], n)}


def without(array: np.ndarray, rows: list[int]) -> np.ndarray:
    array = array.copy()
    array[rows] = np.nan
    return array


def sample(probabilities: dict[str, np.ndarray]) -> Sample:
    n = len(next(iter(probabilities.values())))
    return Sample(probabilities, {}, np.full(n, -1), CONFUSION)


def shares(probabilities: dict[str, np.ndarray], attributes: tuple[Attribute, ...] = BOTH) -> dict[str, Score]:
    return {s.scope: s for s in Evaluator().evaluate(sample(probabilities), Reference(attributes, UNIFORM))}


def test_rows_are_counted_for_each_attribute_and_once_for_the_joint() -> None:
    arrays = classified(40)
    actual = shares({"two": without(arrays["two"], [0, 1, 2]), "three": without(arrays["three"], [2, 3])})
    assert {scope: score.value for scope, score in actual.items()} == {"two": 3 / 40, "three": 2 / 40, "two+three": 0.1}
    theirs = binomtest(4, 40).proportion_ci(0.95, method="wilson")
    assert (actual["two+three"].ci_low, actual["two+three"].ci_high) == pytest.approx((theirs.low, theirs.high))
    assert actual["two+three"].n == 40


@pytest.mark.parametrize("row", [(0.5, np.nan), (np.inf, 0.0), (1.2, -0.2), (0.5, 0.4)])
def test_a_row_that_is_neither_probabilities_nor_an_abstention_is_refused(row: tuple[float, float]) -> None:
    broken = classified(10)["two"]
    broken[3] = row
    with pytest.raises(ConfigError, match=r"of two must be in .* for sample 3"):
        shares({"two": broken}, (TWO,))


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_rows_of_another_precision_are_probabilities(dtype: type) -> None:
    assert shares({"two": classified()["two"].astype(dtype)}, (TWO,))["two"].value == 0.0


def test_a_classifier_that_always_answers_has_a_share_of_0_with_an_upper_end() -> None:
    score = shares(classified(50), (TWO,))["two"]
    assert score.value == score.ci_low == 0.0
    assert 0.05 < (score.ci_high or 0) < 0.1


def test_chunks_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    arrays = {"two": without(classified()["two"], list(range(5, 60, 7))), "three": classified()["three"]}
    before = shares(arrays)
    monkeypatch.setattr(abstained_share, "CHUNK", 11)
    assert shares(arrays) == before


def test_no_sample_is_undefined_and_no_classifier_incompatible() -> None:
    assert shares({"two": np.empty((0, 2))}, (TWO,))["two"].status == "undefined"
    with pytest.raises(Incompatible, match="no probabilities of three"):
        shares({"two": classified()["two"]})


EVALUATORS = [fairness_discrepancy.Evaluator(), corrected_discrepancy.Evaluator()]


@pytest.mark.parametrize("evaluator", EVALUATORS, ids=["plain", "corrected"])
def test_scores_with_abstentions_are_those_of_the_samples_that_are_left(
    evaluator: fairness_discrepancy.Evaluator | corrected_discrepancy.Evaluator,
) -> None:
    """A NaN row taken for class 0, which argmax would make of it, changes every share."""
    arrays, gone = classified(), list(range(0, 120, 4))
    some = {name: without(array, gone) for name, array in arrays.items()}
    left = {name: np.delete(array, gone, axis=0) for name, array in arrays.items()}
    reference = Reference(BOTH, UNIFORM)
    assert evaluator.evaluate(sample(some), reference) == evaluator.evaluate(sample(left), reference)
    assert {s.n for s in evaluator.evaluate(sample(some), reference)} == {90}


def test_an_attribute_keeps_its_own_samples_and_the_joint_those_classified_in_both() -> None:
    arrays = classified()
    some = {"two": without(arrays["two"], [0, 1, 2]), "three": without(arrays["three"], [2, 3, 4, 5])}
    for evaluator in EVALUATORS:
        scores = evaluator.evaluate(sample(some), Reference(BOTH, UNIFORM))
        n = {score.scope: score.n for score in scores}
        assert (n["two"], n["three"], n["two+three"]) == (117, 116, 114)


@pytest.mark.parametrize(("left", "status"), [(19, "undefined"), (20, "ok")])
def test_fewer_than_20_classified_samples_are_undefined_where_the_classifier_abstained(left: int, status: str) -> None:
    some = {"two": without(classified(25)["two"], list(range(25 - left)))}
    for evaluator in EVALUATORS:
        scores = evaluator.evaluate(sample(some), Reference((TWO,), np.array([0.5, 0.5])))
        assert {(s.status, s.n) for s in scores} == {(status, left)}
        assert all(f"got {left}; the classifier abstained on {25 - left}" in s.reason for s in scores if left < 20)


def test_few_samples_that_are_all_classified_are_still_enough() -> None:
    scores = fairness_discrepancy.Evaluator().evaluate(
        sample({"two": classified(5)["two"]}), Reference((TWO,), np.array([0.5, 0.5]))
    )
    assert {s.status for s in scores} == {"ok"}
