"""Sample guidance: assign a class to every sample and push the sample towards it in h-space.

Source: Parihar et al. 2024, arXiv 2402.18206, the baseline "H-sample".

1. Sample i gets a class c_i; the classes meet the target exactly (`methods.targeting.assigned_classes`).
2. L = -sum_i softmax(logits_i / T)[c_i], with the logits of a linear attribute predictor per sampling step
   (`methods.hspace.adp.load_or_fit`).
3. h <- h - strength dL/dh (`methods.hspace.guidance.guide_bottleneck`).

The predictor and the step are those of distribution guidance, with the same differences from the release, so the two
methods differ in the loss alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bench.core.attributes import product
from bench.protocols.method import Guided, Task, Traits
from methods.hspace.adp import load_or_fit
from methods.hspace.guidance import Part, check_fields, check_temperature, guide_bottleneck
from methods.targeting.assigned_classes import assign_classes


@dataclass(frozen=True)
class Method:
    """Every sample gets a class, the classes meeting the target, and is pushed towards it in h-space.

    The baseline "H-sample" of Parihar et al. 2024, arXiv 2402.18206; the file's docstring lists the steps.

    Attributes:
        strength: of the push, in gaps between class means; 0 gives the base model exactly.
        temperature: of the softmax, > 0.
        window: the guided part of sampling, as fractions of the training timesteps, low < high.
        labels_per_class: labelled images for each class of the ADP.
    """

    traits: ClassVar[Traits] = Traits(
        paper="Parihar et al. 2024, arXiv 2402.18206",
        stage="sampling",
        needs=frozenset({"bottleneck", "labelled", "target"}),
        neutral={"strength": 0.0},
    )
    strength: float = 300.0
    temperature: float = 2.0
    window: tuple[float, float] = (0.0, 1.0)
    labels_per_class: int = 300

    def __post_init__(self) -> None:
        """Check the ranges of the fields."""
        check_fields(self.strength, self.window, self.labels_per_class)
        check_temperature(self.temperature)

    def build(self, task: Task, seed: int) -> Guided:
        """Fit the ADP for every timestep that sampling visits, or read it from the cache."""
        joint = product(task.attributes)
        heads = load_or_fit(task, joint, self.labels_per_class, seed)

        def assigned(index: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
            return assign_classes(task.target, seed, index)

        def gradient(p: Tensor, _mean: Tensor, index: Tensor) -> Tensor:
            chosen = torch.from_numpy(assigned(index.numpy())).to(p.device)
            return -torch.nn.functional.one_hot(chosen, joint.n_classes).to(p)

        parts: list[Part] = [(heads, gradient, self.strength)]
        guided = guide_bottleneck(task.model, parts, self.temperature, self.window, couples_batch=False)
        return Guided(guided, assigned_classes=assigned, cost=heads.cost, notes={joint.name: heads.notes()})
