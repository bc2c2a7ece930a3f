"""Unconditional latent diffusion: a U-Net over the latents of an autoencoder, as diffusers' LDMPipeline saves it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.models.adapter import middle_shape
from bench.models.latent import Autoencoder, LatentModel, check_decode_batch, load_autoencoder
from bench.models.pretrained import SCHEDULE, component, load_network, pipeline_digest, read_config, read_schedule


class LatentUNet(LatentModel):
    """A `UNet2DModel` over latents as a denoiser. Source: Rombach et al. 2022, arXiv 2112.10752."""

    def __init__(
        self,
        unet: nn.Module,
        autoencoder: Autoencoder,
        scheduler_config: Mapping[str, Any],
        name: str = "latent_unet",
        digest: str = "",
    ) -> None:
        """Wrap networks in memory; arguments as of `LatentModel`."""
        middle: Any = unet.mid_block
        super().__init__(unet, middle, autoencoder, scheduler_config, ("none",), name, digest)
        self.unet: Any = unet
        self.bottleneck_shape = None if middle is None else middle_shape(unet.config)

    def predict(self, x: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        """What the network itself predicts, shaped as x."""
        out: Tensor = self.unet(x, t, return_dict=False)[0]
        return out


@dataclass(frozen=True)
class Model:
    """Latent diffusion without conditions.

    Attributes:
        decode_batch: images that the autoencoder looks at at once.
    """

    decode_batch: int = 8

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        check_decode_batch(self.decode_batch)

    def load(self, folder: Path, device: str, name: str) -> LatentUNet:
        """Load the folder of an LDMPipeline.

        Raises:
            ConfigError: a component is missing, damaged, or does not fit the others.
        """
        unet, vqvae, scheduler = (component(folder, part) for part in ("unet", "vqvae", "scheduler"))
        read_config(unet / "config.json", ("UNet2DModel",))
        schedule = read_schedule(scheduler / SCHEDULE)
        autoencoder = load_autoencoder(vqvae, device, self.decode_batch)
        network = load_network(unet, "UNet2DModel", device).to(memory_format=torch.channels_last)
        return LatentUNet(network, autoencoder, schedule, name, pipeline_digest(folder, {}))
