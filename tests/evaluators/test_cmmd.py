"""Closed forms, properties and parity of CMMD."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics.pairwise import rbf_kernel
from torch_fidelity.metric_kid import kernel_rbf, mmd2

from evaluators import cmmd
from evaluators.cmmd import Evaluator
from evaluators.features import mmd
from evaluators.features.subset import drawn_rows
from tests.support.sets import in_shards, numbers, scores_of


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def test_two_points_of_the_sphere() -> None:
    # All samples at one point, all references at the opposite one: |x - y|^2 = 4, both estimates are the same.
    x = np.tile([0.0, 3.0], (20, 1))
    actual = scores_of(Evaluator(), x, -5 * x[:7])
    expected = 1000 * (1 + 1 - 2 * np.exp(-4 / 200))
    assert actual["cmmd_v_net"].value == pytest.approx(expected, rel=1e-12)
    assert actual["cmmd_u_net"].value == pytest.approx(expected, rel=1e-12)


def test_the_v_statistic_of_a_set_with_itself_is_0_and_the_u_statistic_below() -> None:
    x = np.random.default_rng(0).standard_normal((30, 4))
    actual = scores_of(Evaluator(), x, x)
    assert actual["cmmd_v_net"].value == pytest.approx(0, abs=1e-11)
    k = rbf_kernel(unit(x), gamma=1 / 200)
    off = (k.sum() - 30) / (30 * 29)
    assert actual["cmmd_u_net"].value == pytest.approx(2000 * (off - k.mean()), rel=1e-8)
    assert actual["cmmd_u_net"].value < 0


@pytest.mark.parametrize("block", [7, 64])
def test_parity_with_torch_fidelity_s_estimators(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mmd, "BLOCK", block)
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((40, 6)), 3 * rng.standard_normal((40, 6)) + 0.5
    xx, xy, yy = (kernel_rbf(unit(a), unit(b), kid_kernel_rbf_sigma=10.0) for a, b in ((x, x), (x, y), (y, y)))
    actual = scores_of(Evaluator(), x, y)
    assert actual["cmmd_v_net"].value == pytest.approx(1000 * mmd2(xx, xy, yy, mmd_est="biased"), rel=1e-8)
    assert actual["cmmd_u_net"].value == pytest.approx(1000 * mmd2(xx, xy, yy, mmd_est="unbiased"), rel=1e-8)


def test_replicates_are_the_estimates_without_each_sample() -> None:
    rng = np.random.default_rng(2)
    x, y = rng.standard_normal((12, 3)), rng.standard_normal((8, 3)) + 1.0
    parts = mmd.within(x, cmmd.normalised, cmmd.gaussian), mmd.within(y, cmmd.normalised, cmmd.gaussian)
    cross = mmd.across(x, y, cmmd.normalised, cmmd.gaussian)
    for name, estimator in (("biased", mmd.biased), ("unbiased", mmd.unbiased)):
        actual = estimator(*parts, cross)
        for i, selected in enumerate([np.arange(12), *(np.delete(np.arange(12), j) for j in range(12))]):
            k = [
                rbf_kernel(unit(a), unit(b), gamma=1 / 200)
                for a, b in ((x[selected], x[selected]), (y, y), (x[selected], y))
            ]
            within_sets = [
                p.mean() if name == "biased" else (p.sum() - len(p)) / (len(p) * (len(p) - 1)) for p in k[:2]
            ]
            assert actual[i] == pytest.approx(sum(within_sets) - 2 * k[2].mean(), rel=1e-8)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_permutation_scale_and_more_noise(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((40, 5)) + 3, rng.standard_normal((40, 5)) + 3
    first = numbers(scores_of(Evaluator(), x, y))
    sizes = rng.uniform(0.1, 10, (40, 1))
    again = numbers(scores_of(Evaluator(), (x * sizes)[rng.permutation(40)], y[rng.permutation(40)]))
    assert again == pytest.approx(first, rel=1e-6, abs=1e-9)
    noise = rng.standard_normal((40, 5))
    values = [scores_of(Evaluator(), y + s * noise, y)["cmmd_v_net"].value for s in (0.0, 2.0, 8.0)]
    assert values == sorted(values)


def test_float32_rows_cost_no_digits_and_shards_change_nothing() -> None:
    rng = np.random.default_rng(3)
    x, y = (rng.standard_normal((50, 8)).astype(np.float32) * 1e-3 + 1 for _ in range(2))
    expected = numbers(scores_of(Evaluator(), x.astype(np.float64), y.astype(np.float64)))
    assert numbers(scores_of(Evaluator(), in_shards(x, 7), in_shards(y, 9))) == pytest.approx(expected, rel=1e-6)


def test_the_interval_covers() -> None:
    rng = np.random.default_rng(4)
    evaluator, reference = Evaluator(), rng.standard_normal((200, 3))
    actual = [scores_of(evaluator, rng.standard_normal((60, 3)) + 0.5, reference) for _ in range(300)]
    for metric in ("cmmd_v_net", "cmmd_u_net"):
        truth = np.mean([f[metric].value for f in actual])
        assert 0.89 <= np.mean([f[metric].ci_low <= truth <= f[metric].ci_high for f in actual]) <= 0.985


@pytest.mark.parametrize("bad", [np.nan, np.inf, None])
def test_what_has_no_value_is_undefined(bad: float | None) -> None:
    good = np.random.default_rng(0).standard_normal((30, 4))
    holed = good.copy()
    holed[3] = 0.0 if bad is None else bad
    for x, y in ((holed, good), (good, holed), (good[:19], good), (good, good[:1])):
        assert {s.status for s in scores_of(Evaluator(), x, y).values()} == {"undefined"}


def test_of_many_samples_some_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cmmd, "MAX_N", 25)
    rng = np.random.default_rng(5)
    x, y = rng.standard_normal((50, 5)), rng.standard_normal((45, 5))
    rows, of_y = drawn_rows(50, 25), drawn_rows(45, 25)
    actual, expected = scores_of(Evaluator(), x, y), scores_of(Evaluator(), x[rows], y[of_y])
    assert numbers(actual) == pytest.approx(numbers(expected))
    assert actual["cmmd_u_net"].reason == "25 of 50 samples, drawn at random with a fixed seed"
