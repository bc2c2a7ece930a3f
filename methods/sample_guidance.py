"""Sample guidance: assign a class to every sample and push the sample towards it in h-space.

Source: Parihar et al. 2024, arXiv 2402.18206, the baseline "H-sample", as released in rishubhpar/debiasing_gen_models
at commit aeb2d96; files and lines below are of that repository.

1. Sample i gets a class c_i; the classes meet the target exactly (`methods.targeting.assigned_classes`).
2. L = -sum_i softmax(logits_i / 8)[c_i] (h_classification.py:62-95), with the logits of the same linear predictor as in
   distribution guidance (`methods.hspace.inversion`). Over several attributes L is a sum, with a scale each.
3. h <- h - gamma(t) dL/dh with gamma(t) = 1.5 beta_t^0.05 300 scale (models/guided_diffusion/unet.py:760, :784).

For Stable Diffusion the release takes the logits without softmax and temperature and a constant 600
(run_stable_diffusion.py:18, :40-44), which is not offered here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt

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
from methods.targeting.assigned_classes import assign_classes, toward_assigned

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Method:
    """Every sample gets a class, the classes meeting the target, and is pushed towards it in h-space.

    The baseline "H-sample" of Parihar et al. 2024, arXiv 2402.18206, as released; the file's docstring lists the steps.

    Attributes:
        scale: of the step, for every attribute without one in `scales`; 0 gives the base model exactly. Of 1.5, 5
            and 15, 5 leaves the least discrepancy on the embedded faces, seed 1000; the release's default is 1500
            (main.py:130).
        scales: of single attributes, by name.
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
        neutral={"scale": 0.0},
    )
    search_space: ClassVar[SearchSpace] = {"scale": "0.5..50:log", "temperature": "1..16:log"}
    scale: float = 5.0
    scales: Mapping[str, float] | None = None
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
        sizes = tuple(attribute.n_classes for attribute in task.attributes)

        def assigned(index: Ints) -> Ints:
            return assign_classes(task.target, seed, index)

        def of_attribute(i: int) -> Callable[[Ints], Ints]:
            return lambda index: np.unravel_index(assigned(index), sizes)[i]

        parts = []
        for i, heads in enumerate(every_heads):
            scale = scale_of(task, heads.attribute, self.scale, self.scales)
            factor = gamma(task.model.alphas_cumprod, scale, self.gamma_power)
            gradient = toward_assigned(of_attribute(i), heads.attribute.n_classes)
            parts.append(released(heads, gradient, factor, averaged=False))
        steering = Steering(self.temperature, self.window, False, self.rows == "both", task.timesteps[0])
        notes: dict[str, object] = {heads.attribute.name: heads.notes() for heads in every_heads}
        denoise = guide_bottleneck(task.model, parts, steering)
        return Guided(denoise, assigned_classes=assigned, cost=every_heads[0].cost, notes=notes)
