"""The protocols of extractors (images to arrays) and evaluators (arrays to scores).

Extractors are the only place where a network looks at images; they run once a shard and their arrays are kept
beside the images, memory-mapped. Evaluators are pure functions of those arrays and walk them in chunks, so their
memory does not grow with the number of samples and a new metric never samples or extracts again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal, Protocol

import numpy as np
import numpy.typing as npt
from torch import Tensor

from bench.attributes import Attribute

Status = Literal["ok", "undefined", "skipped", "failed"]
CHUNK = 4096  # rows an evaluator holds at a time


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
        null_bound: what a perfect sampler reaches or betters in 95 of 100 samples of this n; None where that is not
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
    null_bound: float | None = None
    status: Status = "ok"
    reason: str = ""


@dataclass(frozen=True)
class Sample:
    """What a cell produced, as extractors saw it. Every array may be memory-mapped; row i is sample i.

    Attributes:
        probabilities: attribute name to float [n, K], the judge's class probabilities; a row that is NaN throughout
            was not judged.
        features: extractor name to float [n, d].
        preset: int64 [n], the class of the task's joint that each sample was asked for or given beforehand; -1
            where it was not.
        confusion: attribute name to counts [K, K] of the judge on held-out labelled images, rows the true class.
        detected: extractor name to float [n], 1 where it found a face and 0 where it did not.
        other_judges: name of every other judge of the suite to its probabilities, as `probabilities`.
    """

    probabilities: Mapping[str, npt.NDArray[np.floating]]
    features: Mapping[str, npt.NDArray[np.floating]]
    preset: npt.NDArray[np.int64]
    confusion: Mapping[str, npt.ArrayLike] = field(default_factory=dict)
    detected: Mapping[str, npt.NDArray[np.floating]] = field(default_factory=dict)
    other_judges: Mapping[str, Mapping[str, npt.NDArray[np.floating]]] = field(default_factory=dict)


@dataclass(frozen=True)
class Reference:
    """What a cell is measured against.

    Attributes:
        attributes: the attributes of the task.
        distribution: float64 [K], the target distribution over the joint of `attributes`, summing to 1.
        features: extractor name to (reference set name to float [n_ref, d]); may be memory-mapped.
        labels: reference set name to the true labels int64 [n_ref, number of attributes], in the order of `attributes`;
            a set that is not labelled by all of them is left out.
    """

    attributes: tuple[Attribute, ...]
    distribution: npt.NDArray[np.float64]
    features: Mapping[str, Mapping[str, npt.NDArray[np.floating]]] = field(default_factory=dict)
    labels: Mapping[str, npt.NDArray[np.int64]] = field(default_factory=dict)


@dataclass(frozen=True)
class Card:
    """What a reader must know of a metric."""

    summary: str  # one sentence
    source: str  # paper and equation
    better: Literal["lower", "higher"]
    low: float  # smallest possible value
    high: float  # largest possible value, inf where there is none
    each_judge: bool = False  # whether it reads the judge's probabilities, and is computed once for each judge


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
