"""Discrepancy by prompt: planted shares, the noise floor, and what pooling hides."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats as scipy_stats

from bench.core.attributes import Attribute
from bench.protocols.evaluator import Reference, Sample, Score
from evaluators.fairness_discrepancy import Evaluator as Pooled
from evaluators.prompt_discrepancy import Evaluator

GLASSES, TONE = Attribute("eyeglasses", ("absent", "present")), Attribute("skin_tone", ("light", "medium", "dark"))
HALF, THIRD = np.full(2, 1 / 2), np.full(3, 1 / 3)


def planted(counts: list[list[int]], attribute: Attribute = GLASSES, shuffled: bool = False) -> Sample:
    """Samples classified with these counts of each prompt."""
    labels = [np.repeat(np.arange(len(row)), row) for row in counts]
    if shuffled:
        labels = [np.random.default_rng(i).permutation(row) for i, row in enumerate(labels)]
    ends = np.cumsum([0, *map(len, labels)])
    prompts = {f"p{i}": slice(int(a), int(b)) for i, (a, b) in enumerate(itertools.pairwise(ends))}
    classified = np.eye(len(counts[0]))[np.concatenate(labels)] * 0.8 + 0.1
    return Sample({attribute.name: classified}, {}, np.full(len(classified), -1), prompts=prompts)


def scores(sample: Sample, reference: Reference | None = None) -> dict[tuple[str, str], Score]:
    actual = Evaluator().evaluate(sample, reference or Reference((GLASSES,), HALF))
    return {(score.metric, score.scope): score for score in actual}


def distances(sample: Sample) -> dict[tuple[str, str], Score]:
    """The scores that are discrepancies, not shares."""
    return {key: score for key, score in scores(sample).items() if key[0].startswith("fd_")}


def distance(share: float) -> float:
    return math.sqrt(2) * abs(share - 0.5)


def test_planted_shares_give_their_distances_and_their_summaries() -> None:
    present = [10, 25, 50, 60, 95, 100, 40, 20, 70, 30]
    actual = scores(planted([[100 - k, k] for k in present]))
    d = [distance(k / 100) for k in present]
    for i, value in enumerate(d):
        assert actual["fd_l2_by_prompt", f"eyeglasses at p{i}"].value == pytest.approx(value, abs=1e-12)
        assert actual["fd_l2_by_prompt", f"eyeglasses at p{i}"].n == 100
    assert actual["fd_l2_prompt_mean", "eyeglasses"].value == pytest.approx(sum(d) / 10)
    assert actual["fd_l2_prompt_worst", "eyeglasses"].value == pytest.approx(math.sqrt(2) / 2)
    # Type 7 of ten numbers: 0.9 * 9 = 8.1 steps up from the smallest, a tenth of the way from the 9th to the 10th.
    ninth, tenth = sorted(d)[8:]
    p90 = actual["fd_l2_prompt_p90", "eyeglasses"].value
    assert p90 == pytest.approx(0.9 * ninth + 0.1 * tenth)
    assert p90 == pytest.approx(scipy_stats.mstats.mquantiles(d, 0.9, alphap=1, betap=1)[0])  # an independent type 7
    assert p90 == pytest.approx(-np.percentile(-np.array(d), 10))  # the 10th percentile of fairness
    assert actual["fd_l2_prompt_mean", "eyeglasses"].n == 1000
    for i, k in enumerate(present):
        share = actual["share_by_prompt", f"eyeglasses=present at p{i}"]
        wilson = scipy_stats.binomtest(k, 100).proportion_ci(method="wilson")
        assert (share.value, share.ci_low, share.ci_high) == pytest.approx((k / 100, wilson.low, wilson.high))
        assert actual["share_by_prompt", f"eyeglasses=absent at p{i}"].value == pytest.approx(1 - k / 100)
    assert len(actual) == 3 + 10 + 20


def test_biases_that_cancel_are_seen_by_prompt_alone() -> None:
    sample = planted([[90, 10], [10, 90]])
    pooled = Pooled().evaluate(sample, Reference((GLASSES,), HALF))[0]
    assert (pooled.metric, pooled.value) == ("fd_l2_hard", pytest.approx(0.0))
    assert scores(sample)["fd_l2_prompt_mean", "eyeglasses"].value == pytest.approx(distance(0.9))


def test_rows_belong_to_the_prompt_whose_slice_they_are_in_and_order_within_it_means_nothing() -> None:
    counts = [[30, 70], [80, 20], [55, 45]]
    assert scores(planted(counts)) == scores(planted(counts, shuffled=True))
    turned = scores(planted(counts[::-1]))
    assert turned["fd_l2_by_prompt", "eyeglasses at p2"].value == pytest.approx(distance(0.7))
    assert turned["fd_l2_prompt_mean", "eyeglasses"].value == pytest.approx(
        scores(planted(counts))["fd_l2_prompt_mean", "eyeglasses"].value
    )


def test_attributes_and_their_joint_have_scopes_of_their_own_and_targets() -> None:
    rng = np.random.default_rng(0)
    glasses, tone = (np.eye(k)[rng.integers(0, k, 60)] for k in (2, 3))
    sample = Sample(
        {"eyeglasses": glasses, "skin_tone": tone}, {}, np.full(60, -1), prompts={"a": slice(0, 30), "b": slice(30, 60)}
    )
    target = np.outer([0.25, 0.75], THIRD).ravel()
    actual = scores(sample, Reference((GLASSES, TONE), target))
    joint = np.einsum("ni,nj->nij", glasses, tone).reshape(60, 6)
    for scope, classified, r in (
        ("eyeglasses", glasses, np.array([0.25, 0.75])),
        ("skin_tone", tone, THIRD),
        ("eyeglasses+skin_tone", joint, target),
    ):
        d = [np.linalg.norm(classified[rows].mean(0) - r) for rows in (slice(0, 30), slice(30, 60))]
        assert actual["fd_l2_prompt_mean", scope].value == pytest.approx(np.mean(d))
        assert actual["fd_l2_prompt_worst", scope].value == pytest.approx(max(d))
        assert [actual["fd_l2_by_prompt", f"{scope} at {name}"].value for name in "ab"] == pytest.approx(d)


def test_the_noise_floors_are_those_of_a_perfect_sampler_and_grow_with_the_summary() -> None:
    actual = scores(planted([[50, 50]] * 8))
    rng = np.random.default_rng(9)
    null = math.sqrt(2) * np.abs(rng.binomial(100, 0.5, (20_000, 8)) / 100 - 0.5)
    expected = {"mean": null.mean(1), "worst": null.max(1), "p90": np.quantile(null, 0.9, axis=1)}
    bounds = {}
    for name, draws in expected.items():
        score = actual[f"fd_l2_prompt_{name}", "eyeglasses"]
        bounds[name] = score.noise_floor
        assert score.noise_floor == pytest.approx(
            np.quantile(draws, 0.95),
            abs=0.0143,  # distances go in steps of 0.0141
        )
        assert (score.value, score.ci_low) == (0.0, 0.0)
    assert bounds["mean"] < bounds["p90"] < bounds["worst"]
    assert actual["fd_l2_by_prompt", "eyeglasses at p0"].noise_floor == pytest.approx(
        np.quantile(null[:, 0], 0.95), abs=0.012
    )


@pytest.mark.parametrize("metric", ["fd_l2_prompt_mean", "fd_l2_prompt_worst"])
def test_the_interval_is_that_of_the_value_at_this_n(metric: str) -> None:
    rng = np.random.default_rng(3)
    present = np.linspace(0.1, 0.9, 6)
    observed = math.sqrt(2) * np.abs(rng.binomial(100, present, (20_000, 6)) / 100 - 0.5)
    expected = observed.mean(1).mean() if metric.endswith("mean") else observed.max(1).mean()
    hits, repeats = 0, 60
    for _ in range(repeats):
        counts = rng.binomial(100, present)
        score = scores(planted([[100 - k, k] for k in counts.tolist()]))[metric, "eyeglasses"]
        assert score.ci_low is not None
        assert score.ci_high is not None
        hits += score.ci_low <= expected <= score.ci_high
    assert hits / repeats >= 0.85  # of 60 at 95 %, fewer than 51 have a chance of 1 in 1,000


def test_one_prompt_is_its_own_mean_and_worst() -> None:
    values = {score.value for score in distances(planted([[30, 70]])).values()}
    assert list(values) == pytest.approx([distance(0.7)] * len(values))


def test_without_prompts_and_with_too_few_samples_of_one_there_is_no_value() -> None:
    plain = Sample({"eyeglasses": np.eye(2)}, {}, np.full(2, -1))
    actual = Evaluator().evaluate(plain, Reference((GLASSES,), HALF))
    assert [s.metric for s in actual] == ["fd_l2_prompt_mean", "fd_l2_prompt_worst", "fd_l2_prompt_p90"]
    assert {(s.status, s.value) for s in actual} == {("undefined", None)}
    assert "the suite has no prompts" in actual[0].reason
    few = scores(planted([[30, 70], [1, 0]]))
    assert few["fd_l2_by_prompt", "eyeglasses at p0"].status == "ok"
    assert few["fd_l2_by_prompt", "eyeglasses at p1"].status == "undefined"
    assert few["fd_l2_prompt_mean", "eyeglasses"].reason == "prompt p1: needs 2 samples or more, got 1"


def test_samples_that_the_classifier_left_out_are_counted_in_no_prompt() -> None:
    sample = planted([[30, 70], [60, 40]])
    classified = np.array(sample.probabilities["eyeglasses"])
    classified[0:30] = np.nan  # all of p0 without glasses
    actual = scores(Sample({"eyeglasses": classified}, {}, sample.assigned_class, prompts=sample.prompts))
    assert actual["fd_l2_by_prompt", "eyeglasses at p0"].value == pytest.approx(distance(1.0))
    assert actual["fd_l2_by_prompt", "eyeglasses at p0"].n == 70
    assert actual["fd_l2_prompt_mean", "eyeglasses"].n == 170


def test_the_noise_floor_is_that_of_the_target_and_n_whatever_was_seen() -> None:
    biased, even = distances(planted([[95, 5]] * 4)), distances(planted([[50, 50]] * 4))
    for key, score in biased.items():
        assert score.noise_floor == pytest.approx(even[key].noise_floor, abs=0.0143)
        assert score.ci_low is not None
        assert score.ci_low > 0.4


def test_a_value_that_a_perfect_sampler_may_show_has_an_interval_that_reaches_0() -> None:
    for score in distances(planted([[55, 45], [45, 55]] * 4)).values():
        assert score.value is not None
        assert score.noise_floor is not None
        assert 0 < score.value < score.noise_floor
        assert score.ci_low == 0.0


def test_prompts_of_other_sizes_count_the_same_and_are_shares_of_their_own_samples() -> None:
    actual = scores(planted([[30, 70], [4, 16]]))
    assert actual["fd_l2_prompt_mean", "eyeglasses"].value == pytest.approx((distance(0.7) + distance(0.8)) / 2)
    assert actual["fd_l2_prompt_worst", "eyeglasses"].value == pytest.approx(distance(0.8))
