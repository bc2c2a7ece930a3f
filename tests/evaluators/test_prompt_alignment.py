"""CLIP score: planted embeddings, the formula by hand as torchmetrics has it, and its interval."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats as scipy_stats

from bench.core.attributes import Attribute
from bench.core.errors import ConfigError
from bench.core.intervals import jackknife_interval
from bench.protocols.evaluator import Reference, Sample, Score
from evaluators.clip_features import Extractor
from evaluators.prompt_alignment import Evaluator, clip_scores

PROMPTS = {"a": slice(0, 40), "b": slice(40, 100)}
NOTHING: tuple[Attribute, ...] = ()


def scores(
    features: np.ndarray, texts: dict[str, np.ndarray], prompts: dict[str, slice]
) -> dict[tuple[str, str], Score]:
    sample = Sample({}, {"clip": features}, np.full(len(features), -1), prompts=prompts)
    actual = Evaluator().evaluate(sample, Reference(NOTHING, np.array([1.0]), texts={"clip": texts}))
    return {(score.metric, score.scope): score for score in actual}


def test_planted_angles_give_their_cosines_whatever_the_lengths() -> None:
    angles = np.radians([0, 60, 90, 180])
    images = np.stack([np.cos(angles), np.sin(angles)], axis=1) * np.array([[1], [5], [0.1], [30]])
    assert clip_scores(images, np.array([7.0, 0.0])) == pytest.approx([100.0, 50.0, 0.0, 0.0], abs=1e-9)


def test_each_image_is_held_against_its_own_text() -> None:
    features = np.repeat([[1.0, 0.0], [0.0, 1.0]], [40, 60], axis=0)
    embeddings = {"a": np.array([2.0, 0.0]), "b": np.array([1.0, 1.0])}
    actual = scores(features, embeddings, PROMPTS)
    assert actual["clip_by_prompt_clip", "all at a"].value == pytest.approx(100.0)
    assert actual["clip_by_prompt_clip", "all at b"].value == pytest.approx(100 / math.sqrt(2))
    assert actual["clip_score_clip", "all"].value == pytest.approx((40 * 100 + 60 * 100 / math.sqrt(2)) / 100)
    assert [actual[key].n for key in actual] == [100, 40, 60]
    swapped = scores(features, {"a": embeddings["b"], "b": embeddings["a"]}, PROMPTS)
    assert swapped["clip_by_prompt_clip", "all at b"].value == pytest.approx(0.0)


def test_it_is_torchmetrics_formula_on_the_embedded_model() -> None:
    """torchmetrics' CLIPScore: normalise both, 100 times the row-wise product, mean, and no less than 0."""
    extractor = Extractor()
    images = torch.randint(0, 256, (6, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    message = ["a face with glasses", "a face without glasses"]
    features, texts = extractor.extract(images)["features"], extractor.embed_texts(message)
    a, b = torch.from_numpy(np.asarray(features)), torch.from_numpy(np.repeat(texts, [2, 4], axis=0))
    a, b = a / a.norm(p=2, dim=-1, keepdim=True), b / b.norm(p=2, dim=-1, keepdim=True)
    theirs = 100 * (a * b).sum(dim=-1)
    actual = scores(features, dict(zip("ab", texts, strict=True)), {"a": slice(0, 2), "b": slice(2, 6)})
    assert float(theirs.min()) > 0  # nothing is clipped, so the means are the same thing
    assert actual["clip_score_clip", "all"].value == pytest.approx(float(theirs.mean()), rel=1e-5)
    assert actual["clip_by_prompt_clip", "all at b"].value == pytest.approx(float(theirs[2:].mean()), rel=1e-5)
    by_torch = 100 * torch.nn.functional.cosine_similarity(torch.from_numpy(features), b, dim=-1)
    assert torch.allclose(by_torch, theirs, rtol=1e-5)


def test_the_interval_of_one_prompt_is_the_jackknifes_and_that_of_all_is_stratified() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal([3.0, 0.0], 1.0, (100, 2))
    features[40:] = rng.normal([0.0, 5.0], 1.0, (60, 2))
    texts = {"a": np.array([1.0, 0.0]), "b": np.array([1.0, 1.0])}
    actual = scores(features, texts, PROMPTS)
    rows = {name: clip_scores(features[prompt_rows], texts[name]) for name, prompt_rows in PROMPTS.items()}
    result = actual["clip_by_prompt_clip", "all at a"]
    total, n = rows["a"].sum(), len(rows["a"])
    expected = jackknife_interval(total / n, (total - rows["a"]) / (n - 1))
    assert (result.ci_low, result.ci_high) == pytest.approx((max(expected[0], 0.0), min(expected[1], 100.0)))
    error = math.sqrt(sum(len(r) * r.var(ddof=1) for r in rows.values())) / 100
    score = actual["clip_score_clip", "all"]
    assert score.ci_high is not None
    assert score.value is not None
    assert score.ci_low is not None
    short = min(score.ci_high - score.value, score.value - score.ci_low)  # the other side is widened for skewness
    assert short == pytest.approx(scipy_stats.t.ppf(0.975, 98) * error)
    assert error < np.concatenate(list(rows.values())).std(ddof=1) / 10  # the prompts' difference is no chance


def test_it_walks_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    features = rng.normal(size=(100, 4))
    texts = {name: rng.normal(size=4) for name in PROMPTS}
    whole = scores(features, texts, PROMPTS)
    monkeypatch.setattr("evaluators.prompt_alignment.CHUNK", 7)
    assert scores(features, texts, PROMPTS) == whole


def test_what_has_no_value_says_why() -> None:
    features = np.ones((4, 2))
    for prompts, texts, reason in (({}, {}, "has no prompts"), ({"a": slice(0, 4)}, {}, "no extractor of the suite")):
        sample = Sample({}, {"clip": features}, np.full(4, -1), prompts=prompts)
        (score,) = Evaluator().evaluate(sample, Reference(NOTHING, np.array([1.0]), texts=texts))
        assert (score.status, score.value, score.n) == ("undefined", None, 4)
        assert reason in score.reason
    result = scores(features, {"a": np.ones(2), "b": np.ones(2)}, {"a": slice(0, 3), "b": slice(3, 4)})
    assert result["clip_score_clip", "all"].reason == "needs 2 images or more per prompt, got 1"
    assert result["clip_by_prompt_clip", "all at a"].status == "ok"
    blank = scores(np.zeros((4, 2)), {"a": np.ones(2)}, {"a": slice(0, 4)})
    assert blank["clip_score_clip", "all"].status == "undefined"


@pytest.mark.parametrize("texts", [{"a": np.ones(3)}, {"b": np.ones(2)}])
def test_texts_of_another_model_or_prompt_are_refused(texts: dict[str, np.ndarray]) -> None:
    with pytest.raises(ConfigError, match="must have a text of width 2 for each of a"):
        scores(np.ones((4, 2)), texts, {"a": slice(0, 4)})
