"""Downstream accuracy: Bayes rates under a spurious attribute, exact intervals, SciPy's Cramer's V, and a run."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, norm

from bench.api import run_suite as run
from bench.config.suite import read_suite
from bench.core.attributes import Attribute
from bench.core.errors import Incompatible
from bench.engine.options import Options
from bench.protocols.evaluator import Downstream, LabelledFeatures, Reference, Sample, Score
from evaluators.downstream_accuracy import Evaluator, gain_interval, partner, worst_interval
from tests.support.sets import in_shards
from tests.support.small import small_suite

BEARD, HAT, TONE = (
    Attribute("beard", ("no", "yes")),
    Attribute("hat", ("no", "yes")),
    Attribute("tone", ("a", "b", "c")),
)
MU = 1.0  # the core feature is N(+-MU, 1)
BAYES = float(norm.cdf(MU))


def draw(y: np.ndarray, s: np.ndarray, seed: int) -> np.ndarray:
    """A core feature that tells y with errors, and a spurious one that tells s without."""
    rng = np.random.default_rng(seed)
    core = MU * (2 * y - 1) + rng.standard_normal(len(y))
    return np.stack([core, 2 * s - 1 + 0.02 * rng.standard_normal(len(y))], axis=1)


def alternating(n: int) -> tuple[np.ndarray, np.ndarray]:
    return np.arange(n) % 2, np.arange(n) // 2 % 2


def labelled(y: np.ndarray, s: np.ndarray, seed: int) -> LabelledFeatures:
    return LabelledFeatures({"net": draw(y, s, seed)}, np.stack([y, s], axis=1))


N = 4000
Y, S = alternating(N)
HELDOUT = labelled(*alternating(8000), 3)
SETS = Downstream((BEARD, HAT), labelled(Y, Y, 1), labelled(Y, S, 2), HELDOUT)  # biased: hat = beard throughout


def scores(sample: Sample, sets: Downstream | None = SETS, attributes: tuple[Attribute, ...] = (BEARD,)) -> list[Score]:
    k = int(np.prod([a.n_classes for a in attributes]))
    return Evaluator().evaluate(sample, Reference(attributes, np.full(k, 1 / k), downstream=sets))


def generated(y: np.ndarray, s: np.ndarray, seed: int = 4, assigned: bool = True) -> Sample:
    classified = {"beard": np.eye(2)[y]}
    return Sample({} if assigned else classified, {"net": draw(y, s, seed)}, y if assigned else np.full(len(y), -1))


def by_metric(actual: list[Score]) -> dict[str, Score]:
    return {s.metric.removeprefix("downstream_").removesuffix("_net"): s for s in actual}


def worst_of_mix(share: float) -> float:
    """Accuracy of the Bayes rule of a mix in which s = y with this probability, where s is not y.

    log P(y=1|x)/P(y=0|x) = 2 MU x_core +- log(share / (1 - share)), by the sign of s.
    """
    return float(norm.cdf(MU - np.log(share / (1 - share)) / (2 * MU)))


def test_a_spurious_attribute_fools_and_what_breaks_it_mends_up_to_the_bayes_rate() -> None:
    actual = by_metric(scores(generated(Y, 1 - Y)))  # as many images in which s is never y: half and half in all
    assert actual["biased_only"].value < 0.02
    assert actual["ceiling"].value == pytest.approx(BAYES, abs=0.03)
    assert actual["worst_group"].value == pytest.approx(BAYES, abs=0.03)
    assert actual["gain"].value == pytest.approx(actual["worst_group"].value - actual["biased_only"].value)
    assert actual["gain"].ci_low < actual["gain"].value < actual["gain"].ci_high
    assert actual["worst_group"].scope == "beard by hat"
    assert actual["worst_group"].reason.endswith(f"labels: {N} as asked")


def test_balanced_samples_beside_biased_images_give_the_bayes_rate_of_the_mix() -> None:
    actual = by_metric(scores(generated(Y, S)))  # s = y in 3/4 of what is learnt from
    assert worst_of_mix(0.5) == pytest.approx(BAYES)
    assert actual["worst_group"].value == pytest.approx(worst_of_mix(0.75), abs=0.03)
    many = by_metric(scores(generated(*alternating(10_000))))  # and in (4000 + 5000) / 14000
    assert many["worst_group"].value == pytest.approx(worst_of_mix(9 / 14), abs=0.03)
    assert actual["worst_group"].value < many["worst_group"].value < BAYES


def test_samples_of_the_same_bias_gain_nothing() -> None:
    actual = by_metric(scores(generated(Y, Y)))
    assert abs(actual["gain"].value) < 0.02
    assert actual["gain"].ci_low <= 0 <= actual["gain"].ci_high


def test_labels_are_those_asked_for_and_the_classifiers_where_none_was() -> None:
    requested, classified = scores(generated(Y, 1 - Y)), scores(generated(Y, 1 - Y, assigned=False))
    assert [(s.value, s.ci_low, s.ci_high) for s in classified] == [(s.value, s.ci_low, s.ci_high) for s in requested]
    assert f"labels: {N} by the classifier" in classified[0].reason
    wrong = generated(Y, 1 - Y)  # the images do not have their assigned class: wrong labels
    taught = Sample({"beard": np.eye(2)[Y]}, wrong.features, 1 - Y)
    assert by_metric(scores(taught))["worst_group"].value < by_metric(requested)["worst_group"].value - 0.3
    mixed = generated(Y, 1 - Y, assigned=False)
    abstained = np.eye(2)[Y]
    abstained[:100] = np.nan
    assigned_class = np.where(np.arange(N) < N // 2, -1, Y)
    note = scores(Sample({"beard": abstained}, mixed.features, assigned_class))[0]
    assert (note.n, note.reason.split("; ")[1]) == (
        N - 100,
        f"labels: {N // 2} as asked, {N // 2 - 100} by the classifier",
    )


def test_a_joint_that_was_asked_for_is_taken_apart() -> None:
    y, tone = np.arange(N) % 2, np.arange(N) // 2 % 3
    sets = Downstream((BEARD, HAT), SETS.biased, SETS.balanced, HELDOUT)
    alone = generated(y, 1 - y)
    joint = Sample({}, alone.features, 3 * y + tone)  # beard varies slower than tone
    first, second = scores(alone, sets), scores(joint, sets, (BEARD, TONE))
    assert [s.value for s in second[:4]] == [s.value for s in first]
    assert {s.reason for s in second[4:]} == {"the real images have no labels of tone"}


def test_what_does_not_depend_on_the_method_is_the_same_for_all() -> None:
    first, second = by_metric(scores(generated(Y, 1 - Y))), by_metric(scores(generated(Y, S, seed=9)))
    for name in ("biased_only", "ceiling"):
        assert (first[name].value, first[name].reason) == (second[name].value, second[name].reason)
    assert first["worst_group"].value != second["worst_group"].value


def test_shards_and_the_order_of_the_samples_do_not_matter() -> None:
    sample = generated(Y, 1 - Y)
    parts = Sample({}, {"net": in_shards(sample.features["net"], 333)}, Y)
    assert scores(parts) == scores(sample)
    order = np.random.default_rng(0).permutation(N)
    shuffled = scores(Sample({}, {"net": sample.features["net"][order]}, Y[order]))
    assert [s.value for s in shuffled] == pytest.approx([s.value for s in scores(sample)], abs=2e-3)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 50)), min_size=1, max_size=6))
def test_limits_of_one_share_are_clopper_and_pearsons_and_those_of_many_enclose_the_worst(
    pairs: list[tuple[int, int]],
) -> None:
    right, totals = (np.array(v) for v in zip(*((min(k, n), n) for k, n in pairs), strict=True))
    low, high = worst_interval(right, totals)
    assert 0.0 <= low <= (right / totals).min() <= high <= 1.0
    intervals = [binomtest(int(k), int(n)).proportion_ci(0.95) for k, n in zip(right, totals, strict=True)]
    assert low == pytest.approx(min(ci.low for ci in intervals), abs=1e-9)
    assert high >= min(ci.high for ci in intervals) - 1e-12
    if len(pairs) == 1:
        assert high == pytest.approx(intervals[0].high, abs=1e-9)


@pytest.mark.parametrize("rates", [[0.9] * 6, [0.6, 0.9, 0.9, 0.9], [0.99, 0.98, 1.0, 0.97]])
def test_the_interval_of_the_worst_group_covers(rates: list[float]) -> None:
    """Ties of all groups, one that is clearly the worst, and shares near 1."""
    rng, totals = np.random.default_rng(0), np.full(len(rates), 100)
    ends = [worst_interval(rng.binomial(totals, rates), totals) for _ in range(400)]
    assert sum(low <= min(rates) <= high for low, high in ends) >= 375  # at least 380 expected, standard error 4.4


def test_the_interval_of_a_tie_would_fail_as_a_percentile_of_bootstrap_draws() -> None:
    """The smallest of bootstrapped shares is biased downwards twice, which the exact interval avoids."""
    rng, totals, covered = np.random.default_rng(0), np.full(6, 100), 0
    for _ in range(200):
        draws = rng.binomial(totals, rng.binomial(totals, 0.9) / totals, (1000, 6)).min(axis=1) / 100
        covered += np.quantile(draws, 0.025) <= 0.9 <= np.quantile(draws, 0.975)
    assert covered < 150


@pytest.mark.parametrize(
    ("before", "after"),
    [([0.6, 0.9, 0.9, 0.9], [0.9] * 4), ([0.5, 0.7, 0.9, 0.95], [0.85, 0.9, 0.95, 0.95]), ([0.9] * 4, [0.9] * 4)],
)
def test_the_interval_of_the_gain_covers(before: list[float], after: list[float]) -> None:
    rng, size, covered = np.random.default_rng(0), 200, 0
    group = np.repeat(np.arange(4), size)
    for _ in range(200):
        u = rng.random((2, 4 * size))
        u[1] = np.where(rng.random(4 * size) < 0.6, u[0], u[1])  # both err on the same images, often
        right = [u[i] < np.repeat(rates, size) for i, rates in enumerate((before, after))]
        low, high = gain_interval(right[0], right[1], group, 4, rng)
        covered += low <= min(after) - min(before) <= high
    assert covered >= 180, covered  # 190 expected of a perfect one; the reflected bootstrap has 93 to 98 % here


def test_the_partner_is_the_attribute_of_the_largest_cramers_v() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 3000)
    hat = np.where(rng.random(3000) < 0.7, y, 1 - y)
    tone = np.where(rng.random(3000) < 0.9, 2 * y, rng.integers(0, 3, 3000))
    labels = np.stack([y, hat, tone], axis=1)
    assert partner(BEARD, labels, (BEARD, HAT, TONE)) == TONE
    assert partner(HAT, labels, (BEARD, HAT, TONE)) == BEARD
    constant = np.stack([y, np.zeros_like(y)], axis=1)
    assert partner(BEARD, constant, (BEARD, HAT)) == HAT


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**16))
def test_bounds(seed: int) -> None:
    rng = np.random.default_rng(seed)
    y, s = rng.integers(0, 2, (2, 60))
    for result in scores(generated(y, s, seed)):
        low = -1.0 if "gain" in result.metric else 0.0
        assert low <= result.ci_low <= result.value <= result.ci_high <= 1.0


def test_what_is_missing_is_said() -> None:
    sample = generated(Y, 1 - Y)
    assert {s.reason for s in scores(sample, None)} == {
        "the suite names no real images for it; add `downstream` to the suite"
    }
    assert [s.status for s in scores(sample, None)] == ["undefined"] * 4
    lone = Downstream((BEARD,), *(LabelledFeatures(r.features, r.labels[:, :1]) for r in (SETS.biased,) * 3))
    assert "no label besides beard" in scores(sample, lone)[0].reason
    few = Downstream((BEARD, HAT), SETS.biased, SETS.balanced, labelled(Y[:70], S[:70], 5))
    assert scores(sample, few)[0].reason == "needs 20 held-out images of no+no or more, got 18"
    unclassified = Sample({"beard": np.full((N, 2), np.nan)}, sample.features, np.full(N, -1))
    assert scores(unclassified)[0].reason == "no sample was asked for a class, nor classified"
    unseen = sample.features["net"].copy()
    unseen[:5] = np.nan
    assert "got none of 5" in scores(Sample({}, {"net": unseen}, Y))[0].reason
    one_class = Downstream((BEARD, HAT), labelled(0 * Y, S, 1), SETS.balanced, HELDOUT)
    assert "the biased images must hold two classes of beard" in scores(sample, one_class)[0].reason
    with pytest.raises(Incompatible, match="the real images must have features of other, 2 numbers each"):
        scores(Sample({}, {"other": sample.features["net"]}, Y))


def test_a_run_reads_the_sets_that_the_suite_names(tmp_path: Path) -> None:
    suite = small_suite(
        tmp_path, methods=[{"name": "vanilla"}], tasks=[{"attributes": ["eyeglasses"]}], model="avatars-unet",
        sampler={"steps": 2}, features=["efficientnet_lite0"], metrics=["downstream_accuracy"],
        downstream={"biased": "avatars-biased", "balanced": "avatars-balanced", "heldout": "avatars-heldout", "n": 300},
    )  # fmt: skip
    assert not run(read_suite(str(suite)), Options(tmp_path / "out", workers=1)).problems
    with (tmp_path / "out" / "small" / "results.csv").open(newline="") as f:
        rows = {r["metric"].removesuffix("_efficientnet_lite0"): r for r in csv.DictReader(f)}
    assert set(rows) == {f"downstream_{name}" for name in ("worst_group", "gain", "biased_only", "ceiling")}
    assert {(r["status"], r["scope"]) for r in rows.values()} == {("ok", "eyeglasses by skin_tone")}
    assert "by the classifier" in rows["downstream_worst_group"]["reason"]
    # 300 balanced drawings teach the rare combinations better than 300 biased ones
    assert float(rows["downstream_ceiling"]["value"]) > float(rows["downstream_biased_only"]["value"])


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"heldout": "avatars-biased"}, "heldout must be a set that nothing learns from, got 'avatars-biased'"),
        ({"n": 1}, "greater than or equal to 2"),
        ({"biased": "avatars-biasde"}, "avatars-biased"),
    ],
)
def test_a_suite_that_names_wrong_sets_is_refused(tmp_path: Path, changes: dict[str, Any], sentence: str) -> None:
    from bench.core.errors import BenchError

    names = {"biased": "avatars-biased", "balanced": "avatars-balanced", "heldout": "avatars-heldout", **changes}
    suite = small_suite(tmp_path, metrics=["downstream_accuracy"], downstream=names)
    with pytest.raises(BenchError, match=sentence):
        run(read_suite(str(suite)), Options(tmp_path / "out", workers=1))
    assert not (tmp_path / "out" / "small").exists()
