"""Intervals, tests and corrections against theory: coverage, closed forms, degenerate samples."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.stats import norm, t, ttest_ind
from scipy.stats import poisson as poisson_law

from bench.core import stats
from bench.core.design import Design
from bench.core.distances import l2
from bench.core.errors import Undefined
from bench.core.intervals import (
    at_most,
    bootstrap_interval,
    distance_low,
    jackknife_interval,
    percentile_interval,
    redraw_mean,
    wilson_interval,
)
from bench.core.stats import (
    Answers,
    Estimate,
    PairedTest,
    _cross,
    holm,
    holm_adjusted,
    independent_difference,
    minimum_detectable_difference,
    paired_test,
)


def test_percentile_interval_is_the_central_95_percent() -> None:
    assert percentile_interval(np.arange(1001.0)) == pytest.approx((25.0, 975.0))


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


def test_a_rare_class_has_the_lower_limit_of_a_poisson_count() -> None:
    # P(X >= 1 | 0.0513) = 0.05
    assert wilson_interval(1, 1000)[0] == pytest.approx(-np.log(0.95) / 1000)
    assert wilson_interval(999, 1000)[1] == pytest.approx(1 + np.log(0.95) / 1000)


@pytest.mark.parametrize(("count", "n", "poisson"), [(3, 51, True), (4, 51, False), (2, 50, True), (3, 50, False)])
def test_only_rare_classes_have_the_limit_of_a_poisson_count(count: int, n: int, poisson: bool) -> None:
    """Of either class; the limit of others solves Wilson's equation."""
    low, high = wilson_interval(count, n)[0], 1 - wilson_interval(n - count, n)[1]
    assert low == pytest.approx(high)
    share, z = count / n, norm.ppf(0.975)
    wilson = brentq(lambda p: share - p - z * np.sqrt(p * (1 - p) / n), 0, share)
    limit = brentq(lambda rate: poisson_law.sf(count - 1, rate) - 0.05, 1e-6, count) / n
    assert limit < wilson
    assert low == pytest.approx(limit if poisson else wilson)


@pytest.mark.parametrize("scale", [1.0, 1e-6])
def test_the_lower_end_of_a_distance_is_that_of_the_inverted_normal_test_far_from_0(scale: float) -> None:
    noise = 0.01 * scale * np.random.default_rng(0).standard_normal((20_000, 1))
    low = distance_low(lambda p: np.abs(p[..., 0]), np.array([0.2 * scale]), np.zeros(1), noise)
    assert low == pytest.approx((0.2 - 1.96 * 0.01) * scale, abs=5e-4 * scale)
    assert distance_low(lambda p: np.abs(p[..., 0]), np.array([0.019 * scale]), np.zeros(1), noise) == 0.0


def test_the_lower_end_of_a_distance_rises_from_0_where_its_noise_floor_ends() -> None:
    """|x| with an error of 0.01 has the floor 0.0196; at 0.021 the end solves P(|c + e| >= 0.021) = 0.05 - 0.025 w."""
    noise = 0.01 * norm.ppf((np.arange(20_000) + 0.5) / 20_000)[:, None]
    low = distance_low(lambda p: np.abs(p[..., 0]), np.array([0.021]), np.zeros(1), noise)
    end = brentq(lambda c: norm.sf(2.1 - c) + norm.cdf(-2.1 - c) - 0.05 + 0.025 * c / norm.ppf(0.975), 0, 2)
    assert end > 0.3
    assert low == pytest.approx(0.01 * end, abs=0.021 / 2000)


def test_equal_numbers_of_exact_arithmetic_are_at_most_each_other() -> None:
    assert at_most([0.1 + 0.2, 0.3, 0.4], 0.3).tolist() == [True, True, False]


def test_jackknife_of_a_mean_is_the_t_interval_of_its_group_means() -> None:
    # For a mean of G equal groups, theta_(g) = (G m - m_g) / (G - 1), so SE^2 = var(m_g, ddof=1) / G exactly.
    groups = np.random.default_rng(0).standard_normal((10, 7)).mean(axis=1)
    mean = groups.mean()
    half = t.ppf(0.975, 9) * groups.std(ddof=1) / np.sqrt(10)
    low, high = jackknife_interval(mean, (10 * mean - groups) / 9)
    assert (low, high) == pytest.approx((mean - half, mean + half), abs=1e-12)  # ten groups tell nothing of skewness


def test_jackknife_interval_covers_at_its_rate() -> None:
    x = np.random.default_rng(1).standard_normal((1000, 10, 20))
    total = x.sum(axis=(1, 2))
    replicates = (total[:, None] - x.sum(axis=2)) / 180
    ends = [jackknife_interval(value, row) for value, row in zip(total / 200, replicates, strict=True)]
    covered = np.mean([low <= 0 <= high for low, high in ends])
    assert 0.93 <= covered <= 0.97


def test_holm_adjusted_at_known_values() -> None:
    # Sorted 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1: 0.02, 0.03, 0.06, and 0.04 raised to 0.06.
    p = np.array([[0.01, 0.04, 0.03, 0.005], [0.5, 0.4, 0.9, 1.0]])
    np.testing.assert_allclose(holm_adjusted(p), [[0.03, 0.06, 0.06, 0.02], [1.0, 1.0, 1.0, 1.0]])


@given(st.lists(st.floats(0, 1), max_size=12), st.sampled_from([0.01, 0.05, 0.2]))
def test_holms_adjusted_p_and_his_procedure_agree(p: list[float], alpha: float) -> None:
    adjusted = holm_adjusted(np.array(p))
    clear = np.abs(adjusted - alpha) > 1e-12  # a product and a quotient may round differently
    assert (np.array(holm(p, alpha), dtype=bool)[clear] == (adjusted <= alpha)[clear]).all()
    assert (adjusted >= np.array(p)).all()


def test_independent_difference_of_normal_intervals_is_the_z_test() -> None:
    z = norm.ppf(0.975)
    a = Estimate.of_interval(*map(np.array, (1.0, 1.0 - 3 * z, 1.0 + 3 * z)))
    b = Estimate.of_interval(*map(np.array, (11.0, 11.0 - 4 * z, 11.0 + 4 * z)))
    found = independent_difference(a, b)  # a difference of 10 with a standard error of 5
    assert float(found.p) == pytest.approx(2 * norm.sf(2.0))
    assert (float(found.low), float(found.high)) == pytest.approx((10 - 5 * z, 10 + 5 * z))
    assert float(found.standard_error) == pytest.approx(5.0)
    assert float(independent_difference(b, a).value) == -10.0


def test_independent_difference_of_jackknifes_is_welchs_test() -> None:
    rng = np.random.default_rng(0)
    one, two = rng.normal(0.0, 1.0, 10), rng.normal(1.0, 3.0, 10)
    sides = []
    for x in (one, two):
        half = t.ppf(0.975, 9) * x.std(ddof=1) / 10**0.5
        sides.append(Estimate.of_interval(*map(np.array, (x.mean(), x.mean() - half, x.mean() + half)), freedom=9))
    welch = ttest_ind(two, one, equal_var=False)
    found = independent_difference(*sides)
    assert float(found.p) == pytest.approx(welch.pvalue, rel=1e-9)
    ends = welch.confidence_interval(0.95)
    assert (float(found.low), float(found.high)) == pytest.approx((ends.low, ends.high), rel=1e-9)


def test_independent_difference_takes_the_sides_that_face_each_other() -> None:
    """MOVER: for b > a the test uses a's error upwards and b's downwards, so a clipped interval stays clipped."""
    a, b = (Estimate(*map(np.array, e)) for e in ((0.0, 0.0, 3.0), (10.0, 4.0, 100.0)))
    assert float(independent_difference(a, b).p) == pytest.approx(2 * norm.sf(10 / 5))
    assert float(independent_difference(a, b).high) == pytest.approx(10 + norm.ppf(0.975) * 100)


def test_independent_difference_without_errors_is_certain() -> None:
    a, b = (Estimate(*map(np.array, ([v, 1.0], [0.0, 0.0], [0.0, 0.0]))) for v in (1.0, 2.0))
    assert independent_difference(a, b).p.tolist() == [0.0, 1.0]


def test_the_mean_over_seeds_has_the_error_of_a_mean() -> None:
    mean = Estimate(np.array([1.0, 2.0, 6.0]), np.full(3, 3.0), np.array([0.0, 0.0, 6.0])).mean()
    assert (float(mean.value), float(mean.below), float(mean.above)) == pytest.approx((3.0, 3**0.5, 2.0))


def test_the_p_of_an_asymmetric_difference_below_1_takes_the_side_that_faces_0() -> None:
    """A difference of 0.5, errors 0.1 towards 0 and 10 away from it: z = 5. Of the opposite sign, the other sides."""
    a, b = (Estimate(*map(np.array, e)) for e in ((0.0, 10.0, 0.06), (0.5, 0.08, 10.0)))
    assert float(independent_difference(a, b).p) == pytest.approx(2 * norm.sf(5.0))
    assert float(independent_difference(b, a).p) == pytest.approx(2 * norm.sf(5.0))
    few = Estimate(np.array(0.0), np.array(10.0), np.array(0.06), freedom=5)
    expected = 2 * t.sf(5.0, 5 * (0.06**2 + 0.08**2) ** 2 / 0.06**4)  # Welch: of the errors that face each other
    assert float(independent_difference(few, b).p) == pytest.approx(expected)
    assert float(independent_difference(b, few).p) == pytest.approx(expected)


def test_equal_values_that_differ_by_rounding_are_no_difference() -> None:
    a, b = (Estimate(np.array(v), np.array(0.0), np.array(0.0)) for v in (0.1 + 0.2, 0.3))
    assert float(independent_difference(a, b).p) == 1.0


TWO = np.array([0.5, 0.5])


def drawn(labels: np.ndarray, k: int = 2, design: Design | None = None) -> Answers:
    return Answers.of_labels(labels, k, design or Design.independent(len(labels)))


def fd(pairs: Sequence[tuple[Answers, Answers]], r: np.ndarray = TWO) -> PairedTest:
    test = paired_test(pairs, lambda shares: l2(shares, r))
    assert test is not None
    return test


def p_of(pairs: Sequence[tuple[Answers, Answers]], r: np.ndarray = TWO) -> float:
    return float(fd(pairs, r).difference.p)


def test_the_paired_test_of_a_share_is_mcnemars() -> None:
    """40 of 400 turn one way and 15 the other: 25 / 400 with a variance of (55 - 25^2 / 400) / 400^2."""
    a, b = (drawn(np.repeat(classes, [200, 40, 15, 145])) for classes in ([0, 0, 1, 1], [0, 1, 0, 1]))
    found = paired_test([(a, b)], lambda shares: shares[..., 1])
    assert found
    one, se = found.difference, (55 - 25**2 / 400) ** 0.5 / 400
    assert float(one.value) == pytest.approx(25 / 400)
    assert (float(one.low), float(one.high)) == pytest.approx((0.0625 - 1.96 * se, 0.0625 + 1.96 * se), abs=0.003)
    assert float(one.p) == pytest.approx(2 * norm.sf(25 / 400 / se), abs=6e-4)
    both = paired_test([(a, b), (b, a)], lambda shares: shares[..., 1])
    assert both
    assert abs(float(both.difference.value)) < 1e-12  # seeds are averaged
    assert float(both.difference.p) > 0.9


def test_the_paired_test_finds_a_difference_that_an_unpaired_one_would_miss() -> None:
    """600 samples at 60/40; the other method turns 18 of the majority over and none back."""
    a = np.repeat([0, 1], [360, 240])
    b = a.copy()
    b[:18] = 1
    assert p_of([(drawn(a), drawn(b))]) < 0.01
    assert p_of([(drawn(a), drawn(np.random.default_rng(0).permutation(b)))]) > 0.05


def test_the_paired_test_tests_the_mean_over_seeds_and_not_the_pooled_samples() -> None:
    """Seeds at 70/30 and 30/70 are even when pooled, and twice unfair; 60/40 twice is as unfair as 60/40 and 40/60."""

    def seeds(*shares: float) -> list[Answers]:
        rng = np.random.default_rng(0)
        return [drawn(rng.permutation(np.repeat([0, 1], [round(500 * s), round(500 * (1 - s))]))) for s in shares]

    even, swing = seeds(0.5, 0.5), seeds(0.7, 0.3)
    assert p_of(list(zip(even, swing, strict=True))) < 0.001
    assert p_of(list(zip(seeds(0.6, 0.4), seeds(0.6, 0.6), strict=True))) > 0.5


def test_the_paired_test_gives_the_same_p_whichever_method_is_first() -> None:
    rng = np.random.default_rng(2)
    a, b = (drawn(rng.choice(3, 200, p=p), 3) for p in ([0.4, 0.3, 0.3], [0.5, 0.2, 0.3]))
    one, other = fd([(a, b)], np.ones(3) / 3).difference, fd([(b, a)], np.ones(3) / 3).difference
    assert float(one.p) == float(other.p)
    assert [float(x) for x in (one.value, one.low, one.high)] == pytest.approx([-other.value, -other.high, -other.low])


@pytest.mark.parametrize("n", [20, 30, 50, 100])
@pytest.mark.parametrize("target", [[0.1, 0.9], [0.3, 0.7], [1 / 3] * 3, [0.25] * 4])
def test_equal_distances_that_differ_by_rounding_count_for_both_sides(n: int, target: list[float]) -> None:
    """Shifted by an unequal rounding of either side, the test is that of exact arithmetic."""
    r, k, rng = np.array(target), len(target), np.random.default_rng(n)
    for _ in range(5):
        a = rng.choice(k, n, p=rng.dirichlet(np.full(k, 3.0)))
        b = np.where(rng.random(n) < 0.6, a, rng.choice(k, n))
        plain = p_of([(drawn(a, k), drawn(b, k))], r)
        for shift in (1e-15, -1e-15):
            test = paired_test([(drawn(a, k), drawn(b, k))], lambda shares, s=shift: l2(shares, r) + s * shares[..., 0])  # type: ignore[misc]
            assert test
            assert float(test.difference.p) == plain


def test_the_paired_test_of_the_same_samples_is_none() -> None:
    a = drawn(np.repeat([0, 1], [70, 30]))
    found = fd([(a, a)]).difference
    assert (float(found.value), float(found.low), float(found.high), float(found.p)) == (0.0, 0.0, 0.0, 1.0)


def test_the_paired_test_of_mean_probabilities_is_the_paired_z_test() -> None:
    rng = np.random.default_rng(4)
    x = rng.normal(0, 1, 300)
    a, b = np.stack([x, -x], 1), np.stack([x + rng.normal(0.05, 0.3, 300), -x], 1)
    found = paired_test(
        [(Answers(a, Design.independent(300)), Answers(b, Design.independent(300)))], lambda m: m[..., 0]
    )
    assert found
    change = (b - a)[:, 0]
    se = change.std(ddof=1) / 300**0.5
    assert float(found.difference.value) == pytest.approx(change.mean())
    assert float(found.difference.p) == pytest.approx(2 * norm.sf(change.mean() / se), abs=0.01)


def test_samples_that_a_classifier_abstained_on_are_in_no_pair() -> None:
    rng = np.random.default_rng(3)
    a, b = (rng.integers(0, 2, 200) for _ in range(2))
    gone = [rng.random(200) < 0.1 for _ in range(2)]
    both = ~(gone[0] | gone[1])
    pairs = [(drawn(np.where(gone[0], -1, a)), drawn(np.where(gone[1], -1, b)))]
    assert p_of(pairs) == p_of([(drawn(a[both]), drawn(b[both]))])
    nothing = drawn(np.full(200, -1))
    assert paired_test([(nothing, pairs[0][1])], lambda shares: shares[..., 0]) is None


def test_strata_and_batches_leave_the_variance_that_the_design_has() -> None:
    """Shares of stratum h have the variance sum_h (n_h / n)^2 p_h (1 - p_h) / (n_h - 1); those of equal batches, of
    which one is one of 10, s^2 / 10 with Student's t of 9."""
    strata = np.repeat([0, 1], [150, 50])
    b = np.concatenate([np.repeat([0, 1], [15, 135]), np.repeat([0, 1], [40, 10])])
    none = drawn(np.zeros(200, dtype=np.int64))
    found = paired_test([(none, drawn(b, 2, Design(strata)))], lambda shares: shares[..., 1])
    assert found
    variance = 0.75**2 * 0.9 * 0.1 / 149 + 0.25**2 * 0.2 * 0.8 / 49
    assert float(found.difference.standard_error) == pytest.approx(variance**0.5, rel=0.05)

    counts = np.array([9, 11, 12, 8, 10, 10, 13, 9, 11, 7])
    c = np.concatenate([np.repeat([1, 0], [x, 20 - x]) for x in counts])
    batches = Design(np.zeros(200, dtype=np.int64), np.repeat(np.arange(10), 20))
    coupled = paired_test([(none, drawn(c, 2, batches))], lambda shares: shares[..., 1])
    assert coupled
    half = t.ppf(0.975, 9) * (counts / 20).std(ddof=1) / 10**0.5
    assert float(coupled.difference.high - coupled.difference.low) == pytest.approx(2 * half, rel=0.05)
    assert coupled.note == ""


def test_few_batches_are_tested_as_independent_samples_and_the_test_says_so() -> None:
    rng = np.random.default_rng(0)
    a, b = (rng.integers(0, 2, 140) for _ in range(2))
    few = Design(np.zeros(140, dtype=np.int64), np.repeat(np.arange(7), 20))
    test = fd([(drawn(a), drawn(b, 2, few))])
    assert float(test.difference.p) == p_of([(drawn(a), drawn(b))])
    assert "fewer than 8 batches" in test.note
    alone = [Design(np.zeros(14, dtype=np.int64), np.zeros(14, dtype=np.int64))] * 10  # one batch of each of ten seeds
    parts = [(drawn(x), drawn(y, 2, d)) for x, y, d in zip(np.split(a, 10), np.split(b, 10), alone, strict=True)]
    assert fd(parts).note == test.note


def test_batches_of_two_sizes_end_where_a_batch_of_each_ends() -> None:
    rng = np.random.default_rng(0)
    a, b = (rng.integers(0, 2, 480) for _ in range(2))
    zeros = np.zeros(480, dtype=np.int64)
    by = {size: Design(zeros, np.repeat(np.arange(480 // size), size)) for size in (20, 30, 60)}
    p = p_of([(drawn(a, 2, by[60]), drawn(b, 2, by[60]))])
    assert p_of([(drawn(a, 2, by[20]), drawn(b, 2, by[30]))]) == p


def test_one_sample_has_no_paired_test() -> None:
    one = drawn(np.array([1]))
    assert paired_test([(one, one)], lambda shares: shares[..., 0]) is None
    assert paired_test([(drawn(np.arange(10) % 2), drawn(np.arange(10) % 2)), (one, one)], lambda m: m[..., 0]) is None


def test_strata_of_one_sample_are_joined() -> None:
    strata = _cross(np.array([0, 0, 0, 1, 2, 3]), np.zeros(6, dtype=np.int64))
    assert strata.tolist()[:3] == [strata[0]] * 3
    assert len(set(strata.tolist()[3:])) == 1
    assert len(set(_cross(np.array([0, 0, 1]), np.zeros(3, dtype=np.int64)).tolist())) == 1
    assert len(set(_cross(np.array([0, 0, 1, 1]), np.array([5, 5, 5, 5])).tolist())) == 2


def by_class(rng: np.random.Generator, n: int, *shown: tuple[float, float]) -> tuple[Answers, Answers]:
    """Half of the samples are assigned to either class; a class is shown with its probability; the noise is common."""
    noise, assigned = rng.random(n), rng.permutation(np.arange(n) % 2)
    sides = []
    for chances in shown:
        u = np.where(rng.random(n) < 0.5, noise, rng.random(n))
        sides.append(drawn(np.where(u < np.array(chances)[assigned], assigned, 1 - assigned), 2, Design(assigned)))
    return sides[0], sides[1]


def by_batch(rng: np.random.Generator, n: int, *means: float) -> tuple[Answers, Answers]:
    """Ten batches, whose shares of class 1 hardly differ."""
    size, sides = n // 10, []
    for mean in means:
        counts = np.clip(np.round(size * (mean + rng.normal(0, 0.03, 10)) + rng.uniform(-0.5, 0.5, 10)), 0, size)
        labels = np.concatenate([rng.permutation(np.arange(size) < count).astype(np.int64) for count in counts])
        sides.append(drawn(labels, 2, Design(np.zeros(n, dtype=np.int64), np.repeat(np.arange(10), size))))
    return sides[0], sides[1]


def independent(rng: np.random.Generator, n: int, *means: float) -> tuple[Answers, Answers]:
    """Independent samples; half of the noise is common."""
    noise = rng.random(n)
    a, b = (drawn((np.where(rng.random(n) < 0.5, noise, rng.random(n)) < mean).astype(np.int64)) for mean in means)
    return a, b


@pytest.mark.parametrize(
    ("draw", "null", "other"),
    [
        (independent, (0.35, 0.35), (0.35, 0.25)),
        (by_class, ((0.9, 0.6), (0.85, 0.55)), ((0.9, 0.6), (0.95, 0.45))),
        (by_batch, (0.6, 0.6), (0.6, 0.65)),
    ],
    ids=["independent", "by class", "by batch"],
)
@pytest.mark.parametrize("n", [200, 1000])
def test_the_paired_test_rejects_a_true_null_at_its_level_in_every_design(
    draw: Callable[..., tuple[Answers, Answers]], null: Any, other: Any, n: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Treated as independent samples, designs by class and by batch reject next to no true null."""
    monkeypatch.setattr(stats, "N_DRAWS", 1000)
    rng, runs = np.random.default_rng(n), 300
    rejected = np.mean([p_of([draw(rng, n, *null)]) <= 0.05 for _ in range(runs)])
    assert 0.05 - 2.5 * (0.05 * 0.95 / runs) ** 0.5 <= rejected <= 0.05 + 2.5 * (0.05 * 0.95 / runs) ** 0.5
    found = np.mean([p_of([draw(rng, n, *other)]) <= 0.05 for _ in range(50)])
    assert found > rejected + 0.3


def test_the_minimum_detectable_difference_is_found_four_times_in_five() -> None:
    p, n, rng = 0.3, 1000, np.random.default_rng(0)
    se = (2 * p * (1 - p) / n) ** 0.5
    least = float(minimum_detectable_difference(np.array(se)))
    assert least == pytest.approx((1.959964 + 0.841621) * se)
    shares = rng.binomial(n, [[p], [p + least]], (2, 4000)) / n
    assert np.mean(np.abs(shares[1] - shares[0]) > 1.959964 * se) == pytest.approx(0.8, abs=0.03)


def test_bootstrap_of_a_mean_is_near_the_normal_interval_and_bca_follows_the_skew() -> None:
    rows = np.random.default_rng(0).lognormal(0, 1, 400)
    half = norm.ppf(0.975) * rows.std(ddof=1) / 20
    plain = bootstrap_interval(rows, np.mean, np.random.default_rng(1), "percentile")
    assert plain == pytest.approx((rows.mean() - half, rows.mean() + half), abs=0.2 * half)
    low, high = bootstrap_interval(rows, np.mean, np.random.default_rng(1))
    assert high - rows.mean() > rows.mean() - low
    assert low > plain[0]
    assert high > plain[1]
    with pytest.raises(Undefined, match="a bootstrap needs rows that differ, got 3 equal ones"):
        bootstrap_interval(np.ones(3), np.mean, np.random.default_rng(0))
