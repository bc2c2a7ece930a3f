"""Shares of samples with a face: counts, Wilson's interval, and what has none."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binomtest

from bench.api import run_suite as run
from bench.config.suite import read_suite
from bench.core.errors import ConfigError
from bench.engine.options import Options
from bench.protocols.evaluator import Reference, Sample, Score
from evaluators import detection_rate
from evaluators.detection_rate import Evaluator
from tests.support.small import small_suite

NOWHERE = Reference((), np.ones(1))


def scores(n: int, **detected: np.ndarray) -> list[Score]:
    return Evaluator().evaluate(Sample({}, {}, np.full(n, -1), detected=detected), NOWHERE)


def found(count: int, n: int) -> np.ndarray:
    return np.random.default_rng(0).permutation(np.arange(n) < count).astype(np.float32)


@pytest.mark.parametrize(("count", "n"), [(0, 5), (7, 10), (40, 40)])
def test_the_share_and_scipys_wilson_interval(count: int, n: int) -> None:
    (score,) = scores(n, toy=found(count, n))
    theirs = binomtest(count, n).proportion_ci(0.95, method="wilson")
    assert (score.metric, score.scope, score.n, score.status) == ("detection_rate_toy", "all", n, "ok")
    assert score.value == count / n
    assert (score.ci_low, score.ci_high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_every_detector_has_a_score_of_its_own() -> None:
    assert [(s.metric, s.value) for s in scores(10, a=found(3, 10), b=found(9, 10))] == [
        ("detection_rate_a", 0.3),
        ("detection_rate_b", 0.9),
    ]


def test_chunks_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    array = found(13, 50)
    before = scores(50, toy=array)
    monkeypatch.setattr(detection_rate, "CHUNK", 7)
    assert scores(50, toy=array) == before


@pytest.mark.parametrize(
    ("n", "detected", "reason"), [(4, {}, "no extractor detects faces"), (0, {"toy": np.empty(0)}, "got 0")]
)
def test_no_detector_or_no_sample_is_undefined(n: int, detected: dict[str, np.ndarray], reason: str) -> None:
    (score,) = scores(n, **detected)
    assert (score.status, score.value) == ("undefined", None)
    assert reason in score.reason


def test_mistakes_are_named() -> None:
    with pytest.raises(ConfigError, match=r"shape \[3\], one per sample, got \[2\]"):
        scores(3, toy=np.ones(2))
    with pytest.raises(ConfigError, match=r"must be 0 or 1, got 0\.5"):
        scores(2, toy=np.array([1.0, 0.5]))
    with pytest.raises(ConfigError, match="got nan"):
        scores(2, toy=np.array([1.0, np.nan]))


def test_a_suite_counts_the_faces_of_its_samples(tmp_path: Path) -> None:
    """Noise of an untrained model holds no face; facenet gives no features then, and Frechet has nothing to compare."""
    suite = small_suite(
        tmp_path,
        features=["facenet"],
        references={"avatars-heldout": 25},
        metrics=["detection_rate", "abstained_share", "frechet"],
        methods=[{"name": "vanilla"}],
        tasks=[{"attributes": ["eyeglasses"]}],
    )
    outcome = run(read_suite(str(suite)), Options(tmp_path / "out", workers=1))
    assert not outcome.problems
    with (tmp_path / "out" / "small" / "results.csv").open() as f:
        rows = [row for row in csv.DictReader(f) if row["metric"] in ("detection_rate_facenet", "abstained_share")]
    assert [(row["metric"], row["scope"], float(row["value"]), row["n"]) for row in rows] == [
        ("detection_rate_facenet", "all", 0.0, "25"),
        ("abstained_share", "eyeglasses", 0.0, "25"),
    ]
