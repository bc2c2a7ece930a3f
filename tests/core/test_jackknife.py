"""The jackknife's interval: closed forms of its error and of its correction for skewness, and its coverage."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import skew, t

from bench.core.intervals import jackknife_interval, skewed_interval


def test_without_skewness_it_is_students_t() -> None:
    even = np.array([-3.0, -1.0, 0.0, 1.0, 3.0])
    half = t.ppf(0.975, 4) * even.std(ddof=1) / np.sqrt(5)
    assert jackknife_interval(0.0, -even / 4) == pytest.approx((-half, half), rel=1e-12)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_long_side_of_a_skewed_interval_solves_halls_equation(sign: float) -> None:
    x = sign * np.random.default_rng(0).standard_exponential(200)
    mean, error = x.mean(), x.std(ddof=1) / np.sqrt(200)
    ends = jackknife_interval(mean, (x.sum() - x) / 199)
    quantile, a = t.ppf(0.975, 199), 1.5 * skew(x, bias=False) / np.sqrt(200)
    near, far = (0, 1) if sign > 0 else (1, 0)
    assert abs(mean - ends[near]) == pytest.approx(quantile * error, rel=1e-9)
    root = (mean - ends[far]) / error  # g of it is the quantile
    assert root + a * root**2 / 3 + a**2 * root**3 / 27 + a / 6 == pytest.approx(-sign * quantile, rel=1e-9)


def test_no_skewness_makes_the_long_side_shorter_than_less_of_it() -> None:
    """The cubic turns back where skewness is extreme: one large number among 20 zeros has the longest side there is."""
    ends = [skewed_interval(0.0, 1.0, s, 20, 19)[1] for s in np.linspace(0, 4.5, 200)]
    assert (np.diff(ends) >= 0).all()
    assert ends[0] == pytest.approx(t.ppf(0.975, 19), rel=1e-12)
    assert ends[-1] == pytest.approx(4.5 / (3 * (np.sqrt(t.ppf(0.975, 19) ** 2 + 0.75) - t.ppf(0.975, 19))), rel=1e-12)


def test_groups_of_unequal_size_have_the_error_of_a_weighted_mean() -> None:
    """The mean of n numbers without group g; Busing's variance is then sum_g m_g (mean_g - mean)^2 / (n - m_g) / G."""
    sizes, rng = np.array([1, 2, 3, 4, 5, 6, 7, 8]), np.random.default_rng(1)
    means = rng.standard_normal(8)
    means[4:] = -means[:4] * sizes[:4] / sizes[4:]  # the groups' own shares of the mean are not skewed
    n, total = sizes.sum(), float(sizes @ means)
    replicates = (total - sizes * means) / (n - sizes)
    low, high = jackknife_interval(total / n, replicates, sizes)
    error = np.sqrt(np.mean((means - total / n) ** 2 * sizes / (n - sizes)))
    assert min(total / n - low, high - total / n) == pytest.approx(t.ppf(0.975, 7) * error, rel=1e-9)


@pytest.mark.parametrize(("draw", "mean"), [
    (lambda rng, n: rng.lognormal(0, 1, n), np.exp(0.5)),
    (lambda rng, n: rng.lognormal(0, 1.5, n), np.exp(1.125)),
    (lambda rng, n: rng.standard_t(3, n), 0.0),
    (lambda rng, n: rng.pareto(3, n), 0.5),
])  # fmt: skip
@pytest.mark.parametrize("n", [20, 200])
def test_heavy_tails_are_covered(draw: Callable[[np.random.Generator, int], np.ndarray], mean: float, n: int) -> None:
    """Student's t covers 75 to 94 % of the skewed ones."""
    rng, covered = np.random.default_rng(7), 0
    for _ in range(600):
        x = draw(rng, n)
        low, high = jackknife_interval(x.mean(), (x.sum() - x) / (n - 1))
        covered += low <= mean <= high
    assert 0.93 <= covered / 600 <= 0.985
