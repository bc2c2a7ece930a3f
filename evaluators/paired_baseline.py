"""Distance to the vanilla paired_baseline: how far a method moved each image from what the model makes of the same noise."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from bench.core.errors import Incompatible
from bench.core.stats import jackknife_interval
from bench.protocols.evaluator import CHUNK, JACKKNIFE, NO_PAIRED_BASELINE, Card, Column, Reference, Sample, Score

Floats = npt.NDArray[np.float64]
Features = npt.NDArray[np.floating]
MIN_N = 20  # images of which both paired baselines have features


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
    """Mean distance of every sample from its paired baseline, for every extractor.

    Two distances: of features, the cosine distance (with CLIP's features: how far the meaning moved; Radford et al.
    2021, arXiv 2103.00020); of the points of the extractor lpips, the squared distance, which is LPIPS (Zhang et al.
    2018, arXiv 1801.03924, Eq. 1). Samples of which either paired baseline has no features are left out, and n counts
    the others.

    Sample i of every method begins from the noise of sample i of vanilla. A method that steers the sampling of the same
    network thus has paired baselines that differ by the steering alone. A method that trains another network begins
    from the same noise too, but another network makes another image of it, were it trained on the same images: the
    distance of
    `dsm_obs`, which is trained on the biased images and debiases nothing, is what training alone comes to.

    >>> from bench.protocols.evaluator import Reference, Sample
    >>> x = np.tile([[1.0, 0.0], [0.0, 2.0]], (10, 1))
    >>> vanilla = Sample({}, {"toy": x}, np.full(20, -1))
    >>> turned = Sample({}, {"toy": np.tile([[3.0, 0.0], [1.0, 0.0]], (10, 1))}, np.full(20, -1), paired_baseline=vanilla)
    >>> [score] = Evaluator().evaluate(turned, Reference((), np.ones(1)))
    >>> print(score.metric, score.value)
    paired_cosine_toy 0.5
    """

    card: ClassVar[Card] = Card(
        summary="How far the images are, on average, from those that vanilla makes of the same noises.",
        formula="mean over samples i of 1 - <f_i, g_i> / (|f_i| |g_i|), f_i the features of sample i and g_i those of "
        "its paired baseline; of LPIPS, mean of |phi_i - psi_i|^2, the points of the two",
        source="Radford et al. 2021, arXiv 2103.00020 (cosine of CLIP embeddings); Zhang et al. 2018, arXiv "
        "1801.03924, Eq. 1 (LPIPS)",
        columns=(
            Column("paired_cosine_*", "lower", 0.0, 2.0, "1 - cosine", JACKKNIFE),
            Column("paired_distance_*", "lower", 0.0, math.inf, "LPIPS", JACKKNIFE),
        ),
        classifier="none",
        min_n=f"{MIN_N} images of which both paired baselines have features",
        bias="none: a mean over images",
        interval="of a mean of independent images; vanilla itself is at 0 from itself, without width",
        limits="a method that does nothing is at 0: read it beside the discrepancy. Images that change class must "
        "move; it does not tell a needed change from another. Of a method that trains another network it also holds "
        "what any training changes: dsm_obs shows how much.",
        needs=frozenset({"paired_baseline"}),
    )

    def evaluate(self, sample: Sample, reference: Reference) -> list[Score]:
        """`paired_cosine_<extractor>` of every extractor's features, then `paired_distance_<extractor>` of points.

        Args:
            sample: its `paired_baseline` has the same extractors' arrays, row for row.
            reference: not looked at.

        Raises:
            Incompatible: the paired baseline lacks an extractor's array, or its rows.
        """
        scores = []
        for name, array in sample.features.items():
            paired_baseline = None if sample.paired_baseline is None else sample.paired_baseline.features.get(name)
            scores.append(_score(f"paired_cosine_{name}", name, array, sample, paired_baseline, cosine_distance))
        for name, array in sample.perceptual.items():
            paired_baseline = None if sample.paired_baseline is None else sample.paired_baseline.perceptual.get(name)
            scores.append(_score(f"paired_distance_{name}", name, array, sample, paired_baseline, squared_distance))
        return scores


def _score(
    metric: str,
    name: str,
    array: Features,
    sample: Sample,
    paired_baseline: Features | None,
    distance: Callable[[Floats, Floats], Floats],
) -> Score:
    n = len(sample.assigned_class)
    if sample.paired_baseline is None:
        return Score(metric, "all", None, n=n, status="undefined", reason=NO_PAIRED_BASELINE)
    if paired_baseline is None or paired_baseline.shape != array.shape:
        got = "none" if paired_baseline is None else str(list(paired_baseline.shape))
        raise Incompatible(f"the paired baseline must have features of {name} of shape {list(array.shape)}, got {got}")
    parts = [distance(_rows(array, start), _rows(paired_baseline, start)) for start in range(0, n, CHUNK)]
    found = np.concatenate([np.empty(0), *parts])
    found = found[np.isfinite(found)]
    if found.size < MIN_N:
        reason = f"needs {MIN_N} samples or more whose features and whose paired_baseline's are known, got {found.size}"
        return Score(metric, "all", None, n=found.size, status="undefined", reason=reason)
    value = float(found.mean())
    low, high = jackknife_interval(value, (found.sum() - found) / (found.size - 1))
    return Score(metric, "all", value, max(low, 0.0), high, found.size)


def _rows(array: Features, start: int) -> Floats:
    return np.asarray(array[start : start + CHUNK], dtype=np.float64)
