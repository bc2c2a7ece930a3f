"""Unconditional latent diffusion: a U-Net over the latents of an autoencoder, as diffusers' LDMPipeline saves it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from bench.models.configs import check_labels, middle_of, middle_shape, unet_config
from bench.models.fields import LatentFields
from bench.models.latent import Autoencoder, LatentModel
from bench.models.pretrained import SCHEDULE, component, pipeline_digest, read_config, read_schedule


class LatentUNet(LatentModel):
    """A `UNet2DModel` over latents as a denoiser. Source: Rombach et al. 2022, arXiv 2112.10752."""

    def __init__(
        self,
        unet: nn.Module,
        autoencoder: Autoencoder,
        scheduler_config: Mapping[str, object],
        name: str = "latent_unet",
        digest: str = "",
    ) -> None:
        """Wrap networks in memory; the arguments are those of `LatentModel`.

        Raises:
            ConfigError: the errors of `LatentModel`, or the network takes class labels.
        """
        check_labels(unet)
        middle = middle_of(unet)
        super().__init__(unet, middle, autoencoder, scheduler_config, ("none",), name, digest)
        self.unet = unet
        self.bottleneck_shape = None if middle is None else middle_shape(unet_config(unet))

    def predict(self, x: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        """Return the network's prediction, shaped as x."""
        out: Tensor = self.unet(x, t, return_dict=False)[0]
        return out


@dataclass(frozen=True)
class Model(LatentFields):
    """Latent diffusion without conditions."""

    def load(self, folder: Path, device: str, name: str) -> LatentUNet:
        """Load the folder of an LDMPipeline.

        Raises:
            ConfigError: a component is missing, damaged, or does not fit the others.
        """
        unet, vqvae, scheduler = (component(folder, key) for key in ("unet", "vqvae", "scheduler"))
        read_config(unet / "config.json", ("UNet2DModel",))
        schedule = read_schedule(scheduler / SCHEDULE)
        network = self.network(unet, "UNet2DModel", device).to(memory_format=torch.channels_last)
        autoencoder, digest = self.autoencoder(vqvae, device), pipeline_digest(folder, self.settings())
        return self.ready(LatentUNet(network, autoencoder, schedule, name, digest))
