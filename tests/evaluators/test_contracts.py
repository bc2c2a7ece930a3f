"""The claims of every evaluator's card about its scores, measured on every evaluator."""

from __future__ import annotations

import ast
import contextlib
import math
import subprocess
import sys
from dataclasses import fields, replace
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.core import plugins
from bench.core.attributes import Attribute
from bench.core.errors import BenchError
from bench.protocols.evaluator import NO_INTERVAL, Column, Downstream, LabelledFeatures, Reference, Sample, Score
from evaluators import epsilon_fairness
from tests.support.sets import in_shards

NAMES = plugins.with_member("evaluator", "Evaluator")
GLASSES, HAIR = Attribute("eyeglasses", ("no", "yes")), Attribute("hair", ("short", "long"))
N, D = 240, 4
# What the value of these depends on besides the set of samples: an order, and so not tested for permutations.
ORDERED = {
    "epsilon_fairness": "the folds follow the order",
    "fd_infinity": "the groups that its windows are made of follow the order",
    "group_quality": "the first samples of a class are used",
    "downstream_accuracy": "its solver stops where it is near enough",
    "prompt_discrepancy": "a prompt's samples are those between two places",
    "prompt_alignment": "a prompt's samples are those between two places",
}


def real(rng: np.random.Generator, n: int) -> LabelledFeatures:
    """Images of two attributes, each of which moves the features."""
    labels = rng.integers(0, 2, (n, 2))
    features = rng.standard_normal((n, D))
    features[:, :2] += 1.5 * labels
    return LabelledFeatures({"net": features}, labels)


def reference(seed: int = 1) -> Reference:
    rng = np.random.default_rng(seed)
    labelled = real(rng, 200)
    sets = {"real": labelled.features["net"]}
    half = LabelledFeatures({"net": labelled.features["net"][:100]}, labelled.labels[:100])
    downstream = Downstream((GLASSES, HAIR), half, half, real(rng, 200))
    texts = {"net": dict.fromkeys("ab", np.array([1.0, 1.0, -1.0, -1.0]))}
    return Reference(
        (GLASSES,), np.full(2, 0.5), {"net": sets}, {"real": labelled.labels[:, :1]}, downstream=downstream, texts=texts
    )


def prediction(labels: np.ndarray) -> np.ndarray:
    return np.eye(2)[labels] * 0.8 + 0.1


def good(seed: int = 0, n: int = N) -> Sample:
    """Even classes, the reference's features, nothing that reveals the assigned class, and similar paired baselines."""
    rng = np.random.default_rng(seed)
    labelled = real(rng, n)
    labels, x = labelled.labels, labelled.features["net"]
    labels[:, 0] = rng.permutation(np.arange(n) % 2)
    classified = {a.name: prediction(labels[:, i]) for i, a in enumerate((GLASSES, HAIR))}
    paired_baseline = Sample(classified, {"net": x + 0.1}, np.full(n, -1), perceptual={"lpips": x + 0.1})
    return Sample(
        classified,
        {"net": x},
        rng.permutation(np.arange(n) % 2),
        confusion={GLASSES.name: np.array([[98, 2], [3, 97]])},
        detected={"net": np.ones(n)},
        other_classifiers={"second": classified},
        perceptual={"lpips": x},
        paired_baseline=paired_baseline,
        prompts={"a": slice(0, n // 2), "b": slice(n // 2, n)},
    )


def bad(seed: int = 0, n: int = N) -> Sample:
    """Worse than `good` in every respect that a metric of this project is about."""
    sample, rng = good(seed, n), np.random.default_rng(seed + 1)
    x = 0.1 * sample.features["net"] + 9.0
    x[:, 3] += 3 * sample.assigned_class
    classified = {a: prediction((rng.random(n) < 0.2).astype(int)) for a in sample.probabilities}
    another = {a: prediction((rng.random(n) < 0.5).astype(int)) for a in sample.probabilities}
    gone = {a: np.where(rng.random((n, 1)) < 0.05, np.nan, p) for a, p in classified.items()}
    return replace(
        sample,
        probabilities=gone,
        features={"net": x},
        detected={"net": (rng.random(n) < 0.7).astype(float)},
        other_classifiers={"second": another},
        perceptual={"lpips": x},
    )


def rebuilt(value: Any, change: Any) -> Any:
    """A copy of a sample with `change` applied to each of its arrays of n rows."""
    if isinstance(value, Sample):
        selected = ("confusion",)
        changed = {f.name: getattr(value, f.name) for f in fields(value)}
        return Sample(**{k: v if k in selected else rebuilt(v, change) for k, v in changed.items()})
    if isinstance(value, dict):
        return {k: rebuilt(v, change) for k, v in value.items()}
    return change(value) if isinstance(value, np.ndarray) else value


@pytest.fixture(autouse=True)
def _fewer_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    family = {k: v for k, v in epsilon_fairness.probes().items() if k in ("logistic_regression", "nearest_neighbours")}
    monkeypatch.setattr(epsilon_fairness, "probes", lambda: family)


def evaluate(name: str, sample: Sample, against: Reference | None = None) -> list[Score]:
    actual: list[Score] = plugins.load("evaluator", name, "Evaluator")().evaluate(sample, against or reference())
    return actual


def column_of(name: str, score: Score) -> Column:
    """The column of the evaluator's own card that a score belongs to: the longest pattern that fits."""
    fits = [
        c for c in plugins.load("evaluator", name, "Evaluator").card.columns if fnmatchcase(score.metric, c.pattern)
    ]
    assert fits, f"no column of the card of {name} is called {score.metric}"
    return max(fits, key=lambda c: len(c.pattern))


def check(name: str, scores: list[Score]) -> None:
    """Check what is true of every score for any samples."""
    for score in scores:
        column = column_of(name, score)
        if score.status != "ok":
            assert (score.status, score.value) == ("undefined", None)
            assert score.reason
            continue
        assert math.isfinite(score.value)
        assert column.low - 1e-9 <= score.value <= column.high + 1e-9, score
        refused = "no interval: " in score.reason  # where no method covers its truth, and the reason says why
        assert (score.ci_low is None) == (score.ci_high is None) == (column.interval == NO_INTERVAL or refused), score
        if score.ci_low is not None:
            assert score.ci_low <= score.value <= score.ci_high, score


def values(scores: list[Score]) -> list[float]:
    """Value, interval and noise floor of every score, NaN for what it has not."""
    return [math.nan if v is None else v for s in scores for v in (s.value, s.ci_low, s.ci_high, s.noise_floor)]


def test_no_two_cards_have_a_column_of_the_same_name() -> None:
    patterns = [c.pattern for name in NAMES for c in plugins.load("evaluator", name, "Evaluator").card.columns]
    assert len(patterns) == len(set(patterns))


def test_evaluators_use_the_storage_to_find_weights_only() -> None:
    """Everything else that they read is handed in, and they write nothing."""
    taken = set()
    for path in (plugins.ROOT / "evaluators").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("bench.storage"):
                taken |= {f"{node.module}.{alias.name}" for alias in node.names}
    assert taken <= {"bench.storage.files.cache_root", "bench.storage.hub.FileChoice", "bench.storage.hub.fetch"}


@pytest.mark.parametrize("name", ["attribute_cnn", "attribute_resnet", "clip", "clip_features", "efficientnet_lite0"])
def test_loading_an_extractor_leaves_the_global_generator_alone(name: str) -> None:
    before = torch.get_rng_state()
    plugins.load("evaluator", name, "Extractor")()
    assert torch.equal(torch.get_rng_state(), before)


def test_cards_are_read_without_torch() -> None:
    """Tables and comparisons of finished runs need the cards, and start quickly."""
    code = (
        "import sys; from bench.results.metric_info import metric; metric('fd_l1'); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=plugins.ROOT, check=True)


@pytest.mark.parametrize("name", NAMES)
def test_a_card_is_complete_and_every_column_is_used(name: str) -> None:
    card = plugins.load("evaluator", name, "Evaluator").card
    for text in (card.summary, card.formula, card.source, card.min_n, card.bias, card.interval, card.limits):
        assert text
        assert text == text.strip()
    scores = evaluate(name, good())
    check(name, scores)
    assert {column_of(name, s).pattern for s in scores if s.status == "ok"} == {c.pattern for c in card.columns}


@pytest.mark.parametrize("name", NAMES)
def test_what_is_worse_in_every_respect_scores_worse(name: str) -> None:
    better, worse = ({(s.metric, s.scope): s for s in evaluate(name, make(3))} for make in (good, bad))
    check(name, list(worse.values()))
    compared = 0
    for key in better.keys() & worse.keys():
        direction = column_of(name, better[key]).better
        first, second = better[key].value, worse[key].value
        if direction is not None and first is not None and second is not None:
            assert first < second if direction == "lower" else first > second, key
            compared += 1
    assert compared == len([s for s in better.values() if column_of(name, s).better is not None])


@pytest.mark.parametrize("name", NAMES)
def test_how_the_arrays_are_stored_changes_nothing(name: str) -> None:
    sample = bad(5)
    sharded: Sample = rebuilt(sample, lambda array: in_shards(array, 37))
    sharded = replace(sharded, assigned_class=sample.assigned_class)
    expected = evaluate(name, sample)
    actual = evaluate(name, sharded)
    assert [(s.metric, s.scope, s.n, s.status) for s in actual] == [
        (s.metric, s.scope, s.n, s.status) for s in expected
    ]
    assert values(actual) == pytest.approx(values(expected), rel=1e-7, abs=1e-9, nan_ok=True)


@pytest.mark.parametrize("name", NAMES)
def test_inputs_are_left_alone_and_the_same_samples_have_the_same_scores(name: str) -> None:
    def locked(array: np.ndarray) -> np.ndarray:
        array = array.copy()
        array.setflags(write=False)
        return array

    sample, against = rebuilt(good(2), locked), reference()
    evaluator = plugins.load("evaluator", name, "Evaluator")()
    first = evaluator.evaluate(sample, against)
    assert evaluator.evaluate(sample, against) == first == evaluate(name, sample, reference())


@pytest.mark.parametrize("n", [0, 1, 2, 19, 20])
@pytest.mark.parametrize("name", NAMES)
def test_few_samples_have_a_score_or_a_reason(name: str, n: int) -> None:
    with contextlib.suppress(BenchError):
        check(name, evaluate(name, good(4, n)))


@pytest.mark.parametrize("name", [n for n in NAMES if n not in ORDERED])
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_order_of_the_samples_changes_no_value(name: str, seed: int) -> None:
    sample = bad(seed % 1000, 60)
    order = np.random.default_rng(seed).permutation(60)
    expected, actual = evaluate(name, sample), evaluate(name, rebuilt(sample, lambda array: array[order]))
    check(name, expected)
    assert values(actual)[::4] == pytest.approx(values(expected)[::4], rel=1e-7, abs=1e-9, nan_ok=True)
    assert [s.n for s in actual] == [s.n for s in expected]


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), scale=st.floats(1e-3, 1e3), share=st.floats(0, 1))
def test_scores_and_intervals_stay_in_their_range(name: str, seed: int, scale: float, share: float) -> None:
    rng, sample = np.random.default_rng(seed), good(seed % 1000, 120)
    labels = (rng.random(120) < share).astype(int)
    classified = {a: np.where(rng.random((120, 1)) < 0.1, np.nan, prediction(labels)) for a in sample.probabilities}
    sample = replace(
        sample,
        probabilities=classified,
        features={"net": scale * (sample.features["net"] + rng.standard_normal(D))},
        detected={"net": labels.astype(float)},
    )
    check(name, evaluate(name, sample))
