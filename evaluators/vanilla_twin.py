"""Distance to the vanilla twin: how far a method moved each image from what the model makes of the same noise."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from bench.core.errors import Incompatible
from bench.core.stats import jackknife_interval
from bench.protocols.evaluator import CHUNK, JACKKNIFE, NO_TWIN, Card, Column, Reference, Sample, Score

Floats = npt.NDArray[np.float64]
Features = npt.NDArray[np.floating]
MIN_N = 20  # images of which both twins have features


def cosine_distance(a: Floats, b: Floats) -> Floats:
    """1 - cos of the angle between rows, float64 [n] in [0, 2]; NaN where a row is not finite or has no length.

    Args:
        a: [n, d].
        b: [n, d].
    """
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        cosine = np.clip((a * b).sum(axis=1) / lengths, -1.0, 1.0)
    return np.where((a == b).all(axis=1) & (lengths > 0), 0.0, 1.0 - cosine)


def squared_distance(a: Floats, b: Floats) -> Floats:
    """||a_i - b_i||^2 of rows, float64 [n] >= 0; NaN where a row has one.

    Args:
        a: [n, d].
        b: [n, d].
    """
    return np.asarray(((a - b) ** 2).sum(axis=1), dtype=np.float64)


@dataclass(frozen=True)
class Evaluator:
    """Mean distance of every sample from its twin, for every extractor.

    Two distances: of features, the cosine distance (with CLIP's features: how far the meaning moved; Radford et al.
    2021, arXiv 2103.00020); of the points of the extractor lpips, the squared distance, which is LPIPS (Zhang et al.
    2018, arXiv 1801.03924, Eq. 1). Samples of which either twin has no features are left out, and n counts the others.

    Sample i of every method begins from the noise of sample i of vanilla. A method that steers the sampling of the same
    network thus has twins that differ by the steering alone. A method that trains another network begins from the same
    noise too, but another network makes another image of it, were it trained on the same images: the distance of
    `dsm_obs`, which is trained on the biased images and debiases nothing, is what training alone comes to.

    >>> from bench.protocols.evaluator import Reference, Sample
    >>> x = np.tile([[1.0, 0.0], [0.0, 2.0]], (10, 1))
    >>> vanilla = Sample({}, {"toy": x}, np.full(20, -1))
    >>> turned = Sample({}, {"toy": np.tile([[3.0, 0.0], [1.0, 0.0]], (10, 1))}, np.full(20, -1), twin=vanilla)
    >>> [score] = Evaluator().evaluate(turned, Reference((), np.ones(1)))
    >>> print(score.metric, score.value)
    twin_cosine_toy 0.5
    """

    card: ClassVar[Card] = Card(
        summary="How far the images are, on average, from those that vanilla makes of the same noises.",
        formula="mean over samples i of 1 - <f_i, g_i> / (|f_i| |g_i|), f_i the features of sample i and g_i those of "
        "its twin; of LPIPS, mean of |phi_i - psi_i|^2, the points of the two",
        source="Radford et al. 2021, arXiv 2103.00020 (cosine of CLIP embeddings); Zhang et al. 2018, arXiv "
        "1801.03924, Eq. 1 (LPIPS)",
        columns=(
            Column("twin_cosine_*", "lower", 0.0, 2.0, "1 - cosine", JACKKNIFE),
            Column("twin_distance_*", "lower", 0.0, math.inf, "LPIPS", JACKKNIFE),
        ),
        judge="none",
        min_n=f"{MIN_N} images of which both twins have features",
        bias="none: a mean over images",
        interval="of a mean of independent images; vanilla itself is at 0 from itself, without width",
        limits="a method that does nothing is at 0: read it beside the discrepancy. Images that change class must "
        "move; it does not tell a needed change from another. Of a method that trains another network it also holds "
        "what any training changes: dsm_obs shows how much.",
        needs=frozenset({"twin"}),
    )

    def evaluate(self, sample: Sample, reference: Reference) -> list[Score]:
        """`twin_cosine_<extractor>` of every extractor's features, then `twin_distance_<extractor>` of points.

        Args:
            sample: its `twin` has the same extractors' arrays, row for row.
            reference: not looked at.

        Raises:
            Incompatible: the twin lacks an extractor's array, or its rows.
        """
        scores = []
        for name, array in sample.features.items():
            twin = None if sample.twin is None else sample.twin.features.get(name)
            scores.append(_score(f"twin_cosine_{name}", name, array, sample, twin, cosine_distance))
        for name, array in sample.perceptual.items():
            twin = None if sample.twin is None else sample.twin.perceptual.get(name)
            scores.append(_score(f"twin_distance_{name}", name, array, sample, twin, squared_distance))
        return scores


def _score(
    metric: str,
    name: str,
    array: Features,
    sample: Sample,
    twin: Features | None,
    distance: Callable[[Floats, Floats], Floats],
) -> Score:
    n = len(sample.preset)
    if sample.twin is None:
        return Score(metric, "all", None, n=n, status="undefined", reason=NO_TWIN)
    if twin is None or twin.shape != array.shape:
        got = "none" if twin is None else str(list(twin.shape))
        raise Incompatible(f"the twin must have features of {name} of shape {list(array.shape)}, got {got}")
    parts = [distance(_rows(array, start), _rows(twin, start)) for start in range(0, n, CHUNK)]
    found = np.concatenate([np.empty(0), *parts])
    found = found[np.isfinite(found)]
    if found.size < MIN_N:
        reason = f"needs {MIN_N} samples or more whose features and whose twin's are known, got {found.size}"
        return Score(metric, "all", None, n=found.size, status="undefined", reason=reason)
    value = float(found.mean())
    low, high = jackknife_interval(value, (found.sum() - found) / (found.size - 1))
    return Score(metric, "all", value, max(low, 0.0), high, found.size)


def _rows(array: Features, start: int) -> Floats:
    return np.asarray(array[start : start + CHUNK], dtype=np.float64)
