"""Classifier-free guidance inside the denoiser, so that a method and the sampler see one denoiser.

Source: Ho & Salimans 2022, arXiv 2207.12598, in diffusers' form: u + s (c - u) of the network's outputs c, asked for
the condition, and u, asked for nothing. D is affine in the output, so it is the same combination of the two D.

The bottleneck is that of the conditional rows: a method in h-space neither sees nor touches the others.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from bench.core.errors import ConfigError
from bench.protocols.model import Bottleneck


def check_guidance_scale(scale: float) -> None:
    """Refuse a scale that is none.

    Raises:
        ConfigError: it is below 1, where diffusers turns guidance off, or not finite.
    """
    if not 1 <= scale < float("inf"):
        raise ConfigError(f"guidance_scale must be a number >= 1, which turns guidance off, got {scale}")


class ClassifierFree:
    """What classifier-free guidance adds to an `Adapter`, before which a family names it among its bases.

    A subclass says how the network is asked, in `ask`, and sets `guidance_scale`.

    Attributes:
        conditions: names, "none" first.
        guidance_scale: s >= 1; 1 runs the conditional rows alone.
    """

    conditions: tuple[str, ...]
    guidance_scale: float

    def ask(self, x: Tensor, t: Tensor, asked: Tensor) -> Tensor:
        """The network's output, shaped as x.

        Args:
            x: [n, *shape].
            t: int64 [n].
            asked: int64 [n], indices into `conditions`; one more than the last is the null condition.
        """
        raise NotImplementedError

    def predict(self, x: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        """The guided output; the network runs once, on twice the rows."""
        if self.guidance_scale == 1:
            return self.ask(x, t, condition)
        null = torch.full_like(condition, len(self.conditions))
        asked = torch.cat([null, condition])
        u, c = self.ask(torch.cat([x, x]), torch.cat([t, t]), asked).chunk(2)
        return u + self.guidance_scale * (c - u)

    def encoder_half(self, x: Tensor, t: Tensor, condition: Tensor) -> None:
        """The conditional rows alone: the bottleneck is theirs."""
        self.ask(x, t, condition)

    def change(self, output: Any, bottleneck: Bottleneck) -> Any:
        """The conditional rows are the second half."""
        if self.guidance_scale == 1:
            return bottleneck(output)
        u, c = output.chunk(2)
        return torch.cat([u, bottleneck(c)])
