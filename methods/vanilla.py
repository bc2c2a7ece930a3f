"""The model as it is: what every method is compared with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from bench.protocols.method import Batch, Guided, Task, Traits, micro_batches, timestep


@dataclass(frozen=True)
class Method:
    """No debiasing: D(x, t, nothing asked)."""

    traits: ClassVar[Traits] = Traits(paper="none: the undebiased model", stage="sampling", neutral={})

    def build(self, task: Task, seed: int) -> Guided:
        """There is nothing to learn."""
        model = task.model

        def denoise(x: Tensor, t: int, batch: Batch) -> Tensor:
            rows = [
                model.denoise(x[part], timestep(t, len(x[part]), x.device), batch.condition[part])
                for part in micro_batches(len(x), batch.micro)
            ]
            return torch.cat(rows)

        return Guided(denoise)
