"""Subsampling: quotas exactly as declared, from a seed, refused with the numbers where a class has too few."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.config.data_source import Subsample
from bench.core.attributes import Attribute
from bench.core.errors import ConfigError
from bench.data.subsample import choose, long_tail_quotas, rounded_quotas

SEX, AGE = Attribute("sex", ("f", "m")), Attribute("age", ("young", "middle", "old"))
RNG = np.random.default_rng(3)
LABELS = np.stack([RNG.integers(0, 2, 600), RNG.integers(0, 3, 600)], axis=1)


def take(plan: dict[str, Any] | None, n: int | None = None, seed: int = 0, **more: Any) -> np.ndarray:
    made = None if plan is None else Subsample.model_validate(plan)
    return choose(more.get("labels", LABELS), (SEX, AGE), made, n, seed, more.get("unusable", ()), "faces")


def table(rows: np.ndarray) -> list[list[int]]:
    found = np.zeros((2, 3), int)
    np.add.at(found, tuple(LABELS[rows].T), 1)
    return found.tolist()


def test_the_long_tail_of_cifar10_is_the_published_one() -> None:
    """5,000 to 50 images a class at imbalance 100: 12,406 in all, as the literature on CIFAR-10-LT states."""
    quotas = long_tail_quotas(5000, 0.01, 10)
    assert quotas.tolist() == [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]
    assert quotas.sum() == 12406
    assert long_tail_quotas(5000, 1.0, 10).tolist() == [5000] * 10


def test_a_long_tail_falls_by_one_factor() -> None:
    rows = take({"over": ["age"], "long_tail": 0.25, "largest": 160})
    assert np.bincount(LABELS[rows, 1]).tolist() == [160, 80, 40]
    with pytest.raises(ConfigError, match=r"300 usable images of sex = f .* got 298; lower `largest`"):  # 600 / 2
        take({"over": ["sex"], "long_tail": 1.0})
    assert len(take({"over": ["age"], "long_tail": 0.25, "largest": 160}, n=20)) == 20
    with pytest.raises(ConfigError, match="the long tail of data set faces has 280 images, got n = 281"):
        take({"over": ["age"], "long_tail": 0.25, "largest": 160}, n=281)


def test_quotas_over_a_joint_are_exact() -> None:
    rows = take({"target": [0.05, 0.1, 0.15, 0.2, 0.25, 0.25]}, n=200)
    assert table(rows) == [[10, 20, 30], [40, 50, 50]]
    assert len(set(rows.tolist())) == 200
    turned = take({"over": ["age", "sex"], "target": [0.05, 0.1, 0.15, 0.2, 0.25, 0.25]}, n=200)
    assert table(turned) == [[10, 30, 50], [20, 40, 50]]
    assert table(take({"target": [0, 0, 0, 0, 0.5, 0.5]}, n=9)) == [[0, 0, 0], [0, 5, 4]]


def test_without_a_number_the_rarest_class_decides() -> None:
    counts = np.array(table(np.arange(600)))
    assert table(take({"target": "uniform"})) == [[counts.min()] * 3] * 2


def test_every_beginning_of_a_subsample_is_near_its_quotas() -> None:
    target = np.array([0.05, 0.1, 0.15, 0.2, 0.25, 0.25])
    rows = take({"target": target.tolist()}, n=200)
    cells = LABELS[rows] @ [3, 1]
    for n in range(1, 201):
        assert np.abs(np.bincount(cells[:n], minlength=6) - n * target).max() <= 1.01


def test_the_seed_decides_and_nothing_else_does() -> None:
    plan = {"target": "uniform"}
    assert np.array_equal(take(plan, 60), take(plan, 60))
    assert not np.array_equal(take(plan, 60), take(plan, 60, seed=1))
    state = np.random.get_state()[1].copy()  # noqa: NPY002 -- the global generator must not be touched
    take(plan, 60)
    assert np.array_equal(state, np.random.get_state()[1])  # noqa: NPY002


def test_a_longer_set_begins_with_the_shorter_one() -> None:
    assert np.array_equal(take(None, 600)[:50], take(None, 50))
    assert sorted(take(None).tolist()) == list(range(600))


def test_unusable_rows_are_replaced_by_others_of_their_class() -> None:
    plan = {"target": "uniform"}
    before = take(plan, 60)
    after = take(plan, 60, unusable={int(before[0]), int(before[7])})
    assert table(after) == table(before) == [[10] * 3] * 2
    assert len(set(before.tolist()) & set(after.tolist())) == 58
    assert not {int(before[0]), int(before[7])} & set(after.tolist())


@pytest.mark.parametrize(
    ("plan", "n", "sentence"),
    [
        (
            {"target": [0.9, 0, 0, 0, 0, 0.1]},
            600,
            "data set faces must have 540 usable images of sex+age = f+young for its subsample of 600, got",
        ),
        ({"target": [0.5, 0.5]}, 10, "the subsample of faces over f+young, f+middle, .* must have 6 entries"),
        ({"over": ["race"], "target": [0.5, 0.5]}, 10, "unknown attribute of faces 'race'; did you mean 'age'"),
        (None, 601, "data set faces has 600 usable images, got n = 601; ask for fewer"),
        ({"over": ["age"], "long_tail": 0.5, "largest": 500}, None, "must have 500 usable images of age = young"),
    ],
)
def test_too_few_are_refused_with_the_numbers(plan: dict[str, Any] | None, n: int | None, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence.replace("+", r"\+")):
        take(plan, n)


def test_a_class_without_any_image_is_refused() -> None:
    with pytest.raises(ConfigError, match="no usable image of age = old; add some"):
        take({"over": ["age"], "target": "uniform"}, labels=LABELS[LABELS[:, 1] < 2])
    with pytest.raises(ConfigError, match="has 0 usable images, got n = 1"):
        take(None, labels=LABELS, unusable=range(600))


@given(st.lists(st.integers(0, 50), min_size=1, max_size=8).filter(any), st.integers(1, 5000))
def test_rounded_quotas_sum_and_stay_within_one(weights: list[int], n: int) -> None:
    target = np.array(weights) / sum(weights)
    quotas = rounded_quotas(target, n)
    assert quotas.sum() == n
    assert np.abs(quotas - n * target).max() < 1
    assert (quotas[target == 0] == 0).all()
    if n % sum(weights) == 0:
        assert np.array_equal(quotas, n // sum(weights) * np.array(weights))
