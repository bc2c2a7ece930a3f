"""The protocol of debiasing methods: a function from denoiser to denoiser.

A method is one file in methods/, or a module that another package offers under the entry point group
"fairdiff_bench.methods". The file's stem is the public name. The file has one class `Method`: a frozen dataclass
whose fields are the hyper-parameters. Its `build` learns what the method needs and returns the guided denoiser. The
sampling loop calls that denoiser and does not know which method it runs.

A method reads no files, shows no progress bars and leaves PyTorch's global generator as it is. A task hands it a
`cache` for what it learns and a `progress` for its long loops.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal, Protocol, TypeAlias, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bench.core.attributes import Attribute
from bench.core.errors import ConfigError, UnknownName
from bench.protocols.cache import Cache, NoCache
from bench.protocols.images import LabelledImages
from bench.protocols.model import DiffusionModel
from bench.protocols.progress import Progress, silent

Need = Literal["bottleneck", "target", "conditions", "classifier", "labelled", "observed", "unbiased"]


@dataclass(frozen=True)
class Traits:
    """Properties that a method declares; the contract tests measure each of them.

    Attributes:
        paper: authors, year and arXiv id.
        stage: "sampling" for methods that steer a trained model, "training" for methods that train a model.
        needs: properties of the task without which `build` raises `Incompatible`:
            "bottleneck": the model has an h-space;
            "target": the samples depend on the task's attributes and target distribution;
            "conditions": the model accepts every class of the task's attributes as a condition; the samples depend on
            the attributes;
            "classifier": the method's field `classifier` names a differentiable attribute classifier; the samples
            depend on the attributes;
            "labelled", "observed", "unbiased": the image sets of the task that the method learns from.
            Tasks share the samples of a method that needs none of "target", "conditions" and "classifier"; a run
            withholds from a method what it does not declare, and the attributes from a method that needs none of these.
        couples_batch: whether a sample depends on the other samples of its guidance batch.
        couples_by_mean: whether it does so through `Batch.mean` alone, so that several devices can share the batch.
        calls: denoiser calls per sample and step, where the guidance batch is one compute batch.
        backward: backward passes through the network per sample and step, where a_t > 0.
        neutral: field values with which the method equals the base model bit for bit (conditioned on the assigned
            class, where the method needs "conditions"); None for a method that trains a model.
    """

    paper: str
    stage: Literal["sampling", "training"]
    needs: frozenset[Need] = frozenset()
    couples_batch: bool = False
    couples_by_mean: bool = False
    calls: float = 1.0
    backward: float = 0.0
    neutral: Mapping[str, object] | None = None

    def __post_init__(self) -> None:
        """Check the needs: a misspelt one would withhold from the method what it is about.

        Raises:
            ConfigError: no set of names.
            UnknownName: no such need.
        """
        if not isinstance(self.needs, set | frozenset):
            raise ConfigError(
                f"the needs of a method must be a set, such as frozenset({{'target'}}), got {self.needs!r}"
            )
        for need in self.needs:
            if need not in get_args(Need):
                raise UnknownName("need of a method", str(need), get_args(Need))


class Classifier(Protocol):
    """A differentiable attribute classifier, such as the extractors of evaluators/ that offer `logits`.

    Attributes:
        attributes: the attributes that it predicts.
        digest: hash of the weights and of everything else that determines its output.
    """

    attributes: tuple[Attribute, ...]
    digest: str

    def logits(self, x: Tensor) -> Mapping[str, Tensor]:
        """Return the class logits of images, differentiable in the images.

        Args:
            x: float [n, 3, h, w] in [-1, 1].

        Returns:
            Attribute name to logits [n, K].

        Raises:
            Incompatible: the images do not have the size or the shape that the network takes.
        """
        ...


@dataclass(frozen=True)
class Task:
    """The model, the attributes and the data that a method gets.

    In a run, reading a field that the method's needs do not name raises `ConfigError`: "target", "classifier",
    "labelled", "observed" and "unbiased" give the fields of these names; "target", "conditions" or "classifier" give
    the attributes.

    Attributes:
        model: the diffusion model.
        attributes: the attributes whose joint distribution the target describes.
        target: float64 [K], the target distribution over the joint of `attributes`, summing to 1; zeros are allowed.
        timesteps: the training timesteps that sampling visits, in order (falling).
        labelled: the labelled set, images with attribute labels that a method may learn from; None where there is none.
        classifier: returns the attribute classifier of an extractor's name; None where there are none.
        observed: the biased training set, for methods that train a model; None where there is none.
        unbiased: the reference set, drawn from the unbiased distribution. A method must not read its labels. None
            where there is none.
        cache: storage for what `build` learns.
        progress: wraps the iterable of a long loop, and shows how far it has come.
    """

    model: DiffusionModel
    attributes: tuple[Attribute, ...]
    target: npt.NDArray[np.float64]
    timesteps: tuple[int, ...]
    labelled: LabelledImages | None = None
    classifier: Callable[[str], Classifier] | None = None
    observed: LabelledImages | None = None
    unbiased: LabelledImages | None = None
    cache: Cache = NoCache()
    progress: Progress = silent


def alone(sums: Tensor) -> Tensor:
    """Return the sums over the whole guidance batch, where this process draws all of it: the sums themselves."""
    return sums


@dataclass(frozen=True)
class Batch:
    """One guidance batch, or the rows of it that this process draws.

    Attributes:
        index: int64 [n], the sample numbers. Noise and assigned class of sample i depend on (seed, i) alone.
        condition: int64 [n], indices into the model's `conditions`.
        micro: largest number of rows that the network runs on at once (the compute batch).
        size: number of samples of the whole guidance batch; None where this process draws all of them.
        total: maps sums over the rows of this process, of any shape, to the sums over the whole guidance batch. It may
            wait for the other processes, so every process must call it equally often and in the same order.

    >>> batch = Batch(torch.arange(4), torch.zeros(4, dtype=torch.int64), micro=2)
    >>> batch.mean(torch.tensor([6.0, 2.0]))
    tensor([1.5000, 0.5000])
    """

    index: Tensor
    condition: Tensor
    micro: int
    size: int | None = None
    total: Callable[[Tensor], Tensor] = alone

    def mean(self, sums: Tensor) -> Tensor:
        """Return the mean over the whole guidance batch of a quantity, given its sums over the rows of this process."""
        return self.total(sums) / (self.size or len(self.index))


# D(x, t) for a whole guidance batch: x [n, *shape], t the training timestep -> [n, *shape]
GuidedDenoiser = Callable[[Tensor, int, Batch], Tensor]


@dataclass(frozen=True)
class Cost:
    """The cost of learning something. A cached entry keeps the cost of the run that learnt it.

    Attributes:
        seconds: wall-clock time.
        forward_rows: network forward passes times rows; the encoder half alone counts one half.
        backward_rows: backward passes through the network times rows.

    >>> Cost(1.5, forward_rows=10) + Cost(0.5, backward_rows=4)
    Cost(seconds=2.0, forward_rows=10.0, backward_rows=4.0)
    """

    seconds: float = 0.0
    forward_rows: float = 0.0
    backward_rows: float = 0.0

    def __add__(self, cost: Cost) -> Cost:
        """Return the cost of both."""
        return Cost(
            self.seconds + cost.seconds,
            self.forward_rows + cost.forward_rows,
            self.backward_rows + cost.backward_rows,
        )


@dataclass(frozen=True)
class Curves:
    """Lines over one axis that `build` computed, for a plot beside the tables.

    Attributes:
        title: what the lines show.
        x_label: of the axis, with its unit or range.
        y_label: of the values, with their unit or range.
        x: [n].
        lines: name to values [n].
        marks: name of a line to a position on the axis, drawn as a dashed vertical in the line's colour.
    """

    title: str
    x_label: str
    y_label: str
    x: list[float]
    lines: dict[str, list[float]]
    marks: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Guided:
    """The result of `build`: the guided denoiser, what it cost, and notes.

    Attributes:
        denoise: the guided denoiser.
        assigned_classes: maps sample numbers int64 [n] to the class of the joint that the method assigns to each
            sample before sampling, int64 [n]: the class that it conditions on, steers towards or starts from; -1 for a
            sample that it leaves alone. None for methods that assign no classes. Intervals take the numbers of classes
            as fixed where every 60 samples have the same, up to one.
        repeats: how often the sampler takes each step (self-recurrence, Bansal et al. 2023, arXiv 2302.07121, section
            3.3). After all but the last repeat it noises the result back to the step's noise level.
        candidates: how many samples are drawn for each one that is kept, each from noise of its own.
        select: chooses the samples that are kept, where there are several candidates: maps x_0 of the candidates,
            [candidates, n, *shape], to distinct rows of x_0.flatten(0, 1), int64 [n]. The first n rows are the samples
            of a method without candidates.
        cost: the cost of what `build` learnt.
        notes: what `build` learnt, for the run's records (JSON-able).
        curves: what `build` learnt, for plots.
    """

    denoise: GuidedDenoiser
    assigned_classes: Callable[[npt.NDArray[np.int64]], npt.NDArray[np.int64]] | None = None
    repeats: int = 1
    candidates: int = 1
    select: Callable[[Tensor], npt.NDArray[np.int64]] | None = None
    cost: Cost = Cost()
    notes: dict[str, object] | None = None
    curves: tuple[Curves, ...] = ()


# Field name to a range as text, "LOW..HIGH" or "LOW..HIGH:log", or to the values to choose from.
SearchSpace: TypeAlias = Mapping[str, str | Sequence[object]]


class Method(Protocol):
    """A debiasing method; implementations are frozen dataclasses whose fields are the hyper-parameters.

    Attributes:
        search_space: the fields that `run_bench.py tune` searches, such as {"strength": "10..1000:log"}; ranges hold
            both ends, and every range or list holds the field's default. A method without it has nothing to tune.
    """

    search_space: ClassVar[SearchSpace] = {}

    @property
    def traits(self) -> Traits:
        """The declared properties; a class variable where no field changes them."""
        ...

    def build(self, task: Task, seed: int) -> Guided:
        """Learn what the method needs, and return the guided denoiser.

        Args:
            task: the model, the attributes and the data.
            seed: of every random draw. Derive independent seeds from it with `bench.core.seeds.derive_seed`.

        Raises:
            Incompatible: the task lacks something that the method needs. The cell is then skipped, with this reason.
        """
        ...


def micro_batches(n: int, micro: int) -> list[slice]:
    """Return consecutive slices of at most `micro` rows that cover n rows.

    >>> micro_batches(5, 2)
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    return [slice(i, min(i + micro, n)) for i in range(0, n, micro)]


def check_window(window: tuple[float, float]) -> None:
    """Check the guided part of sampling, fractions (low, high) of the training timesteps.

    Raises:
        ConfigError: not 0 <= low < high <= 1.
    """
    if not 0 <= window[0] < window[1] <= 1:
        raise ConfigError(f"window must be two fractions with 0 <= low < high <= 1, got {list(window)}")


def timestep(t: int, rows: int, device: torch.device) -> Tensor:
    """Return the timestep t as the int64 vector [rows] that a denoiser takes.

    >>> timestep(999, 2, torch.device("cpu"))
    tensor([999, 999])
    """
    return torch.full((rows,), t, dtype=torch.int64, device=device)
