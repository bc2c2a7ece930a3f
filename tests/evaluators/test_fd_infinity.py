"""Closed forms, bias and interval of the extrapolated Frechet distance."""

import numpy as np
import pytest

from bench.core import gaussian
from bench.core.gaussian import Gaussian, GroupedMoments
from evaluators.fd_infinity import Evaluator, extrapolated, intercept
from evaluators.features.frechet_distance import frechet_distance
from tests.support.sets import in_shards, numbers, scores_of


def test_the_intercept_of_a_line_in_1_over_n() -> None:
    sizes = np.array([10.0, 20.0, 50.0])
    assert intercept(sizes, 3 + 7 / sizes) == pytest.approx(3)
    # Least squares beside numpy's, where the points lie on no line.
    distances = np.array([1.0, 0.5, 0.7])
    assert intercept(sizes, distances) == pytest.approx(np.polyfit(1 / sizes, distances, 1)[1])


def test_points_are_the_distances_of_the_windows_fits() -> None:
    rng = np.random.default_rng(0)
    x, group = rng.standard_normal((53, 3)), np.arange(53) % 10
    reference = Gaussian(np.ones(3), np.diag([1.0, 2.0, 3.0]))

    def of(groups: list[int]) -> float:
        selected = x[np.isin(group, groups)]
        return frechet_distance(selected.mean(axis=0), np.cov(selected.T), reference.mean, reference.covariance)

    means = [np.mean([of([(s + i) % 10 for i in range(size)]) for s in range(10)]) for size in (5, 7, 9, 10)]
    value, without = extrapolated(GroupedMoments(x, np.arange(len(x)) % 10), reference)
    expected = intercept(53 * np.array([0.5, 0.7, 0.9, 1.0]), np.array(means))
    assert value == pytest.approx(expected, rel=1e-9)
    replicates = [of([g for g in range(10) if g != left_out]) for left_out in range(10)]
    assert without == pytest.approx([of(list(range(10))), *replicates], rel=1e-9)


@pytest.mark.parametrize(("scale", "shift"), [(1.2, 0.3), (1.0, 0.0)])
def test_gaussians_of_known_distance(scale: float, shift: float) -> None:
    """The plain distance is too high by many standard errors, the extrapolated one by none; its interval covers."""
    rng, d, n = np.random.default_rng(1), 8, 80
    reference = Gaussian(np.zeros(d), np.eye(d))
    truth = d * ((scale - 1) ** 2 + shift**2)
    plain, actual, covered = [], [], []
    for _ in range(200):
        x = scale * rng.standard_normal((n, d)) + shift
        plain.append(frechet_distance(x.mean(axis=0), np.cov(x.T), reference.mean, reference.covariance))
        value, without = extrapolated(GroupedMoments(x, np.arange(len(x)) % 10), reference)
        half = 2.262 * np.sqrt(0.9 * ((without[1:] - without[1:].mean()) ** 2).sum())
        actual.append(value)
        covered.append(abs(value - truth) <= half)
    assert np.mean(plain) - truth > 0.2
    assert abs(np.mean(actual) - truth) < 0.1 * (np.mean(plain) - truth)
    assert np.mean(covered) > 0.9


def test_direction_and_names() -> None:
    rng = np.random.default_rng(2)
    y, noise = rng.standard_normal((100, 4)), rng.standard_normal((100, 4))
    scores = [scores_of(Evaluator(), y + s * noise, y)["fd_infinity_net"] for s in (0.0, 1.0, 3.0)]
    values = [s.value for s in scores]
    assert values == sorted(values)
    assert values[0] < 0 < values[1]  # a set is nearer to itself than another sample of its distribution is
    assert all(s.ci_low < s.value < s.ci_high for s in scores)


def test_shards_and_permutation_within_groups_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    x, y = rng.standard_normal((60, 5)), rng.standard_normal((45, 5))
    whole = numbers(scores_of(Evaluator(), x, y))
    shuffled = x.reshape(6, 10, 5)[rng.permutation(6)].reshape(60, 5)
    assert numbers(scores_of(Evaluator(), shuffled, y)) == pytest.approx(whole)
    monkeypatch.setattr(gaussian, "CHUNK", 7)
    assert numbers(scores_of(Evaluator(), in_shards(x, 8), in_shards(y, 11))) == pytest.approx(whole)


def test_what_has_no_value_is_undefined() -> None:
    good = np.random.default_rng(0).standard_normal((40, 5))
    holed = good.copy()
    holed[3, 2] = np.nan
    for x, y in ((holed, good), (good, holed), (good[:19], good), (good, good[:1])):
        assert scores_of(Evaluator(), x, y)["fd_infinity_net"].status == "undefined"
    narrow = scores_of(Evaluator(), np.zeros((39, 10)), np.zeros((39, 10)))["fd_infinity_net"]
    assert narrow.reason == "needs 40 samples or more, 4 for each of 10 features, got 39"
