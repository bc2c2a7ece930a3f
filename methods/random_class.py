"""Random class: ask a conditional model for classes drawn from the target. A baseline that needs no guidance.

Source: none; it is what a conditional model offers as it is. Score mixing (FairT2I, arXiv 2502.03826) with one class
drawn per image comes to the same.

1. Every sample gets a class; the classes meet the target exactly (`methods.targeting.assigned_classes`).
2. The model draws the sample under the condition of that class: D(x, t, c_i), at vanilla's cost.

The discrepancy that is left comes from samples that do not show the class they were asked for. A model without
conditions, or without that of a class of the task, cannot be asked; guidance is for those.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bench.core.attributes import product
from bench.protocols.method import Batch, Guided, Task, Traits, micro_batches, timestep
from methods.targeting.assigned_classes import assign_classes
from methods.targeting.class_conditions import class_conditions


@dataclass(frozen=True)
class Method:
    """Sample i is drawn under the condition of its assigned class; the assigned classes meet the target."""

    traits: ClassVar[Traits] = Traits(
        paper="none: the model's own conditions",
        stage="sampling",
        needs=frozenset({"conditions", "target"}),
        neutral={},
    )

    def build(self, task: Task, seed: int) -> Guided:
        """Find the model's condition of every class.

        Raises:
            Incompatible: the model lacks one of them.
        """
        model = task.model
        condition_of = np.array(class_conditions(model, product(task.attributes)), dtype=np.int64)

        def assigned(index: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
            return assign_classes(task.target, seed, index)

        def denoise(x: Tensor, t: int, batch: Batch) -> Tensor:
            condition = torch.from_numpy(condition_of[assigned(batch.index.cpu().numpy())]).to(x.device)
            rows = [
                model.denoise(x[piece], timestep(t, len(x[piece]), x.device), condition[piece])
                for piece in micro_batches(len(x), batch.micro)
            ]
            return torch.cat(rows)

        return Guided(denoise, assigned_classes=assigned)
