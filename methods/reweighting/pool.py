"""The biased training set and the reference images as one pool of clean and noised training samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bench.protocols.model import DiffusionModel, broadcast
from methods.reweighting.ratio import Reading

# "observed": the biased training set. "reference": the reference images. "halves": even rows from the reference images
# and odd rows from the biased set, (p_bias + p_data) / 2. "union": all images equally often.
Draw = Literal["observed", "reference", "halves", "union"]
DRAWS: dict[Reading, Draw] = {"disjoint": "observed", "pooled": "halves"}  # draws of p_obs


@dataclass(frozen=True)
class Noised:
    """A batch of the forward process, x = sqrt(a) x_0 + sqrt(1-a) eps.

    Attributes:
        x0: float32 [n, *shape], clean.
        eps: as x0, standard normal.
        x: as x0, x_t.
        t: int64 [n].
        a: float32 [n, 1, ...], a_t, shaped to multiply x.
    """

    x0: Tensor
    eps: Tensor
    x: Tensor
    t: Tensor
    a: Tensor


def noised(x0: Tensor, eps: Tensor, t: Tensor, alphas_cumprod: Tensor) -> Noised:
    """Return x_t of x0 and eps [n, *shape] at t int64 [n]."""
    a = broadcast(alphas_cumprod[t], x0)
    return Noised(x0, eps, a.sqrt() * x0 + (1 - a).sqrt() * eps, t, a)


class Pool:
    """The reference images and the biased training set, without labels.

    Every draw uses a generator on the CPU, so that it does not depend on the model's device.
    """

    def __init__(
        self,
        model: DiffusionModel,
        reference: npt.NDArray[np.uint8],
        observed: npt.NDArray[np.uint8],
        flips: bool,
    ) -> None:
        """Join two sets of images.

        Args:
            model: encodes images to samples.
            reference: uint8 [m, 3, h, w], m >= 1.
            observed: uint8 [n, 3, h, w], n >= 1, the biased training set.
            flips: mirror half of the drawn images.
        """
        self.model, self.flips, self.n_reference = model, flips, len(reference)
        self.images = torch.from_numpy(np.concatenate([reference, observed]))
        self.alphas_cumprod = model.alphas_cumprod.float().to(model.device)

    def clean(self, draw: Draw, n: int, g: torch.Generator) -> Tensor:
        """Draw x_0 float32 [n, *shape] with replacement."""
        images = self.images[self.rows(draw, n, g)]
        if self.flips:  # before encoding: an autoencoder's latents of a mirrored image are not mirrored latents
            mirrored = torch.rand(n, generator=g) < 0.5
            images = torch.where(mirrored.reshape(n, *[1] * (images.ndim - 1)), images.flip(-1), images)
        return self.model.encode(images).to(torch.float32)

    def rows(self, draw: Draw, n: int, g: torch.Generator) -> Tensor:
        """Draw int64 [n], indices into the images of the pool, whose reference images come first."""
        m, total = self.n_reference, len(self.images)
        if draw == "union":
            return torch.randint(total, (n,), generator=g)
        reference = torch.randint(m, (n,), generator=g)
        observed = torch.randint(m, total, (n,), generator=g)
        if draw == "halves":
            return torch.where(from_reference(n), reference, observed)
        return reference if draw == "reference" else observed

    def noised(self, draw: Draw, t: Tensor, g: torch.Generator) -> Noised:
        """Draw clean samples and noise them at t int64 [n]."""
        x0 = self.clean(draw, len(t), g)
        eps = torch.randn(x0.shape, generator=g).to(x0.device)
        return noised(x0, eps, t.to(x0.device), self.alphas_cumprod)


def from_reference(n: int) -> Tensor:
    """Return the rows of a draw by "halves" that are from the reference images: bool [n], every even row."""
    return torch.arange(n) % 2 == 0
