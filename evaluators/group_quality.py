"""Quality of each class by itself: Frechet distance and coverage against the real images of that class."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from bench.core.attributes import Attribute, joint_labels, product
from bench.core.errors import Undefined
from bench.core.gaussian import Gaussian
from bench.core.stats import jackknife_interval
from bench.protocols.evaluator import CHUNK, GROUP_JACKKNIFE, Card, Column, Reference, Sample, Score
from evaluators.features.frechet_distance import GROUPS, MIN_N, replicated
from evaluators.features.gaussian import fit
from evaluators.features.kept import Kept
from evaluators.features.neighbours import covered, nearest, nearest_across, radii
from evaluators.features.subset import subset
from evaluators.features.walk import Compared, checked, undefined

Floats = npt.NDArray[np.float64]
Features = npt.NDArray[np.floating]
Ints = npt.NDArray[np.int64]
K = 5  # the neighbour whose distance is a ball's radius
SHARE = 6  # a class is scored on this part of its even share of the samples
MAX_N = 10_000  # samples and real images of a class that are used: the time of the coverage is quadratic in both
FRECHET, COVERAGE = "group_frechet", f"group_coverage_k{K}"


@dataclass(frozen=True)
class Reals:
    """The real images of a class.

    Attributes:
        features: float [m, d].
        fitted: their Gaussian fit.
        radii: float64 [m], squared distance of each to its 5th nearest other.
    """

    features: Features
    fitted: Gaussian
    radii: Floats


def samples_a_class(n: int, n_classes: int) -> int:
    """How many samples each of n_classes is scored on, whatever the method made of the n samples."""
    return min(max(n // (SHARE * n_classes), MIN_N), MAX_N)


def classified(sample: Sample, attributes: tuple[Attribute, ...]) -> Ints:
    """The classifier's class of the joint of some attributes for every sample, int64 [n]; -1 where it abstained."""
    labels = np.empty(len(sample.assigned_class), dtype=np.int64)
    for start in range(0, len(labels), CHUNK):
        parts = [np.asarray(sample.probabilities[a.name][start : start + CHUNK]) for a in attributes]
        found = joint_labels(np.stack([part.argmax(axis=1) for part in parts], axis=1), attributes)
        abstained = np.any([np.isnan(part).any(axis=1) for part in parts], axis=0)
        labels[start : start + CHUNK] = np.where(abstained, -1, found)
    return labels


@dataclass(frozen=True)
class Evaluator:
    """Frechet distance and coverage of each class's samples, by the classifier's label, against that class's real images.

    Source: the distance is that of Heusel et al. 2017, arXiv 1706.08500, Eq. 6; the coverage that of Naeem et al. 2020,
    arXiv 2002.09797, with 5 neighbours. A pooled distance can stay low while a rare class is drawn badly; the
    worst class shows it.

    Both depend on the number of samples, and a debiasing method changes just that. So every class of every method is
    scored on equally many: its first n / (6 K) samples for K classes, 20 at least and 10,000 at most; a class with
    fewer has no value, and the worst class has none then. Likewise each class is held against equally many real
    images, the first ones: as many as the smallest class of the set has (of those with 20 or more). So the numbers of
    the classes can be compared with each other and among methods, not with the pooled distance, whose n is larger.

    A sample that the classifier takes for another class counts in the wrong one; one that it abstains on, in none.

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

    card: ClassVar[Card] = Card(
        summary="Frechet distance and coverage of each class against its own real images, and of the worst class.",
        formula="frechet_* and coverage_k5_* of the samples that the classifier takes for a class against the real images "
        "of that class; worst_group_frechet is the largest over the classes, worst_group_coverage the smallest.",
        source="Heusel et al. 2017, arXiv 1706.08500, Eq. 6; Naeem et al. 2020, arXiv 2002.09797",
        columns=(
            Column(f"{FRECHET}_*", "lower", 0.0, math.inf, "squared units of the features", GROUP_JACKKNIFE),
            Column(f"worst_{FRECHET}_*", "lower", 0.0, math.inf, "squared units of the features", GROUP_JACKKNIFE),
            Column(f"{COVERAGE}_*", "higher", 0.0, 1.0, "share of the class's real images", GROUP_JACKKNIFE),
            Column(f"worst_{COVERAGE}_*", "higher", 0.0, 1.0, "share of the class's real images", GROUP_JACKKNIFE),
        ),
        classifier="each",
        min_n=f"n / ({SHARE} K) of each of K classes, {MIN_N} at least; as many real images of each",
        bias="Both as their pooled forms: distances too large by about c / n, coverage rising with n. So every class "
        f"of every method is scored on equally many, its first n / ({SHARE} K) samples, {MIN_N} at least and "
        f"{MAX_N:,} at most, against equally many real images. Compare classes and methods with each other, not with "
        "the pooled distance, whose n is larger. The worst of several classes is further off than each of them.",
        interval="That of the worst class is of the worst of all classes, picked anew without each group. The "
        "reference is held fixed.",
        limits="Which class an image should have been: one that the classifier takes for another class counts in the "
        "wrong one, and one that it abstains on in none.",
        needs=frozenset({"labels"}),
    )
    _reals: Kept[Reals] = field(default_factory=Kept, init=False, repr=False, compare=False)

    def evaluate(self, sample: Sample, reference: Reference) -> list[Score]:
        """Scores of every attribute of the task and, of several, their joint; for every extractor and labelled set.

        Returns:
            `group_frechet_<features>` with a scope such as "eyeglasses=present to SET", `worst_group_frechet_` with
            "eyeglasses to SET"; then the same of `group_coverage_k5_`.

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
        found: list[tuple[Floats, Floats] | Undefined] = []
        wanted = samples_a_class(len(labels), group.n_classes)
        for k in range(group.n_classes):
            try:
                found.append(self._class(group, k, features, np.flatnonzero(labels == k)[:wanted], against, real))
            except Undefined as error:
                found.append(error)
        return [
            *_column(FRECHET, 0, group, against, wanted, found),
            *_column(COVERAGE, 1, group, against, wanted, found),
        ]

    def _class(
        self, group: Attribute, k: int, features: Features, index: Ints, against: Compared, real: Ints | None
    ) -> tuple[Floats, Floats]:
        """Distance and coverage of a class, each with its jackknife replicates, float64 [1 + GROUPS]."""
        name = f"{group.name}={group.classes[k]}"
        if real is None:
            raise Undefined(f"the reference set {against.name} has no labels of {group.name}")
        wanted = samples_a_class(len(features), group.n_classes)
        if index.size < wanted:
            raise Undefined(f"needs {wanted} samples classified {name}, got {index.size}")
        reals = self._reals.get(
            (*against.key, name), against.array, lambda: _reals(against, _equal_parts(real, group)[k], name)
        )
        own = subset(features, index)
        near = nearest_across(reals.features, own, GROUPS, reals.fitted.mean)
        return replicated(own)(reals.fitted), covered(near, reals.radii)


def _real_labels(reference: Reference, name: str, attributes: tuple[Attribute, ...]) -> Ints | None:
    if name not in reference.labels:
        return None
    columns = [reference.attributes.index(a) for a in attributes]
    return joint_labels(reference.labels[name][:, columns], attributes)


def _equal_parts(real: Ints, group: Attribute) -> list[Ints]:
    """The images of each class that are used, equally many of every class that has enough."""
    places = [np.flatnonzero(real == k) for k in range(group.n_classes)]
    size = min([p.size for p in places if p.size >= MIN_N], default=0)
    return [p[: min(size, MAX_N)] if p.size >= MIN_N else p for p in places]


def _reals(against: Compared, index: Ints, name: str) -> Reals:
    if index.size < MIN_N:
        raise Undefined(f"needs {MIN_N} images of {name} in the reference set {against.name}, got {index.size}")
    features = subset(against.array, index)
    fitted = fit(features)
    return Reals(features, fitted, radii(nearest(features, K, 1, fitted.mean), K))


def _column(
    metric: str, which: int, group: Attribute, against: Compared, n: int, found: list[tuple[Floats, Floats] | Undefined]
) -> list[Score]:
    """Scores of one metric: every class, then the worst of them."""
    column, scores, values, missing = f"{metric}_{against.extractor}", [], [], None
    for name, pair in zip(group.classes, found, strict=True):
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
    of_all = np.stack(values)
    last = group.classes[int((of_all[:, 0] if metric == FRECHET else -of_all[:, 0]).argmax())]
    return [*scores, _score(worst, scope, pick(of_all, axis=0), n, f"worst class: {last}")]


def _score(metric: str, scope: str, found: Floats, n: int, reason: str = "") -> Score:
    value, high_end = float(found[0]), math.inf if FRECHET in metric else 1.0
    low, high = jackknife_interval(value, found[1:])
    return Score(metric, scope, value, max(low, 0.0), min(high, high_end), n, reason=reason)
