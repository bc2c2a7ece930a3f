"""Attribute drift: by hand, by McNemar's exact distribution, by coverage, and in the face of abstentions."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.core.attributes import Attribute
from bench.core.errors import Incompatible
from bench.protocols.evaluator import Reference, Sample, Score
from evaluators.attribute_drift import MIN_N, Evaluator, null_drift, shares_drift
from tests.support.sets import in_shards

GLASSES = Attribute("glasses", ("no", "yes"))
TASK = Reference((GLASSES,), np.array([0.5, 0.5]))


def classified(**labels: np.ndarray) -> dict[str, np.ndarray]:
    k = {"tone": 3}
    return {name: np.eye(k.get(name, 2))[value] for name, value in labels.items()}


def scores(after: dict[str, np.ndarray], before: dict[str, np.ndarray] | None) -> dict[tuple[str, str], Score]:
    n = len(next(iter(after.values())))
    paired_baseline = None if before is None else Sample(before, {}, np.full(n, -1))
    actual = Evaluator().evaluate(Sample(after, {}, np.full(n, -1), paired_baseline=paired_baseline), TASK)
    return {(s.metric, s.scope): s for s in actual}


def test_by_hand() -> None:
    before = np.repeat([0, 0, 1, 1], [50, 20, 5, 25])
    after = np.repeat([0, 1, 0, 1], [50, 20, 5, 25])  # 20 one way and 5 back: 25 of 100 changed, 15 net
    glasses = np.arange(100) % 2
    actual = scores(classified(glasses=1 - glasses, beard=after), classified(glasses=glasses, beard=before))
    assert set(actual) == {("drift_changed", "beard"), ("drift_l2", "beard")}  # that of the task is to change
    changed, moved = actual["drift_changed", "beard"], actual["drift_l2", "beard"]
    assert changed.value == 0.25
    wilson = scipy.stats.binomtest(25, 100).proportion_ci(0.95, method="wilson")
    assert (changed.ci_low, changed.ci_high) == pytest.approx((wilson.low, wilson.high), abs=1e-9)
    assert moved.value == pytest.approx(np.sqrt(2) * 0.15)
    assert moved.ci_low < moved.value < moved.ci_high
    assert moved.noise_floor == pytest.approx(np.sqrt(2) * 9 / 100)  # of 25 fair coins, |2 B - 25| <= 9 in 95 of 100
    assert moved.noise_floor < moved.value


@pytest.mark.parametrize("m", [7, 25, 60])
def test_the_noise_floor_of_two_classes_is_mcnemars(m: int) -> None:
    heads = np.arange(m + 1)
    weight = scipy.stats.binom.pmf(heads, m, 0.5)
    flow = np.abs(2 * heads - m)
    levels = np.unique(flow)
    bound = levels[np.searchsorted([weight[flow <= level].sum() for level in levels], 0.95)]
    table = np.array([[100, m - 3], [3, 40]])
    # where the distribution's own step is at 95 %, draws may fall on its other side
    near = {bound, *levels[np.searchsorted(levels, bound) + 1 :][:1], *levels[: np.searchsorted(levels, bound)][-1:]}
    got = null_drift(table, np.random.default_rng(0)) * table.sum() / np.sqrt(2)
    assert min(abs(got - level) for level in near) < 1e-9
    if min(abs(weight[flow <= level].sum() - 0.95) for level in levels) > 0.02:
        assert got == pytest.approx(bound)


def test_changes_in_both_directions_leave_the_shares_and_show_as_changes() -> None:
    before = np.arange(200) % 2
    actual = scores(classified(beard=1 - before), classified(beard=before))
    assert actual["drift_changed", "beard"].value == 1.0
    assert actual["drift_l2", "beard"].value == 0.0
    still = scores(classified(beard=before), classified(beard=before))
    assert (still["drift_changed", "beard"].value, still["drift_l2", "beard"].value) == (0.0, 0.0)
    assert still["drift_changed", "beard"].ci_high > 0  # a change that was not seen may still be there
    assert still["drift_l2", "beard"].noise_floor == 0.0


def test_pairs_tell_what_the_shares_of_two_samples_cannot() -> None:
    """The null of independent samples would be far wider than that of paired baselines that changed little."""
    before = np.arange(400) % 2
    after = before.copy()
    after[:20:2] = 1  # ten of 400, all one way
    moved = scores(classified(beard=after), classified(beard=before))["drift_l2", "beard"]
    assert moved.noise_floor < moved.value < np.sqrt(2) * np.sqrt(2 * 0.25 / 400)  # one standard error of theirs


def test_the_joint_of_several_others_changes_where_any_does() -> None:
    rng = np.random.default_rng(0)
    tone, beard = rng.integers(0, 3, 90), rng.integers(0, 2, 90)
    another = (tone + (np.arange(90) < 30)) % 3, np.where(np.arange(90) % 3 == 0, 1 - beard, beard)
    actual = scores(classified(tone=another[0], beard=another[1]), classified(tone=tone, beard=beard))
    assert [actual["drift_changed", s].value for s in ("tone", "beard")] == pytest.approx([1 / 3, 1 / 3])
    assert actual["drift_changed", "beard+tone"].value == pytest.approx(1 / 3 + 1 / 3 - 1 / 9)
    shares = [np.bincount(3 * b + a, minlength=6) / 90 for a, b in (another, (tone, beard))]
    assert actual["drift_l2", "beard+tone"].value == pytest.approx(np.linalg.norm(shares[0] - shares[1]))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**16), st.integers(MIN_N, 120))
def test_bounds_order_and_names_of_classes(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, 3, n), rng.integers(0, 3, n)
    actual, order = scores(classified(tone=b), classified(tone=a)), rng.permutation(n)
    assert scores(classified(tone=b[order]), classified(tone=a[order])) == actual
    for name in ("drift_changed", "drift_l2"):
        result = actual[name, "tone"]
        assert 0.0 <= result.ci_low <= result.value <= result.ci_high
        swapped = scores(classified(tone=a), classified(tone=b))[name, "tone"]
        assert swapped.value == pytest.approx(result.value, abs=1e-12)
        renamed = scores(classified(tone=(b + 1) % 3), classified(tone=(a + 1) % 3))[name, "tone"]
        assert renamed.value == pytest.approx(result.value, abs=1e-12)
    assert actual["drift_l2", "tone"].value <= np.sqrt(2) * actual["drift_changed", "tone"].value + 1e-12


def test_intervals_cover_a_drift_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    truth = np.array([[0.45, 0.02, 0.1], [0.03, 0.2, 0.05], [0.0, 0.02, 0.13]])
    covered = {"drift_changed": 0, "drift_l2": 0}
    want = {"drift_changed": 1 - truth.trace(), "drift_l2": float(shares_drift(truth))}
    for _ in range(300):
        a, b = np.unravel_index(rng.choice(9, 300, p=truth.ravel()), (3, 3))
        actual = scores(classified(tone=b), classified(tone=a))
        for name in covered:
            result = actual[name, "tone"]
            covered[name] += result.ci_low <= want[name] <= result.ci_high
    assert all(275 <= k <= 295 for k in covered.values()), covered  # 285 expected, standard error 3.8


def test_paired_baselines_that_are_alike_pass_the_noise_floor_as_often_as_it_says() -> None:
    rng, above = np.random.default_rng(1), 0
    for _ in range(300):
        a = rng.integers(0, 3, 300)
        b = np.where(rng.random(300) < 0.3, rng.integers(0, 3, 300), a)  # symmetric: as often j to k as back
        result = scores(classified(tone=b), classified(tone=a))["drift_l2", "tone"]
        above += result.value > result.noise_floor
    assert 5 <= above <= 27, above  # 15 expected


def test_abstentions_of_either_paired_baseline_are_left_out() -> None:
    before, after = classified(beard=np.arange(60) % 2), classified(beard=np.zeros(60, dtype=int))
    before["beard"][:10], after["beard"][5:20] = np.nan, np.nan
    actual = scores(after, before)
    assert {s.n for s in actual.values()} == {40}
    assert actual["drift_changed", "beard"].value == 0.5
    few = scores({"beard": after["beard"][:30]}, {"beard": before["beard"][:30]})["drift_l2", "beard"]
    assert (few.status, few.reason) == (
        "undefined",
        "needs 20 pairs or more of a sample and its paired baseline that were classified, got 10",
    )


def test_a_joint_needs_all_its_attributes_classified_in_both_paired_baselines() -> None:
    before = classified(beard=np.arange(60) % 2, tone=np.arange(60) % 3)
    after = {name: array.copy() for name, array in before.items()}
    before["beard"][:10], after["tone"][5:20] = np.nan, np.nan
    actual = scores(after, before)
    assert {s.scope: s.n for s in actual.values()} == {"beard": 50, "tone": 45, "beard+tone": 40}
    assert all(s.value == 0.0 for s in actual.values())


def test_shards_give_the_value_of_one_array() -> None:
    rng = np.random.default_rng(0)
    before, after = classified(tone=rng.integers(0, 3, 9000)), classified(tone=rng.integers(0, 3, 9000))
    parts = [{name: in_shards(array, 700) for name, array in side.items()} for side in (after, before)]
    assert scores(*parts) == scores(after, before)


def test_without_a_paired_baseline_or_another_attribute_it_says_so() -> None:
    lone = classified(glasses=np.arange(30) % 2)
    reason = "the attribute classifier predicts no attribute besides the task's"
    assert {s.reason for s in scores(lone, lone).values()} == {reason}
    actual = scores(classified(beard=np.arange(30) % 2), None)
    assert {(s.status, s.scope) for s in actual.values()} == {("undefined", "all")}
    assert all("the suite has no method vanilla" in s.reason for s in actual.values())
    with pytest.raises(
        Incompatible, match="the paired baseline must have probabilities of beard, 30 rows of 2 classes"
    ):
        scores(classified(beard=np.arange(30) % 2), lone)
