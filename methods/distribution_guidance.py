"""Distribution guidance: steer a batch in h-space until its predicted attribute distribution meets the target.

Source: Parihar et al. 2024 (Balancing Act), arXiv 2402.18206, as released in rishubhpar/debiasing_gen_models at commit
aeb2d96; files and lines below are of that repository.

1. A linear attribute distribution predictor (ADP) per sampling step but the first maps h_t to class logits. It is
   trained on h along deterministic DDIM inversion of labelled images (`methods.hspace.inversion`).
2. p_hat is the mean over the guidance batch of softmax(logits / 8) (multi_classifier.py:51).
3. L = sum_k (p_hat_k - r_k)^2 / r_k for unconditional models, KL for Stable Diffusion (`methods.targeting.losses`).
   Over several attributes L is a sum, with a scale each (multi_classifier.py:109-171).
4. h <- h - gamma(t) dL/dh with gamma(t) = 1.5 beta_t^0.05 300 scale (multi_classifier.py:101, :105,
   models/guided_diffusion/unet.py:784), after which the decoder half of the U-Net runs on the changed h. Stable
   Diffusion has a constant 500 x 600 in place of gamma (run_stable_diffusion.py:18, :40-44) and guides the conditional
   and the unconditional rows alike (pipeline_stable_diffusion.py:513-517, unet_2d_condition.py:343-366).

For the setting of the release on Stable Diffusion, take `loss: kl`, `scale: 666.67`, `gamma_power: 0`, `rows: both`.
A class of target 0 counts as 0.01, so that its term stays finite (`smooth`). `class_gap_guidance` is a variant of this
project with another step, other heads and a prior.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

from bench.core.attributes import marginal
from bench.protocols.method import Guided, SearchSpace, Task, Traits
from methods.hspace.guidance import (
    Steering,
    check_fields,
    check_finite,
    check_scales,
    check_temperature,
    gamma,
    guide_bottleneck,
    released,
    scale_of,
)
from methods.hspace.inversion import load_or_train
from methods.targeting.losses import of_batch, smooth


@dataclass(frozen=True)
class Method:
    """A batch of samples is pushed in h-space until the mean of the ADP's probabilities meets the target.

    Parihar et al. 2024, arXiv 2402.18206, as released; the file's docstring lists the steps.

    Attributes:
        scale: of the step, for every attribute without one in `scales`; 0 gives the base model exactly. It must be
            tuned per attribute and guidance batch: the larger the batch, the larger the scale. 150 is tuned on the
            embedded faces, seed 1000, in guidance batches of 100; the release's default is 1500 (main.py:130).
        scales: of single attributes, by name.
        loss: "chi_square" (the release's for unconditional models) or "kl" (for Stable Diffusion).
        temperature: of the softmax, > 0.
        gamma_power: exponent of beta_t in gamma(t); 0 makes gamma constant.
        rows: of classifier-free guidance: "both", as released, or "conditional" alone. The same without it.
        window: the guided part of sampling, as fractions of the training timesteps, low < high.
        labels_per_class: labelled images for each class of the ADP; 1,000 to 2,000 in the release's README.
    """

    traits: ClassVar[Traits] = Traits(
        paper="Parihar et al. 2024, arXiv 2402.18206",
        stage="sampling",
        needs=frozenset({"bottleneck", "labelled", "target"}),
        couples_batch=True,
        couples_by_mean=True,
        neutral={"scale": 0.0},
    )
    search_space: ClassVar[SearchSpace] = {"scale": "15..1500:log", "loss": ["chi_square", "kl"]}
    scale: float = 150.0
    scales: Mapping[str, float] | None = None
    loss: Literal["chi_square", "kl"] = "chi_square"
    temperature: float = 8.0
    gamma_power: float = 0.05
    rows: Literal["both", "conditional"] = "both"
    window: tuple[float, float] = (0.0, 1.0)
    labels_per_class: int = 150

    def __post_init__(self) -> None:
        """Check the ranges of the fields."""
        check_scales(self.scale, self.scales)
        check_finite("gamma_power", self.gamma_power)
        check_fields(self.window, self.labels_per_class)
        check_temperature(self.temperature)

    def build(self, task: Task, seed: int) -> Guided:
        """Train the ADP for every guided timestep of sampling, or read it from the cache."""
        every_heads = load_or_train(task, self.labels_per_class, seed)
        parts = []
        for heads in every_heads:
            r = torch.from_numpy(smooth(marginal(task.target, task.attributes, heads.attribute))).to(heads.weight)
            scale = scale_of(task, heads.attribute, self.scale, self.scales)
            factor = gamma(task.model.alphas_cumprod, scale, self.gamma_power)
            parts.append(released(heads, of_batch(self.loss, r), factor, averaged=True))
        steering = Steering(self.temperature, self.window, True, self.rows == "both", task.timesteps[0])
        notes: dict[str, object] = {heads.attribute.name: heads.notes() for heads in every_heads}
        return Guided(guide_bottleneck(task.model, parts, steering), cost=every_heads[0].cost, notes=notes)
