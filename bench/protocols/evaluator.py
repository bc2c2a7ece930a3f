"""The protocols of extractors (images to arrays) and evaluators (arrays to scores).

An extractor is the only place where a network reads images. It runs once per shard, and its arrays are stored beside
the images and memory-mapped. An evaluator is a pure function of those arrays and walks them in chunks of `CHUNK` rows:
its memory does not grow with the number of samples, and a new metric neither samples nor extracts again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol

import numpy as np
import numpy.typing as npt

from bench.core.attributes import Attribute
from bench.core.design import Design

if TYPE_CHECKING:  # reports read the cards, and start without torch
    from torch import Tensor

    from bench.core.gaussian import Gaussian

Better = Literal["lower", "higher"]
ClassifierUse = Literal["none", "first", "each"]
Need = Literal[
    "labels", "paired_baseline", "downstream", "texts"
]  # inputs that are read only for metrics that need them
Status = Literal["ok", "undefined", "skipped", "failed"]
Features = npt.NDArray[np.floating]
CHUNK = 4096  # rows an evaluator holds at a time
NO_PAIRED_BASELINE = "the suite has no method vanilla to compare the samples with; add it to the suite's methods"


@dataclass(frozen=True)
class Score:
    """One number of a leaderboard, with its interval.

    Attributes:
        metric: name of the score's column, including the variant, e.g. "fd_l2_hard".
        scope: what it was computed over: an attribute ("eyeglasses"), a joint ("eyeglasses+skin_tone"), a class
            ("eyeglasses=present"), a reference set, or "all".
        value: the point estimate; None unless `status` is "ok".
        ci_low: lower end of the 95 % interval; None if the score has no interval.
        ci_high: upper end of the 95 % interval; None if the score has no interval.
        n: number of samples it was computed from, >= 0.
        noise_floor: 95th percentile of the metric for a sampler that matches the target exactly at this n (5th if
            higher is better); None if unknown.
        status: "ok", or one word for why there is no value.
        reason: why there is no value, as a sentence; with "ok", a note or empty.

    >>> Score("fd_l2_hard", "eyeglasses", 0.283, 0.15, 0.41, n=100).status
    'ok'
    >>> Score("kid_toy", "real", None, n=3, status="undefined", reason="needs 20 samples or more, got 3").value is None
    True
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
    """The samples of a cell as extractors read them. Arrays may be memory-mapped; row i belongs to sample i.

    Attributes:
        probabilities: attribute name to float [n, K], the attribute classifier's class probabilities, in [0, 1] and
            summing to 1 per row; an all-NaN row means that the classifier abstained.
        features: extractor name to float [n, d].
        assigned_class: int64 [n], the class of the task's joint that each sample was conditioned on or assigned to,
            in [0, K); -1 if it has none.
        confusion: attribute name to counts [K, K] of the attribute classifier on held-out labelled images, rows the
            true class.
        detected: extractor name to float [n], 1 if it found a face and 0 if not.
        other_classifiers: name of every other attribute classifier of the suite to its probabilities, in the form of
            `probabilities`.
        perceptual: extractor name to float [n, d], points whose squared distance is the perceptual distance of two
            images.
        paired_baseline: vanilla's samples from the same starting noise, row by row; None if the suite has no vanilla.
        prompts: prompt name to its rows, in order and together all rows; empty if the suite has no prompts.
        design: how the samples depend on one another; None for independent draws.

    >>> sample = Sample(
    ...     probabilities={"eyeglasses": np.array([[0.9, 0.1], [0.2, 0.8]])},
    ...     features={"clip_features": np.zeros((2, 512), dtype=np.float32)},
    ...     assigned_class=np.full(2, -1),
    ... )
    >>> sample.probabilities["eyeglasses"].argmax(axis=1).tolist()
    [0, 1]
    """

    probabilities: Mapping[str, Features]
    features: Mapping[str, Features]
    assigned_class: npt.NDArray[np.int64]
    confusion: Mapping[str, npt.ArrayLike] = field(default_factory=dict)
    detected: Mapping[str, Features] = field(default_factory=dict)
    other_classifiers: Mapping[str, Mapping[str, Features]] = field(default_factory=dict)
    perceptual: Mapping[str, Features] = field(default_factory=dict)
    paired_baseline: Sample | None = None
    prompts: Mapping[str, slice] = field(default_factory=dict)
    design: Design | None = None


@dataclass(frozen=True)
class LabelledFeatures:
    """Real images with known attributes, as extractors read them. Arrays may be memory-mapped.

    Attributes:
        features: extractor name to float [n, d].
        labels: int64 [n, number of attributes], the true labels.
    """

    features: Mapping[str, Features]
    labels: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Downstream:
    """The real images that the downstream classifier learns from and is tested on.

    Attributes:
        attributes: in the order of the columns of every set's labels; they include the task's and at least one more.
        biased: training set, used alone and together with the samples.
        balanced: as many images without the bias; a classifier that learns from these is the ceiling.
        heldout: test set.
    """

    attributes: tuple[Attribute, ...]
    biased: LabelledFeatures
    balanced: LabelledFeatures
    heldout: LabelledFeatures


@dataclass(frozen=True)
class Reference:
    """The target distribution and the real images that a cell's samples are compared with.

    Attributes:
        attributes: the attributes of the task.
        distribution: float64 [K], the target distribution over the joint of `attributes` (the last attribute varies
            fastest), >= 0 and summing to 1.
        features: extractor name to (reference set name to float [n_ref, d]); may be memory-mapped.
        labels: reference set name to the true labels int64 [n_ref, number of attributes], columns in the order of
            `attributes`; holds only sets labelled with all of them, and is empty if no metric needs labels.
        statistics: extractor name to (reference name to mean and covariance), for references given as a file of these.
        downstream: the sets of the downstream test; None if the suite names none, or no metric needs them.
        texts: extractor name to (prompt name to the embedding float [d] of its text, in the space of that extractor's
            features), for extractors that read texts; empty if the suite has no prompts, or no metric needs them.

    >>> glasses = Attribute("eyeglasses", ("absent", "present"))
    >>> real = np.random.default_rng(0).standard_normal((50, 3))
    >>> reference = Reference((glasses,), np.array([0.5, 0.5]), features={"toy": {"balanced": real}})
    >>> reference.features["toy"]["balanced"].shape
    (50, 3)
    """

    attributes: tuple[Attribute, ...]
    distribution: npt.NDArray[np.float64]
    features: Mapping[str, Mapping[str, Features]] = field(default_factory=dict)
    labels: Mapping[str, npt.NDArray[np.int64]] = field(default_factory=dict)
    statistics: Mapping[str, Mapping[str, Gaussian]] = field(default_factory=dict)
    downstream: Downstream | None = None
    texts: Mapping[str, Mapping[str, Features]] = field(default_factory=dict)


@dataclass(frozen=True)
class Interval:
    """A kind of 95 % interval.

    Attributes:
        name: as tables show it.
        degrees_of_freedom: of the Student's t behind it; inf if it uses none, or one close to the normal distribution.
        rationale: which statistics it is valid for, and why they need it.
    """

    name: str
    degrees_of_freedom: float
    rationale: str


WILSON = Interval(
    "Wilson",
    math.inf,
    "for a share of independent samples (Wilson 1927): it has width at 0 of n and at n of n, where the normal interval "
    "and the bootstrap have none, and never leaves [0, 1]",
)
PARAMETRIC_BOOTSTRAP = Interval(
    "parametric bootstrap",
    math.inf,
    "for smooth functions of class counts or of means (parametric percentile bootstrap, 2.5th and 97.5th percentile): "
    "counts are drawn from the multinomial and means from the normal distribution, with a fixed seed, so equal samples "
    "have equal intervals",
)
JACKKNIFE = Interval(
    "jackknife",
    math.inf,
    "for means and for U- and V-statistics, whose value without one sample follows from its row sums at no cost "
    "(delete-one jackknife, Student's t of n - 1 degrees of freedom; Efron & Stein 1981), the end on the side that the "
    "contributions are skewed to moved out as far as Hall's transformation puts it (Hall 1992); it does not depend on "
    "the order of the samples. Where a method steers whole batches and there are 8 or more, it leaves out batches. A "
    "value that is the same without any sample has no interval",
)
GROUP_JACKKNIFE = Interval(
    "group jackknife",
    9.0,
    "for statistics that are biased in n or count different samples (delete-a-group jackknife over 10 groups, sample i "
    "in group i % 10, Student's t of 9 degrees of freedom; Kott 2001), of whole batches where the jackknife is: a "
    "bootstrap draws about 63 % of the samples, some repeatedly, and so estimates the statistic of "
    "a smaller sample; the group jackknife only leaves samples out, and its interval is that of the value at this n",
)
NO_INTERVAL = Interval("none", math.inf, "for numbers that are themselves about an error, such as a standard error")


@dataclass(frozen=True)
class Column:
    """The scores of one name that an evaluator returns.

    Attributes:
        pattern: their `metric`, with "*" for the name of an extractor or attribute classifier.
        better: the better direction; None if neither is, e.g. for a share with a target of its own.
        low: smallest possible value; -inf if there is none.
        high: largest possible value; inf if there is none.
        unit: unit or meaning of the number.
        interval: the kind of interval that it has.
    """

    pattern: str
    better: Better | None
    low: float
    high: float
    unit: str
    interval: Interval


@dataclass(frozen=True)
class MetricCard:
    """Facts that a reader needs about a metric; docs/metrics.md, lists, comparisons and tables are made from it.

    Attributes:
        summary: one sentence.
        formula: the definition, with every symbol named.
        source: paper and equation.
        columns: every name of its scores, in the order of the scores.
        classifier: the attribute classifiers whose classes it uses: none, the first, or each in turn.
        min_n: the smallest number of samples that has a value.
        bias: how its expectation depends on the number of samples, and on what else.
        interval: remarks on its interval: what is held fixed, where it is known to be too wide or too narrow.
        limits: what it does not measure.
        needs: inputs beyond features and predictions; `Sample` and `Reference` hold these only for metrics that name
            them here.

    >>> card = MetricCard(
    ...     summary="Share of the class that the classifier sees most often.",
    ...     formula="max_k n_k / n, n_k the samples classified as class k",
    ...     source="ours",
    ...     columns=(Column("largest_share", "lower", 0.0, 1.0, "share of the samples", NO_INTERVAL),),
    ...     classifier="each",
    ...     min_n="1",
    ...     bias="Upwards in small samples.",
    ...     interval="It has none.",
    ...     limits="Which class it is.",
    ... )
    >>> card.columns[0].interval.name
    'none'
    """

    summary: str
    formula: str
    source: str
    columns: tuple[Column, ...]
    classifier: ClassifierUse
    min_n: str
    bias: str
    interval: str
    limits: str
    needs: frozenset[Need] = frozenset()


class Extractor(Protocol):
    """A network that turns images into arrays. Its public name is the file stem in evaluators/.

    The module has one class `Extractor`, whose constructor takes the fields that a suite may set and leaves global
    random generators as they are. The keys of the result say what an array is: "features" (float [n, d]), "detected"
    (float [n], 0 or 1), "perceptual" (float [n, d]), or the name of an attribute (probabilities [n, K]).

    A class whose fields may name a repository, `hub:OWNER/NAME`, also has `hub_files`: patterns of the names of its
    files that are read, such as ("config.json", "*.safetensors"). `prepare` fetches and looks for these; without
    `hub_files`, all safetensors, JSON and text files.

    Attributes:
        name: the public name.
        digest: hash of the weights and of everything else that decides its output; part of the key of stored arrays.

    >>> class MeanColour:
    ...     name = "mean_colour"
    ...     digest = "1"
    ...     def extract(self, images):
    ...         return {"features": images.float().mean((2, 3)).numpy()}
    >>> import torch
    >>> MeanColour().extract(torch.full((2, 3, 8, 8), 255, dtype=torch.uint8))["features"].shape
    (2, 3)
    """

    name: str
    digest: str

    def extract(self, images: Tensor) -> dict[str, Features]:
        """Return named arrays, each [n, ...], of images.

        Args:
            images: uint8 [n, 3, h, w], RGB in [0, 255]; n may be 0.

        Returns:
            Name to float array; row i depends on image i alone, so shards and batches change nothing.

        Raises:
            ConfigError: the images are of a type or size that it does not take.
        """
        ...


class Evaluator(Protocol):
    """A metric: a pure function from stored arrays to scores. Its public name is the file stem in evaluators/.

    The module has one class `Evaluator`. It samples nothing, extracts nothing, reads no files, shows no progress and
    touches no global random generator; an interval drawn at random uses a fixed seed.

    Attributes:
        card: facts about the metric.

    >>> class LargestShare:
    ...     def evaluate(self, sample, reference):
    ...         scores = []
    ...         for attribute in reference.attributes:
    ...             labels = sample.probabilities[attribute.name].argmax(axis=1)
    ...             share = np.bincount(labels).max() / len(labels)
    ...             scores.append(Score("largest_share", attribute.name, float(share), n=len(labels)))
    ...         return scores
    >>> glasses = Attribute("eyeglasses", ("absent", "present"))
    >>> sample = Sample({"eyeglasses": np.eye(2)[[0, 0, 0, 1]]}, {}, np.full(4, -1))
    >>> [score] = LargestShare().evaluate(sample, Reference((glasses,), np.array([0.5, 0.5])))
    >>> score.value
    0.75
    """

    card: ClassVar[MetricCard]

    def evaluate(self, sample: Sample, reference: Reference) -> list[Score]:
        """Return every score that this metric has for the cell, in a fixed order.

        Args:
            sample: the cell's samples.
            reference: the target distribution and the reference sets.

        Returns:
            Scores whose names fit the columns of `card`. A value that cannot be computed is a score with status
            "undefined" and a reason, never a default number.

        Raises:
            Incompatible: the sample or the reference lacks arrays that the metric needs.
            ConfigError: an array has the wrong shape.
        """
        ...
