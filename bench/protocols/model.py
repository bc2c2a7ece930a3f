"""The protocol of diffusion models: a denoiser, its noise schedule and its shapes.

A model's output is the posterior mean D(x, t, c) = E[x_0 | x_t = x, c] with
x_t = sqrt(a_t) x_0 + sqrt(1 - a_t) eps. This parametrisation is defined at every noise level, a_t = 0 included;
`noise_of` and `score_of` convert it into the noise prediction and the score.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

Bottleneck = Callable[[Tensor], Tensor]  # h [n, *bottleneck_shape] -> h of the same shape and dtype


@dataclass(frozen=True)
class BothRows:
    """A bottleneck function that takes all rows of classifier-free guidance: h [2 n, ...], the unconditional first.

    A model without classifier-free guidance has no such rows and calls it with its n rows.

    Attributes:
        change: the function.
    """

    change: Bottleneck

    def __call__(self, h: Tensor) -> Tensor:
        """Return the changed h."""
        return self.change(h)


class DiffusionModel(Protocol):
    """A denoiser with its noise schedule, its shapes and its conditions.

    Attributes:
        name: the public name.
        digest: hash of everything that determines the output.
        shape: of one sample x.
        image_size: side of one image, in pixels.
        bottleneck_shape: of one h; None where the model has no bottleneck.
        conditions: names; the first is "none", for no condition.
        alphas_cumprod: float64 [T], a_t in [0, 1], falling.
        dtype: of samples.
    """

    name: str
    digest: str
    shape: tuple[int, ...]
    image_size: int
    bottleneck_shape: tuple[int, ...] | None
    conditions: tuple[str, ...]
    alphas_cumprod: Tensor
    dtype: torch.dtype

    @property
    def device(self) -> torch.device:
        """The device of samples."""
        ...

    @property
    def scheduler_config(self) -> Mapping[str, Any]:
        """The configuration of a diffusers scheduler with the model's noise schedule."""
        ...

    def denoise(self, x: Tensor, t: Tensor, condition: Tensor, /, bottleneck: Bottleneck | None = None) -> Tensor:
        """Denoise a batch: D(x, t, condition) = E[x_0 | x_t = x, condition].

        Args:
            x: [n, *shape], the noised samples.
            t: int64 [n], training timesteps, 0 (least noise) to T - 1.
            condition: int64 [n], indices into the model's `conditions`; 0 for no condition.
            bottleneck: called once with the network's bottleneck h; its result replaces h in the decoder half. Under
                classifier-free guidance h is that of the conditional rows, and of both for a `BothRows`.

        Returns:
            [n, *shape], same dtype as x.
        """
        ...

    def encode_bottleneck(self, x: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        """Return h [n, *bottleneck_shape] without running the decoder half; it counts as half a denoiser call."""
        ...

    def encode(self, images: Tensor) -> Tensor:
        """Return uint8 images [n, 3, height, width] as samples x_0 [n, *shape]."""
        ...

    def decode(self, x: Tensor) -> Tensor:
        """Return samples x_0 [n, *shape] as uint8 images [n, 3, height, width]."""
        ...


class TrainableCopy(DiffusionModel, Protocol):
    """A diffusion model whose network may be trained in place: a copy that shares no weight with the original.

    Attributes:
        prediction: what the network predicts: "epsilon", "v_prediction" or "sample" (x_0).
    """

    prediction: str

    @property
    def network(self) -> nn.Module:
        """The network, in float32 and in evaluation mode, so that it has no dropout."""
        ...

    def predict(self, x: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        """Return the network's prediction [n, *shape]; the arguments are those of `denoise`."""
        ...


class Trainable(Protocol):
    """A diffusion model that offers its network to methods that train it; not every model does."""

    def trainable_copy(self) -> TrainableCopy:
        """Return a copy of the model with a network of its own.

        Raises:
            Incompatible: the network cannot be trained: it is compiled, in half precision or offloaded, or predicts
                another quantity than epsilon, v or x_0.
        """
        ...


def broadcast(a: Tensor, x: Tensor) -> Tensor:
    """Return a vector [n] shaped to multiply x [n, ...], in x's dtype and on its device.

    >>> broadcast(torch.tensor([1.0, 2.0]), torch.zeros(2, 3, 4, 4)).shape
    torch.Size([2, 1, 1, 1])
    """
    return a.to(x).reshape(-1, *[1] * (x.ndim - 1))


def noise_of(x: Tensor, denoised: Tensor, a_t: Tensor) -> Tensor:
    """Return eps = (x - sqrt(a_t) D) / sqrt(1 - a_t) [n, *shape], for x and D [n, *shape] and a_t [n] in [0, 1).

    >>> noise_of(torch.tensor([[2.0]]), torch.tensor([[1.0]]), torch.tensor([0.0]))
    tensor([[2.]])
    """
    return (x - broadcast(a_t.sqrt(), x) * denoised) / broadcast((1 - a_t).sqrt(), x)


def score_of(x: Tensor, denoised: Tensor, a_t: Tensor) -> Tensor:
    """Return the score -eps / sqrt(1 - a_t) = (sqrt(a_t) D - x) / (1 - a_t) [n, *shape], for a_t [n] in [0, 1).

    >>> score_of(torch.tensor([[2.0]]), torch.tensor([[1.0]]), torch.tensor([0.0]))
    tensor([[-2.]])
    """
    return (broadcast(a_t.sqrt(), x) * denoised - x) / broadcast(1 - a_t, x)


def ddim_step(x: Tensor, denoised: Tensor, a_t: Tensor, a_s: Tensor) -> Tensor:
    """Return the deterministic step from t to s < t: x_s = sqrt(a_s) D + sqrt(1 - a_s) eps, scalars a_t < 1 and a_s.

    Source: Song et al. 2020, arXiv 2010.02502, Eq. 12 with sigma = 0.
    """
    eps = noise_of(x, denoised, a_t.reshape(1))
    return broadcast(a_s.reshape(1).sqrt(), x) * denoised + broadcast((1 - a_s).reshape(1).sqrt(), x) * eps


def encode_pixels(images: Tensor) -> Tensor:
    """Return uint8 images [n, 3, h, w] as float32 in [-1, 1].

    >>> encode_pixels(torch.tensor([0, 255], dtype=torch.uint8))
    tensor([-1.,  1.])
    """
    return images.to(torch.float32) / 127.5 - 1


def decode_pixels(x: Tensor) -> Tensor:
    """Return samples in [-1, 1] as uint8, rounded to the nearest level; values outside are clipped.

    >>> decode_pixels(torch.tensor([-1.0, 0.0, 3.0]))
    tensor([  0, 128, 255], dtype=torch.uint8)
    """
    return ((x.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
