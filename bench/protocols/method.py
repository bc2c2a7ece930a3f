"""The protocol of debiasing methods: a function from denoiser to denoiser.

A method is one file in methods/ (or a module of another package, under the entry point group
"fairdiff_bench.methods"); the file's stem is the public name, and the file has one class `Method`: a frozen
dataclass whose fields are the hyper-parameters. The sampling loop never learns which method runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bench.core.attributes import Attribute
from bench.core.errors import ConfigError
from bench.protocols.images import LabelledImages
from bench.protocols.model import DiffusionModel

Need = Literal["bottleneck", "target", "conditions", "classifier", "labelled", "observed", "unbiased"]


@dataclass(frozen=True)
class Traits:
    """What a method declares of itself; the contract tests measure it.

    Attributes:
        paper: authors, year and arXiv id.
        stage: when the method acts.
        needs: "bottleneck" (the model has one), "target" (its samples depend on the task's attributes and target
            distribution), "conditions" (the model can be asked for the classes of the task's attribute; the samples
            depend on the attributes), "classifier" (its field `classifier` names a differentiable attribute
            classifier; the samples depend on the attributes), and the image sets of the task that it learns from:
            "labelled", "observed", "unbiased". Samples that do not depend on the task are shared
            among tasks.
        couples_batch: whether a sample depends on the others of its guidance batch.
        couples_by_mean: whether it does so through `Batch.mean` alone, so that the batch may be spread over devices.
        calls: denoiser calls a sample and step, where the guidance batch is one compute batch.
        backward: backward passes through the network a sample and step, where a_t > 0.
        neutral: fields with which it equals the base model bit for bit (asked for the assigned class class, where it
            needs "conditions"); None where no field does that, since another model is trained.
    """

    paper: str
    stage: Literal["sampling", "training"]
    needs: frozenset[Need] = frozenset()
    couples_batch: bool = False
    couples_by_mean: bool = False
    calls: float = 1.0
    backward: float = 0.0
    neutral: Mapping[str, object] | None = None


class Classifier(Protocol):
    """An attribute classifier whose gradient in the image can be had; those of evaluators/ that say so fit."""

    attributes: tuple[Attribute, ...]
    digest: str  # hash of the weights and of everything else that decides its output

    def logits(self, x: Tensor) -> Mapping[str, Tensor]:
        """Attribute name to logits [n, K] of float images x [n, 3, h, w] in [-1, 1]; differentiable in x."""
        ...


@dataclass(frozen=True)
class Task:
    """What a method is given to debias.

    Attributes:
        model: the diffusion model.
        attributes: the attributes whose joint distribution is asked for.
        target: float64 [K], the distribution over their joint, summing to 1; zeros are allowed.
        timesteps: the training timesteps that sampling will visit, in order (falling).
        labelled: images a method may learn from; None where there are none.
        classifier: extractor name to the attribute classifier of that name; None where there are none.
        observed: the biased images, for methods that train a model; None where there are none.
        unbiased: an unbiased set, whose labels a method must not look at; None where there is none.
        cache: a folder for what `build` learns, keyed by content; None keeps nothing.
    """

    model: DiffusionModel
    attributes: tuple[Attribute, ...]
    target: npt.NDArray[np.float64]
    timesteps: tuple[int, ...]
    labelled: LabelledImages | None = None
    classifier: Callable[[str], Classifier] | None = None
    observed: LabelledImages | None = None
    unbiased: LabelledImages | None = None
    cache: Path | None = None


def alone(sums: Tensor) -> Tensor:
    """The total of sums over rows where all rows are here: the sums themselves."""
    return sums


@dataclass(frozen=True)
class Batch:
    """One guidance batch, or the rows of it that are drawn here, as handed to the guided denoiser.

    Attributes:
        index: int64 [n], the numbers of its samples; noise and assigned classes of sample i depend on (seed, i) alone.
        condition: int64 [n], what the model is asked for.
        micro: largest number of rows the network runs on at once.
        size: samples of the whole guidance batch; None where all are here.
        total: sums over the rows here, of any shape -> the same over the whole guidance batch. It may wait for whoever
            draws the other rows, so it is called equally often, in the same order, whatever the rows are.
    """

    index: Tensor
    condition: Tensor
    micro: int
    size: int | None = None
    total: Callable[[Tensor], Tensor] = alone

    def mean(self, sums: Tensor) -> Tensor:
        """The mean over the whole guidance batch of what adds up to `sums` over the rows here."""
        return self.total(sums) / (self.size or len(self.index))


# D(x, t) for a whole guidance batch: x [n, *shape], t the training timestep -> [n, *shape]
GuidedDenoiser = Callable[[Tensor, int, Batch], Tensor]


@dataclass(frozen=True)
class Cost:
    """What it took to learn something, when it was learnt: a cache changes when one pays, not what it costs.

    Attributes:
        seconds: wall-clock time.
        forward_rows: network forward passes times rows; the encoder half alone counts one half.
        backward_rows: backward passes through the network times rows.
    """

    seconds: float = 0.0
    forward_rows: float = 0.0
    backward_rows: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        """The cost of both."""
        return Cost(
            self.seconds + other.seconds,
            self.forward_rows + other.forward_rows,
            self.backward_rows + other.backward_rows,
        )


@dataclass(frozen=True)
class Curves:
    """Lines over one axis that `build` found, for a plot beside the tables.

    Attributes:
        title: what they show.
        x_label: of the axis, with its unit or range.
        y_label: of the values, likewise.
        x: [n].
        lines: name to values [n].
        marks: name of a line to a place on the axis worth a dashed line in its colour.
    """

    title: str
    x_label: str
    y_label: str
    x: list[float]
    lines: dict[str, list[float]]
    marks: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Guided:
    """What `build` returns: the guided denoiser, and what finding it cost.

    Attributes:
        denoise: the guided denoiser.
        assigned_classes: sample numbers int64 [n] -> the class of the joint that each was given beforehand, int64 [n];
            None where nothing is assigned_class. A method that asks the model for a class, or starts from one, assigned
            classes it.
        repeats: how often each step is taken (self-recurrence, Bansal et al. 2023, arXiv 2302.07121, section 3.3):
            after all but the last time the sampler noises its result back to the step's noise level.
        cost: of what `build` learnt.
        notes: what `build` found, for the record (JSON-able).
        curves: what of it is best seen.
    """

    denoise: GuidedDenoiser
    assigned_classes: Callable[[npt.NDArray[np.int64]], npt.NDArray[np.int64]] | None = None
    repeats: int = 1
    cost: Cost = Cost()
    notes: dict[str, object] | None = None
    curves: tuple[Curves, ...] = ()


class Method(Protocol):
    """A debiasing method."""

    @property
    def traits(self) -> Traits:
        """What it declares of itself; a class variable where no field changes it."""
        ...

    def build(self, task: Task, seed: int) -> Guided:
        """Learn or find what the method needs, and return the guided denoiser.

        Raises:
            Incompatible: the task lacks something the method needs.
        """
        ...


def micro_batches(n: int, micro: int) -> list[slice]:
    """Consecutive slices of at most `micro` rows that cover n rows."""
    return [slice(i, min(i + micro, n)) for i in range(0, n, micro)]


def check_window(window: tuple[float, float]) -> None:
    """Refuse a part of sampling, as fractions (low, high) of the training timesteps, that is none.

    Raises:
        ConfigError: not 0 <= low < high <= 1.
    """
    if not 0 <= window[0] < window[1] <= 1:
        raise ConfigError(f"window must be two fractions with 0 <= low < high <= 1, got {list(window)}")


def timestep(t: int, rows: int, device: torch.device) -> Tensor:
    """t as the int64 vector that a denoiser takes."""
    return torch.full((rows,), t, dtype=torch.int64, device=device)
