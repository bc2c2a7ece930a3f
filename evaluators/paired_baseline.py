"""Distance to the paired baseline: the change of each image relative to vanilla's image from the same noise."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from bench.core.errors import Incompatible, Undefined
from bench.core.gaussian import LARGEST
from bench.protocols.evaluator import CHUNK, JACKKNIFE, NO_PAIRED_BASELINE, Column, MetricCard, Reference, Sample, Score
from evaluators.features.comparisons import Estimate, jackknifed, undefined
from evaluators.features.groups import groups_of, means

Floats = npt.NDArray[np.float64]
Features = npt.NDArray[np.floating]
ALL_EQUAL = "no interval: no pair differs"
MIN_N = 20  # pairs in which both images have features


def cosine_distance(a: Floats, b: Floats) -> Floats:
    """Return 1 - cos of the angle between rows, float64 [n] in [0, 2]; NaN for rows that are not finite or zero.

    Args:
        a: [n, d].
        b: [n, d].
    """
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        cosine = np.clip((a * b).sum(axis=1) / lengths, -1.0, 1.0)
    return np.where((a == b).all(axis=1) & (lengths > 0), 0.0, 1.0 - cosine)


def squared_distance(a: Floats, b: Floats) -> Floats:
    """Return ||a_i - b_i||^2 of rows, float64 [n], >= 0; NaN for rows with NaN.

    Args:
        a: [n, d].
        b: [n, d].
    """
    return np.asarray(((a - b) ** 2).sum(axis=1), dtype=np.float64)


@dataclass(frozen=True)
class Evaluator:
    """Mean distance of the samples from their paired baselines, for every extractor.

    Two distances: the cosine distance of features (with CLIP features, the change in meaning; Radford et al. 2021,
    arXiv 2103.00020); and the squared distance of the points of the extractor lpips, which is LPIPS (Zhang et al. 2018,
    arXiv 1801.03924, Eq. 1). Pairs in which either image has no features are left out, and n counts the remaining ones.

    Sample i of every method starts from the noise of sample i of vanilla. For a method that guides the sampling of the
    same network, the pair differs by the guidance alone. A method that trains another network starts from the same
    noise too, but another network generates another image from it even if trained on the same images: the distance of
    `dsm_obs`, which is trained on the biased images and does not debias, is the effect of training alone.

    >>> from bench.protocols.evaluator import Reference, Sample
    >>> x = np.tile([[1.0, 0.0], [0.0, 2.0]], (10, 1))
    >>> vanilla = Sample({}, {"toy": x}, np.full(20, -1))
    >>> y = np.tile([[3.0, 0.0], [1.0, 0.0]], (10, 1))
    >>> turned = Sample({}, {"toy": y}, np.full(20, -1), paired_baseline=vanilla)
    >>> [score] = Evaluator().evaluate(turned, Reference((), np.ones(1)))
    >>> print(score.metric, score.value)
    paired_cosine_toy 0.5
    """

    card: ClassVar[MetricCard] = MetricCard(
        summary="Mean distance of the images from those that vanilla generates from the same noise.",
        formula="mean over samples i of 1 - <f_i, g_i> / (|f_i| |g_i|), f_i the features of sample i and g_i those of "
        "its paired baseline; for LPIPS, mean of |phi_i - psi_i|^2, the points of the two.",
        source="Radford et al. 2021, arXiv 2103.00020 (cosine of CLIP embeddings); Zhang et al. 2018, arXiv "
        "1801.03924, Eq. 1 (LPIPS)",
        columns=(
            Column("paired_cosine_*", "lower", 0.0, 2.0, "1 - cosine", JACKKNIFE),
            Column("paired_distance_*", "lower", 0.0, math.inf, "LPIPS", JACKKNIFE),
        ),
        classifier="none",
        min_n=f"{MIN_N} pairs in which both images have features",
        bias="None: it is a mean over images.",
        interval="That of a mean of independent images, with the skewness of the distances. Measured at n = 20, 200 "
        "and 1,000: 94 to 97 % for lognormal distances of sigma 0.5, 1 and 1.5 and for squares of Student's t "
        "(Student's interval: 75 to 95 %), 95 to 99 % if 60 % of the images do not change. Vanilla has "
        "distance 0 from itself, without an interval; so has a method none of whose images changed.",
        limits="A method that does nothing has 0: read it together with the discrepancy. Images that change class must "
        "move; it does not distinguish necessary changes from others. For a method that trains another network it "
        "includes the effect of any training: dsm_obs shows how large that is.",
        needs=frozenset({"paired_baseline"}),
    )

    def evaluate(self, sample: Sample, reference: Reference) -> list[Score]:
        """Return `paired_cosine_<extractor>` of every extractor's features, then `paired_distance_<extractor>`.

        Args:
            sample: its `paired_baseline` has the same extractors' arrays, row by row.
            reference: not used.

        Raises:
            Incompatible: the paired baseline lacks an extractor's array, or some of its rows.
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
    try:
        with np.errstate(over="ignore", invalid="ignore"):  # a value that is not finite becomes undefined
            parts = [distance(_rows(array, start), _rows(paired_baseline, start)) for start in range(0, n, CHUNK)]
    except Undefined as error:
        return undefined(metric, "all", n, error)
    distances = np.concatenate([np.empty(0), *parts])
    rows = np.flatnonzero(~np.isnan(distances))
    distances = distances[rows]
    if rows.size < MIN_N:
        reason = f"needs {MIN_N} pairs or more in which both images have features, got {rows.size}"
        return Score(metric, "all", None, n=rows.size, status="undefined", reason=reason)
    if not distances.any():
        return Estimate(0.0, note=ALL_EQUAL).score(metric, "all", rows.size)
    groups = groups_of(sample.design, rows, few=False)
    largest = 2.0 if distance is cosine_distance else math.inf
    estimate = jackknifed(means(distances, groups), groups, 0.0, largest)
    return estimate.score(metric, "all", rows.size, groups.note)


def _rows(array: Features, start: int) -> Floats:
    """Return a chunk of rows.

    Raises:
        Undefined: an entry is infinite or too large; NaN means that an image has no features.
    """
    rows = np.asarray(array[start : start + CHUNK], dtype=np.float64)
    if (np.abs(rows) > LARGEST).any():
        raise Undefined(f"the features must be below {LARGEST:g}, whose square float64 holds, got larger or infinity")
    return rows
