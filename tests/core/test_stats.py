"""Intervals, tests and corrections against theory: coverage, closed forms, degenerate samples."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm, t, ttest_ind

from bench.core.errors import Undefined
from bench.core.intervals import (
    bootstrap_interval,
    jackknife_interval,
    percentile_interval,
    redraw_mean,
    redraw_shares,
    wilson_interval,
)
from bench.core.stats import (
    Estimate,
    holm,
    holm_adjusted,
    independent_difference,
    minimum_detectable_difference,
    paired_difference,
    paired_discrepancy_p,
    paired_mean_difference,
)


def test_percentile_interval_is_the_central_95_percent() -> None:
    assert percentile_interval(np.arange(1001.0)) == pytest.approx((25.0, 975.0))


def test_redrawn_shares_have_the_multinomial_mean_and_covariance() -> None:
    counts, n = np.array([600, 300, 100]), 1000
    draws = redraw_shares(counts, np.full(3, 1 / 3), 40_000, np.random.default_rng(0))
    p = counts / n
    np.testing.assert_allclose(draws.sum(axis=1), 1.0)
    np.testing.assert_allclose(draws.mean(axis=0), p, atol=1e-3)
    np.testing.assert_allclose(np.cov(draws.T) * n, np.diag(p) - np.outer(p, p), atol=6e-3)


def test_redrawn_shares_of_a_class_never_seen_have_width() -> None:
    draws = redraw_shares(np.array([100, 0]), np.array([0.5, 0.5]), 2000, np.random.default_rng(0))
    low, high = percentile_interval(draws[:, 1])
    assert low == 0.0
    assert 0.01 <= high <= 0.04  # the exact one-sided bound at 0 of 100 is 0.036


def test_redrawn_shares_never_enter_a_class_without_count_and_prior() -> None:
    draws = redraw_shares(np.array([5, 5, 0]), np.array([0.5, 0.5, 0.0]), 2000, np.random.default_rng(0))
    assert (draws[:, 2] == 0).all()


def test_redrawn_means_have_the_covariance_of_a_mean_also_where_it_is_singular() -> None:
    covariance = np.array([[0.2, -0.2], [-0.2, 0.2]])
    draws = redraw_mean(np.array([0.7, 0.3]), covariance, 50, 40_000, np.random.default_rng(0))
    np.testing.assert_allclose(draws.sum(axis=1), 1.0, atol=1e-7)
    np.testing.assert_allclose(np.cov(draws.T), covariance / 50, rtol=0.03)


def test_wilson_interval_solves_its_equation() -> None:
    # Its ends are the shares p at which the observed one is exactly 1.96 standard errors of p away.
    low, high = wilson_interval(30, 100)
    z = norm.ppf(0.975)
    for end in (low, high):
        assert abs(0.3 - end) == pytest.approx(z * np.sqrt(end * (1 - end) / 100))
    assert low < 0.3 < high


@pytest.mark.parametrize(("count", "fixed", "free"), [(0, 0, 1), (40, 1, 0)])
def test_wilson_interval_has_width_at_the_ends(count: int, fixed: int, free: int) -> None:
    interval = wilson_interval(count, 40)
    assert interval[fixed] == count / 40
    assert 0.05 < abs(interval[free] - count / 40) < 0.1  # z^2 / (n + z^2) = 0.0876


def test_jackknife_of_a_mean_is_the_t_interval_of_its_group_means() -> None:
    # For a mean of G equal groups, theta_(g) = (G m - m_g) / (G - 1), so SE^2 = var(m_g, ddof=1) / G exactly.
    groups = np.random.default_rng(0).standard_normal((10, 7)).mean(axis=1)
    mean = groups.mean()
    half = t.ppf(0.975, 9) * groups.std(ddof=1) / np.sqrt(10)
    assert jackknife_interval(mean, (10 * mean - groups) / 9) == pytest.approx((mean - half, mean + half), rel=1e-12)


def test_jackknife_interval_covers_at_its_rate() -> None:
    x = np.random.default_rng(1).standard_normal((1000, 10, 20))
    total = x.sum(axis=(1, 2))
    replicates = (total[:, None] - x.sum(axis=2)) / 180
    ends = [jackknife_interval(value, row) for value, row in zip(total / 200, replicates, strict=True)]
    covered = np.mean([low <= 0 <= high for low, high in ends])
    assert 0.93 <= covered <= 0.97


def test_holm_adjusted_at_known_values() -> None:
    # Sorted 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1: 0.02, 0.03, 0.06, and 0.04 raised to 0.06.
    p = np.array([[0.01, 0.04, 0.03, 0.005], [0.5, 0.4, 0.9, 1.0]])
    np.testing.assert_allclose(holm_adjusted(p), [[0.03, 0.06, 0.06, 0.02], [1.0, 1.0, 1.0, 1.0]])


@given(st.lists(st.floats(0, 1), max_size=12), st.sampled_from([0.01, 0.05, 0.2]))
def test_holms_adjusted_p_and_his_procedure_agree(p: list[float], alpha: float) -> None:
    adjusted = holm_adjusted(np.array(p))
    clear = np.abs(adjusted - alpha) > 1e-12  # a product and a quotient may round differently
    assert (np.array(holm(p, alpha), dtype=bool)[clear] == (adjusted <= alpha)[clear]).all()
    assert (adjusted >= np.array(p)).all()


def test_independent_difference_of_normal_intervals_is_the_z_test() -> None:
    z = norm.ppf(0.975)
    a = Estimate.of_interval(*map(np.array, (1.0, 1.0 - 3 * z, 1.0 + 3 * z)))
    b = Estimate.of_interval(*map(np.array, (11.0, 11.0 - 4 * z, 11.0 + 4 * z)))
    found = independent_difference(a, b)  # a difference of 10 with a standard error of 5
    assert float(found.p) == pytest.approx(2 * norm.sf(2.0))
    assert (float(found.low), float(found.high)) == pytest.approx((10 - 5 * z, 10 + 5 * z))
    assert float(found.standard_error) == pytest.approx(5.0)
    assert float(independent_difference(b, a).value) == -10.0


def test_independent_difference_of_jackknifes_is_welchs_test() -> None:
    rng = np.random.default_rng(0)
    one, two = rng.normal(0.0, 1.0, 10), rng.normal(1.0, 3.0, 10)
    sides = []
    for x in (one, two):
        half = t.ppf(0.975, 9) * x.std(ddof=1) / 10**0.5
        sides.append(Estimate.of_interval(*map(np.array, (x.mean(), x.mean() - half, x.mean() + half)), freedom=9))
    welch = ttest_ind(two, one, equal_var=False)
    found = independent_difference(*sides)
    assert float(found.p) == pytest.approx(welch.pvalue, rel=1e-9)
    ends = welch.confidence_interval(0.95)
    assert (float(found.low), float(found.high)) == pytest.approx((ends.low, ends.high), rel=1e-9)


def test_independent_difference_takes_the_sides_that_face_each_other() -> None:
    """MOVER: for b > a the test uses a's error upwards and b's downwards, so a clipped interval stays clipped."""
    a, b = (Estimate(*map(np.array, e)) for e in ((0.0, 0.0, 3.0), (10.0, 4.0, 100.0)))
    assert float(independent_difference(a, b).p) == pytest.approx(2 * norm.sf(10 / 5))
    assert float(independent_difference(a, b).high) == pytest.approx(10 + norm.ppf(0.975) * 100)


def test_independent_difference_without_errors_is_certain() -> None:
    a, b = (Estimate(*map(np.array, ([v, 1.0], [0.0, 0.0], [0.0, 0.0]))) for v in (1.0, 2.0))
    assert independent_difference(a, b).p.tolist() == [0.0, 1.0]


def test_the_mean_over_seeds_has_the_error_of_a_mean() -> None:
    mean = Estimate(np.array([1.0, 2.0, 6.0]), np.full(3, 3.0), np.array([0.0, 0.0, 6.0])).mean()
    assert (float(mean.value), float(mean.below), float(mean.above)) == pytest.approx((3.0, 3**0.5, 2.0))


def l2(r: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    return lambda shares: np.linalg.norm(shares - r, axis=-1)


def test_paired_difference_of_a_share_is_mcnemars() -> None:
    """40 of 400 turn one way and 15 the other: 25 / 400 with a variance of (55 - 25^2 / 400) / 400^2."""
    a = np.repeat([0, 0, 1, 1], [200, 40, 15, 145])
    b = np.repeat([0, 1, 0, 1], [200, 40, 15, 145])
    found = paired_difference([(a, b)], lambda shares: shares[..., 1], 2, np.random.default_rng(0))
    se = (55 - 25**2 / 400) ** 0.5 / 400
    assert float(found.value) == pytest.approx(25 / 400)
    assert (float(found.low), float(found.high)) == pytest.approx((0.0625 - 1.96 * se, 0.0625 + 1.96 * se), abs=0.003)
    assert float(found.p) == pytest.approx(2 * norm.sf(25 / 400 / se), abs=6e-4)
    both = paired_difference([(a, b), (b, a)], lambda shares: shares[..., 1], 2, np.random.default_rng(0))
    assert abs(float(both.value)) < 1e-12  # seeds are averaged
    assert float(both.p) > 0.9


def test_paired_difference_of_the_discrepancy_is_the_leaderboards_test() -> None:
    rng, r = np.random.default_rng(5), np.array([0.2, 0.3, 0.5])
    a = rng.choice(3, 300, p=[0.4, 0.3, 0.3])
    b = np.where(rng.random(300) < 0.1, rng.integers(0, 3, 300), a)
    p = paired_discrepancy_p(a, b, r, np.random.default_rng(1), n_draws=20_000)
    found = paired_difference([(a, b)], l2(r), 3, np.random.default_rng(2))
    assert 0.05 < p < 0.2
    assert float(found.p) == pytest.approx(p, abs=0.02)


def test_paired_difference_of_the_same_samples_is_none() -> None:
    a = np.repeat([0, 1], [70, 30])
    found = paired_difference([(a, a)], l2(np.array([0.5, 0.5])), 2, np.random.default_rng(0))
    assert (float(found.value), float(found.low), float(found.high), float(found.p)) == (0.0, 0.0, 0.0, 1.0)


def test_paired_mean_difference_of_a_coordinate_is_the_paired_z_test() -> None:
    rng = np.random.default_rng(4)
    x = rng.normal(0, 1, 300)
    a, b = np.stack([x, -x], 1), np.stack([x + rng.normal(0.05, 0.3, 300), -x], 1)
    found = paired_mean_difference([(a, b)], lambda means: means[..., 0], np.random.default_rng(0))
    change = (b - a)[:, 0]
    se = change.std(ddof=1) / 300**0.5
    assert float(found.value) == pytest.approx(change.mean())
    assert float(found.p) == pytest.approx(2 * norm.sf(change.mean() / se), abs=0.01)


def test_the_minimum_detectable_difference_is_found_four_times_in_five() -> None:
    p, n, rng = 0.3, 1000, np.random.default_rng(0)
    se = (2 * p * (1 - p) / n) ** 0.5
    least = float(minimum_detectable_difference(np.array(se)))
    assert least == pytest.approx((1.959964 + 0.841621) * se)
    shares = rng.binomial(n, [[p], [p + least]], (2, 4000)) / n
    assert np.mean(np.abs(shares[1] - shares[0]) > 1.959964 * se) == pytest.approx(0.8, abs=0.03)


def test_bootstrap_of_a_mean_is_near_the_normal_interval_and_bca_follows_the_skew() -> None:
    rows = np.random.default_rng(0).lognormal(0, 1, 400)
    half = norm.ppf(0.975) * rows.std(ddof=1) / 20
    plain = bootstrap_interval(rows, np.mean, np.random.default_rng(1), "percentile")
    assert plain == pytest.approx((rows.mean() - half, rows.mean() + half), abs=0.2 * half)
    low, high = bootstrap_interval(rows, np.mean, np.random.default_rng(1))
    assert high - rows.mean() > rows.mean() - low
    assert low > plain[0]
    assert high > plain[1]
    with pytest.raises(Undefined, match="a bootstrap needs rows that differ, got 3 equal ones"):
        bootstrap_interval(np.ones(3), np.mean, np.random.default_rng(0))
