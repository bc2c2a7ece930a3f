"""The networks of this family: a score network and a discriminator for images, and perceptrons for anything else.

A score network maps (x_t [n, *shape], t int64 [n]) to v = sqrt(a) eps - sqrt(1-a) x_0 [n, *shape]; a discriminator
maps (u [n, *shape], t) to a logit [n], where u = sqrt(a_t) x_t.

A discriminator is a function of u and not of x_t for two reasons. At high noise the log ratio is linear in
sqrt(a_t) x_t, so its gradient in x_t vanishes as sqrt(a_t), while that in u keeps its size at every t. And at a_t = 0
the corrected target needs the gradient in u; from the gradient in x_t it would be 0 divided by 0.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pixel_shuffle, pixel_unshuffle, silu

from methods.reweighting.settings import BLOCK, GROUPS, Settings

FREQUENCIES = 8


@contextmanager
def initialised_from(seed: int) -> Iterator[None]:
    """Let layers made in this block draw their initial weights from `seed`.

    Layers draw from the global generator of the CPU, which is left in the state that it had before.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


def score_network(shape: tuple[int, ...], n_timesteps: int, settings: Settings) -> nn.Module:
    """Return a score network for samples of a shape, initialised from the settings' seed."""
    with initialised_from(settings.seed):
        if settings.is_image(shape):
            return BlockUNet(shape, settings.channels).to(memory_format=torch.channels_last)
        size = math.prod(shape)
        return Perceptron(size, size, settings.width, n_timesteps, shape)


def discriminator_network(shape: tuple[int, ...], n_timesteps: int, settings: Settings) -> nn.Module:
    """Return a discriminator for samples of a shape, initialised from the settings' seed."""
    with initialised_from(settings.seed):
        if settings.is_image(shape):
            network = ImageDiscriminator(shape, settings.discriminator_channels, n_timesteps)
            return network.to(memory_format=torch.channels_last)
        return Perceptron(math.prod(shape), 1, settings.width, n_timesteps, ())


class TimeFeatures(nn.Module):
    """Smooth features of the timestep: cos and sin of pi k t / T for k = 1 to FREQUENCIES, [n, 2 FREQUENCIES]."""

    n = 2 * FREQUENCIES

    def __init__(self, n_timesteps: int) -> None:
        super().__init__()
        self.n_timesteps = n_timesteps

    def forward(self, t: Tensor) -> Tensor:
        """Return the features [n, 2 FREQUENCIES] of t int64 [n]."""
        k = torch.arange(1, FREQUENCIES + 1, device=t.device)
        angle = torch.pi / self.n_timesteps * t[:, None].float() * k
        return torch.cat([angle.cos(), angle.sin()], 1)


class Perceptron(nn.Module):
    """Three hidden layers on (x, t), for samples of any shape."""

    def __init__(self, n_in: int, n_out: int, width: int, n_timesteps: int, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.time, self.shape = TimeFeatures(n_timesteps), shape
        sizes = (n_in + TimeFeatures.n, width, width, width)
        hidden = [layer for a, b in itertools.pairwise(sizes) for layer in (nn.Linear(a, b), nn.SiLU())]
        self.layers = nn.Sequential(*hidden, nn.Linear(width, n_out))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Return the output [n, *shape] for x [n, ...] and t int64 [n]."""
        out: Tensor = self.layers(torch.cat([x.flatten(1), self.time(t)], 1))
        return out.reshape(len(x), *self.shape)


class BlockUNet(nn.Module):
    """A small unconditional `UNet2DModel` on pixel blocks, with attention at its coarsest level."""

    def __init__(self, shape: tuple[int, ...], channels: tuple[int, ...]) -> None:
        super().__init__()
        from diffusers import UNet2DModel

        plain = len(channels) - 1
        planes = shape[0] * BLOCK**2
        self.unet: Any = UNet2DModel(  # diffusers has no types that mypy can call
            sample_size=shape[1] // BLOCK,
            in_channels=planes,
            out_channels=planes,
            block_out_channels=channels,
            layers_per_block=1,
            norm_num_groups=GROUPS,  # a group of one channel would normalise the embedding of t away
            attention_head_dim=8,
            down_block_types=("DownBlock2D",) * plain + ("AttnDownBlock2D",),
            up_block_types=("AttnUpBlock2D",) + ("UpBlock2D",) * plain,
        )

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Return v [n, c, h, w] for x [n, c, h, w] and t int64 [n]."""
        blocks = pixel_unshuffle(x, BLOCK).contiguous(memory_format=torch.channels_last)
        return pixel_shuffle(self.unet(blocks, t, return_dict=False)[0], BLOCK)


class ImageDiscriminator(nn.Module):
    """Convolutions on pixel blocks, each but the first halving the side, modulated by t.

    It has no normalisation layers: u is near 0 at high noise, where they would inflate the gradient.
    """

    def __init__(self, shape: tuple[int, ...], channels: tuple[int, ...], n_timesteps: int) -> None:
        super().__init__()
        self.time = TimeFeatures(n_timesteps)
        first, side = channels[0], shape[1] // BLOCK
        self.stem = nn.Conv2d(shape[0] * BLOCK**2, first, 3, padding=1)
        sizes = (*channels, channels[-1])
        pairs = list(itertools.pairwise(sizes))
        self.modulations = nn.ModuleList(nn.Linear(TimeFeatures.n, 2 * a) for a, _ in pairs)
        self.convolutions = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairs)
        for _ in pairs:
            side = -(-side // 2)
        self.head = nn.Linear(channels[-1] * side * side, 1)

    def forward(self, u: Tensor, t: Tensor) -> Tensor:
        """Return the logits [n] for u [n, c, h, w] and t int64 [n]."""
        h = self.stem(pixel_unshuffle(u, BLOCK).contiguous(memory_format=torch.channels_last))
        features = self.time(t)
        for modulation, convolution in zip(self.modulations, self.convolutions, strict=True):
            scale, shift = modulation(features)[:, :, None, None].chunk(2, dim=1)
            h = convolution(silu(h * (1 + scale) + shift))
        logit: Tensor = self.head(silu(h).flatten(1))[:, 0]
        return logit
