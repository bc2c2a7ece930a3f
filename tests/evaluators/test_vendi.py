"""Closed forms, properties and both forms of the Vendi score."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import entropy
from sklearn.metrics.pairwise import cosine_similarity

from evaluators import vendi
from evaluators.features.groups import interleaved
from evaluators.vendi import Evaluator, effective_number, replicates
from tests.support.sets import in_shards, numbers, scores_of


def score(x: np.ndarray) -> float:
    value = scores_of(Evaluator(), x, x)["vendi_net"].value
    assert value is not None
    return value


def test_orthogonal_rows_count_each_and_equal_rows_as_one() -> None:
    assert score(7 * np.eye(20)) == pytest.approx(20)
    assert score(np.eye(24)[:20]) == pytest.approx(20)
    assert score(np.tile([3.0, 4.0], (20, 1))) == pytest.approx(1)


def test_unequal_shares_are_the_exponential_of_their_entropy() -> None:
    x = np.repeat(np.eye(3), [10, 20, 70], axis=0)
    assert score(x) == pytest.approx(np.exp(entropy([0.1, 0.2, 0.7])))


def test_two_directions_at_an_angle() -> None:
    # Two unit rows, cosine c, equally often: eigenvalues (1 + c) / 2 and (1 - c) / 2.
    x = np.tile([[1.0, 0.0], [0.6, 0.8]], (10, 1))
    assert score(x) == pytest.approx(np.exp(entropy([0.8, 0.2])))


@pytest.mark.parametrize(("n", "d"), [(30, 50), (50, 30), (40, 40), (41, 40)])
def test_value_and_replicates_are_those_of_the_kernel_matrix(n: int, d: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vendi, "CHUNK", 13)
    x = np.random.default_rng(0).standard_normal((n, d)) + 0.5
    expected = []
    for group in (None, *range(10)):
        selected = x if group is None else x[np.arange(n) % 10 != group]
        values = np.linalg.eigvalsh(cosine_similarity(selected) / len(selected))
        expected.append(np.exp(entropy(np.clip(values, 0, None))))
    np.testing.assert_allclose(replicates(x, interleaved(n)), expected, rtol=1e-9)


def test_no_eigenvalue_is_lost_to_rounding() -> None:
    assert effective_number(np.diag([0.5, 0.5, 0.0, -1e-17])) == pytest.approx(2)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), d=st.sampled_from([3, 60]))
def test_permutation_scale_rotation_and_bounds(seed: int, d: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((40, d))
    value = score(x)
    assert 1 <= value <= min(40, d) + 1e-9
    q = np.linalg.qr(rng.standard_normal((d, d)))[0]
    assert score((rng.uniform(0.1, 9, (40, 1)) * x)[rng.permutation(40)] @ q) == pytest.approx(value, rel=1e-9)
    centre = rng.standard_normal(d) + 5.0
    spread = [score(centre + s * x) for s in (0.1, 1.0, 5.0)]
    assert spread == sorted(spread)


def test_shards_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vendi, "CHUNK", 11)
    x = np.random.default_rng(1).standard_normal((50, 6))
    assert numbers(scores_of(Evaluator(), in_shards(x, 7), x)) == pytest.approx(numbers(scores_of(Evaluator(), x, x)))


def test_the_interval_covers_the_expected_score_at_this_n() -> None:
    rng = np.random.default_rng(2)
    scale = np.array([3.0, 2.0, 1.0, 0.5])
    actual = [scores_of(Evaluator(), rng.standard_normal((100, 4)) * scale, np.eye(4))["vendi_net"] for _ in range(300)]
    truth = np.mean([f.value for f in actual if f.value is not None])
    assert 0.91 <= np.mean([f.ci_low <= truth <= f.ci_high for f in actual]) <= 0.985


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0])
def test_what_has_no_value_is_undefined(bad: float) -> None:
    good = np.random.default_rng(0).standard_normal((30, 4))
    holed = good.copy()
    holed[3] = bad
    assert scores_of(Evaluator(), holed, good)["vendi_net"].status == "undefined"
    few = scores_of(Evaluator(), good[:19], good)["vendi_net"]
    assert (few.status, few.reason) == ("undefined", "needs 20 samples or more, got 19")
