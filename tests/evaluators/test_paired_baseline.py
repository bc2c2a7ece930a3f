"""Distance to the paired baseline: closed forms, SciPy's intervals, properties, and a run end to end."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cosine, sqeuclidean

from bench.api import run_suite as run
from bench.config.suite import read_suite
from bench.core.errors import Incompatible
from bench.engine.keys import scores_key
from bench.engine.options import Options
from bench.engine.plan import needs
from bench.engine.preflight import preflight
from bench.protocols.evaluator import Reference, Sample, Score
from bench.protocols.images import ImagesOnDemand
from evaluators.paired_baseline import MIN_N, Evaluator, cosine_distance, squared_distance
from tests.support.sets import in_shards
from tests.support.small import small_suite

TASK = Reference((), np.ones(1))


def of(x: Any, paired_baseline: Any | None, kind: str = "features") -> Sample:
    def sample(array: Any, baseline: Sample | None) -> Sample:
        arrays = {"features": {}, "perceptual": {}, kind: {"net": array}}
        return Sample({}, assigned_class=np.full(len(array), -1), paired_baseline=baseline, **arrays)

    return sample(x, None if paired_baseline is None else sample(paired_baseline, None))


def score(x: Any, paired_baseline: Any | None, kind: str = "features") -> Score:
    [actual] = Evaluator().evaluate(of(x, paired_baseline, kind), TASK)
    return actual


@pytest.mark.parametrize("seed", range(3))
def test_distances_are_scipys(seed: int) -> None:
    a, b = np.random.default_rng(seed).standard_normal((2, 30, 7))
    assert cosine_distance(a, b) == pytest.approx([cosine(x, y) for x, y in zip(a, b, strict=True)], abs=1e-12)
    assert squared_distance(a, b) == pytest.approx([sqeuclidean(x, y) for x, y in zip(a, b, strict=True)], abs=1e-12)


def test_mean_and_interval_are_those_of_students_t_widened_on_the_long_side() -> None:
    a, b = np.random.default_rng(0).standard_normal((2, 50, 4))
    for kind, distances in (("features", cosine_distance(a, b)), ("perceptual", squared_distance(a, b))):
        actual = score(a, b, kind)
        ends = scipy.stats.ttest_1samp(distances, 0.0).confidence_interval(0.95)
        near, far = (0, 1) if scipy.stats.skew(distances) > 0 else (1, 0)
        assert (actual.value, (actual.ci_low, actual.ci_high)[near]) == pytest.approx((distances.mean(), ends[near]))
        reached = abs((actual.ci_low, actual.ci_high)[far] - actual.value) / scipy.stats.sem(distances)
        skew = 1.5 * abs(scipy.stats.skew(distances, bias=False)) / np.sqrt(50)  # see tests/core/test_jackknife.py
        hall = reached - skew * reached**2 / 3 + skew**2 * reached**3 / 27 - skew / 6
        assert hall == pytest.approx(scipy.stats.t.ppf(0.975, 49), rel=1e-9)
    assert score(a, b).metric == "paired_cosine_net"
    assert score(a, b, "perceptual").metric == "paired_distance_net"


def test_a_turn_by_an_angle_and_a_step_of_a_length_by_hand() -> None:
    rng = np.random.default_rng(1)
    x = rng.standard_normal((40, 2))
    c, s = np.cos(np.pi / 3), np.sin(np.pi / 3)
    turned = score(x @ np.array([[c, s], [-s, c]]) * 2.0, x)
    assert turned.value == pytest.approx(0.5, abs=1e-12)  # 1 - cos 60 degrees, whatever the length
    moved = score(x + np.array([3.0, 4.0]), x, "perceptual")
    assert moved.value == pytest.approx(25.0, abs=1e-12)
    assert (turned.ci_low, turned.ci_high) == (None, None)  # every image moved as far: nothing tells the spread


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**16), st.floats(0.01, 3.0), st.integers(MIN_N, 60))
def test_it_is_zero_on_itself_symmetric_bounded_and_blind_to_order(seed: int, noise: float, n: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, 5))
    y = x + noise * rng.standard_normal((n, 5))
    order = rng.permutation(n)
    for kind, top in (("features", 2.0), ("perceptual", np.inf)):
        actual = score(x, y, kind)
        assert score(x, x.copy(), kind).value == 0.0
        assert score(y, x, kind).value == pytest.approx(actual.value, abs=1e-12)
        assert score(x[order], y[order], kind).value == pytest.approx(actual.value, rel=1e-12)
        assert 0.0 <= actual.ci_low <= actual.value <= actual.ci_high
        assert actual.value <= top


def test_the_more_a_method_moves_the_larger_the_distance() -> None:
    rng = np.random.default_rng(0)
    x, step = rng.standard_normal((2, 100, 8))
    for kind in ("features", "perceptual"):
        values = [score(x + size * step, x, kind).value for size in (0.1, 0.3, 1.0)]
        assert values == sorted(values)
        assert values[0] < values[1]


def test_pairs_count_not_the_sets_of_images() -> None:
    """Samples in another order are the same set, and no paired_baselines."""
    x = np.random.default_rng(0).standard_normal((40, 6))
    assert score(x[::-1], x).value > 0.5


def test_shards_and_half_precision_give_the_value_of_one_array() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 5000, 3)).astype(np.float16)
    whole, parts = score(x, y, "perceptual"), score(in_shards(x, 300), in_shards(y, 300), "perceptual")
    assert parts == whole
    assert whole.value == pytest.approx(float(squared_distance(x.astype(float), y.astype(float)).mean()), rel=1e-12)


def test_images_without_features_are_left_out_on_either_side() -> None:
    x, y = np.random.default_rng(0).standard_normal((2, 50, 3))
    gaps = x.copy()
    gaps[:7], y[5:10], gaps[49] = np.nan, np.nan, 0.0  # the last has no direction
    actual = score(gaps, y)
    assert actual.n == 39
    assert actual.value == pytest.approx(float(cosine_distance(x[10:49], y[10:49]).mean()), abs=1e-12)
    assert score(gaps[:20], y[:20]).reason == f"needs {MIN_N} pairs or more in which both images have features, got 10"


def test_without_a_paired_baseline_it_says_what_to_add() -> None:
    actual = score(np.ones((30, 2)), None)
    assert (actual.status, actual.value) == ("undefined", None)
    assert "add it to the suite's methods" in actual.reason
    with pytest.raises(
        Incompatible, match=r"the paired baseline must have features of net of shape \[30, 2\], got \[29, 2\]"
    ):
        score(np.ones((30, 2)), np.ones((29, 2)))


TWO = [{"name": "vanilla"}, {"name": "sample_guidance", "with": {"labels_per_class": 20}}]


def written(out: Path) -> list[dict[str, str]]:
    with (out / "small" / "results.csv").open(newline="") as f:
        return list(csv.DictReader(f))


def test_a_run_pairs_every_method_with_vanillas_samples_of_its_seed(tmp_path: Path) -> None:
    metrics = ["paired_baseline", "attribute_drift"]
    tasks, seeds = [{"attributes": ["eyeglasses"]}], [0, 1]
    suite = small_suite(
        tmp_path, methods=TWO, tasks=tasks, seeds=seeds, features=["efficientnet_lite0"], metrics=metrics
    )
    whole = tmp_path / "whole"
    assert not run(read_suite(str(suite)), Options(whole, workers=1)).problems
    rows = written(whole)
    paired_baseline = [r for r in rows if r["metric"] == "paired_cosine_efficientnet_lite0"]
    assert {(r["method"], r["seed"]) for r in paired_baseline} == {(m["name"], s) for m in TWO for s in ("0", "1")}
    assert {r["value"] for r in paired_baseline if r["method"] == "vanilla"} == {"0.0"}
    features = {}
    for r in paired_baseline:
        shards = sorted(
            (whole / "store" / "features").glob(f"efficientnet*/samples/*/{r['sample_key']}/*/features.npy")
        )
        features[r["method"], r["seed"]] = np.concatenate([np.load(p) for p in shards]).astype(np.float64)
    for seed in ("0", "1"):
        want = cosine_distance(features["sample_guidance", seed], features["vanilla", seed]).mean()
        [row] = [r for r in paired_baseline if (r["method"], r["seed"]) == ("sample_guidance", seed)]
        assert float(row["value"]) == pytest.approx(want, rel=1e-9)
        assert float(row["value"]) > 0
    scopes = {r["scope"] for r in rows if r["metric"] == "drift_changed"}
    assert scopes == {"skin_tone", "facial_hair", "facial_hair+skin_tone"}

    alone = tmp_path / "alone"  # the paired baseline is sampled for it, and the numbers are the same
    assert not run(read_suite(str(suite)), Options(alone, workers=1, only={"method": {"sample_guidance"}})).problems
    assert written(alone) == [r for r in rows if r["method"] == "sample_guidance"]


def test_a_suite_without_vanilla_runs_and_says_why_there_is_no_distance(tmp_path: Path) -> None:
    suite = small_suite(
        tmp_path, methods=TWO[1:], tasks=[{"attributes": ["eyeglasses"]}], features=["efficientnet_lite0"],
        metrics=["paired_baseline", "attribute_drift"],
    )  # fmt: skip
    assert not run(read_suite(str(suite)), Options(tmp_path / "out", workers=1)).problems
    rows = written(tmp_path / "out")
    assert {r["metric"] for r in rows} == {"paired_cosine_efficientnet_lite0", "drift_changed", "drift_l2"}
    assert {(r["status"], r["value"]) for r in rows} == {("undefined", "")}
    assert all("the suite has no method vanilla" in r["reason"] for r in rows)


@pytest.mark.parametrize(("metric", "reads"), [("fairness_discrepancy", False), ("group_quality", True)])
def test_labels_of_references_are_read_only_for_metrics_that_need_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, metric: str, reads: bool
) -> None:
    read: list[str] = []
    labels = ImagesOnDemand.labels.fget

    def watched(data: ImagesOnDemand) -> Any:
        read.append(data.name)
        return labels(data)

    monkeypatch.setattr(ImagesOnDemand, "labels", property(watched))
    suite = small_suite(
        tmp_path, methods=TWO[:1], tasks=[{"attributes": ["eyeglasses"]}], features=["efficientnet_lite0"],
        references={"avatars-balanced": 40}, metrics=[metric],
    )  # fmt: skip
    assert not run(read_suite(str(suite)), Options(tmp_path / "out", workers=1)).problems
    assert bool(read) == reads


def test_what_metrics_need_is_on_their_cards() -> None:
    assert needs(("frechet", "fairness_discrepancy")) == set()
    assert needs(("group_quality", "paired_baseline", "attribute_drift", "downstream_accuracy")) == {
        "labels",
        "paired_baseline",
        "downstream",
    }


def test_the_paired_baseline_decides_the_scores_and_so_is_in_their_key(tmp_path: Path) -> None:
    sets = {"biased": "avatars-biased", "balanced": "avatars-balanced", "heldout": "avatars-heldout", "n": 200}
    common: dict[str, Any] = {"methods": TWO, "tasks": [{"attributes": ["eyeglasses"]}], "downstream": sets}
    metrics = ("paired_baseline", "downstream_accuracy")
    suite = read_suite(str(small_suite(tmp_path, metrics=list(metrics), **common)))
    plan = preflight(suite, Options(tmp_path / "out"))
    vanilla, guided = plan.jobs
    assert (
        guided.paired_baseline.sample_key
        == vanilla.paired_baseline.sample_key
        == vanilla.sample_key
        != guided.sample_key
    )
    other = replace(guided, paired_baseline=replace(guided.paired_baseline, sample_key="0" * 64))
    fewer_images = replace(guided.scoring, downstream=suite.downstream.model_copy(update={"n": 100}))
    fewer = replace(guided, scoring=fewer_images)
    keys = {scores_key(job, plan.context) for job in (guided, other, fewer)}
    assert len(keys) == 3
    plain = read_suite(str(small_suite(tmp_path, metrics=["fairness_discrepancy"], **common)))
    _, job = preflight(plain, Options(tmp_path / "out")).jobs
    assert (job.paired_baseline, job.scoring.downstream) == (None, None)
