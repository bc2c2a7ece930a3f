"""The protocols of extractors (images to arrays) and evaluators (arrays to scores).

Extractors are the only place where a network looks at images; they run once a shard and their arrays are kept
beside the images, memory-mapped. Evaluators are pure functions of those arrays and walk them in chunks, so their
memory does not grow with the number of samples and a new metric never samples or extracts again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol

import numpy as np
import numpy.typing as npt

from bench.core.attributes import Attribute

if TYPE_CHECKING:  # reports read the cards, and start without torch
    from torch import Tensor

    from bench.core.gaussian import Gaussian

Better = Literal["lower", "higher"]
Classifier = Literal["none", "first", "each"]
Need = Literal["labels", "paired_baseline", "downstream", "texts"]  # what is read for a metric only where it is needed
Status = Literal["ok", "undefined", "skipped", "failed"]
CHUNK = 4096  # rows an evaluator holds at a time
NO_PAIRED_BASELINE = (
    "the suite has no method vanilla, which the samples would be compared with; add it to the suite's methods"
)


@dataclass(frozen=True)
class Score:
    """One number of a leaderboard, with its interval.

    Attributes:
        metric: the column's name; names the variant, e.g. "fd_l2_hard".
        scope: what it was computed over: an attribute's name, a joint such as "eyeglasses+skin_tone", a class
            such as "eyeglasses=present", or "all".
        value: the point estimate; None unless status is "ok".
        ci_low: lower end of the 95 % interval; None where there is none.
        ci_high: upper end of the 95 % interval; None where there is none.
        n: number of samples it was computed from.
        noise_floor: what a perfect sampler reaches or betters in 95 of 100 samples of this n; None where that is not
            known.
        status: "ok", or why there is no value, as one word.
        reason: why there is no value, as a sentence; empty where status is "ok".
    """

    metric: str
    scope: str
    value: float | None
    ci_low: float | None = None
    ci_high: float | None = None
    n: int = 0
    noise_floor: float | None = None
    status: Status = "ok"
    reason: str = ""


@dataclass(frozen=True)
class Sample:
    """What a cell produced, as extractors saw it. Every array may be memory-mapped; row i is sample i.

    Attributes:
        probabilities: attribute name to float [n, K], the classifier's class probabilities; a row that is NaN
            throughout was not classified.
        features: extractor name to float [n, d].
        assigned_class: int64 [n], the class of the task's joint that each sample was asked for or given beforehand; -1
            where it was not.
        confusion: attribute name to counts [K, K] of the classifier on held-out labelled images, rows the true class.
        detected: extractor name to float [n], 1 where it found a face and 0 where it did not.
        other_classifiers: name of every other classifier of the suite to its probabilities, as `probabilities`.
        perceptual: extractor name to float [n, d], points whose squared distance is how different two images look.
        paired_baseline: what vanilla made of the same starting noises, row for row; None where the suite has no
            vanilla.
        prompts: of a suite with prompts, the name of each to its rows, in order and together all of them; else empty.
    """

    probabilities: Mapping[str, npt.NDArray[np.floating]]
    features: Mapping[str, npt.NDArray[np.floating]]
    assigned_class: npt.NDArray[np.int64]
    confusion: Mapping[str, npt.ArrayLike] = field(default_factory=dict)
    detected: Mapping[str, npt.NDArray[np.floating]] = field(default_factory=dict)
    other_classifiers: Mapping[str, Mapping[str, npt.NDArray[np.floating]]] = field(default_factory=dict)
    perceptual: Mapping[str, npt.NDArray[np.floating]] = field(default_factory=dict)
    paired_baseline: Sample | None = None
    prompts: Mapping[str, slice] = field(default_factory=dict)


@dataclass(frozen=True)
class LabelledFeatures:
    """Real images whose attributes are known, as extractors saw them. Arrays may be memory-mapped.

    Attributes:
        features: extractor name to float [n, d].
        labels: the true labels int64 [n, number of attributes].
    """

    features: Mapping[str, npt.NDArray[np.floating]]
    labels: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Downstream:
    """The real images that a classifier of attributes learns from, and those that it is tested on.

    Attributes:
        attributes: in the order of the columns of every set's labels; more than those of the task.
        biased: what it learns from, alone and together with the samples.
        balanced: what it learns from in their place, for a ceiling; as many.
        heldout: what it is tested on.
    """

    attributes: tuple[Attribute, ...]
    biased: LabelledFeatures
    balanced: LabelledFeatures
    heldout: LabelledFeatures


@dataclass(frozen=True)
class Reference:
    """What a cell is measured against.

    Attributes:
        attributes: the attributes of the task.
        distribution: float64 [K], the target distribution over the joint of `attributes`, summing to 1.
        features: extractor name to (reference set name to float [n_ref, d]); may be memory-mapped.
        labels: reference set name to the true labels int64 [n_ref, number of attributes], in the order of `attributes`;
            a set that is not labelled by all of them is left out, and all are where no metric needs labels.
        statistics: extractor name to (reference name to mean and covariance), where a file of these is all there is.
        downstream: the sets of the downstream test; None where the suite names none, or no metric needs them.
        texts: extractor name to (name of a prompt to the embedding float [d] of its text, beside which its images'
            features can be held), of those that read texts; empty where the suite has no prompts, or no metric needs
            them.
    """

    attributes: tuple[Attribute, ...]
    distribution: npt.NDArray[np.float64]
    features: Mapping[str, Mapping[str, npt.NDArray[np.floating]]] = field(default_factory=dict)
    labels: Mapping[str, npt.NDArray[np.int64]] = field(default_factory=dict)
    statistics: Mapping[str, Mapping[str, Gaussian]] = field(default_factory=dict)
    downstream: Downstream | None = None
    texts: Mapping[str, Mapping[str, npt.NDArray[np.floating]]] = field(default_factory=dict)


@dataclass(frozen=True)
class Interval:
    """A kind of 95 % interval.

    Attributes:
        name: as tables call it.
        freedom: degrees of freedom of the Student's t that it is made with; inf where it is not made with one, or with
            one that is all but normal.
        why: what statistics it is right for, and why those need it.
    """

    name: str
    freedom: float
    why: str


WILSON = Interval(
    "Wilson",
    math.inf,
    "for a share of independent samples (Wilson 1927): it has width at 0 of n and at n of n, where the normal interval "
    "and the bootstrap have none, and never leaves [0, 1]",
)
REDRAWS = Interval(
    "redraws",
    math.inf,
    "for smooth functions of class counts or of means (parametric percentile bootstrap, 2.5th and 97.5th percentile): "
    "counts are redrawn from the multinomial and means from the normal distribution, with a fixed seed, so that equal "
    "samples have equal intervals",
)
JACKKNIFE = Interval(
    "jackknife",
    math.inf,
    "for means and for U- and V-statistics, whose value without one sample follows from its row sums at no cost "
    "(delete-one jackknife, Student's t of n - 1 degrees of freedom; Efron & Stein 1981); it does not depend on the "
    "order of the samples",
)
GROUP_JACKKNIFE = Interval(
    "group jackknife",
    9.0,
    "for statistics that are biased in n or that count different samples (delete-a-group jackknife over 10 groups, "
    "sample i in group i % 10, Student's t of 9 degrees of freedom; Kott 2001): a bootstrap draws about 63 % of the "
    "samples, some of them repeatedly, and so redraws the statistic of a smaller sample; the group jackknife only "
    "leaves out, and its interval is that of the value at this n",
)
NO_INTERVAL = Interval("none", math.inf, "for numbers that are themselves about an error, such as a standard error")


@dataclass(frozen=True)
class Column:
    """The scores of one name that an evaluator gives.

    Attributes:
        pattern: their `metric`, "*" standing for an extractor's or a classifier's name.
        better: the better direction; None where neither is, as of a share that has a target of its own.
        low: smallest possible value, -inf where there is none.
        high: largest possible value, inf where there is none.
        unit: what it is counted in.
        interval: which interval it has.
    """

    pattern: str
    better: Better | None
    low: float
    high: float
    unit: str
    interval: Interval


@dataclass(frozen=True)
class Card:
    """What a reader must know of a metric; docs/metrics.md, the lists, comparisons and tables are made from it.

    Attributes:
        summary: one sentence.
        formula: the definition, with every symbol named.
        source: paper and equation.
        columns: every name of its scores, in the order of the scores.
        classifier: whose classes it is computed from: none's, the first classifier's, or each classifier's in turn.
        min_n: the smallest number of samples that has a value.
        bias: how its expectation depends on the number of samples, and what else it depends on.
        interval: what of its interval is its own: what is held fixed, where it is known to be too wide or too narrow.
        limits: what it does not tell.
        needs: what it needs beyond features and predictions; left out of `Sample` and `Reference` otherwise.
    """

    summary: str
    formula: str
    source: str
    columns: tuple[Column, ...]
    classifier: Classifier
    min_n: str
    bias: str
    interval: str
    limits: str
    needs: frozenset[Need] = frozenset()


class Extractor(Protocol):
    """Images to arrays. File stem in evaluators/ is its public name."""

    name: str
    digest: str  # hash of the weights and of everything else that decides its output

    def extract(self, images: Tensor) -> dict[str, npt.NDArray[np.floating]]:
        """Named arrays, each [n, ...], of uint8 images [n, 3, h, w]; row i depends on image i alone."""
        ...


class Evaluator(Protocol):
    """Arrays to scores. File stem in evaluators/ is its public name; the module has one class `Evaluator`."""

    card: ClassVar[Card]

    def evaluate(self, sample: Sample, reference: Reference) -> list[Score]:
        """Every score this metric has for the cell, in a fixed order."""
        ...
