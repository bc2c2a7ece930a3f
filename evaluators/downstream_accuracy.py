"""Downstream accuracy: the gain of a classifier trained on biased real images from also training on the samples."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from bench.core.attributes import Attribute, joint_labels, product
from bench.core.errors import Incompatible, Undefined
from bench.core.gaussian import check_features
from bench.core.intervals import percentile_interval
from bench.core.probability_rows import answered_rows
from bench.protocols.evaluator import (
    Column,
    Downstream,
    Interval,
    LabelledFeatures,
    MetricCard,
    Reference,
    Sample,
    Score,
)
from evaluators.features.reference_cache import ReferenceCache
from evaluators.features.subset import drawn, drawn_note, drawn_rows

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Right = npt.NDArray[np.bool_]

MIN_GROUP = 20  # held-out images that every group must have
MAX_N = 10_000  # samples used: the classifier holds its training set in memory
INVERSE_PENALTY = 0.1  # scikit-learn's C
ITERATIONS = 1000
N_DRAWS = 2000
SEED = 20_220_406
METRICS = ("downstream_worst_group", "downstream_gain", "downstream_biased_only", "downstream_ceiling")
EXACT = Interval(
    "exact, of the smallest share",
    math.inf,
    "for the smallest of several shares: the smallest lower limit over the groups at 97.5 % (Clopper & Pearson 1934), "
    "and the smallest upper limit at 1 - 2.5 % / groups. The lower limit misses no more often than that of the truly "
    "worst group, the upper no more often than all groups together, so it covers at least 95 %",
)
REFLECTED = Interval(
    "reflected bootstrap",
    math.inf,
    "for a difference of smallest shares over the same images: the smallest of several shares is biased downwards by "
    "noise, that of a bootstrap draw twice, and reflecting the percentiles at the value (the basic bootstrap) removes "
    "the bias; images are drawn within their group, with the results of both classifiers together",
)


class Predictor(Protocol):
    """A fitted classifier of scikit-learn."""

    def predict(self, features: Floats) -> Ints:
        """Return the predicted class int64 [n] of features [n, d]."""
        ...


def classifier(features: Floats, labels: Ints) -> Predictor:
    """Fit multinomial logistic regression on standardised features, with the same penalty for all training sets.

    Args:
        features: [n, d].
        labels: int64 [n], two classes or more.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    pipeline = make_pipeline(StandardScaler(), LogisticRegression(C=INVERSE_PENALTY, max_iter=ITERATIONS))
    fitted: Predictor = pipeline.fit(features, labels)
    return fitted


def partner(attribute: Attribute, labels: Ints, attributes: tuple[Attribute, ...]) -> Attribute:
    """Return the attribute most associated with another, by Cramer's V (Cramer 1946, ch. 21).

    Args:
        attribute: an element of `attributes`.
        labels: int64 [n, number of attributes].
        attributes: two or more.

    Returns:
        The first attribute with the largest V.
    """
    from scipy.stats.contingency import association, crosstab

    target = labels[:, attributes.index(attribute)]
    others = [a for a in attributes if a != attribute]
    strengths = []
    for candidate in others:
        table = crosstab(target, labels[:, attributes.index(candidate)]).count
        strengths.append(float(association(table, method="cramer")) if min(table.shape) > 1 else 0.0)
    return others[int(np.argmax(strengths))]


def group_counts(right: Right, group: Ints, n_groups: int) -> tuple[Ints, Ints]:
    """Return the number of correctly classified images of each group, and the group's size, int64 [n_groups] each."""
    return np.bincount(group[right], minlength=n_groups), np.bincount(group, minlength=n_groups)


def worst_interval(right: Ints, trials: Ints) -> tuple[float, float]:
    """Return the 95 % interval of the smallest of several independent shares; see EXACT.

    Args:
        right: int64 [groups], successes.
        trials: int64 [groups], >= 1.
    """
    from scipy.stats import beta

    lower_tail, upper_tail = 0.025, 0.025 / len(trials)
    low = np.where(right > 0, beta.ppf(lower_tail, np.maximum(right, 1), trials - right + 1), 0.0)
    high = np.where(right < trials, beta.ppf(1 - upper_tail, right + 1, np.maximum(trials - right, 1)), 1.0)
    return float(low.min()), float(high.min())


def gain_interval(
    first: Right, second: Right, group: Ints, n_groups: int, rng: np.random.Generator
) -> tuple[float, float]:
    """Return the 95 % interval of the gain in worst-group accuracy from the first to the second classifier.

    See REFLECTED. A quarter of an image is added to each of the four outcomes of a group, so that unobserved outcomes
    may be drawn.

    Args:
        first: bool [n], images that the first classifier predicts correctly.
        second: bool [n], likewise for the second.
        group: int64 [n] in [0, n_groups).
        n_groups: number of groups.
        rng: source of randomness.
    """
    draws = []
    for k in range(n_groups):
        rows = group == k
        outcomes = np.bincount(2 * first[rows] + second[rows], minlength=4)
        shares = (outcomes + 0.25) / (rows.sum() + 1)
        draws.append(rng.multinomial(rows.sum(), shares, N_DRAWS) / rows.sum())
    # [groups, draws, outcomes]: both wrong, only the second right, only the first right, both right
    drawn = np.stack(draws)
    gains = (drawn[..., 1] + drawn[..., 3]).min(axis=0) - (drawn[..., 2] + drawn[..., 3]).min(axis=0)
    low, high = percentile_interval(gains)
    worst = [np.divide(*group_counts(r, group, n_groups)).min() for r in (first, second)]
    value = float(worst[1] - worst[0])
    low, high = round(2 * value - high, 12), round(2 * value - low, 12)  # so that a limit of 0 is exactly 0
    return max(min(low, value), -1.0), min(max(high, value), 1.0)


@dataclass(frozen=True)
class Evaluator:
    """Worst-group accuracy of a downstream classifier trained on biased real images and the samples.

    Source: the downstream use of Parihar et al. 2024, arXiv 2402.18206; worst-group accuracy after Sagawa et al. 2020,
    arXiv 1911.08731. The classifier is a logistic regression on the extractor's frozen features: the last layer decides
    how much a network relies on a spurious attribute (Kirichenko et al. 2023, arXiv 2204.02937), its optimum is unique,
    and all rows of a table share the penalty, the real images and the number of samples.

    For each attribute of the task, the groups are its classes crossed with those of the attribute most associated with
    it in the biased set; accuracy is measured with the true labels of held-out images. A sample's label is its assigned
    class if it has one, as for anyone who generates training data; otherwise it is the attribute classifier's. The
    score's note says which. A wrong label is the method's fault in the first case and the classifier's in the second.

    Four scores: the worst-group accuracy with biased images and samples; its gain over the biased images alone; that of
    the biased images alone; and, as a ceiling, that of as many balanced real images without samples. The last two do
    not depend on the method. Vanilla's gain is the effect of more images with the same bias.

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

    card: ClassVar[MetricCard] = MetricCard(
        summary="Worst-group accuracy of a classifier trained on biased real images and the samples, and its gain from "
        "the samples.",
        formula="min over groups g of the share of held-out images of g that a logistic regression classifies "
        "correctly, g a class of the attribute crossed with one of the attribute most associated with it.",
        source="Parihar et al. 2024, arXiv 2402.18206; Sagawa et al. 2020, arXiv 1911.08731",
        columns=(
            Column("downstream_worst_group_*", "higher", 0.0, 1.0, "accuracy", EXACT),
            Column("downstream_gain_*", "higher", -1.0, 1.0, "accuracy", REFLECTED),
            Column("downstream_biased_only_*", None, 0.0, 1.0, "accuracy", EXACT),
            Column("downstream_ceiling_*", None, 0.0, 1.0, "accuracy", EXACT),
        ),
        classifier="first",
        min_n=f"1 sample; {MIN_GROUP} held-out images per group",
        bias="More samples are more training data: compare at equal n only. The worst of several shares is biased "
        f"downwards by noise. At most {MAX_N:,} samples are used, drawn at random with a fixed seed.",
        interval="Over the held-out images; the trained classifiers are held fixed. Labels from the attribute "
        "classifier carry more information than the biased images alone.",
        limits="What a network trained from scratch would learn; other attributes correlated with the bias. It tests "
        "usefulness, not quality: samples that nobody would recognise as a face may still be useful for training.",
        needs=frozenset({"downstream"}),
    )
    _fitted: ReferenceCache[Predictor] = field(default_factory=ReferenceCache, init=False, repr=False, compare=False)

    def evaluate(self, sample: Sample, reference: Reference) -> list[Score]:
        """Return the four scores of every attribute and extractor, scope e.g. "eyeglasses by skin_tone".

        Raises:
            Incompatible: the real images lack an extractor's features, or these have another width.
        """
        sets, scores, n = reference.downstream, [], min(len(sample.assigned_class), MAX_N)
        for attribute in reference.attributes:
            for extractor in sample.features:
                scope, names = attribute.name, [f"{metric}_{extractor}" for metric in METRICS]
                try:
                    if sets is None:
                        raise Undefined("the suite names no real images for it; add `downstream` to the suite")
                    pair = (attribute, _partner(attribute, sets))
                    scope = f"{attribute.name} by {pair[1].name}"
                    scores += self._scores(names, scope, extractor, pair, sample, reference, sets)
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
        generated, labels, note = _labelled(sample, extractor, attribute, reference.attributes)
        biased, heldout = (_features(s, extractor, generated.shape[1]) for s in (sets.biased, sets.heldout))
        true, group = _column(sets, sets.heldout, attribute), _groups(sets, pair)
        both = np.concatenate([biased, generated])
        both_labels = np.concatenate([_column(sets, sets.biased, attribute), labels])
        right = _fitted(both, both_labels, attribute, "the biased images and the samples").predict(heldout) == true
        alone = self._real(sets.biased, sets, extractor, attribute, "biased").predict(heldout) == true
        ceiling = self._real(sets.balanced, sets, extractor, attribute, "balanced").predict(heldout) == true
        n_groups, groups = product(pair).n_classes, product(pair).classes
        accuracies = []
        for metric, correct in zip((names[0], names[2], names[3]), (right, alone, ceiling), strict=True):
            counts, sizes = group_counts(correct, group, n_groups)
            worst = f"worst group: {groups[int((counts / sizes).argmin())]}"
            value, ends = float((counts / sizes).min()), worst_interval(counts, sizes)
            reason = f"{worst}; {note}" if correct is right else worst
            accuracies.append(Score(metric, scope, value, *ends, len(labels), reason=reason))
        gain = float(accuracies[0].value or 0.0) - float(accuracies[1].value or 0.0)
        ends = gain_interval(alone, right, group, n_groups, np.random.default_rng(SEED))
        return [accuracies[0], Score(names[1], scope, gain, *ends, len(labels), reason=note), *accuracies[1:]]

    def _real(
        self, real: LabelledFeatures, sets: Downstream, extractor: str, attribute: Attribute, which: str
    ) -> Predictor:
        """Return the classifier trained on real images only, which is the same for all cells."""
        array = real.features[extractor]
        labels = _column(sets, real, attribute)
        return self._fitted.get(
            (extractor, attribute.name, which),
            array,
            lambda: _fitted(_features(real, extractor, array.shape[1]), labels, attribute, f"the {which} images"),
        )


def _fitted(features: Floats, labels: Ints, attribute: Attribute, what: str) -> Predictor:
    if np.unique(labels).size < 2:
        raise Undefined(f"{what} must hold two classes of {attribute.name} or more")
    return classifier(features, labels)


def _partner(attribute: Attribute, sets: Downstream) -> Attribute:
    if attribute not in sets.attributes:
        raise Undefined(f"the real images have no labels of {attribute.name}")
    if len(sets.attributes) < 2:
        raise Undefined(f"the real images have no label besides {attribute.name} to form groups with")
    return partner(attribute, sets.biased.labels, sets.attributes)


def _column(sets: Downstream, real: LabelledFeatures, attribute: Attribute) -> Ints:
    return np.asarray(real.labels[:, sets.attributes.index(attribute)], dtype=np.int64)


def _groups(sets: Downstream, pair: tuple[Attribute, ...]) -> Ints:
    """Return the group of every held-out image, int64 [n].

    Raises:
        Undefined: a group has too few images.
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
    bad = int(np.isnan(features).any(axis=1).sum())
    if bad:  # a face extractor has no features for images without a face
        raise Undefined(f"every {what} must have features of {extractor}, got none of {bad}; take another extractor")
    check_features(features)
    return features


def _labelled(
    sample: Sample, extractor: str, attribute: Attribute, task: tuple[Attribute, ...]
) -> tuple[Floats, Ints, str]:
    """Return features and labels of the samples that have a label, and a note on where the labels come from."""
    features = np.asarray(drawn(sample.features[extractor], MAX_N)[:], dtype=np.float64)
    rows = drawn_rows(len(sample.assigned_class), MAX_N)
    assigned_class = np.asarray(sample.assigned_class)[rows]
    labels, assigned = np.full(len(assigned_class), -1), assigned_class >= 0
    shape = tuple(a.n_classes for a in task)
    labels[assigned] = np.unravel_index(assigned_class[assigned], shape)[task.index(attribute)]
    if not assigned.all():
        rows_read = answered_rows(np.asarray(drawn(sample.probabilities[attribute.name], MAX_N)[:]), attribute.name)
        classified, answered = (array[~assigned] for array in rows_read)
        labels[~assigned] = np.where(answered, classified.argmax(axis=1), -1)
    used = labels >= 0
    if not used.any():
        raise Undefined("no sample was asked for a class, nor classified")
    sources = ((assigned.sum(), "as asked"), ((used & ~assigned).sum(), "by the classifier"))
    by = [f"{count} {source}" for count, source in sources if count]
    notes = [f"labels: {', '.join(by)}", drawn_note(rows.size, len(sample.assigned_class))]
    return _finite(features[used], extractor, "sample"), labels[used], "; ".join(note for note in notes if note)
