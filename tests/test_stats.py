"""Intervals against theory: coverage, closed forms, degenerate samples."""

import numpy as np
import pytest
from scipy.stats import norm, t

from bench.stats import jackknife_interval, percentile_interval, redraw_mean, redraw_shares, wilson_interval


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
