"""The one value type, and the one average over seeds."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import t

from bench.core.distances import mean_noise_floor
from bench.core.intervals import wilson_interval
from bench.core.value import Scale, Value, mean_over_seeds
from tests.benchmarks.gate import shown

SHARE, DISTANCE, JACKKNIFE = Scale(0.0, 1.0, share=True), Scale(0.0, 2**0.5, distance=True), Scale(freedom=9.0)


def share(count: int, n: int) -> Value:
    return Value(count / n, *wilson_interval(count, n), n)


def ends(mean: Value) -> tuple[float, float]:
    assert mean.low is not None
    assert mean.high is not None
    return mean.low, mean.high


def test_seeds_that_agree_have_the_error_of_their_mean() -> None:
    """Errors of 3 and 4 either way, and equal values: sqrt(9 + 16) / 2."""
    z = 1.959963984540054
    mean = mean_over_seeds([Value(1.0, 1 - 3 * z, 1 + 3 * z, 200), Value(1.0, 1 - 4 * z, 1 + 4 * z, 200)], Scale())
    assert ends(mean) == pytest.approx((1 - 2.5 * z, 1 + 2.5 * z))
    assert (mean.value, mean.n, mean.seeds) == (1.0, 200, 2)


def test_the_sides_of_an_interval_are_averaged_apart() -> None:
    low, high = ends(mean_over_seeds([Value(0.1, 0.02, 0.2), Value(0.1, 0.0, 0.19)], Scale()))
    assert low == pytest.approx(0.1 - (0.08**2 + 0.1**2) ** 0.5 / 2)
    assert high == pytest.approx(0.1 + (0.1**2 + 0.09**2) ** 0.5 / 2)


def test_seeds_that_differ_by_more_than_their_errors_widen_the_interval() -> None:
    """Values 0, 2 and 4 have a variance of 4, of which errors of 1 explain 1: the mean has 4 / 3, on 2 / (3 / 4)^2."""
    z = 1.959963984540054
    low, high = ends(mean_over_seeds([Value(x, x - z, x + z) for x in (0.0, 2.0, 4.0)], Scale()))
    half = t.ppf(0.975, 2 / 0.75**2) * (4 / 3) ** 0.5
    assert (low, high) == pytest.approx((2 - half, 2 + half))


def test_students_t_of_jackknifes_has_the_degrees_of_freedom_of_all_seeds() -> None:
    half = float(t.ppf(0.975, 9))
    low, high = ends(mean_over_seeds([Value(5.0, 5 - half, 5 + half)] * 4, JACKKNIFE))
    assert (high - low) / 2 == pytest.approx(t.ppf(0.975, 36) / 2)


@pytest.mark.parametrize(("counts", "n"), [((0, 0), 60), ((60, 60), 60), ((3, 3, 3), 40), ((100, 101), 200)])
def test_shares_of_seeds_have_the_interval_of_the_pooled_samples(counts: tuple[int, ...], n: int) -> None:
    mean = mean_over_seeds([share(count, n) for count in counts], SHARE)
    assert ends(mean) == pytest.approx(wilson_interval(sum(counts), n * len(counts)), abs=1e-12)


def test_nothing_of_twice_sixty() -> None:
    assert ends(mean_over_seeds([share(0, 60)] * 2, SHARE)) == (0.0, pytest.approx(0.0310, abs=5e-5))


def test_the_interval_stays_in_the_range_of_the_metric() -> None:
    mean = mean_over_seeds([share(54, 60), share(60, 60)], SHARE)
    low, high = ends(mean)
    assert 0 <= low < 0.95 < high <= 1
    high = ends(mean_over_seeds([Value(1.3, 1.2, 1.41), Value(1.41, 1.3, 2**0.5)], DISTANCE))[1]
    assert high == 2**0.5
    assert ends(mean_over_seeds([Value(-1.0, -2.0, 0.0), Value(1.0, 0.0, 2.0)], Scale()))[0] < -1


def test_one_seed_keeps_its_interval() -> None:
    value = Value(0.5, 0.25, 1.0, 200)
    assert mean_over_seeds([value], DISTANCE) is value


def test_seeds_without_intervals_have_students_t_of_their_values_and_none_where_these_are_equal() -> None:
    numbers = [4.0, 5.0, 9.0]
    half = float(t.ppf(0.975, 2) * np.std(numbers, ddof=1) / 3**0.5)
    mixed = [Value(4.0, 3.0, 5.0), Value(5.0), Value(9.0, 8.0, 10.0)]
    for values in ([Value(x) for x in numbers], mixed):
        assert ends(mean_over_seeds(values, Scale())) == pytest.approx((6 - half, 6 + half))
    assert mean_over_seeds([Value(20.0), Value(20.0)], Scale()).low is None


def test_seeds_of_other_sizes_share_no_n() -> None:
    assert mean_over_seeds([Value(1.0, n=100), Value(2.0, n=200)], Scale()).n is None


@pytest.mark.parametrize(("seeds", "floor"), [(2, 0.141), (3, 0.126), (5, 0.118)])
def test_the_noise_floor_is_that_of_the_mean(seeds: int, floor: float) -> None:
    found = mean_noise_floor("fd_l2_hard", (0.5, 0.5), ((60,),) * seeds)
    assert found == pytest.approx(floor, abs=0.0006)
    assert mean_noise_floor("fd_l1", (0.5, 0.5), ((60,),) * seeds) == pytest.approx(found * 2**0.5)
    assert mean_noise_floor("fd_l2_prompt_mean", (0.5, 0.5), ((60,) * seeds,)) == pytest.approx(found)
    assert mean_noise_floor("fd_l2_corrected", (0.5, 0.5), ((60,),) * seeds) is None


def test_the_noise_floor_of_a_share_is_a_quantile_of_the_binomial() -> None:
    found = mean_noise_floor("share_hard", (0.2, 0.8), ((100,), (100,)), 0)
    assert found == pytest.approx(0.2 + 1.645 * (0.2 * 0.8 / 200) ** 0.5, abs=0.005)


def test_a_distance_that_cannot_be_told_from_0_begins_there() -> None:
    seeds = [Value(0.12, 0.02, 0.3, noise_floor=0.19), Value(0.13, 0.02, 0.3, noise_floor=0.19)]
    assert ends(mean_over_seeds(seeds, DISTANCE, noise_floor=0.141))[0] == 0.0
    assert ends(mean_over_seeds(seeds, DISTANCE, noise_floor=0.12))[0] > 0.0
    unknown = mean_over_seeds(seeds, DISTANCE)  # at most the mean of the seeds' own noise floors
    assert (unknown.low, unknown.noise_floor) == (0.0, None)
    shares = [Value(0.5, 0.4, 0.6, noise_floor=0.55)] * 2
    assert ends(mean_over_seeds(shares, SHARE, noise_floor=0.55))[0] > 0.4


def test_a_distance_equals_its_noise_floor_up_to_rounding() -> None:
    seeds = [Value(0.1, 0.05, 0.2), Value(0.2, 0.15, 0.3)]
    floor = 0.15 * (1 - 1e-15)
    assert floor < mean_over_seeds(seeds, DISTANCE).value
    assert ends(mean_over_seeds(seeds, DISTANCE, floor))[0] == 0.0


shares_of_counts = functools.cache(share)


@functools.cache
def discrepancy(count: int) -> Value:
    """The discrepancy of 200 samples from 1/2, as the evaluator gives it."""
    return Value(*shown(200, count), 200)


def covered(draw: Callable[[int], list[Value]], truth: float, scale: Scale, seeds: int, floor: float | None) -> float:
    hits = 0
    for _ in range(600):
        low, high = ends(mean_over_seeds(draw(seeds), scale, floor))
        hits += low - 1e-12 <= truth <= high + 1e-12
    return hits / 600


@pytest.mark.parametrize("seeds", [2, 3, 5])
@pytest.mark.parametrize("present", [0.5, 0.45, 0.35, 0.2])
def test_discrepancies_over_seeds_are_covered_also_of_a_perfect_sampler(present: float, seeds: int) -> None:
    rng, floor = np.random.default_rng(0), mean_noise_floor("fd_l2_hard", (0.5, 0.5), ((200,),) * seeds)
    rate = covered(
        lambda s: [discrepancy(int(k)) for k in rng.binomial(200, present, s)],
        *(2**0.5 * (0.5 - present), DISTANCE, seeds, floor),
    )
    assert 0.93 <= rate <= (0.995 if present == 0.45 else 0.99), "conservative near 0, where the value is too large"


@pytest.mark.parametrize("seeds", [2, 3, 5])
@pytest.mark.parametrize("p", [0.5, 0.05, 0.005])
def test_shares_over_seeds_are_covered(p: float, seeds: int) -> None:
    rng = np.random.default_rng(1)
    rate = covered(lambda s: [shares_of_counts(int(k), 200) for k in rng.binomial(200, p, s)], p, SHARE, seeds, None)
    assert 0.93 <= rate <= 0.99


@pytest.mark.parametrize(("between", "low"), [(0.0, 0.93), (1.0, 0.89), (3.0, 0.79)])
@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_means_of_seeds_that_differ_are_covered(seeds: int, between: float, low: float) -> None:
    """Own errors of 1, and a standard deviation of 0, 1 or 3 between seeds, which few seeds tell little about."""
    rng = np.random.default_rng(2)

    def draw(count: int) -> list[Value]:
        groups = rng.normal(rng.normal(0, between, (count, 1)), 10**0.5, (count, 10))
        half = t.ppf(0.975, 9) * groups.std(1, ddof=1) / 10**0.5
        return [Value(m, m - h, m + h) for m, h in zip(groups.mean(1), half, strict=True)]

    assert low <= covered(draw, 0.0, JACKKNIFE, seeds, None) <= 0.985
