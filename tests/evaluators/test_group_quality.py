"""Groups of known quality: each class's distance and coverage, the worst class, and what has no value."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.core.attributes import Attribute
from bench.protocols.evaluator import Reference, Sample, Score
from evaluators.features.frechet_distance import frechet_distance
from evaluators.features.subset import drawn_rows, subset
from evaluators.group_quality import Evaluator, classified, samples_per_class
from tests.support.sets import in_shards

HAIR, TONE = Attribute("hair", ("no", "yes")), Attribute("tone", ("light", "medium", "dark"))


def fid(x: np.ndarray, y: np.ndarray) -> float:
    return frechet_distance(x.mean(axis=0), np.cov(x.T), y.mean(axis=0), np.cov(y.T))


def run(
    x: np.ndarray, of_x: np.ndarray, y: np.ndarray, of_y: np.ndarray, attributes: tuple[Attribute, ...] = (HAIR,)
) -> dict[tuple[str, str], Score]:
    """Scores by (metric, scope), of samples whose labels [n, attributes] the classifier predicts; -1: it abstains."""
    probabilities = {}
    for i, a in enumerate(attributes):
        rows = np.eye(a.n_classes)[of_x[:, i]]
        rows[of_x[:, i] < 0] = np.nan
        probabilities[a.name] = rows
    sample = Sample(probabilities, {"net": x}, np.full(len(x), -1))
    k = int(np.prod([a.n_classes for a in attributes]))
    reference = Reference(attributes, np.full(k, 1 / k), {"net": {"real": y}}, {"real": of_y})
    actual = Evaluator().evaluate(sample, reference)
    keyed = {(s.metric, s.scope): s for s in actual}
    assert len(keyed) == len(actual)
    return keyed


def two(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    labels = rng.integers(0, 2, (n, 1))
    return rng.standard_normal((n, 3)) + 6.0 * labels, labels


def test_every_class_against_its_own_real_images_equally_many_of_each() -> None:
    rng = np.random.default_rng(0)
    (x, of_x), (y, of_y) = two(rng, 400), two(rng, 300)
    n, m = 400 // 12, int(np.bincount(of_y[:, 0]).min())
    actual = run(x, of_x, y, of_y)
    assert list(actual) == [
        ("group_frechet_net", "hair=no to real"),
        ("group_frechet_net", "hair=yes to real"),
        ("worst_group_frechet_net", "hair to real"),
        ("group_coverage_k5_net", "hair=no to real"),
        ("group_coverage_k5_net", "hair=yes to real"),
        ("worst_group_coverage_k5_net", "hair to real"),
    ]
    for k, name in enumerate(HAIR.classes):
        score = actual["group_frechet_net", f"hair={name} to real"]
        members = x[drawn_rows(400, n, among=np.flatnonzero(of_x[:, 0] == k))]
        real = y[drawn_rows(300, m, among=np.flatnonzero(of_y[:, 0] == k))]
        assert (score.value, score.n) == (pytest.approx(fid(members, real), rel=1e-6), n)
        squared = ((real[:, None] - np.concatenate([real, members])) ** 2).sum(axis=2)
        radius = np.sort(squared[:, :m], axis=1)[:, 5]  # the first is the image itself
        coverage = actual["group_coverage_k5_net", f"hair={name} to real"]
        assert coverage.value == pytest.approx(np.mean(squared[:, m:].min(axis=1) <= radius))
        assert coverage.ci_low <= coverage.value <= coverage.ci_high <= 1


def test_the_worst_class_is_the_one_that_is_drawn_badly() -> None:
    rng = np.random.default_rng(1)
    (x, of_x), (y, of_y) = two(rng, 400), two(rng, 300)
    noisy = x + 2.0 * rng.standard_normal(x.shape) * (of_x == 1)
    actual = run(noisy, of_x, y, of_y)
    for metric in ("group_frechet_net", "group_coverage_k5_net"):
        worst, of_class = actual[f"worst_{metric}", "hair to real"], actual[metric, "hair=yes to real"]
        assert (worst.value, worst.reason) == (of_class.value, f"worst class: yes; {of_class.reason}")
        assert (worst.ci_low is None) == ("frechet" in metric)  # 33 samples are too few for an interval of a distance
    assert (
        actual["group_frechet_net", "hair=no to real"].value
        == run(x, of_x, y, of_y)["group_frechet_net", "hair=no to real"].value
    )


def test_the_other_class_s_samples_and_how_many_they_are_change_nothing() -> None:
    rng = np.random.default_rng(2)
    (x, of_x), (y, of_y) = two(rng, 400), two(rng, 300)
    key = ("group_frechet_net", "hair=yes to real")
    before = run(x, of_x, y, of_y)[key].value
    rows = np.setdiff1d(np.flatnonzero(of_x[:, 0] == 1), drawn_rows(400, 33, among=np.flatnonzero(of_x[:, 0] == 1)))
    turned, another = of_x.copy(), x.copy()
    turned[rows], another[rows] = 0, -9.0
    assert run(another, turned, y, of_y)[key].value == before
    abstained = of_x.copy()
    abstained[rows] = -1
    assert run(x, abstained, y, of_y)[key].value == before


def test_several_attributes_have_their_joint_too() -> None:
    rng = np.random.default_rng(3)
    of_x, of_y = (np.stack([rng.integers(0, 2, n), rng.integers(0, 3, n)], axis=1) for n in (600, 500))
    x, y = rng.standard_normal((600, 3)), rng.standard_normal((500, 3))
    actual = run(x, of_x, y, of_y, (HAIR, TONE))
    scopes = {scope for metric, scope in actual if metric.startswith("worst_group_frechet")}
    assert scopes == {"hair to real", "tone to real", "hair+tone to real"}
    assert actual["group_frechet_net", "hair+tone=yes+dark to real"].n == 20
    assert actual["group_frechet_net", "tone=dark to real"].n == 600 // 18


def test_a_class_of_too_few_has_no_value_and_so_has_the_worst() -> None:
    rng = np.random.default_rng(4)
    (x, of_x), (y, of_y) = two(rng, 400), two(rng, 300)
    none = run(x, np.zeros_like(of_x), y, of_y)
    for scope in ("hair=yes to real", "hair to real"):
        score = none[("worst_" if scope == "hair to real" else "") + "group_frechet_net", scope]
        assert (score.status, score.value) == ("undefined", None)
        assert score.reason == "needs 33 samples classified hair=yes, got 0"
    assert none["group_frechet_net", "hair=no to real"].status == "ok"
    few = of_y.copy()
    few[np.flatnonzero(of_y)[19:]] = 0
    actual = run(x, of_x, y, few)
    assert "images of hair=yes in the reference set real, got" in actual["group_frechet_net", "hair=yes to real"].reason
    assert actual["group_frechet_net", "hair=no to real"].status == "ok"


def test_a_set_without_labels_is_said_to_have_none() -> None:
    x = np.zeros((50, 2))
    sample = Sample({"hair": np.eye(2)[np.arange(50) % 2]}, {"net": x}, np.full(50, -1))
    actual = Evaluator().evaluate(sample, Reference((HAIR,), np.full(2, 0.5), {"net": {"real": x}}))
    assert {s.status for s in actual} == {"undefined"}
    assert actual[0].reason == "the reference set real has no labels of hair"


def test_shards_change_nothing() -> None:
    rng = np.random.default_rng(5)
    (x, of_x), (y, of_y) = two(rng, 400), two(rng, 300)
    whole, parts = run(x, of_x, y, of_y), run(in_shards(x, 33), of_x, in_shards(y, 7), of_y)
    for key, score in whole.items():
        assert parts[key].value == pytest.approx(score.value)
        assert parts[key].ci_high == pytest.approx(score.ci_high)


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_a_subset_reads_as_its_rows_do(data: st.DataObject) -> None:
    index = np.array(sorted(data.draw(st.sets(st.integers(0, 9_999), max_size=40))), dtype=np.int64)
    array = np.arange(20_000.0).reshape(10_000, 2)
    start, stop = data.draw(st.integers(0, 40)), data.draw(st.integers(0, 40))
    chosen = subset(in_shards(array, 777), index)
    assert len(chosen) == len(index)
    np.testing.assert_array_equal(chosen[start:stop], array[index][start:stop])


def test_how_many_samples_per_class() -> None:
    assert [samples_per_class(*pair) for pair in ((200, 2), (2000, 2), (1_000_000, 2))] == [20, 166, 10_000]


def test_predicted_labels_and_abstentions() -> None:
    rows = {"hair": np.array([[0.2, 0.8], [np.nan, np.nan], [0.9, 0.1]]), "tone": np.eye(3)}
    sample = Sample(rows, {}, np.zeros(3, dtype=np.int64))
    assert classified(sample, (HAIR, TONE)).tolist() == [3, -1, 2]
