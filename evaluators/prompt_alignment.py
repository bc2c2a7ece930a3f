"""CLIP score: similarity of each image to the text of its prompt."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from bench.core.design import MIN_BATCHES
from bench.core.errors import ConfigError
from bench.core.gaussian import LARGEST
from bench.core.intervals import skewed_interval
from bench.protocols.evaluator import CHUNK, JACKKNIFE, Column, MetricCard, Reference, Sample, Score
from evaluators.features.comparisons import NO_SPREAD, Estimate
from evaluators.features.groups import FEW_BATCHES

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
MIN_N = 2  # images per prompt: one image has no variance
INTERVAL_N = 10  # images in all that an interval needs: 2 each of 2 prompts cover 82 %
NO_PROMPTS = "the suite has no prompts; name a prompt set with its key `prompts`"
NO_READER = "no extractor of the suite reads texts; add clip_features to its features"


def clip_scores(features: npt.NDArray[np.floating], text: npt.NDArray[np.floating]) -> Floats:
    """Return 100 max(cos(image, text), 0) of every image, float64 [n] in [0, 100].

    Source: Hessel et al. 2021, arXiv 2104.08718, eq. 1, with 100 instead of w = 2.5.

    Args:
        features: image embeddings [n, d]; the score of a zero embedding, or one above 1e150, is NaN.
        text: embedding [d] of the text.
    """
    x, y = np.asarray(features, dtype=np.float64), np.asarray(text, dtype=np.float64)
    x = np.where(np.abs(x) > LARGEST, np.nan, x)
    with np.errstate(invalid="ignore", divide="ignore"):
        cosine = x @ y / (np.linalg.norm(x, axis=1) * np.linalg.norm(y))
    return np.asarray(100 * np.maximum(cosine, 0.0))


class Evaluator:
    """Mean CLIP score of each prompt's images with its text, and of all images with the texts of their prompts.

    Source: Hessel et al. 2021, arXiv 2104.08718.

    >>> from bench.protocols.evaluator import Reference, Sample
    >>> images = np.array([[3.0, 0.0], [0.0, 2.0], [1.0, 1.0], [2.0, 2.0]])
    >>> sample = Sample({}, {"clip": images}, np.full(4, -1), prompts={"a": slice(0, 2), "b": slice(2, 4)})
    >>> texts = {"clip": {"a": np.array([1.0, 0.0]), "b": np.array([0.5, 0.5])}}
    >>> for score in Evaluator().evaluate(sample, Reference((), np.array([1.0]), texts=texts)):
    ...     print(score.metric, score.scope, round(score.value))
    clip_score_clip all 75
    clip_by_prompt_clip all at a 50
    clip_by_prompt_clip all at b 100
    """

    card: ClassVar[MetricCard] = MetricCard(
        summary="Similarity of images to the text of their prompt: the mean cosine of their embeddings, times 100.",
        formula="CLIP score = 100 max(cos(i, t), 0) of an image's embedding i and the embedding t of its prompt's "
        "text, both of the image-text model that the column names; clip_score_* is the mean over all images, "
        "clip_by_prompt_* that over the images of one prompt. Hessel et al. use w = 2.5 instead of 100: their score is "
        "1/40 of this one.",
        source="Hessel et al. 2021, arXiv 2104.08718, eq. 1",
        columns=(
            Column("clip_score_*", "higher", 0.0, 100.0, "hundredths of a cosine", JACKKNIFE),
            Column("clip_by_prompt_*", "higher", 0.0, 100.0, "hundredths of a cosine", JACKKNIFE),
        ),
        classifier="none",
        min_n=f"{MIN_N} of each prompt",
        bias="None: it is a mean over images. The prompts are held fixed.",
        interval="Leaves out one image at a time within its prompt, which for a mean is the normal interval of a "
        "stratified sample, with Student's t of n minus the number of prompts degrees of freedom: different means of "
        f"the prompts do not widen it. It needs {INTERVAL_N} images. Measured: 95 % at n = 200 and 1,000.",
        limits="The quality of an image, and whether it shows the class that a method conditions on: the text is the "
        "prompt without the phrase of a class. Values of different models or of different prompts are not comparable. "
        "A text longer than the model's context is cut there.",
        needs=frozenset({"texts"}),
    )

    def evaluate(self, sample: Sample, reference: Reference) -> list[Score]:
        """Return scores of every extractor that reads texts: over all images, then of each prompt in order.

        Args:
            sample: its `prompts` are rows of its `features`.
            reference: its `texts` are the embeddings of the prompts' texts.

        Returns:
            Scores; a single undefined "clip_score_none" if the suite has no prompts or no extractor that reads texts.

        Raises:
            ConfigError: an extractor's texts are of another width than its features, or lack a prompt.
        """
        if not sample.prompts or not reference.texts:
            reason = NO_READER if sample.prompts else NO_PROMPTS
            n = len(sample.assigned_class)
            return [Score("clip_score_none", "all", None, n=n, status="undefined", reason=reason)]
        return [score for name, texts in reference.texts.items() for score in _scores(name, texts, sample)]


def _scores(name: str, texts: Mapping[str, npt.NDArray[np.floating]], sample: Sample) -> list[Score]:
    features = sample.features[name]
    if set(texts) != set(sample.prompts) or any(text.shape != features.shape[1:] for text in texts.values()):
        raise ConfigError(
            f"{name} must have a text of width {features.shape[1]} for each of {', '.join(sample.prompts)}, got "
            f"{ {prompt: list(text.shape) for prompt, text in texts.items()} }; take images and texts of one model"
        )
    scores = [_walked(features, rows, texts[prompt]) for prompt, rows in sample.prompts.items()]
    batches = None
    if sample.design is not None and sample.design.batches is not None:
        batches = [sample.design.batches[rows] for rows in sample.prompts.values()]
    by_prompt = [
        _mean(f"clip_by_prompt_{name}", f"all at {prompt}", [scores[i]], batches and [batches[i]])
        for i, prompt in enumerate(sample.prompts)
    ]
    return [_mean(f"clip_score_{name}", "all", scores, batches), *by_prompt]


def _walked(features: npt.NDArray[np.floating], rows: slice, text: npt.NDArray[np.floating]) -> Floats:
    starts = range(rows.start, rows.stop, CHUNK)
    chunks = [clip_scores(features[i : min(i + CHUNK, rows.stop)], text) for i in starts]
    return np.concatenate([np.empty(0), *chunks])


def _mean(metric: str, scope: str, strata: list[Floats], batches: list[Ints] | None) -> Score:
    """Return the mean over all rows of the strata, with the interval of a stratified sample.

    Args:
        metric: name of the score.
        scope: what it is computed over.
        strata: CLIP scores of each prompt's images.
        batches: guidance batch of each prompt's images; None for independent images.
    """
    n = sum(map(len, strata))
    fewest = min(map(len, strata))
    if fewest < MIN_N:
        reason = f"needs {MIN_N} images or more per prompt, got {fewest}"
        return Score(metric, scope, None, n=n, status="undefined", reason=reason)
    if not all(np.isfinite(rows).all() for rows in strata):
        reason = "an embedding is of length 0, or holds NaN, infinity or numbers above 1e150"
        return Score(metric, scope, None, n=n, status="undefined", reason=reason)
    value, note = float(np.concatenate(strata).mean()), ""
    units = [rows / n for rows in strata]
    if batches is not None:
        sums = [np.bincount(np.unique(b, return_inverse=True)[1], u) for b, u in zip(batches, units, strict=True)]
        if sum(map(len, sums)) - len(sums) >= MIN_BATCHES - 1 and min(map(len, sums)) >= MIN_N:
            units = [np.asarray(u, dtype=np.float64) for u in sums]
        else:
            note = FEW_BATCHES
    if n < INTERVAL_N:
        return Estimate(value, note=f"no interval: it needs {INTERVAL_N} images").score(metric, scope, n, note)
    # Deviations whose squares sum to the variance of the mean: sum over strata of m / (m - 1) sum (u - mean u)^2.
    deviations = np.concatenate([math.sqrt(u.size / (u.size - 1)) * (u - u.mean()) for u in units])
    error = math.sqrt(float((deviations**2).sum()))
    if error == 0.0:
        return Estimate(value, note=NO_SPREAD).score(metric, scope, n, note)
    skewness = float(((deviations / error) ** 3).sum()) * math.sqrt(deviations.size)
    low, high = skewed_interval(value, error, skewness, deviations.size, deviations.size - len(units))
    return Estimate(value, max(0.0, low), min(100.0, high)).score(metric, scope, n, note)
