"""Class-gap guidance: steer a batch in h-space along the gaps between class means, by an ADP fitted in closed form.

A method of this project, after distribution guidance (Parihar et al. 2024, arXiv 2402.18206), which the file
`methods/distribution_guidance.py` has as it was released.

1. A linear attribute distribution predictor (ADP) per sampling step maps h_t to class logits. It is fitted in closed
   form on independently noised images (`methods.hspace.adp.load_or_fit`).
2. Its prior is the model's own class shares, measured on unguided samples (`Heads.with_prior`).
3. The loss is chi-square or KL of the batch's mean of softmax(logits / T) against the target
   (`methods.targeting.losses`).
4. h moves along the differences of the class means instead of the gradient (`methods.hspace.guidance.class_gaps`), so
   one strength serves all attributes, networks and batch sizes.
5. Skewed targets get a smaller step (`relative_flatness`), without which a batch runs away from them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

from bench.core.attributes import Attribute, marginal, product
from bench.core.errors import ConfigError
from bench.protocols.method import Cost, Guided, Task, Traits
from methods.hspace.adp import Heads, load_or_fit
from methods.hspace.guidance import (
    Part,
    Steering,
    check_fields,
    check_finite,
    check_temperature,
    class_gaps,
    guide_bottleneck,
)
from methods.hspace.shares import class_shares, smoothed, unguided
from methods.targeting.losses import of_batch, relative_flatness, smooth


@dataclass(frozen=True)
class Method:
    """A batch moves in h-space along gaps between class means until its predicted distribution meets the target.

    A method of this project, after Parihar et al. 2024, arXiv 2402.18206; the file's docstring lists the steps.

    Attributes:
        strength: of the push, in gaps between class means; 0 gives the base model exactly.
        loss: "chi_square" or "kl", of the batch's predicted distribution.
        temperature: of the softmax, > 0.
        window: the guided part of sampling, as fractions of the training timesteps, low < high.
        over: "joint" steers the joint distribution of the task's attributes, "marginals" each attribute by itself.
        labels_per_class: labelled images for each class of the ADP.
        calibration: number of unguided samples that the model's own class shares are measured on; 0 assumes equal
            shares.
    """

    traits: ClassVar[Traits] = Traits(
        paper="this project, after Parihar et al. 2024, arXiv 2402.18206",
        stage="sampling",
        needs=frozenset({"bottleneck", "labelled", "target"}),
        couples_batch=True,
        couples_by_mean=True,
        neutral={"strength": 0.0},
    )
    strength: float = 100.0
    loss: Literal["chi_square", "kl"] = "chi_square"
    temperature: float = 3.0
    window: tuple[float, float] = (0.0, 1.0)
    over: Literal["joint", "marginals"] = "joint"
    labels_per_class: int = 300
    calibration: int = 100

    def __post_init__(self) -> None:
        """Check the ranges of the fields."""
        check_finite("strength", self.strength)
        check_fields(self.window, self.labels_per_class)
        check_temperature(self.temperature)
        if self.calibration < 0:
            raise ConfigError(f"calibration must be at least 0, got {self.calibration}")

    def build(self, task: Task, seed: int) -> Guided:
        """Fit the ADP for every timestep that sampling visits and measure its prior, or read both from the cache."""
        joint = product(task.attributes)
        attributes = [joint] if self.over == "joint" else list(task.attributes)
        parts: list[Part] = []
        notes: dict[str, object] = {}
        calibration_cost = Cost()
        for attribute in attributes:
            heads, attribute_notes, calibration_cost = self._heads(task, attribute, seed)
            fit_cost = heads.cost  # the same for all attributes, which are fitted in one pass
            r = smooth(task.target if attribute == joint else marginal(task.target, task.attributes, attribute))
            target = torch.from_numpy(r).to(heads.weight)
            strength = self.strength * relative_flatness(self.loss, target)
            parts.append(class_gaps(heads, of_batch(self.loss, target), strength))
            notes[attribute.name] = attribute_notes
        denoise = guide_bottleneck(task.model, parts, Steering(self.temperature, self.window, couples_batch=True))
        return Guided(denoise, cost=fit_cost + calibration_cost, notes=notes)

    def _heads(self, task: Task, attribute: Attribute, seed: int) -> tuple[Heads, dict[str, object], Cost]:
        """Return the ADP of an attribute with its prior, its notes, and the cost of the prior."""
        heads = load_or_fit(task, attribute, self.labels_per_class, seed)
        notes = heads.notes()
        if not self.calibration:
            return heads, notes, Cost()
        h, cost = unguided(task, self.calibration, seed)
        shares = class_shares(heads, h, task.timesteps[-1])
        notes["shares"] = shares.tolist()
        return heads.with_prior(smoothed(shares, self.calibration)), notes, cost
