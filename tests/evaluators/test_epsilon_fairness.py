"""Epsilon-fairness against the errors that are known: chance, none, and Bayes' own."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from bench.core.attributes import Attribute
from bench.protocols.evaluator import Reference, Sample, Score
from evaluators import epsilon_fairness
from evaluators.epsilon_fairness import (
    Evaluator,
    balanced_error,
    bootstrap_draws,
    cross_validated,
    noise_floor,
    null_draws,
    probes,
)

TWO = Reference((Attribute("a", ("0", "1")),), np.array([0.5, 0.5]))
THREE = Reference((Attribute("a", ("0", "1", "2")),), np.full(3, 1 / 3))


def score(features: np.ndarray, assigned_class: np.ndarray, reference: Reference = TWO) -> Score:
    (actual,) = Evaluator().evaluate(Sample({}, {"toy": features}, assigned_class), reference)
    return actual


def gaussians(distance: float, n: int, groups: int = 2, seed: int = 0, dims: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Standard normal groups along one axis, `distance` apart."""
    rng = np.random.default_rng(seed)
    assigned_class = np.arange(n) % groups
    x = rng.standard_normal((n, dims))
    x[:, 0] += distance * assigned_class
    return x, assigned_class


def test_balanced_error_is_the_mean_over_groups_not_over_samples() -> None:
    group = np.array([0] * 8 + [1] * 2)
    wrong = np.array([True] * 2 + [False] * 6 + [True] * 2)
    assert balanced_error(wrong, group, 2) == pytest.approx((0.25 + 1) / 2)  # the plain error is 0.4


@pytest.mark.parametrize(("groups", "reference"), [(2, TWO), (3, THREE)])
def test_groups_that_do_not_differ_are_at_chance(groups: int, reference: Reference) -> None:
    actual = score(*gaussians(0.0, 300, groups, seed=2), reference)
    assert actual.metric == "epsilon_toy"
    assert actual.ci_low <= (groups - 1) / groups <= actual.ci_high
    assert actual.noise_floor < actual.value


def test_cross_validation_is_not_biased_where_there_is_nothing_to_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    family = {name: make for name, make in probes().items() if name in ("logistic_regression", "nearest_neighbours")}
    monkeypatch.setattr(epsilon_fairness, "probes", lambda: family)
    errors = []
    for seed in range(25):
        x, group = gaussians(0.0, 150, 3, seed)
        actual, _, _ = cross_validated(x, group)
        errors.append(balanced_error(actual != group, group, 3))
    assert abs(np.mean(errors) - 2 / 3) < 4 * np.std(errors) / 5


def test_groups_far_apart_are_always_told() -> None:
    actual = score(*gaussians(20.0, 200))
    assert actual.value == 0.0
    assert actual.ci_high > 0.0  # 200 samples do not prove that no error is ever made
    assert actual.value < actual.noise_floor


@pytest.mark.parametrize("distance", [1.0, 2.0])
def test_at_a_distance_the_error_is_the_bayes_rate_from_above(distance: float) -> None:
    n = 600
    actual = score(*gaussians(distance, n, dims=2))
    bayes = norm.cdf(-distance / 2)
    spread = (bayes * (1 - bayes) / n) ** 0.5
    assert bayes - 2 * spread < actual.value < bayes + 0.04
    assert actual.reason.startswith("best probe: ")


def test_what_only_a_bent_border_tells_is_told() -> None:
    """Two groups of one mean: a linear probe alone would call them fair."""
    rng = np.random.default_rng(0)
    assigned_class = np.arange(400) % 2
    angle, radius = (
        rng.uniform(0, 2 * np.pi, 400),
        np.where(assigned_class == 0, 1.0, 3.0) + 0.2 * rng.standard_normal(400),
    )
    actual = score(np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1), assigned_class)
    assert actual.value < 0.05
    assert "logistic" not in actual.reason


def test_the_null_is_that_of_predictions_that_know_nothing() -> None:
    rng = np.random.default_rng(0)
    group, actual, fold = np.arange(500) % 2, rng.integers(2, size=500), np.arange(500) // 2 % 5
    draws = null_draws(actual, group, fold, 2, rng)
    assert draws.mean() == pytest.approx(0.5, abs=0.005)
    assert draws.std() == pytest.approx(0.5 / 500**0.5, rel=0.1)


def nearest_means(x: np.ndarray, group: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """Out-of-fold predictions of a probe that is linear in the groups it learnt from: the nearer class mean."""
    actual = np.empty_like(group)
    for k in range(5):
        train, test = fold != k, fold == k
        first, second = (x[train & (group == s)].mean(axis=0) for s in (0, 1))
        actual[test] = (x[test] - (first + second) / 2) @ (second - first) > 0
    return actual


def test_images_that_tell_nothing_fall_below_the_noise_floor_no_more_often_than_stated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Folds learn from each other's groups, so their errors go together; a plain percentile of the draws misses it."""
    monkeypatch.setattr(epsilon_fairness, "N_DRAWS", 200)
    rng, fold, below, plainly = np.random.default_rng(0), np.arange(100) // 2 % 5, 0, 0
    for _ in range(400):
        x, group = rng.standard_normal((100, 8)), np.tile([0, 1], 50)
        actual = nearest_means(x, group, fold)
        draws = null_draws(actual, group, fold, 2, rng)
        value = balanced_error(actual != group, group, 2)
        below += value < noise_floor(draws)
        plainly += value < np.quantile(draws, 0.05)
    assert plainly / 400 > 0.075
    assert 0.005 < below / 400 < 0.05 + 2 * (0.05 * 0.95 / 400) ** 0.5


def test_the_interval_covers_the_error_of_a_fixed_probe() -> None:
    rng, true, group = np.random.default_rng(1), np.array([0.1, 0.4]), np.arange(300) % 2
    hits = 0
    for _ in range(300):
        wrong = rng.random(300) < true[group]
        low, high = np.quantile(bootstrap_draws(wrong, group, 2, rng), [0.025, 0.975])
        hits += low <= true.mean() <= high
    assert 0.91 < hits / 300 < 0.985


def test_nothing_asked_or_too_little_is_undefined_with_a_reason() -> None:
    x, assigned_class = gaussians(1.0, 60)
    nothing = score(x, np.full(60, -1))
    assert (nothing.status, nothing.value, nothing.reason) == ("undefined", None, "no class was asked for")
    few = score(x[:30], assigned_class[:30])
    assert few.status == "undefined"
    assert "must have 20 samples, got [15, 15]" in few.reason
    result = score(x, np.zeros(60, dtype=np.int64))
    assert result.status == "undefined"
    x[7] = np.nan  # no face was found there
    assert score(x, assigned_class).reason == "every sample must have features, got none of 1; take another extractor"


def test_the_same_samples_give_the_same_number() -> None:
    x, assigned_class = gaussians(1.0, 120)
    assert score(x, assigned_class) == score(x.copy(), assigned_class.copy())
