"""Per-class quality: Frechet distance and coverage against the real images of the same class."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from bench.core.attributes import Attribute, joint_labels, product
from bench.core.errors import Undefined
from bench.core.gaussian import Gaussian, fit
from bench.core.intervals import jackknife_interval
from bench.protocols.evaluator import CHUNK, GROUP_JACKKNIFE, Column, MetricCard, Reference, Sample, Score
from evaluators.features.comparisons import Compared, checked, undefined
from evaluators.features.frechet_distance import GROUPS, MIN_N, replicated
from evaluators.features.neighbours import covered, nearest, nearest_across, radii
from evaluators.features.reference_cache import ReferenceCache
from evaluators.features.subset import subset

Floats = npt.NDArray[np.float64]
Features = npt.NDArray[np.floating]
Ints = npt.NDArray[np.int64]
K = 5  # the neighbour whose distance is a ball's radius
SHARE = 6  # a class is scored on 1 / SHARE of its even share of the samples
MAX_N = 10_000  # samples and real images per class that are used: the time of the coverage is quadratic in both
FRECHET, COVERAGE = "group_frechet", f"group_coverage_k{K}"


@dataclass(frozen=True)
class Reals:
    """The real images of a class.

    Attributes:
        features: float [m, d].
        fitted: their Gaussian fit.
        radii: float64 [m], squared distance of each to its 5th nearest neighbour.
    """

    features: Features
    fitted: Gaussian
    radii: Floats


def samples_per_class(n: int, n_classes: int) -> int:
    """Return the number of samples that each class is scored on; it depends on n and n_classes only."""
    return min(max(n // (SHARE * n_classes), MIN_N), MAX_N)


def classified(sample: Sample, attributes: tuple[Attribute, ...]) -> Ints:
    """Return the predicted joint class of every sample, int64 [n]; -1 where the attribute classifier abstained."""
    labels = np.empty(len(sample.assigned_class), dtype=np.int64)
    for start in range(0, len(labels), CHUNK):
        parts = [np.asarray(sample.probabilities[a.name][start : start + CHUNK]) for a in attributes]
        joint = joint_labels(np.stack([p.argmax(axis=1) for p in parts], axis=1), attributes)
        abstained = np.any([np.isnan(p).any(axis=1) for p in parts], axis=0)
        labels[start : start + CHUNK] = np.where(abstained, -1, joint)
    return labels


@dataclass(frozen=True)
class Evaluator:
    """Frechet distance and coverage of the samples of each predicted class against the real images of that class.

    Source: Heusel et al. 2017, arXiv 1706.08500, Eq. 6 (distance); Naeem et al. 2020, arXiv 2002.09797 (coverage, with
    5 neighbours). A pooled distance can be low although a rare class has poor quality; the worst class shows it.

    Both depend on the number of samples, which is what a debiasing method changes. So every class of every method is
    scored on the same number: its first n / (6 K) samples for K classes, at least 20 and at most 10,000. A class with
    fewer samples has no value, and then neither has the worst class. Likewise, each class is compared with the same
    number of real images, the first ones: as many as the smallest class of the set has (among those with 20 or more).
    So values can be compared between classes and between methods, but not with the pooled distance, whose n is larger.

    Classes are those of the attribute classifier: a misclassified sample counts in the wrong class, and one that it
    abstains on in none.

    >>> from bench.core.attributes import Attribute
    >>> rng = np.random.default_rng(0)
    >>> x, y = rng.standard_normal((60, 2)), np.arange(60) % 2
    >>> sample = Sample({"hair": np.eye(2)[y]}, {"toy": x + 3.0 * y[:, None]}, np.full(60, -1))
    >>> hair = Attribute("hair", ("no", "yes"))
    >>> target = Reference((hair,), np.full(2, 0.5), {"toy": {"real": x}}, {"real": y[:, None]})
    >>> for s in Evaluator().evaluate(sample, target)[:3]:
    ...     print(s.metric, s.scope, s.value < 5)
    group_frechet_toy hair=no to real True
    group_frechet_toy hair=yes to real False
    worst_group_frechet_toy hair to real False
    """

    card: ClassVar[MetricCard] = MetricCard(
        summary="Frechet distance and coverage of each class against its own real images, and of the worst class.",
        formula="frechet_* and coverage_k5_* of the samples that the attribute classifier assigns to a class against "
        "the real images of that class; worst_group_frechet is the largest over the classes, worst_group_coverage the "
        "smallest.",
        source="Heusel et al. 2017, arXiv 1706.08500, Eq. 6; Naeem et al. 2020, arXiv 2002.09797",
        columns=(
            Column(f"{FRECHET}_*", "lower", 0.0, math.inf, "squared units of the features", GROUP_JACKKNIFE),
            Column(f"worst_{FRECHET}_*", "lower", 0.0, math.inf, "squared units of the features", GROUP_JACKKNIFE),
            Column(f"{COVERAGE}_*", "higher", 0.0, 1.0, "share of the class's real images", GROUP_JACKKNIFE),
            Column(f"worst_{COVERAGE}_*", "higher", 0.0, 1.0, "share of the class's real images", GROUP_JACKKNIFE),
        ),
        classifier="each",
        min_n=f"n / ({SHARE} K) of each of K classes, at least {MIN_N}; as many real images of each",
        bias="That of the pooled forms: distances are too large by about c / n, coverage rises with n. So every class "
        f"of every method is scored on the same number, its first n / ({SHARE} K) samples, at least {MIN_N} and at "
        f"most {MAX_N:,}, against the same number of real images. Compare classes and methods with each other, not "
        "with the pooled distance, whose n is larger. The bias of the worst of several classes is larger than that of "
        "each.",
        interval="For the worst class, the worst is selected anew without each group. The reference is held fixed.",
        limits="The class that an image should have: a misclassified sample counts in the wrong class, and one that "
        "the classifier abstains on in none.",
        needs=frozenset({"labels"}),
    )
    _reals: ReferenceCache[Reals] = field(default_factory=ReferenceCache, init=False, repr=False, compare=False)

    def evaluate(self, sample: Sample, reference: Reference) -> list[Score]:
        """Return scores of every attribute and, if there are several, their joint, per extractor and labelled set.

        Returns:
            `group_frechet_<features>` with a scope such as "eyeglasses=present to SET", `worst_group_frechet_` with
            "eyeglasses to SET"; then the same for `group_coverage_k5_`.

        Raises:
            Incompatible: the samples lack an extractor's features.
            ConfigError: the widths of the features differ.
        """
        chosen: list[tuple[Attribute, ...]] = [(a,) for a in reference.attributes]
        if len(chosen) > 1:
            chosen.append(reference.attributes)
        scores = []
        for attributes in chosen:
            labels = classified(sample, attributes)
            for extractor, sets in reference.features.items():
                features = checked(sample, extractor, sets)
                for name, array in sets.items():
                    against = Compared(extractor, name, array)
                    real = _real_labels(reference, name, attributes)
                    scores += self._scores(product(attributes), features, labels, against, real)
        return scores

    def _scores(
        self, group: Attribute, features: Features, labels: Ints, against: Compared, real: Ints | None
    ) -> list[Score]:
        results: list[tuple[Floats, Floats] | Undefined] = []
        n = samples_per_class(len(labels), group.n_classes)
        for k in range(group.n_classes):
            try:
                results.append(self._class(group, k, features, np.flatnonzero(labels == k)[:n], against, real))
            except Undefined as error:
                results.append(error)
        return [*_column(FRECHET, 0, group, against, n, results), *_column(COVERAGE, 1, group, against, n, results)]

    def _class(
        self, group: Attribute, k: int, features: Features, index: Ints, against: Compared, real: Ints | None
    ) -> tuple[Floats, Floats]:
        """Return distance and coverage of a class, each followed by its jackknife replicates, float64 [1 + GROUPS]."""
        name = f"{group.name}={group.classes[k]}"
        if real is None:
            raise Undefined(f"the reference set {against.name} has no labels of {group.name}")
        n = samples_per_class(len(features), group.n_classes)
        if index.size < n:
            raise Undefined(f"needs {n} samples classified {name}, got {index.size}")
        reals = self._reals.get(
            (*against.key, name), against.array, lambda: _reals(against, _equally_many(real, group)[k], name)
        )
        selected = subset(features, index)
        near = nearest_across(reals.features, selected, GROUPS, reals.fitted.mean)
        return replicated(selected)(reals.fitted), covered(near, reals.radii)


def _real_labels(reference: Reference, name: str, attributes: tuple[Attribute, ...]) -> Ints | None:
    if name not in reference.labels:
        return None
    columns = [reference.attributes.index(a) for a in attributes]
    return joint_labels(reference.labels[name][:, columns], attributes)


def _equally_many(real: Ints, group: Attribute) -> list[Ints]:
    """Return the indices of the images of each class that are used, equally many of every class that has enough."""
    indices = [np.flatnonzero(real == k) for k in range(group.n_classes)]
    size = min([index.size for index in indices if index.size >= MIN_N], default=0)
    return [index[: min(size, MAX_N)] if index.size >= MIN_N else index for index in indices]


def _reals(against: Compared, index: Ints, name: str) -> Reals:
    if index.size < MIN_N:
        raise Undefined(f"needs {MIN_N} images of {name} in the reference set {against.name}, got {index.size}")
    features = subset(against.array, index)
    fitted = fit(features)
    return Reals(features, fitted, radii(nearest(features, K, 1, fitted.mean), K))


def _column(
    metric: str,
    which: int,
    group: Attribute,
    against: Compared,
    n: int,
    results: list[tuple[Floats, Floats] | Undefined],
) -> list[Score]:
    """Return the scores of one metric: every class, then the worst of them."""
    column, scores, values, missing = f"{metric}_{against.extractor}", [], [], None
    for name, pair in zip(group.classes, results, strict=True):
        scope = f"{group.name}={name} to {against.name}"
        if isinstance(pair, Undefined):
            scores.append(undefined(column, scope, n, pair))
            missing = missing or pair
        else:
            scores.append(_score(column, scope, pair[which], n))
            values.append(pair[which])
    worst, scope = f"worst_{column}", f"{group.name} to {against.name}"
    if missing is not None:
        return [*scores, undefined(worst, scope, n, missing)]
    pick = np.max if metric == FRECHET else np.min
    stacked = np.stack(values)
    last = group.classes[int((stacked[:, 0] if metric == FRECHET else -stacked[:, 0]).argmax())]
    return [*scores, _score(worst, scope, pick(stacked, axis=0), n, f"worst class: {last}")]


def _score(metric: str, scope: str, replicates: Floats, n: int, reason: str = "") -> Score:
    value, largest = float(replicates[0]), math.inf if FRECHET in metric else 1.0
    low, high = jackknife_interval(value, replicates[1:])
    return Score(metric, scope, value, max(low, 0.0), min(high, largest), n, reason=reason)
