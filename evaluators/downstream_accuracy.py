"""Downstream accuracy: what a classifier that learns from biased real images gains by learning from the samples too."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from bench.core.attributes import Attribute, joint_labels, product
from bench.core.errors import Incompatible, Undefined
from bench.core.stats import percentile_interval
from bench.protocols.evaluator import Card, Column, Downstream, Interval, LabelledFeatures, Reference, Sample, Score
from evaluators.features.kept import Kept

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Right = npt.NDArray[np.bool_]

MIN_GROUP = 20  # held-out images that every group must have
MAX_N = 10_000  # samples used, the first ones: the classifier holds its training set
INVERSE_PENALTY = 0.1  # scikit-learn's C
ITERATIONS = 1000
N_DRAWS = 2000
SEED = 20_220_406
METRICS = ("downstream_worst_group", "downstream_gain", "downstream_biased_only", "downstream_ceiling")
EXACT = Interval(
    "exact, of the smallest share",
    math.inf,
    "for the smallest of several shares: the smallest lower limit of all groups at 97.5 % (Clopper & Pearson 1934), "
    "and the smallest upper limit at 1 - 2.5 % / groups. The first cannot miss more often than that of the truly worst "
    "group, the second not more often than all groups together, so it covers 95 % or more",
)
REFLECTED = Interval(
    "reflected bootstrap",
    math.inf,
    "for a difference of smallest shares over the same images: the smallest of several shares is too small by its "
    "noise, that of a redraw once more, and reflecting the percentiles at the value (the basic bootstrap) takes that "
    "out; images are redrawn within their group, right or wrong by both classifiers together",
)


def classifier(features: Floats, labels: Ints) -> Any:
    """Multinomial logistic regression on standardised features, fitted; the same penalty whatever it learns from.

    Args:
        features: [n, d].
        labels: int64 [n], two classes or more.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(C=INVERSE_PENALTY, max_iter=ITERATIONS)).fit(
        features, labels
    )


def partner(attribute: Attribute, labels: Ints, attributes: tuple[Attribute, ...]) -> Attribute:
    """The other attribute that goes together with one the most: the largest Cramer's V (Cramer 1946, ch. 21).

    Args:
        attribute: one of `attributes`.
        labels: int64 [n, number of attributes].
        attributes: two or more.

    Returns:
        The first of those that have the largest.
    """
    from scipy.stats.contingency import association, crosstab

    target = labels[:, attributes.index(attribute)]
    others = [a for a in attributes if a != attribute]
    found = []
    for other in others:
        table = crosstab(target, labels[:, attributes.index(other)]).count
        found.append(float(association(table, method="cramer")) if min(table.shape) > 1 else 0.0)
    return others[int(np.argmax(found))]


def group_counts(right: Right, group: Ints, n_groups: int) -> tuple[Ints, Ints]:
    """How many images of each group were classified rightly, and how many there are, int64 [n_groups] each."""
    of = np.bincount(group, minlength=n_groups)
    return np.bincount(group[right], minlength=n_groups), of


def worst_interval(right: Ints, of: Ints) -> tuple[float, float]:
    """95 % interval of the smallest of several independent shares; see EXACT.

    Args:
        right: int64 [groups], successes.
        of: int64 [groups], trials, >= 1.
    """
    from scipy.stats import beta

    one, each = 0.025, 0.025 / len(of)
    low = np.where(right > 0, beta.ppf(one, np.maximum(right, 1), of - right + 1), 0.0)
    high = np.where(right < of, beta.ppf(1 - each, right + 1, np.maximum(of - right, 1)), 1.0)
    return float(low.min()), float(high.min())


def gain_interval(one: Right, two: Right, group: Ints, n_groups: int, rng: np.random.Generator) -> tuple[float, float]:
    """95 % interval of the gain in worst-group accuracy from the first classifier to the second; see REFLECTED.

    A quarter of an image is added to each of the four outcomes of a group, so that what was not seen may be drawn.
    """
    draws = []
    for k in range(n_groups):
        rows = group == k
        outcomes = np.bincount(2 * one[rows] + two[rows], minlength=4)
        shares = (outcomes + 0.25) / (rows.sum() + 1)
        draws.append(rng.multinomial(rows.sum(), shares, N_DRAWS) / rows.sum())
    of = np.stack(draws)  # [groups, draws, outcomes]: both wrong, the second right, the first right, both
    gains = (of[..., 1] + of[..., 3]).min(axis=0) - (of[..., 2] + of[..., 3]).min(axis=0)
    low, high = percentile_interval(gains)
    worst = [np.divide(*group_counts(r, group, n_groups)).min() for r in (one, two)]
    value = float(worst[1] - worst[0])
    low, high = round(2 * value - high, 12), round(2 * value - low, 12)  # a limit of 0 is 0
    return max(min(low, value), -1.0), min(max(high, value), 1.0)


@dataclass(frozen=True)
class Evaluator:
    """Worst-group accuracy of an attribute classifier trained on biased real images and the samples.

    Source: the use that Parihar et al. 2024, arXiv 2402.18206, put their samples to; worst-group accuracy after Sagawa
    et al. 2020, arXiv 1911.08731. The classifier is a logistic regression on the extractor's frozen features: what a
    last layer learns decides how far it leans on a spurious attribute (Kirichenko et al. 2023, arXiv 2204.02937), its
    optimum is one, and all rows of a table have the same penalty, the same real images and as many samples.

    For each attribute of the task: the groups are its classes by those of the attribute that goes together with it most
    in the biased set, and the worst of them is that of true labels on held-out images. A sample's label is the class
    it was asked for, where one was, as whoever generates data to learn from would have it; otherwise the classifier's.
    The score says which. A wrong label is the method's loss in the first case and the classifier's in the second.

    Four scores: the worst-group accuracy of biased images and samples; its gain over the biased images alone; these
    alone; and, as a ceiling, as many balanced real images in their place, without samples. The last two do not depend
    on the method. Vanilla's gain is what more images of the same bias bring.

    >>> from bench.core.attributes import Attribute
    >>> rng = np.random.default_rng(0)
    >>> beard, hat = Attribute("beard", ("no", "yes")), Attribute("hat", ("no", "yes"))
    >>> def draw(y, s):
    ...     return rng.standard_normal((len(y), 2)) * [1.0, 0.1] + 2 * np.stack([y, s], axis=1)
    >>> def labelled(y, s):
    ...     return LabelledFeatures({"toy": draw(y, s)}, np.stack([y, s], axis=1))
    >>> y, s = np.arange(400) % 2, np.arange(400) // 2 % 2
    >>> sets = Downstream((beard, hat), labelled(y, y), labelled(y, s), labelled(y, s))
    >>> sample = Sample({}, {"toy": draw(y, 1 - y)}, y)
    >>> task = Reference((beard,), np.array([0.5, 0.5]), downstream=sets)
    >>> for score in Evaluator().evaluate(sample, task):
    ...     print(score.metric, score.scope, round(score.value, 1))
    downstream_worst_group_toy beard by hat 0.8
    downstream_gain_toy beard by hat 0.8
    downstream_biased_only_toy beard by hat 0.0
    downstream_ceiling_toy beard by hat 0.8
    """

    card: ClassVar[Card] = Card(
        summary="Worst-group accuracy of a classifier that learns from biased real images and the samples, and what it "
        "gains by them.",
        formula="min over groups g of the share of held-out images of g that a logistic regression classifies rightly, "
        "g the attribute's class and that of the attribute it goes together with most",
        source="Parihar et al. 2024, arXiv 2402.18206; Sagawa et al. 2020, arXiv 1911.08731",
        columns=(
            Column("downstream_worst_group_*", "higher", 0.0, 1.0, "accuracy", EXACT),
            Column("downstream_gain_*", "higher", -1.0, 1.0, "accuracy", REFLECTED),
            Column("downstream_biased_only_*", None, 0.0, 1.0, "accuracy", EXACT),
            Column("downstream_ceiling_*", None, 0.0, 1.0, "accuracy", EXACT),
        ),
        classifier="first",
        min_n=f"1 sample; {MIN_GROUP} held-out images a group",
        bias="more samples are more to learn from: compare at equal n only. The worst of several shares is too small "
        f"by its noise. Of more than {MAX_N:,} samples the first are used",
        interval="over the held-out images; the classifiers are held as they are. Where samples are classified, the classifier "
        "knows more than the biased images teach",
        limits="what a network trained from scratch would learn; other attributes that the bias hangs on. It is a test "
        "of use, not of quality: samples that no one would take for a face may teach",
        needs=frozenset({"downstream"}),
    )
    _kept: Kept[Any] = field(default_factory=Kept, init=False, repr=False, compare=False)

    def evaluate(self, sample: Sample, reference: Reference) -> list[Score]:
        """The four scores of every attribute of the task and extractor, scope such as "eyeglasses by skin_tone".

        Raises:
            Incompatible: the real images lack an extractor's features, or theirs are of another width.
        """
        sets, scores, n = reference.downstream, [], min(len(sample.assigned_class), MAX_N)
        for attribute in reference.attributes:
            for extractor in sample.features:
                scope, names = attribute.name, [f"{metric}_{extractor}" for metric in METRICS]
                try:
                    if sets is None:
                        raise Undefined("the suite names no real images for it; add `downstream` to the suite")
                    other = _partner(attribute, sets)
                    scope = f"{attribute.name} by {other.name}"
                    scores += self._scores(names, scope, extractor, (attribute, other), sample, reference, sets)
                except Undefined as error:
                    scores += [Score(m, scope, None, n=n, status="undefined", reason=str(error)) for m in names]
        return scores

    def _scores(
        self,
        names: list[str],
        scope: str,
        extractor: str,
        pair: tuple[Attribute, Attribute],
        sample: Sample,
        reference: Reference,
        sets: Downstream,
    ) -> list[Score]:
        attribute = pair[0]
        made, labels, note = _labelled(sample, extractor, attribute, reference.attributes)
        biased, heldout = (_features(s, extractor, made.shape[1]) for s in (sets.biased, sets.heldout))
        true, group = _column(sets, sets.heldout, attribute), _groups(sets, pair)
        both = np.concatenate([biased, made])
        taught = np.concatenate([_column(sets, sets.biased, attribute), labels])
        right = _fitted(both, taught, attribute, "the biased images and the samples").predict(heldout) == true
        alone = self._real(sets.biased, sets, extractor, attribute, "biased").predict(heldout) == true
        ceiling = self._real(sets.balanced, sets, extractor, attribute, "balanced").predict(heldout) == true
        n_groups, groups = product(pair).n_classes, product(pair).classes
        found = []
        for metric, seen in zip((names[0], names[2], names[3]), (right, alone, ceiling), strict=True):
            counts, of = group_counts(seen, group, n_groups)
            worst = f"worst group: {groups[int((counts / of).argmin())]}"
            value, ends = float((counts / of).min()), worst_interval(counts, of)
            reason = f"{worst}; {note}" if seen is right else worst
            found.append(Score(metric, scope, value, *ends, len(labels), reason=reason))
        gain = float(found[0].value or 0.0) - float(found[1].value or 0.0)
        ends = gain_interval(alone, right, group, n_groups, np.random.default_rng(SEED))
        return [found[0], Score(names[1], scope, gain, *ends, len(labels), reason=note), *found[1:]]

    def _real(self, real: LabelledFeatures, sets: Downstream, extractor: str, attribute: Attribute, which: str) -> Any:
        """The classifier that learnt from real images alone, the same for all cells."""
        array = real.features[extractor]
        labels = _column(sets, real, attribute)
        return self._kept.get(
            (extractor, attribute.name, which),
            array,
            lambda: _fitted(_features(real, extractor, array.shape[1]), labels, attribute, f"the {which} images"),
        )


def _fitted(features: Floats, labels: Ints, attribute: Attribute, what: str) -> Any:
    if np.unique(labels).size < 2:
        raise Undefined(f"{what} must hold two classes of {attribute.name} or more")
    return classifier(features, labels)


def _partner(attribute: Attribute, sets: Downstream) -> Attribute:
    if attribute not in sets.attributes:
        raise Undefined(f"the real images have no labels of {attribute.name}")
    if len(sets.attributes) < 2:
        raise Undefined(f"the real images have no label besides {attribute.name}, which would make groups")
    return partner(attribute, sets.biased.labels, sets.attributes)


def _column(sets: Downstream, real: LabelledFeatures, attribute: Attribute) -> Ints:
    return np.asarray(real.labels[:, sets.attributes.index(attribute)], dtype=np.int64)


def _groups(sets: Downstream, pair: tuple[Attribute, ...]) -> Ints:
    """The group of every held-out image, int64 [n].

    Raises:
        Undefined: a group has too few.
    """
    group = joint_labels(np.stack([_column(sets, sets.heldout, a) for a in pair], axis=1), pair)
    counts = np.bincount(group, minlength=product(pair).n_classes)
    for name, count in zip(product(pair).classes, counts, strict=True):
        if count < MIN_GROUP:
            raise Undefined(f"needs {MIN_GROUP} held-out images of {name} or more, got {count}")
    return group


def _features(real: LabelledFeatures, extractor: str, width: int) -> Floats:
    if extractor not in real.features or real.features[extractor].shape[1] != width:
        raise Incompatible(f"the real images must have features of {extractor}, {width} numbers each; extract them")
    return _finite(np.asarray(real.features[extractor][:], dtype=np.float64), extractor, "real image")


def _finite(features: Floats, extractor: str, what: str) -> Floats:
    bad = int((~np.isfinite(features)).any(axis=1).sum())
    if bad:  # an extractor of faces has no features where it saw none
        raise Undefined(f"every {what} must have features of {extractor}, got none of {bad}; take another extractor")
    return features


def _labelled(
    sample: Sample, extractor: str, attribute: Attribute, task: tuple[Attribute, ...]
) -> tuple[Floats, Ints, str]:
    """Features and labels of the samples that have one, and a sentence that says whose labels these are."""
    features = np.asarray(sample.features[extractor][:MAX_N], dtype=np.float64)
    assigned_class = np.asarray(sample.assigned_class)[:MAX_N]
    labels, asked = np.full(len(assigned_class), -1), assigned_class >= 0
    shape = tuple(a.n_classes for a in task)
    labels[asked] = np.unravel_index(assigned_class[asked], shape)[task.index(attribute)]
    if not asked.all():
        classified = np.asarray(sample.probabilities[attribute.name][:MAX_N])[~asked]
        labels[~asked] = np.where(np.isnan(classified).any(axis=1), -1, classified.argmax(axis=1))
    used = labels >= 0
    if not used.any():
        raise Undefined("no sample was asked for a class, nor classified")
    by = [f"{k} {whose}" for k, whose in ((asked.sum(), "as asked"), ((used & ~asked).sum(), "by the classifier")) if k]
    return _finite(features[used], extractor, "sample"), labels[used], f"labels: {', '.join(by)}"
