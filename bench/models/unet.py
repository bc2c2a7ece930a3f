"""Adapter of diffusers U-Nets in pixel space to the denoiser protocol."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from bench.core.digest import digest_of, file_digest
from bench.core.errors import ConfigError
from bench.core.json_text import read_object
from bench.models import CONDITIONS as CONDITIONS
from bench.models import INDEX
from bench.models.adapter import Adapter
from bench.models.configs import check_labels, middle_of, middle_shape, unet_config
from bench.models.fields import NetworkFields
from bench.models.pretrained import SAVED, SCHEDULE, UNBOUNDED, component, read_config, read_schedule, weight_files

DEFAULTS = NetworkFields()


class PixelUNet(Adapter):
    """A `UNet2DModel` as a denoiser.

    A network with 3 p^2 channels works on p x p pixel blocks (space to depth), which divides the cost of the top level
    by p^2. If it has twice as many output channels, as guided-diffusion's and its descendants', the second half is a
    learnt variance; it is ignored.
    """

    def __init__(
        self,
        unet: nn.Module,
        scheduler_config: Mapping[str, object],
        conditions: tuple[str, ...] = ("none",),
        name: str = "unet",
        digest: str = "",
    ) -> None:
        """Wrap a network in memory.

        Args:
            unet: a diffusers `UNet2DModel` with 3 p^2 input channels, and as many or twice as many output channels.
            scheduler_config: of a diffusers scheduler: the noise schedule and `prediction_type`.
            conditions: the names of the class labels, "none" first; ("none",) for a network without labels.
            name: public name.
            digest: hash of the weights and configuration.

        Raises:
            ConfigError: the network's channels or size, its labels or the prediction type do not fit this adapter.
        """
        config = unet_config(unet)
        block = round((config.in_channels / 3) ** 0.5)
        if 3 * block * block != config.in_channels or config.out_channels not in (
            config.in_channels,
            2 * config.in_channels,
        ):
            raise ConfigError(
                f"a pixel U-Net must have 3 p^2 input channels and as many output channels (or twice as many, with a "
                f"learnt variance), got {config.in_channels} and {config.out_channels}"
            )
        if not isinstance(config.sample_size, int):
            raise ConfigError(f"a pixel U-Net's sample_size must be one number, got {config.sample_size}")
        check_labels(unet, labelled=True)
        middle = middle_of(unet)
        super().__init__(unet, middle, scheduler_config, conditions, name, digest)
        self.unet, self.block, self._channels = unet, block, config.in_channels
        self._labelled = config.num_class_embeds is not None
        n_labels = config.num_class_embeds or 1
        if len(conditions) != n_labels or conditions[0] != "none":
            raise ConfigError(
                f'{CONDITIONS} must name the network\'s {n_labels} class labels, "none" first, '
                f"got {len(conditions)}: {', '.join(map(str, conditions[:5]))}"
            )
        self.image_size = config.sample_size * block
        self.shape = (3, self.image_size, self.image_size)
        self.bottleneck_shape = None if middle is None else middle_shape(config)

    def predict(self, x: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        """Return the network's prediction: eps, v or x_0, shaped as x."""
        labels = condition if self._labelled else None
        blocks = pixel_unshuffle(x, self.block) if self.block > 1 else x
        out: Tensor = self.unet(blocks, t, class_labels=labels, return_dict=False)[0][:, : self._channels]
        return pixel_shuffle(out, self.block) if self.block > 1 else out


@dataclass(frozen=True)
class Model(NetworkFields):
    """A pixel U-Net."""

    def load(self, folder: Path, device: str, name: str) -> PixelUNet:
        """Load the folder of a pipeline or of a single network; raises the errors of `load_unet`."""
        for key in ("unet", "scheduler") if (folder / INDEX).is_file() else ():
            component(folder, key)
        return load_unet(folder, device, name, self)


def load_unet(
    folder: Path, device: str = "cpu", name: str | None = None, fields: NetworkFields = DEFAULTS
) -> PixelUNet:
    """Return a pixel U-Net saved by diffusers.

    Args:
        folder: holds config.json and diffusion_pytorch_model.safetensors (half precision is widened to float32),
            or is the folder of a DDPMPipeline or DDIMPipeline; scheduler_config.json or scheduler/; and, for a
            class-conditional model, conditions.json.
        device: a torch device.
        name: public name, by default the folder's.
        fields: precision and compilation of the network.

    Raises:
        ConfigError: the folder is missing, damaged or holds another architecture.
    """
    unet_folder = folder / "unet" if (folder / "unet").is_dir() else folder
    scheduler_folder = folder / "scheduler" if (folder / "scheduler").is_dir() else folder
    config = read_config(unet_folder / "config.json", ("UNet2DModel",))
    schedule = read_object(scheduler_folder / SCHEDULE, SAVED, UNBOUNDED)
    conditions = _read_conditions(folder / CONDITIONS)
    files = weight_files(unet_folder)
    unet = fields.network(unet_folder, "UNet2DModel", device).to(memory_format=torch.channels_last)
    settings = fields.settings()  # empty at the defaults, and then left out of the digest
    digest = digest_of(
        [*map(file_digest, files), config, schedule, list(conditions), *([settings] if settings else [])]
    )
    return fields.ready(
        PixelUNet(unet, read_schedule(scheduler_folder / SCHEDULE), conditions, name or folder.name, digest)
    )


def _read_conditions(path: Path) -> tuple[str, ...]:
    if not path.is_file():
        return ("none",)
    names = read_object(path, SAVED).get("conditions")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names) or not names:
        raise ConfigError(f'{path} must hold {{"conditions": ["none", ...]}}, one name per class label, got {names!r}')
    return tuple(names)
