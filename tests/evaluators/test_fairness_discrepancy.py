"""Closed forms, properties and coverage of the fairness discrepancy."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm, t

from bench.core.attributes import Attribute
from bench.core.design import Design
from bench.core.distances import kl, l1, l2
from bench.core.errors import ConfigError, Incompatible
from bench.core.intervals import wilson_interval
from bench.protocols.evaluator import CHUNK, Reference, Sample, Score
from evaluators.classifiers import shares
from evaluators.classifiers.shares import joint_probabilities, tally
from evaluators.fairness_discrepancy import Evaluator

GLASSES = Attribute("eyeglasses", ("absent", "present"))
TONE = Attribute("skin_tone", ("light", "medium", "dark"))
BOTH = (GLASSES, TONE)
Shares = st.lists(st.integers(0, 50), min_size=3, max_size=3).filter(lambda c: sum(c) >= 2)


def one_hot(counts: list[int]) -> npt.NDArray[np.float64]:
    return np.repeat(np.eye(len(counts)), counts, axis=0)


def sample_of(probabilities: Mapping[str, npt.NDArray[np.float64]]) -> Sample:
    return Sample(probabilities, {}, np.zeros(len(next(iter(probabilities.values()))), dtype=np.int64))


def scores_of(
    probabilities: Mapping[str, npt.NDArray[np.float64]], attributes: tuple[Attribute, ...], r: list[float]
) -> dict[tuple[str, str], Score]:
    scores = Evaluator().evaluate(sample_of(probabilities), Reference(attributes, np.array(r)))
    return {(score.metric, score.scope): score for score in scores}


def value_of(score: Score) -> float:
    assert score.value is not None, score.reason
    return score.value


def ends_of(score: Score) -> tuple[float, float]:
    assert score.ci_low is not None
    assert score.ci_high is not None
    return score.ci_low, score.ci_high


def test_the_cards_ranges_end_where_all_samples_are_of_the_class_that_the_target_lacks() -> None:
    """Shares (0, 1) and target (1, 0): distances sqrt(2) and 2, and a divergence without a bound."""
    scores = scores_of({"eyeglasses": one_hot([0, 50])}, (GLASSES,), [1.0, 0.0])
    ranges = {column.pattern: (column.low, column.high) for column in Evaluator.card.columns}
    assert value_of(scores["fd_l2_hard", "eyeglasses"]) == pytest.approx(ranges["fd_l2_hard"][1])
    assert value_of(scores["fd_l2_soft", "eyeglasses"]) == pytest.approx(ranges["fd_l2_soft"][1])
    assert value_of(scores["fd_l1", "eyeglasses"]) == ranges["fd_l1"][1]
    assert value_of(scores["share_hard", "eyeglasses=present"]) == ranges["share_hard"][1] == 1
    assert ranges["kl"] == (0, np.inf)
    assert {low for low, _ in ranges.values()} == {0}


def test_a_scope_is_scored_once() -> None:
    """One attribute is its own joint: four distances and two shares. Two have 4 + 2, 4 + 3 and 4 + 6 scores."""
    one = Evaluator().evaluate(
        sample_of({"eyeglasses": one_hot([20, 30])}), Reference((GLASSES,), np.array([0.5, 0.5]))
    )
    assert len(one) == 4 + 2
    both = {"eyeglasses": one_hot([20, 30]), "skin_tone": one_hot([10, 20, 20])}
    scores = Evaluator().evaluate(sample_of(both), Reference(BOTH, np.full(6, 1 / 6)))
    assert len({(score.metric, score.scope) for score in scores}) == len(scores) == 6 + 7 + 10


@pytest.mark.parametrize("k", [2, 3, 7])
def test_one_class_against_uniform(k: int) -> None:
    # (1 - 1/K)^2 + (K - 1) / K^2 = 1 - 1/K
    attribute = Attribute("a", tuple(map(str, range(k))))
    scores = scores_of({"a": one_hot([9, *[0] * (k - 1)])}, (attribute,), [1 / k] * k)
    assert value_of(scores["fd_l2_hard", "a"]) == pytest.approx(np.sqrt(1 - 1 / k))
    assert value_of(scores["fd_l2_soft", "a"]) == pytest.approx(np.sqrt(1 - 1 / k))
    assert value_of(scores["fd_l1", "a"]) == pytest.approx(2 - 2 / k)
    assert value_of(scores["kl", "a"]) == pytest.approx(np.log(k))


def test_70_30_against_uniform() -> None:
    scores = scores_of({"eyeglasses": one_hot([70, 30])}, (GLASSES,), [0.5, 0.5])
    assert value_of(scores["fd_l2_hard", "eyeglasses"]) == pytest.approx(0.2 * np.sqrt(2))
    assert value_of(scores["fd_l1", "eyeglasses"]) == pytest.approx(0.4)
    assert value_of(scores["kl", "eyeglasses"]) == pytest.approx(0.7 * np.log(1.4) + 0.3 * np.log(0.6))
    assert value_of(scores["share_hard", "eyeglasses=absent"]) == 0.7
    assert value_of(scores["share_hard", "eyeglasses=present"]) == 0.3
    assert scores["fd_l2_hard", "eyeglasses"].n == 100


def test_an_absent_class_counts_zero_under_its_own_name() -> None:
    # Present only: dropping the absent class would leave |1 - 0.5| = 0.5.
    scores = scores_of({"eyeglasses": one_hot([0, 20])}, (GLASSES,), [0.5, 0.5])
    assert value_of(scores["fd_l2_hard", "eyeglasses"]) == pytest.approx(0.70710678)
    assert value_of(scores["share_hard", "eyeglasses=absent"]) == 0.0
    assert value_of(scores["share_hard", "eyeglasses=present"]) == 1.0


def test_noise_floor_of_a_perfect_sampler() -> None:
    # E f^2 = sum_k r_k (1 - r_k) / n = (1 - sum r^2) / n
    r, n = np.array([0.5, 0.3, 0.2]), 40
    f = l2(np.random.default_rng(0).multinomial(n, r, size=200_000) / n, r)
    assert (f**2).mean() == pytest.approx((1 - (r**2).sum()) / n, rel=0.01)


def test_noise_floor_is_the_95th_percentile_of_a_perfect_sampler() -> None:
    scores = scores_of({"skin_tone": one_hot([50, 40, 10])}, (TONE,), [0.5, 0.3, 0.2])
    r = np.array([0.5, 0.3, 0.2])
    null = np.random.default_rng(7).multinomial(100, r, size=100_000) / 100
    for metric, f in {"fd_l2_hard": l2, "fd_l1": l1, "kl": kl, "fd_l2_soft": l2}.items():
        assert scores[metric, "skin_tone"].noise_floor == pytest.approx(np.quantile(f(null, r), 0.95), rel=0.06)
    assert scores["share_hard", "skin_tone=dark"].noise_floor == pytest.approx(0.27, abs=0.011)


def test_hard_counts_labels_and_soft_averages_probabilities() -> None:
    classified = np.array([[0.6, 0.4], [0.6, 0.4], [0.1, 0.9], [0.7, 0.3]])
    scores = scores_of({"eyeglasses": classified}, (GLASSES,), [0.5, 0.5])
    assert value_of(scores["fd_l2_hard", "eyeglasses"]) == pytest.approx(0.25 * np.sqrt(2))
    assert value_of(scores["fd_l2_soft", "eyeglasses"]) == pytest.approx(0.0, abs=1e-12)


def test_marginals_and_joint_use_the_target_in_joint_order() -> None:
    r = [0.05, 0.1, 0.15, 0.2, 0.2, 0.3]  # absent+light, absent+medium, ..., present+dark
    labels = np.repeat(np.arange(6), [5, 10, 15, 20, 20, 30])
    classified = {"eyeglasses": np.eye(2)[labels // 3], "skin_tone": np.eye(3)[labels % 3]}
    scores = scores_of(classified, BOTH, r)
    for scope in ("eyeglasses", "skin_tone", "eyeglasses+skin_tone"):
        assert value_of(scores["fd_l2_hard", scope]) == pytest.approx(0.0, abs=1e-12)
    assert value_of(scores["share_hard", "eyeglasses=present"]) == pytest.approx(0.7)
    assert value_of(scores["share_hard", "eyeglasses+skin_tone=present+light"]) == pytest.approx(0.2)


def test_balanced_marginals_with_an_unbalanced_joint_show_in_the_joint_alone() -> None:
    second = Attribute("hat", ("no", "yes"))
    classified = {"eyeglasses": one_hot([10, 10]), "hat": one_hot([10, 10])}
    scores = scores_of(classified, (GLASSES, second), [0.25] * 4)
    assert value_of(scores["fd_l2_hard", "hat"]) == 0.0
    assert value_of(scores["fd_l2_hard", "eyeglasses+hat"]) == pytest.approx(0.5)  # shares .5 0 0 .5


def test_joint_probabilities_are_outer_products_with_the_last_attribute_fastest() -> None:
    joint = joint_probabilities([np.array([[0.9, 0.1]]), np.array([[0.5, 0.3, 0.2]])])
    np.testing.assert_allclose(joint, [[0.45, 0.27, 0.18, 0.05, 0.03, 0.02]])


def test_soft_joint_is_the_mean_of_outer_products_not_the_product_of_means() -> None:
    second = Attribute("hat", ("no", "yes"))
    classified = {"eyeglasses": np.array([[0.9, 0.1], [0.1, 0.9]]), "hat": np.array([[0.9, 0.1], [0.1, 0.9]])}
    observed = tally(sample_of(classified), (GLASSES, second))
    np.testing.assert_allclose(observed.mean, [0.41, 0.09, 0.09, 0.41])


def test_a_class_that_the_target_excludes_makes_the_divergence_undefined() -> None:
    scores = scores_of({"eyeglasses": one_hot([9, 1])}, (GLASSES,), [1.0, 0.0])
    assert scores["kl", "eyeglasses"].status == "undefined"
    assert scores["kl", "eyeglasses"].value is None
    assert "infinite" in scores["kl", "eyeglasses"].reason
    assert value_of(scores["fd_l2_hard", "eyeglasses"]) == pytest.approx(0.1 * np.sqrt(2))


def test_a_class_that_the_target_excludes_and_nobody_generated_is_fine() -> None:
    scores = scores_of({"eyeglasses": one_hot([10, 0])}, (GLASSES,), [1.0, 0.0])
    assert scores["kl", "eyeglasses"].value == 0.0
    assert ends_of(scores["kl", "eyeglasses"]) == (0.0, 0.0)


@pytest.mark.parametrize("n", [0, 1])
def test_fewer_than_two_samples_are_undefined_under_every_name(n: int) -> None:
    scores = scores_of({"eyeglasses": one_hot([n, 0])}, (GLASSES,), [0.5, 0.5])
    assert [metric for metric, _ in scores] == ["fd_l2_hard", "fd_l1", "kl", "fd_l2_soft", "share_hard", "share_hard"]
    assert {(score.status, score.value, score.n) for score in scores.values()} == {("undefined", None, n)}
    assert all(str(n) in score.reason for score in scores.values())


def test_nan_probabilities_are_undefined() -> None:
    classified = one_hot([5, 5])
    classified[3] = np.nan
    assert {s.status for s in scores_of({"eyeglasses": classified}, (GLASSES,), [0.5, 0.5]).values()} == {"undefined"}


def test_names_and_order_do_not_depend_on_the_samples() -> None:
    few = scores_of({"eyeglasses": one_hot([1, 0]), "skin_tone": one_hot([1, 0, 0])}, BOTH, [1 / 6] * 6)
    many = scores_of({"eyeglasses": one_hot([4, 2]), "skin_tone": one_hot([2, 2, 2])}, BOTH, [1 / 6] * 6)
    assert list(few) == list(many)


def test_mistakes_are_named() -> None:
    with pytest.raises(Incompatible, match="no probabilities of eyeglasses"):
        scores_of({"skin_tone": one_hot([1, 1, 1])}, (GLASSES,), [0.5, 0.5])
    with pytest.raises(ConfigError, match=r"shape \[n, 2\]"):
        scores_of({"eyeglasses": one_hot([1, 1, 1])}, (GLASSES,), [0.5, 0.5])
    with pytest.raises(ConfigError, match="one row per sample"):
        scores_of({"eyeglasses": one_hot([4, 4]), "skin_tone": one_hot([1, 1, 1])}, BOTH, [1 / 6] * 6)


def test_chunks_and_the_order_of_samples_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    n = CHUNK + 37
    classified = {"eyeglasses": rng.dirichlet([2, 1], n), "skin_tone": rng.dirichlet([3, 2, 1], n)}
    base = tally(sample_of(classified), BOTH)
    whole = joint_probabilities(list(classified.values()))
    np.testing.assert_allclose(base.mean, whole.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(base.covariance, np.cov(whole.T), rtol=1e-9, atol=1e-15)
    order = rng.permutation(n)
    monkeypatch.setattr(shares, "CHUNK", 100)
    another = tally(sample_of({name: array[order] for name, array in classified.items()}), BOTH)
    np.testing.assert_array_equal(another.counts, base.counts)
    np.testing.assert_allclose(another.mean, base.mean, rtol=1e-12)
    np.testing.assert_allclose(another.covariance, base.covariance, rtol=1e-9, atol=1e-15)


@settings(max_examples=50, deadline=None)
@given(counts=Shares, order=st.permutations(range(3)))
def test_renaming_classes_changes_no_distance(counts: list[int], order: list[int]) -> None:
    r = np.array([0.5, 0.3, 0.2])
    p = np.array(counts) / sum(counts)
    for f in (l1, l2, kl):
        assert f(p[order], r[order]) == pytest.approx(float(f(p, r)), abs=1e-12)


@settings(max_examples=30, deadline=None)
@given(counts=Shares)
def test_bounds_hold_and_the_interval_holds_the_value(counts: list[int]) -> None:
    scores = scores_of({"skin_tone": one_hot(counts)}, (TONE,), [1 / 3] * 3)
    highest = {"fd_l2_hard": np.sqrt(2 / 3), "fd_l2_soft": np.sqrt(2 / 3), "fd_l1": 4 / 3, "kl": np.log(3)}
    for (metric, _), score in scores.items():
        if metric in ("fd_l1", "kl") and sum(counts) < 30:
            assert (score.ci_low, score.ci_high) == (None, None)
            assert score.reason == f"no interval: 3 classes need 30 samples or more, got {sum(counts)}"
            continue
        low, high = ends_of(score)
        assert 0 <= low <= value_of(score) <= high
        assert value_of(score) <= highest.get(metric, 1.0) + 1e-9
        if metric != "share_hard" and score.noise_floor is not None and value_of(score) <= score.noise_floor:
            assert low == 0.0


@given(st.floats(0.0, 0.5), st.floats(0.0, 0.5))
def test_more_imbalance_is_more_distance(a: float, b: float) -> None:
    r = np.array([0.5, 0.5])
    low, high = (np.array([0.5 - x, 0.5 + x]) for x in sorted((a, b)))
    for f in (l1, l2, kl):
        assert f(low, r) <= f(high, r) + 1e-12


def test_a_single_class_has_an_interval_with_width() -> None:
    low, high = ends_of(scores_of({"eyeglasses": one_hot([50, 0])}, (GLASSES,), [0.5, 0.5])["fd_l2_hard", "eyeglasses"])
    assert high == pytest.approx(np.sqrt(0.5))
    assert 0.6 < low < 0.69


def test_the_soft_interval_joins_the_labels_interval_and_the_spread_within_labels() -> None:
    """80 of 100 labels are absent; probabilities are 0.9 or 0.1 of it, give or take 0.05."""
    absent = np.repeat([0.9, 0.1], [80, 20]) + np.tile([-0.05, 0.05], 50)
    score = scores_of({"eyeglasses": np.stack([absent, 1 - absent], 1)}, (GLASSES,), [0.5, 0.5])[
        "fd_l2_soft", "eyeglasses"
    ]
    within = norm.ppf(0.975) * 0.05 / 100**0.5
    low, high = (0.1 + 0.8 * end for end in wilson_interval(80, 100))
    mean = 0.1 + 0.8 * 0.8
    expected = (mean - np.hypot(mean - low, within), mean + np.hypot(high - mean, within))
    assert ends_of(score) == pytest.approx(tuple(2**0.5 * (end - 0.5) for end in expected))


def test_the_soft_interval_of_steered_batches_is_students_t_of_their_means() -> None:
    """Ten batches of 20; half a sample's resolution is added to their variance, 1/4 / 200^2."""
    means = 0.7 + np.array([-4, -3, -2, -1, 0, 0, 1, 2, 3, 4]) / 50
    absent = np.repeat(means, 20)
    design = Design(np.zeros(200, np.int64), np.repeat(np.arange(10), 20))
    sample = Sample({"eyeglasses": np.stack([absent, 1 - absent], 1)}, {}, np.full(200, -1), design=design)
    scores = Evaluator().evaluate(sample, Reference((GLASSES,), np.array([0.5, 0.5])))
    (score,) = (s for s in scores if s.metric == "fd_l2_soft")
    half = t.ppf(0.975, 9) * (means.var(ddof=1) / 10 + 0.25 / 200**2) ** 0.5
    assert ends_of(score) == pytest.approx((2**0.5 * (0.2 - half), 2**0.5 * (0.2 + half)))


def test_equal_samples_have_equal_intervals() -> None:
    classified = {"eyeglasses": np.random.default_rng(0).dirichlet([2, 1], 50)}
    assert scores_of(classified, (GLASSES,), [0.5, 0.5]) == scores_of(classified, (GLASSES,), [0.5, 0.5])


def test_the_intervals_cover_at_their_rate() -> None:
    """Away from 0, with a classifier in doubt, so that the soft interval is tested on other numbers than the hard one.

    For shares that equal their target, where fd_l1 has a kink, see test_share_designs.py.
    """
    rng = np.random.default_rng(3)
    r, p, n = [0.25, 0.15, 0.6], np.array([0.6, 0.3, 0.1]), 300
    classifier = np.array([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.1, 0.2, 0.7]])
    truth = {"fd_l2_hard": l2(p, np.array(r)), "fd_l1": l1(p, np.array(r)), "kl": kl(p, np.array(r))}
    truth["fd_l2_soft"] = l2(p @ classifier, np.array(r))
    hits = {metric: 0 for metric in truth}
    for _ in range(300):
        classified = {"skin_tone": classifier[rng.choice(3, n, p=p)]}
        scores = scores_of(classified, (TONE,), r)
        for metric, value in truth.items():
            low, high = ends_of(scores[metric, "skin_tone"])
            hits[metric] += bool(low <= value <= high)
    assert all(0.92 <= count / 300 <= 0.98 for count in hits.values()), hits


def test_zero_is_in_the_interval_of_a_perfect_sampler_about_95_times_in_100() -> None:
    rng = np.random.default_rng(5)
    r = [0.5, 0.3, 0.2]
    lows = []
    for _ in range(300):
        scores = scores_of({"skin_tone": one_hot(rng.multinomial(200, r).tolist())}, (TONE,), r)
        lows.append(ends_of(scores["fd_l2_hard", "skin_tone"])[0])
    assert 0.92 <= np.mean(np.array(lows) == 0.0) <= 0.98
