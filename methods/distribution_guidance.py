"""Distribution guidance: steer a batch in h-space until its predicted attribute distribution meets the target.

Source: Parihar et al. 2024 (Balancing Act), arXiv 2402.18206, Eqs. 6-8.

1. A linear attribute distribution predictor (ADP) per sampling step maps h_t to class logits; section 4.1
   (`methods.hspace.adp.load_or_fit`).
2. p_hat is the mean over the guidance batch of softmax(logits / T).
3. L(p_hat, r) is chi-square or KL against the target r; section 4.2 (`methods.targeting.losses`).
4. h <- h - strength dL/dh, after which the decoder half of the U-Net runs on the changed h; Eq. 8
   (`methods.hspace.guidance.guide_bottleneck`).

Differs from the release in four points: the ADP is fitted in closed form (`methods.hspace.adp`); its prior is the
model's own class shares, measured on unguided samples (`Heads.with_prior`); the strength is in units of the gap between
class means (`methods.hspace.guidance`); skewed targets get a smaller step (`relative_flatness`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from bench.core.attributes import marginal, product
from bench.core.errors import ConfigError
from bench.protocols.method import Cost, Guided, Task, Traits
from methods.hspace.adp import load_or_fit
from methods.hspace.guidance import Part, check_fields, check_temperature, guide_bottleneck
from methods.hspace.shares import class_shares, smoothed, unguided
from methods.targeting.losses import GRADIENTS, relative_flatness, smooth


@dataclass(frozen=True)
class Method:
    """A batch of samples is pushed in h-space until the mean of the ADP's probabilities meets the target.

    Parihar et al. 2024, arXiv 2402.18206, Eqs. 6-8; the file's docstring lists the steps and the differences.

    Attributes:
        strength: of the push, in gaps between class means; 0 gives the base model exactly.
        loss: "chi_square" (the release's choice for unconditional models) or "kl" (for Stable Diffusion).
        temperature: of the softmax, > 0.
        window: the guided part of sampling, as fractions of the training timesteps, low < high.
        over: "joint" steers the joint distribution of the task's attributes, "marginals" each attribute by itself.
        labels_per_class: labelled images for each class of the ADP.
        calibration: number of unguided samples that the model's own class shares are measured on; 0 assumes equal
            shares, as the paper does.
    """

    traits: ClassVar[Traits] = Traits(
        paper="Parihar et al. 2024, arXiv 2402.18206",
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
        check_fields(self.strength, self.window, self.labels_per_class)
        check_temperature(self.temperature)
        if self.calibration < 0:
            raise ConfigError(f"calibration must be at least 0, got {self.calibration}")

    def build(self, task: Task, seed: int) -> Guided:
        """Fit the ADP for every timestep that sampling visits and measure its prior, or read both from the cache."""
        joint = product(task.attributes)
        attributes = [joint] if self.over == "joint" else list(task.attributes)
        slope = GRADIENTS[self.loss]
        parts: list[Part] = []
        notes: dict[str, object] = {}
        calibration_cost = Cost()
        for attribute in attributes:
            heads = load_or_fit(task, attribute, self.labels_per_class, seed)
            attribute_notes = heads.notes()
            fit_cost = heads.cost  # the same for all attributes, which are fitted in one pass
            if self.calibration:
                h, calibration_cost = unguided(task, self.calibration, seed)
                shares = class_shares(heads, h, task.timesteps[-1])
                heads = heads.with_prior(smoothed(shares, self.calibration))
                attribute_notes["shares"] = shares.tolist()
            r = smooth(task.target if attribute == joint else marginal(task.target, task.attributes, attribute))
            target = torch.from_numpy(r).to(heads.weight)

            def gradient(p: Tensor, mean: Tensor, _index: Tensor, target: Tensor = target) -> Tensor:
                return slope(mean, target).expand_as(p)

            parts.append((heads, gradient, self.strength * relative_flatness(self.loss, target)))
            notes[attribute.name] = attribute_notes
        guided = guide_bottleneck(task.model, parts, self.temperature, self.window, couples_batch=True)
        return Guided(guided, cost=fit_cost + calibration_cost, notes=notes)
