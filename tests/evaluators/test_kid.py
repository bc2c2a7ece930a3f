"""Closed forms, properties, parity and the interval of the kernel inception distance."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics.pairwise import polynomial_kernel
from torch_fidelity.metric_kid import kernel_poly, mmd2

from bench.core.errors import ConfigError, Incompatible
from bench.protocols.evaluator import Reference, Sample
from evaluators import kid
from evaluators.features import mmd
from evaluators.features.subset import drawn_rows
from evaluators.kid import Evaluator, cubic, scaled
from tests.support.sets import in_shards, numbers, scores_of


def estimate(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    within_x, within_y = mmd.within(x, scaled, cubic), mmd.within(y, scaled, cubic)
    return mmd.unbiased(within_x, within_y, mmd.across(x, y, scaled, cubic))


def test_three_samples_and_two_references_by_hand() -> None:
    # d = 1, k(x, y) = (x y + 1)^3. Pairs of x = (0, 1, 2): k(0,1) = k(0,2) = 1, k(1,2) = 27; mean 29 / 3.
    # Pair of y = (1, -1): k = 0. Across: rows 0: 1, 1; 1: 8, 0; 2: 27, -1; mean 36 / 6.
    x, y = np.array([[0.0], [1.0], [2.0]]), np.array([[1.0], [-1.0]])
    actual = estimate(x, y)
    assert actual[0] == pytest.approx(29 / 3 - 2 * 6)
    # Without x_0: pairs 27, across (8 + 0 + 27 - 1) / 4.
    assert actual[1] == pytest.approx(27 - 2 * 34 / 4)


@pytest.mark.parametrize("block", [7, 64])
def test_parity_with_torch_fidelity_whatever_the_blocks(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mmd, "BLOCK", block)
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((50, 6)), 1.3 * rng.standard_normal((50, 6)) + 0.2
    k = {"kid_kernel_poly_degree": 3, "kid_kernel_poly_gamma": None, "kid_kernel_poly_coef0": 1}
    theirs = mmd2(kernel_poly(x, x, **k), kernel_poly(x, y, **k), kernel_poly(y, y, **k))
    assert scores_of(Evaluator(), x, y)["kid_net"].value == pytest.approx(theirs, rel=1e-9)


def test_unequal_sizes_and_every_replicate_against_scikit_learn() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((13, 4)), rng.standard_normal((9, 4)) + 1.0
    expected = []
    for selected in (np.arange(13), *(np.delete(np.arange(13), i) for i in range(13))):
        xx, xy, yy = (
            polynomial_kernel(a, b, degree=3) for a, b in ((x[selected], x[selected]), (x[selected], y), (y, y))
        )
        n, m = len(selected), len(y)
        off = (xx.sum() - np.trace(xx)) / (n * (n - 1)) + (yy.sum() - np.trace(yy)) / (m * (m - 1))
        expected.append(off - 2 * xy.mean())
    np.testing.assert_allclose(estimate(x, y), expected, rtol=1e-9)


def test_unbiased_and_its_standard_error_is_that_of_the_estimate() -> None:
    # x ~ N(1, 1), y ~ N(0, 1), d = 1: E (x x' + 1)^3 = 1 + 3 + 3 * 4 + 16 = 32, E (x y + 1)^3 = 1 + 3 * 2 = 7,
    # E (y y' + 1)^3 = 1 + 3 = 4, with E x^2 = 2 and E x^3 = 4. MMD^2 = 32 - 2 * 7 + 4 = 22.
    rng = np.random.default_rng(2)
    evaluator, reference = Evaluator(), rng.standard_normal((1000, 1))
    actual = [scores_of(evaluator, rng.standard_normal((60, 1)) + 1.0, reference) for _ in range(200)]
    values = np.array([f["kid_net"].value for f in actual])
    errors = np.array([f["kid_se_net"].value for f in actual])
    assert abs(values.mean() - 22) < 4 * values.std() / 200**0.5 + 2.0  # the second: of the reference
    assert errors.mean() == pytest.approx(values.std(), rel=0.25)


def test_the_interval_covers() -> None:
    rng = np.random.default_rng(3)
    evaluator, reference = Evaluator(), rng.standard_normal((300, 3))
    actual = [scores_of(evaluator, rng.standard_normal((100, 3)) + 0.5, reference)["kid_net"] for _ in range(300)]
    truth = np.mean([f.value for f in actual if f.value is not None])
    assert 0.89 <= np.mean([f.ci_low <= truth <= f.ci_high for f in actual]) <= 0.985


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_permutation_and_rotation_change_nothing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((40, 5)), rng.standard_normal((40, 5))
    q = np.linalg.qr(rng.standard_normal((5, 5)))[0]
    first = numbers(scores_of(Evaluator(), x, y))
    assert numbers(scores_of(Evaluator(), x[rng.permutation(40)], y[rng.permutation(40)])) == pytest.approx(first)
    assert numbers(scores_of(Evaluator(), x @ q, y @ q)) == pytest.approx(first)


@pytest.mark.parametrize("seed", range(5))
def test_more_noise_is_worse(seed: int) -> None:
    """Needs enough samples: the cubic kernel's tails are heavy, and 40 samples with a noise of 6 may have any order."""
    rng = np.random.default_rng(seed)
    y, noise = rng.standard_normal((2, 800, 5))
    values = [scores_of(Evaluator(), y + s * noise, y)["kid_net"].value for s in (0.0, 1.0, 2.0, 3.0)]
    assert values == sorted(values)
    assert len(set(values)) == 4


def test_shards_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mmd, "BLOCK", 16)
    rng = np.random.default_rng(4)
    x, y = rng.standard_normal((50, 5)), rng.standard_normal((45, 5))
    whole = numbers(scores_of(Evaluator(), x, y))
    assert numbers(scores_of(Evaluator(), in_shards(x, 7), in_shards(y, 11))) == pytest.approx(whole, rel=1e-12)


def test_of_many_samples_some_are_used_and_the_score_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kid, "MAX_N", 30)
    rng = np.random.default_rng(5)
    x, y = rng.standard_normal((50, 5)), rng.standard_normal((45, 5))
    rows, of_y = drawn_rows(50, 30), drawn_rows(45, 30)
    actual, expected = scores_of(Evaluator(), in_shards(x, 8), y), scores_of(Evaluator(), x[rows], y[of_y])
    assert numbers(actual) == pytest.approx(numbers(expected))
    assert (actual["kid_net"].n, actual["kid_net"].reason) == (
        30,
        "30 of 50 samples, drawn at random with a fixed seed; "
        "no interval: at n = 30 it would be too narrow, it needs 100",
    )


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_has_no_value_is_undefined(bad: float) -> None:
    good = np.random.default_rng(0).standard_normal((30, 4))
    holed = good.copy()
    holed[3, 2] = bad
    for x, y in ((holed, good), (good, holed), (good[:19], good), (good, good[:1])):
        assert {s.status for s in scores_of(Evaluator(), x, y).values()} == {"undefined"}


def test_mistakes_are_named() -> None:
    x = np.zeros((30, 4))
    sample = Sample({}, {"net": x}, np.zeros(30, dtype=np.int64))
    with pytest.raises(Incompatible, match="no features of eye"):
        Evaluator().evaluate(sample, Reference((), np.ones(1), {"eye": {"real": x}}))
    with pytest.raises(ConfigError, match="width of reference set real, 3, got 4"):
        Evaluator().evaluate(sample, Reference((), np.ones(1), {"net": {"real": x[:, :3]}}))


def test_a_reference_is_summed_once_and_another_array_of_its_name_again() -> None:
    rng = np.random.default_rng(0)
    x, first, second = rng.standard_normal((30, 4)), rng.standard_normal((30, 4)), rng.standard_normal((30, 4)) + 5
    evaluator = Evaluator()
    before, after = (numbers(scores_of(evaluator, x, first)) for _ in range(2))
    assert before == after
    assert numbers(scores_of(evaluator, x, second)) == numbers(scores_of(Evaluator(), x, second))
