"""Distribution guidance: the whole batch is steered so that its predicted attribute distribution meets the target."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from bench.attributes import marginal, product
from methods.base import Guided, Task, Traits
from methods.hspace.adp import load_or_fit
from methods.hspace.guidance import Part, check_fields, guide_bottleneck
from methods.target.losses import GRADIENTS, relative_flatness, smooth


@dataclass(frozen=True)
class Method:
    """A batch of samples is pushed in h-space until the mean of the ADP's probabilities meets the target.

    Source: Parihar et al. 2024 (Balancing Act), arXiv 2402.18206, Eqs. 6-8. Differs from the release in the ADP's
    closed-form fit (`methods.hspace.adp`), in the unit of the strength (`methods.hspace.guidance`), and in
    the smaller step for skewed targets (`relative_flatness`).

    Attributes:
        strength: of the push, in gaps between class means; 0 gives the base model exactly.
        loss: "chi_square" (the release's choice for unconditional models) or "kl" (for Stable Diffusion).
        temperature: of the softmax, > 0.
        window: the guided part of sampling, as fractions of the training timesteps, low < high.
        over: "joint" steers the joint distribution of the task's attributes, "marginals" each attribute by itself.
        labels_per_class: labelled images for each class of the ADP.
    """

    traits: ClassVar[Traits] = Traits(
        paper="Parihar et al. 2024, arXiv 2402.18206",
        stage="sampling",
        needs=frozenset({"bottleneck", "labelled", "target"}),
        couples_batch=True,
        neutral={"strength": 0.0},
    )
    strength: float = 100.0
    loss: Literal["chi_square", "kl"] = "chi_square"
    temperature: float = 3.0
    window: tuple[float, float] = (0.0, 1.0)
    over: Literal["joint", "marginals"] = "joint"
    labels_per_class: int = 300

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        check_fields(self.strength, self.temperature, self.window, self.labels_per_class)

    def build(self, task: Task, seed: int) -> Guided:
        """Fit the ADP (or take it from the cache) for every timestep that sampling visits."""
        joint = product(task.attributes)
        wanted = [joint] if self.over == "joint" else list(task.attributes)
        slope = GRADIENTS[self.loss]
        parts: list[Part] = []
        notes: dict[str, object] = {}
        for attribute in wanted:
            heads = load_or_fit(task, attribute, self.labels_per_class, seed)
            r = smooth(task.target if attribute == joint else marginal(task.target, task.attributes, attribute))
            target = torch.from_numpy(r).to(heads.weight)

            def gradient(p: Tensor, mean: Tensor, _index: Tensor, target: Tensor = target) -> Tensor:
                return slope(mean, target).expand_as(p)

            parts.append((heads, gradient, self.strength * relative_flatness(self.loss, target)))
            notes[attribute.name] = heads.notes()
        guided = guide_bottleneck(task.model, parts, self.temperature, self.window, couples_batch=True)
        return Guided(guided, cost=parts[0][0].cost, notes=notes)
