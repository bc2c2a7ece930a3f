"""Sets on a line, expectations, parity and intervals of precision, recall, density and coverage."""

import numpy as np
import prdc as released
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import NearestNeighbors
from torch_fidelity.metric_prc import calculate_precision_recall_full

from evaluators import prdc
from evaluators.features import neighbours
from evaluators.features.groups import interleaved
from evaluators.features.neighbours import nearest, radii
from evaluators.features.subset import drawn_rows
from evaluators.prdc import Evaluator, count, reals_of, samples_of
from tests.support.sets import in_shards, numbers, scores_of

NAMES = ("precision", "recall", "density", "coverage")


def values(x: np.ndarray, y: np.ndarray, evaluator: Evaluator | None = None) -> list[float]:
    actual = scores_of(evaluator or Evaluator(), x, y)
    assert list(actual) == [f"{name}_k5_net" for name in NAMES]
    return [float(s.value) for s in actual.values() if s.value is not None]


def test_sets_on_a_line() -> None:
    # Reals 0, 1, ..., 9: the 5th nearest is 5 away from 0 and 9, 4 from 1 and 8, 3 from the six others.
    # Samples: 15 at 4.5 and 5 at 14, the border of 9's ball (9 + 5), which belongs to it.
    reals = np.arange(10.0)[:, None]
    x = np.r_[np.full(15, 4.5), np.full(5, 14.0)][:, None]
    # 4.5 is within 3 of 2..7, 4 of 1 and 8 and 5 of 0 and 9: in all ten balls. 14 is in 9's alone.
    # Samples' own balls: 4.5 has 14 equals, radius 0 and no real there; 14 has 4 equals, its 5th nearest is 9.5 away,
    # so that its ball begins at 4.5 and holds 5..9.
    assert values(x, reals) == pytest.approx([1.0, 0.5, (15 * 10 + 5 * 1) / 20 / 5, 1.0])


def test_the_border_of_a_ball_belongs_to_it() -> None:
    # All samples on the border of 9's ball (9 + 5), and of no other.
    assert values(np.full((20, 1), 14.0), np.arange(10.0)[:, None]) == pytest.approx([1.0, 0.0, 0.2, 0.1])


def test_a_sample_of_the_reference_itself() -> None:
    x = np.random.default_rng(0).standard_normal((40, 3))
    precision, recall, density, coverage = values(x, x)
    assert (precision, recall, coverage) == (1.0, 1.0, 1.0)
    assert density == pytest.approx(6 / 5)  # on average a point lies in 5 balls of others, and in its own


def test_duplicates_are_at_distance_0_in_spite_of_rounding() -> None:
    x = np.repeat(np.random.default_rng(0).standard_normal((5, 50)) + 300.0, 8, axis=0)
    assert values(x, x.copy())[:2] == [1.0, 1.0]
    assert values(x, x + 1e-3)[0] == 0.0


@pytest.mark.parametrize("block", [16, 1024])
@pytest.mark.parametrize("shift", [0.0, 0.8])
def test_parity_with_the_released_package(
    shift: float, block: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(neighbours, "BLOCK", block)
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((60, 4)) + shift, rng.standard_normal((75, 4))
    theirs = released.compute_prdc(real_features=y, fake_features=x, nearest_k=5)
    assert values(x, y) == pytest.approx([theirs[name] for name in NAMES])
    capsys.readouterr()  # it prints


def test_parity_with_torch_fidelity() -> None:
    import torch

    rng = np.random.default_rng(2)
    x, y = 0.7 * rng.standard_normal((60, 4)), rng.standard_normal((75, 4))
    theirs = calculate_precision_recall_full(torch.tensor(x), torch.tensor(y), neighborhood=5)  # the samples first
    assert values(x, y)[:2] == pytest.approx([float(v) for v in theirs][:2])


def test_neighbours_are_those_of_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "BLOCK", 13)
    x = np.random.default_rng(3).standard_normal((50, 3)) + 1e4
    theirs = NearestNeighbors(n_neighbors=6).fit(x).kneighbors(x)[0][:, 5]
    np.testing.assert_allclose(np.sqrt(radii(nearest(x, 5, interleaved(50), x.mean(axis=0)), 5)), theirs, rtol=1e-6)


def test_every_replicate_is_the_measure_without_that_group() -> None:
    rng = np.random.default_rng(4)
    x, y = rng.standard_normal((47, 3)) + 0.5, rng.standard_normal((40, 3))
    reals = reals_of(y)
    actual = count(samples_of(x, interleaved(47)), reals)
    for group in range(10):
        selected = x[np.arange(47) % 10 != group]
        without = count(samples_of(selected, interleaved(len(selected))), reals)
        assert actual.recalled[:, 1 + group].mean() == without.recalled[:, 0].mean()
        remaining = np.delete(actual.nearest, group, axis=1).min(axis=1)
        np.testing.assert_allclose(remaining, without.nearest.min(axis=1), rtol=1e-12)


def test_expectations_for_a_sampler_of_the_set_s_own_distribution() -> None:
    rng, m, n = np.random.default_rng(5), 60, 40
    actual = np.array([values(rng.standard_normal((n, 2)), rng.standard_normal((m, 2))) for _ in range(150)])
    expected = 1 - np.prod([(m - i) / (m + n - i) for i in range(1, 6)])
    error = actual.std(axis=0) / 150**0.5
    assert abs(actual[:, 2].mean() - 1) < 4 * error[2]
    assert abs(actual[:, 3].mean() - expected) < 4 * error[3]


def test_direction() -> None:
    rng = np.random.default_rng(6)
    reals = np.concatenate([rng.standard_normal((50, 2)), rng.standard_normal((50, 2)) + 20])
    collapsed = 0.2 * rng.standard_normal((100, 2))
    precision, recall, _, coverage = values(collapsed, reals)
    assert precision > 0.9
    assert recall < 0.2
    assert coverage <= 0.5
    noise = rng.standard_normal((100, 2))
    for which in (0, 2, 3):
        worse = [values(reals + s * noise, reals)[which] for s in (0.0, 3.0, 12.0)]
        assert worse == sorted(worse, reverse=True)
        assert worse[0] > worse[-1]


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_permutation_shift_rotation_and_scale(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((30, 4)) + 0.3, rng.standard_normal((30, 4))
    q, shift = np.linalg.qr(rng.standard_normal((4, 4)))[0], 50 * rng.standard_normal(4)
    moved = values(3 * x[rng.permutation(30)] @ q + shift, 3 * y[rng.permutation(30)] @ q + shift)
    assert moved == pytest.approx(values(x, y))


def test_shards_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "BLOCK", 16)
    rng = np.random.default_rng(7)
    x, y = rng.standard_normal((50, 5)), rng.standard_normal((45, 5))
    whole = numbers(scores_of(Evaluator(), x, y))
    assert numbers(scores_of(Evaluator(), in_shards(x, 7), in_shards(y, 11))) == pytest.approx(whole)


def test_the_intervals_cover_the_expected_values_at_this_n() -> None:
    rng, evaluator = np.random.default_rng(8), Evaluator()
    reference = rng.standard_normal((80, 2))
    actual = [scores_of(evaluator, rng.standard_normal((100, 2)) + 0.7, reference) for _ in range(200)]
    for name in NAMES:
        scores = [f[f"{name}_k5_net"] for f in actual]
        truth = np.mean([s.value for s in scores])
        printed = [s for s in scores if s.ci_low is not None]  # recall may be the same without any group
        assert len(printed) >= 180, name
        assert 0.89 <= np.mean([s.ci_low <= truth <= s.ci_high for s in printed]) <= 1, name


def test_what_has_no_value_is_undefined_and_of_many_samples_some_are_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(0)
    good = rng.standard_normal((50, 4))
    holed = good.copy()
    holed[3, 2] = np.nan
    for x, y in ((holed, good), (good, holed), (good[:19], good), (good, good[:5])):
        assert {s.status for s in scores_of(Evaluator(), x, y).values()} == {"undefined"}
    assert scores_of(Evaluator(), good, good[:6])["recall_k5_net"].status == "ok"
    monkeypatch.setattr(prdc, "MAX_N", 30)
    y = rng.standard_normal((45, 4))
    rows, of_y = drawn_rows(50, 30), drawn_rows(45, 30)
    actual, expected = scores_of(Evaluator(), in_shards(good, 8), y), scores_of(Evaluator(), good[rows], y[of_y])
    assert numbers(actual) == pytest.approx(numbers(expected))
    assert actual["density_k5_net"].reason == "30 of 50 samples, drawn at random with a fixed seed"
