"""Class-gap guidance: steer samples in h-space along the gaps between class means, by an ADP fitted in closed form.

A method of this project, after distribution guidance (Parihar et al. 2024, arXiv 2402.18206), which the file
`methods/distribution_guidance.py` has as it was released.

1. A linear attribute distribution predictor (ADP) per sampling step maps h_t to class logits. It is fitted in closed
   form on independently noised images (`methods.hspace.adp.load_or_fit`).
2. Its prior is the model's own class shares, measured on unguided samples (`Heads.with_prior`).
3. The loss is that of a batch, chi-square or KL of the mean of softmax(logits / T) against the target
   (`methods.targeting.losses`), or that of a sample, -softmax(logits / T)[c] of an assigned class c.
4. h moves along the differences of the class means instead of the gradient (`methods.hspace.guidance.class_gaps`), so
   one strength serves all attributes, networks and batch sizes.
5. Skewed targets get a smaller step (`relative_flatness`), without which a batch runs away from them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt
import torch

from bench.core.attributes import Attribute, marginal, product
from bench.core.errors import ConfigError
from bench.protocols.method import Cost, Guided, SearchSpace, Task, Traits
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
from methods.targeting.assigned_classes import assign_classes, toward_assigned
from methods.targeting.losses import of_batch, relative_flatness, smooth


@dataclass(frozen=True)
class Method:
    """A batch, or each sample, moves in h-space along gaps between class means until it meets the target.

    A method of this project, after Parihar et al. 2024, arXiv 2402.18206; the file's docstring lists the steps.

    Attributes:
        strength: of the push, in gaps between class means; 0 gives the base model exactly.
        loss: "chi_square" or "kl" of the batch's predicted distribution, or "assigned_class": each sample gets a class,
            the classes meeting the target, and is pushed towards it. "assigned_class" works on the joint; strength
            300, temperature 2 and calibration 0 serve it.
        temperature: of the softmax, > 0.
        window: the guided part of sampling, as fractions of the training timesteps, low < high.
        over: "joint" steers the joint distribution of the task's attributes, "marginals" each attribute by itself.
        labels_per_class: labelled images for each class of the ADP.
        calibration: number of unguided samples that the model's own class shares are measured on; 0 assumes equal
            shares.
    """

    search_space: ClassVar[SearchSpace] = {"strength": "10..1000:log", "loss": ["chi_square", "kl", "assigned_class"]}
    strength: float = 100.0
    loss: Literal["chi_square", "kl", "assigned_class"] = "chi_square"
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
        if self.loss == "assigned_class" and self.over != "joint":
            raise ConfigError(f"loss assigned_class must go with over joint, got over {self.over}")

    @property
    def traits(self) -> Traits:
        """The declared properties: `loss` decides whether samples are coupled."""
        coupled = self.loss != "assigned_class"
        return Traits(
            paper="this project, after Parihar et al. 2024, arXiv 2402.18206",
            stage="sampling",
            needs=frozenset({"bottleneck", "labelled", "target"}),
            couples_batch=coupled,
            couples_by_mean=coupled,
            neutral={"strength": 0.0},
        )

    def build(self, task: Task, seed: int) -> Guided:
        """Fit the ADP for every timestep that sampling visits and measure its prior, or read both from the cache."""
        joint, coupled = product(task.attributes), self.loss != "assigned_class"

        def assigned(index: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
            return assign_classes(task.target, seed, index)

        attributes = [joint] if self.over == "joint" else list(task.attributes)
        parts: list[Part] = []
        notes: dict[str, object] = {}
        calibration_cost = Cost()
        for attribute in attributes:
            heads, attribute_notes, calibration_cost = self._heads(task, attribute, seed)
            fit_cost = heads.cost  # the same for all attributes, which are fitted in one pass
            strength, gradient = self.strength, toward_assigned(assigned, joint.n_classes)
            if coupled:
                r = smooth(task.target if attribute == joint else marginal(task.target, task.attributes, attribute))
                target = torch.from_numpy(r).to(heads.weight)
                strength, gradient = strength * relative_flatness(self.loss, target), of_batch(self.loss, target)
            parts.append(class_gaps(heads, gradient, strength))
            notes[attribute.name] = attribute_notes
        denoise = guide_bottleneck(task.model, parts, Steering(self.temperature, self.window, coupled))
        return Guided(denoise, None if coupled else assigned, cost=fit_cost + calibration_cost, notes=notes)

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
