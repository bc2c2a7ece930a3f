"""A model that counts its network evaluations: a cost that does not depend on the hardware."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from bench.protocols.model import Bottleneck, DiffusionModel


@dataclass
class Counts:
    """Network evaluations.

    Attributes:
        forward_rows: forward passes times rows; the encoder half alone counts one half.
        backward_rows: backward passes times rows.
    """

    forward_rows: float = 0.0
    backward_rows: float = 0.0


class Counted:
    """A diffusion model that counts its network evaluations; everything else is delegated to the model.

    Attributes:
        model: the model.
        counts: the evaluations so far; may be replaced to start again from 0.
    """

    def __init__(self, model: DiffusionModel) -> None:
        self.model = model
        self.counts = Counts()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    def denoise(self, x: Tensor, t: Tensor, condition: Tensor, bottleneck: Bottleneck | None = None) -> Tensor:
        """Denoise as the model does, and count one forward row per row, and one backward row where a gradient flows."""
        self.counts.forward_rows += len(x)
        out = self.model.denoise(x, t, condition, bottleneck)
        if out.requires_grad:
            out.register_hook(self._count_backward)
        return out

    def encode_bottleneck(self, x: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        """Encode as the model does, and count half a forward row per row."""
        self.counts.forward_rows += len(x) / 2
        return self.model.encode_bottleneck(x, t, condition)

    def _count_backward(self, grad: Tensor) -> None:
        self.counts.backward_rows += len(grad)
