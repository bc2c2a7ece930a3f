"""Classifier-free guidance inside the denoiser, so that a method and the sampler see one denoiser.

Source: Ho & Salimans 2022, arXiv 2207.12598, in diffusers' form: u + s (c - u) of the network's outputs c under
the condition and u under the null condition. D is affine in the output, so it is the same combination of the two D.

The bottleneck is that of the conditional rows: a method in h-space neither sees nor changes the others, unless it asks
for both with `BothRows`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bench.core.errors import ConfigError
from bench.protocols.model import BothRows, Bottleneck


def check_guidance_scale(scale: float) -> None:
    """Refuse an invalid guidance scale.

    Raises:
        ConfigError: it is below 1, where diffusers turns guidance off, or is not finite.
    """
    if not 1 <= scale < float("inf"):
        raise ConfigError(f"guidance_scale must be a number >= 1, which turns guidance off, got {scale}")


class ClassifierFree:
    """Mixin that adds classifier-free guidance to an `Adapter`; it comes before the adapter among the bases.

    A subclass defines `output_for` and sets `guidance_scale`.

    Attributes:
        conditions: names, "none" first.
        guidance_scale: s >= 1; 1 runs the conditional rows only.
    """

    conditions: tuple[str, ...]
    guidance_scale: float

    def output_for(self, x: Tensor, t: Tensor, indices: Tensor) -> Tensor:
        """Return the network's output, shaped as x.

        Args:
            x: [n, *shape].
            t: int64 [n].
            indices: int64 [n], indices into `conditions`; len(conditions) is the null condition.
        """
        raise NotImplementedError

    def predict(self, x: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        """Return the guided output; the network runs once, on twice the rows."""
        if self.guidance_scale == 1:
            return self.output_for(x, t, condition)
        null = torch.full_like(condition, len(self.conditions))
        indices = torch.cat([null, condition])
        u, c = self.output_for(torch.cat([x, x]), torch.cat([t, t]), indices).chunk(2)
        return u + self.guidance_scale * (c - u)

    def encoder_half(self, x: Tensor, t: Tensor, condition: Tensor) -> None:
        """Run the conditional rows only: the bottleneck is theirs."""
        self.output_for(x, t, condition)

    def apply_bottleneck(self, output: object, bottleneck: Bottleneck) -> object:
        """Return the middle module's output with `bottleneck` applied to the conditional rows, its second half.

        `BothRows` is applied to all rows.
        """
        assert isinstance(output, Tensor), "a subclass unpacks other outputs"
        if self.guidance_scale == 1 or isinstance(bottleneck, BothRows):
            return bottleneck(output)
        u, c = output.chunk(2)
        return torch.cat([u, bottleneck(c)])
