"""The base class of latent denoisers, and their autoencoder."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from bench.core.errors import ConfigError, NotFinite
from bench.core.progress import console
from bench.models.adapter import Adapter
from bench.models.configs import AutoencoderConfig, unet_config
from bench.models.offload import device_of, taking_turns
from bench.models.pretrained import load_network, read_config
from bench.protocols.model import encode_pixels


class _Coder(Protocol):
    """The methods of autoencoders of diffusers; their outputs have one attribute of many names."""

    def enable_tiling(self) -> None: ...
    def encode(self, x: Tensor) -> Any: ...
    def decode(self, z: Tensor) -> Any: ...


class Autoencoder:
    """An `AutoencoderKL` or a `VQModel` between uint8 images and scaled latents, a few images at a time.

    Source: Rombach et al. 2022, arXiv 2112.10752. Latents are the posterior's mode; where the configuration has
    `latents_mean` and `latents_std`, or a `shift_factor`, they are normalised with these beside `scaling_factor`.
    """

    def __init__(self, network: nn.Module, batch: int, scale: float | None = None) -> None:
        """Wrap a network in memory.

        Args:
            network: the autoencoder.
            batch: images per call, >= 1.
            scale: by which latents are multiplied, by default the configuration's `scaling_factor`.
        """
        config = cast(AutoencoderConfig, network.config)
        self.network = network
        self.batch = batch
        self.channels = config.latent_channels
        self.factor: int = 2 ** (len(config.block_out_channels) - 1)  # side of a latent, in pixels
        self._scale = config.scaling_factor if scale is None else scale
        mean, std = getattr(config, "latents_mean", None), getattr(config, "latents_std", None)
        shift = getattr(config, "shift_factor", None) or 0.0
        normalised = mean is not None and std is not None
        self._mean = torch.tensor(mean if normalised else [shift]).reshape(1, -1, 1, 1)
        self._std = torch.tensor(std if normalised else [1.0]).reshape(1, -1, 1, 1)

    def tile(self) -> None:
        """Process images larger than the network's size in tiles.

        Raises:
            ConfigError: the network does not support tiles.
        """
        if not hasattr(self.network, "use_tiling"):
            raise ConfigError(f"vae_tiling needs an AutoencoderKL, got a {type(self.network).__name__}; leave it out")
        cast(_Coder, self.network).enable_tiling()

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """Return uint8 images [n, 3, h, w] as latents [n, channels, h / factor, w / factor]."""
        outputs = (cast(_Coder, self.network).encode(encode_pixels(batch)) for batch in images.split(self.batch))
        latents = torch.cat([out.latents if hasattr(out, "latents") else out.latent_dist.mode() for out in outputs])
        return (latents - self._mean.to(latents)) * (self._scale / self._std.to(latents))

    @torch.no_grad()
    def pixels(self, latents: Tensor) -> Tensor:
        """Return latents as float images [n, 3, h, w], about [-1, 1]."""
        z = latents * self._std.to(latents) / self._scale + self._mean.to(latents)
        return torch.cat([cast(_Coder, self.network).decode(batch).sample for batch in z.split(self.batch)])

    def decode(self, latents: Tensor) -> Tensor:
        """Return latents as uint8 images, rounded as diffusers' pipelines do.

        Raises:
            NotFinite: the network returned NaN or infinity, which as uint8 would be a black image.
        """
        pixels = self.pixels(latents)
        broken = int((~torch.isfinite(pixels).flatten(1).all(1)).sum())
        if broken:
            raise NotFinite(
                f"the autoencoder returned NaN or infinity for {broken} of {len(pixels)} images, from finite latents; "
                "its weights are damaged or of another model: copy them again"
            )
        return ((pixels.float() / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)


def load_autoencoder(folder: Path, device: str, batch: int) -> Autoencoder:
    """Load the autoencoder of a folder saved by diffusers, with `batch` images per call.

    A `VQModel` whose file has no `scaling_factor`, as those of the first latent diffusion models, has 1.0.
    """
    config = read_config(folder / "config.json", ("AutoencoderKL", "VQModel"))
    scale = None
    if config["_class_name"] == "VQModel" and "scaling_factor" not in config:
        scale = 1.0  # diffusers would take 0.18215, which is that of Stable Diffusion's AutoencoderKL
        _say_scale(folder)
    return Autoencoder(load_network(folder, config["_class_name"], device), batch, scale)


@functools.cache
def _say_scale(folder: Path) -> None:
    console.print(
        f"{folder / 'config.json'} names no scaling_factor: 1.0 is used, that of a VQModel; write another one there",
        markup=False,
        soft_wrap=True,
    )


class LatentModel(Adapter):
    """A denoiser of square latents, with the autoencoder that converts them to images."""

    def __init__(
        self,
        network: nn.Module,
        middle: nn.Module | None,
        autoencoder: Autoencoder,
        scheduler_config: Mapping[str, object],
        conditions: tuple[str, ...],
        name: str,
        digest: str,
    ) -> None:
        """Check that the network fits the autoencoder's latents; the other arguments are those of `Adapter`.

        Raises:
            ConfigError: the errors of `Adapter`, or the network's channels or size do not fit.
        """
        channels, side = self.latents(network)
        if channels != autoencoder.channels:
            raise ConfigError(
                f"a latent denoiser must take the autoencoder's {autoencoder.channels} channels, got "
                f"{channels}; networks for inpainting or upscaling, which take more, are not supported"
            )
        if not isinstance(side, int):
            raise ConfigError(f"a latent denoiser's sample_size must be one number, got {side}")
        super().__init__(network, middle, scheduler_config, conditions, name, digest)
        self.autoencoder = autoencoder
        self.shape = (channels, side, side)
        self.image_size = side * autoencoder.factor

    def latents(self, network: nn.Module) -> tuple[int, int]:
        """Return channels and side of the latents that a network takes."""
        config = unet_config(network)
        return config.in_channels, config.sample_size

    def untrainable(self) -> str:
        """Return why the network cannot be trained and what to do, "" if it can."""
        if device_of(self.autoencoder.network) != self.device:
            return "its autoencoder is offloaded, and would change places with it at every step; leave `offload` out"
        return super().untrainable()

    def encode(self, images: Tensor) -> Tensor:
        """Return uint8 images as scaled latents."""
        with taking_turns(self.network, self.autoencoder.network):
            return self.autoencoder.encode(images.to(self.device))

    def decode(self, x: Tensor) -> Tensor:
        """Return scaled latents as uint8 images."""
        with taking_turns(self.network, self.autoencoder.network):
            return self.autoencoder.decode(x)
