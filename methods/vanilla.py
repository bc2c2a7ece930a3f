"""The unchanged model: the baseline of every comparison."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from bench.protocols.method import Batch, Guided, Task, Traits, micro_batches, timestep


@dataclass(frozen=True)
class Method:
    """No debiasing: D(x, t, condition), for the conditions of the batch."""

    traits: ClassVar[Traits] = Traits(paper="none: the undebiased model", stage="sampling", neutral={})

    def build(self, task: Task, seed: int) -> Guided:
        """Return the model's own denoiser."""
        model = task.model

        def denoise(x: Tensor, t: int, batch: Batch) -> Tensor:
            rows = [
                model.denoise(x[piece], timestep(t, len(x[piece]), x.device), batch.condition[piece])
                for piece in micro_batches(len(x), batch.micro)
            ]
            return torch.cat(rows)

        return Guided(denoise)
