"""Samples and a reference for the checks of metrics: two attributes, four features, a second classifier, prompts."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import fields

import numpy as np
import numpy.typing as npt

from bench.core.attributes import Attribute
from bench.protocols.evaluator import Downstream, LabelledFeatures, Reference, Sample
from bench.storage.store import Rows

GLASSES, HAIR = Attribute("eyeglasses", ("no", "yes")), Attribute("hair", ("short", "long"))
N, D = 240, 4
Array = npt.NDArray[np.generic]


def real(rng: np.random.Generator, n: int) -> LabelledFeatures:
    """Return n images of two attributes, each of which moves the features."""
    labels = rng.integers(0, 2, (n, 2))
    features = rng.standard_normal((n, D))
    features[:, :2] += 1.5 * labels
    return LabelledFeatures({"net": features}, labels)


def reference(seed: int = 1) -> Reference:
    """Return a uniform target for eyeglasses, with one reference set, downstream sets and embeddings of two prompts."""
    rng = np.random.default_rng(seed)
    labelled = real(rng, 200)
    sets = {"real": labelled.features["net"]}
    half = LabelledFeatures({"net": labelled.features["net"][:100]}, labelled.labels[:100])
    downstream = Downstream((GLASSES, HAIR), half, half, real(rng, 200))
    texts = {"net": dict.fromkeys("ab", np.array([1.0, 1.0, -1.0, -1.0]))}
    return Reference(
        (GLASSES,), np.full(2, 0.5), {"net": sets}, {"real": labelled.labels[:, :1]}, downstream=downstream, texts=texts
    )


def prediction(labels: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return probabilities [n, 2] of a classifier that is sure of these labels [n]."""
    return np.eye(2)[labels] * 0.8 + 0.1


def good(seed: int = 0, n: int = N) -> Sample:
    """Return even classes, the reference's features, uninformative assigned classes, and similar paired baselines."""
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
    """Return samples that are worse than `good` in every respect that a metric of the bench is about."""
    sample, rng = good(seed, n), np.random.default_rng(seed + 1)
    x = 0.1 * sample.features["net"] + 9.0
    x[:, 3] += 3 * sample.assigned_class
    classified = {a: prediction((rng.random(n) < 0.2).astype(int)) for a in sample.probabilities}
    another = {a: prediction((rng.random(n) < 0.5).astype(int)) for a in sample.probabilities}
    gone = {a: np.where(rng.random((n, 1)) < 0.05, np.nan, p) for a, p in classified.items()}
    return dataclasses.replace(
        sample,
        probabilities=gone,
        features={"net": x},
        detected={"net": (rng.random(n) < 0.7).astype(float)},
        other_classifiers={"second": another},
        perceptual={"lpips": x},
    )


def scattered(seed: int, scale: float, share: float) -> Sample:
    """Return 120 samples of which a share has a class, with features of a scale, and some without a prediction."""
    rng, sample = np.random.default_rng(seed), good(seed % 1000, 120)
    labels = (rng.random(120) < share).astype(int)
    classified = {a: np.where(rng.random((120, 1)) < 0.1, np.nan, prediction(labels)) for a in sample.probabilities}
    return dataclasses.replace(
        sample,
        probabilities=classified,
        features={"net": scale * (sample.features["net"] + rng.standard_normal(D))},
        detected={"net": labels.astype(float)},
    )


def rebuilt(sample: Sample, change: Callable[[Array], object]) -> Sample:
    """Return a copy of a sample with `change` applied to each of its arrays of n rows."""
    values = {f.name: getattr(sample, f.name) for f in fields(Sample) if f.name != "confusion"}
    return Sample(**{k: _changed(v, change) for k, v in values.items()}, confusion=sample.confusion)  # type: ignore[arg-type]


def _changed(value: object, change: Callable[[Array], object]) -> object:
    if isinstance(value, Sample):
        return rebuilt(value, change)
    if isinstance(value, Mapping):
        return {k: _changed(v, change) for k, v in value.items()}
    return change(value) if isinstance(value, np.ndarray) else value


def in_shards(sample: Sample, size: int) -> Sample:
    """Return the same rows as the store hands them over: in parts of `size`, read by slices alone."""

    def cut(array: Array) -> Rows:
        return Rows([array[i : i + size] for i in range(0, len(array), size)])

    return dataclasses.replace(rebuilt(sample, cut), assigned_class=sample.assigned_class)


def locked(sample: Sample) -> Sample:
    """Return a copy whose arrays cannot be written to."""

    def lock(array: Array) -> Array:
        copy = array.copy()
        copy.setflags(write=False)
        return copy

    return rebuilt(sample, lock)
