"""The one value type, and the one average over seeds."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import t

from bench.core.value import Value, mean_over_seeds


@pytest.mark.parametrize("numbers", [[0.1, 0.3], [4.0, 5.0, 9.0], list(np.random.default_rng(0).random(10))])
def test_the_interval_over_seeds_is_students_t_of_the_mean(numbers: list[float]) -> None:
    mean = mean_over_seeds([Value(x, x / 2, 2 * x, 200) for x in numbers], nonnegative=True)
    half = float(t.ppf(0.975, len(numbers) - 1) * np.std(numbers, ddof=1) / len(numbers) ** 0.5)
    assert (mean.value, mean.high) == (np.mean(numbers), np.mean(numbers) + half), "to the last bit"
    assert mean.low == max(0.0, np.mean(numbers) - half)
    assert (mean.n, mean.seeds) == (200, len(numbers))


def test_one_seed_keeps_its_interval() -> None:
    value = Value(0.5, 0.25, 1.0, 200)
    assert mean_over_seeds([value], nonnegative=True) is value


def test_a_metric_that_may_be_negative_is_not_clipped_at_zero() -> None:
    seeds = [Value(-1.0, -2.0, 0.0), Value(1.0, 0.0, 2.0)]
    mean = mean_over_seeds(seeds, nonnegative=False)
    assert (mean.value, mean.low, mean.high) == pytest.approx((0.0, -12.7062047, 12.7062047))
    assert mean_over_seeds(seeds, nonnegative=True).low == 0.0


def test_seeds_of_other_sizes_share_no_n() -> None:
    assert mean_over_seeds([Value(1.0, n=100), Value(2.0, n=200)], nonnegative=False).n is None
