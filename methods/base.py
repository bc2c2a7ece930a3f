"""The protocol of debiasing methods: a function from denoiser to denoiser.

A method is one file in methods/ (or a module of another package, under the entry point group
"fairdiff_bench.methods"); the file's stem is the public name, and the file has one class `Method`: a frozen
dataclass whose fields are the hyper-parameters. The sampling loop never learns which method runs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bench.attributes import Attribute
from bench.data.base import LabelledImages
from bench.models.base import DiffusionModel

Need = Literal["bottleneck", "labels", "target"]


@dataclass(frozen=True)
class Traits:
    """What a method declares of itself; the contract tests measure it.

    Attributes:
        paper: authors, year and arXiv id.
        stage: when the method acts.
        needs: "bottleneck" (the model has one), "labels" (labelled images to learn from), "target" (its samples
            depend on the task's target distribution; a method without it shares its samples among tasks).
        couples_batch: whether a sample depends on the others of its guidance batch.
    """

    paper: str
    stage: Literal["sampling", "training"]
    needs: frozenset[Need] = frozenset()
    couples_batch: bool = False


@dataclass(frozen=True)
class Task:
    """What a method is given to debias.

    Attributes:
        model: the diffusion model.
        attributes: the attributes whose joint distribution is asked for.
        target: float64 [K], the distribution over their joint, summing to 1; zeros are allowed.
        timesteps: the training timesteps that sampling will visit, in order (falling).
        labelled: images a method may learn from; None where there are none.
        cache: a folder for what `build` learns, keyed by content; None keeps nothing.
    """

    model: DiffusionModel
    attributes: tuple[Attribute, ...]
    target: npt.NDArray[np.float64]
    timesteps: tuple[int, ...]
    labelled: LabelledImages | None = None
    cache: Path | None = None


@dataclass(frozen=True)
class Batch:
    """One guidance batch, as the sampling loop hands it to the guided denoiser.

    Attributes:
        index: int64 [n], the numbers of its samples; noise and presets of sample i depend on (seed, i) alone.
        condition: int64 [n], what the model is asked for.
        micro: largest number of rows the network runs on at once.
    """

    index: Tensor
    condition: Tensor
    micro: int


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


@dataclass(frozen=True)
class Guided:
    """What `build` returns: the guided denoiser, and what finding it cost.

    Attributes:
        denoise: the guided denoiser.
        presets: sample numbers int64 [n] -> the class of the joint that each was given beforehand, int64 [n]; None
            where nothing is preset.
        cost: of what `build` learnt.
        notes: what `build` found, for the record (JSON-able).
    """

    denoise: GuidedDenoiser
    presets: Callable[[npt.NDArray[np.int64]], npt.NDArray[np.int64]] | None = None
    cost: Cost = Cost()
    notes: dict[str, object] | None = None


class Method(Protocol):
    """A debiasing method."""

    traits: ClassVar[Traits]

    def build(self, task: Task, seed: int) -> Guided:
        """Learn or find what the method needs, and return the guided denoiser.

        Raises:
            Incompatible: the task lacks something the method needs.
        """
        ...


def micro_batches(n: int, micro: int) -> list[slice]:
    """Consecutive slices of at most `micro` rows that cover n rows."""
    return [slice(i, min(i + micro, n)) for i in range(0, n, micro)]


def timestep(t: int, rows: int, device: torch.device) -> Tensor:
    """t as the int64 vector that a denoiser takes."""
    return torch.full((rows,), t, dtype=torch.int64, device=device)
