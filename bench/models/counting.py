"""A model that counts what it is asked to do, in units that no hardware changes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from bench.protocols.model import Bottleneck, DiffusionModel


@dataclass
class Counts:
    """Work done by the network.

    Attributes:
        forward_rows: forward passes times rows; the encoder half alone counts one half.
        backward_rows: backward passes times rows.
    """

    forward_rows: float = 0.0
    backward_rows: float = 0.0


class Counted:
    """A diffusion model with a tally; all else is the model's own."""

    def __init__(self, model: DiffusionModel) -> None:
        self.model = model
        self.counts = Counts()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    def denoise(self, x: Tensor, t: Tensor, condition: Tensor, bottleneck: Bottleneck | None = None) -> Tensor:
        """As the model's; one forward row each, and one backward row each if a gradient comes back through it."""
        self.counts.forward_rows += len(x)
        out = self.model.denoise(x, t, condition, bottleneck)
        if out.requires_grad:
            out.register_hook(self._count_backward)
        return out

    def encode_bottleneck(self, x: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        """As the model's; half a forward row each."""
        self.counts.forward_rows += len(x) / 2
        return self.model.encode_bottleneck(x, t, condition)

    def _count_backward(self, grad: Tensor) -> None:
        self.counts.backward_rows += len(grad)
