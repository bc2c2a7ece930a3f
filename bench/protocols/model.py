"""The protocol of diffusion models: a denoiser, its noise schedule and its shapes.

A model is asked for one thing only, the posterior mean D(x, t, c) = E[x_0 | x_t = x, c] with
x_t = sqrt(a_t) x_0 + sqrt(1 - a_t) eps. It is the one parametrisation that is defined at every noise level,
a_t = 0 included; `noise_of` and `score_of` turn it into the others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

Bottleneck = Callable[[Tensor], Tensor]  # h [n, *bottleneck_shape] -> h of the same shape and dtype


class DiffusionModel(Protocol):
    """A denoiser with what a sampler and a method must know of it."""

    name: str
    digest: str  # hash of everything that decides what it computes
    shape: tuple[int, ...]  # of one sample x
    image_size: int  # the side of one image, in pixels
    bottleneck_shape: tuple[int, ...] | None  # of one h, or None where the model has no bottleneck
    conditions: tuple[str, ...]  # names; the first is "none": nothing asked
    alphas_cumprod: Tensor  # float64 [T], a_t
    dtype: torch.dtype  # of samples

    @property
    def device(self) -> torch.device:
        """Where samples live."""
        ...

    @property
    def scheduler_config(self) -> Mapping[str, Any]:
        """Of a diffusers scheduler."""
        ...

    def denoise(self, x: Tensor, t: Tensor, condition: Tensor, /, bottleneck: Bottleneck | None = None) -> Tensor:
        """Denoise a batch: D(x, t, condition) = E[x_0 | x_t = x, condition].

        Args:
            x: [n, *shape], the noised samples.
            t: int64 [n], training timesteps, 0 (least noise) to T - 1.
            condition: int64 [n], indices into the model's `conditions`; 0 asks for nothing.
            bottleneck: called once, on the network's bottleneck, and its result used in its place.

        Returns:
            [n, *shape], same dtype as x.
        """
        ...

    def encode_bottleneck(self, x: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        """h [n, *bottleneck_shape] alone, without the decoder half (half a denoiser call)."""
        ...

    def encode(self, images: Tensor) -> Tensor:
        """uint8 images [n, 3, height, width] as samples x_0 [n, *shape]."""
        ...

    def decode(self, x: Tensor) -> Tensor:
        """Samples x_0 [n, *shape] as uint8 images [n, 3, height, width]."""
        ...


def broadcast(a: Tensor, x: Tensor) -> Tensor:
    """A vector [n] shaped to multiply x [n, ...], in x's dtype and on its device."""
    return a.to(x).reshape(-1, *[1] * (x.ndim - 1))


def noise_of(x: Tensor, denoised: Tensor, a_t: Tensor) -> Tensor:
    """eps = (x - sqrt(a_t) D) / sqrt(1 - a_t), for a_t [n] in [0, 1)."""
    return (x - broadcast(a_t.sqrt(), x) * denoised) / broadcast((1 - a_t).sqrt(), x)


def score_of(x: Tensor, denoised: Tensor, a_t: Tensor) -> Tensor:
    """Score = -eps / sqrt(1 - a_t) = (sqrt(a_t) D - x) / (1 - a_t), for a_t [n] in [0, 1)."""
    return (broadcast(a_t.sqrt(), x) * denoised - x) / broadcast(1 - a_t, x)


def ddim_step(x: Tensor, denoised: Tensor, a_t: Tensor, a_s: Tensor) -> Tensor:
    """The deterministic step from t to s < t: x_s = sqrt(a_s) D + sqrt(1 - a_s) eps, for scalars a_t in [0, 1) and a_s.

    Source: Song et al. 2020, arXiv 2010.02502, Eq. 12 with sigma = 0.
    """
    eps = noise_of(x, denoised, a_t.reshape(1))
    return broadcast(a_s.reshape(1).sqrt(), x) * denoised + broadcast((1 - a_s).reshape(1).sqrt(), x) * eps


def encode_pixels(images: Tensor) -> Tensor:
    """uint8 [n, 3, h, w] as float32 in [-1, 1]."""
    return images.to(torch.float32) / 127.5 - 1


def decode_pixels(x: Tensor) -> Tensor:
    """Samples in [-1, 1] as uint8, rounded to the nearest level; what lies outside is clipped."""
    return ((x.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
