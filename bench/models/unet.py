"""A diffusers U-Net in pixel space, from a local folder or a hub id, brought to the denoiser protocol."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from bench.errors import ConfigError
from bench.files import digest_of, file_digest, read_object
from bench.models.base import Bottleneck, broadcast, decode_pixels, encode_pixels
from bench.models.schedule import alphas_cumprod

CONDITIONS = "conditions.json"  # beside the weights: the names of the class labels, "none" first
WEIGHTS = "diffusion_pytorch_model.safetensors"


class PixelUNet:
    """A `UNet2DModel` as a denoiser.

    A network with 3 p^2 channels works on p x p pixel blocks (space to depth), which costs 1/p^2 of the top level.

    Source: Ho et al. 2020 (epsilon prediction), Salimans & Ho 2022, arXiv 2202.00512 (v-prediction).
    """

    dtype = torch.float32

    def __init__(
        self,
        unet: nn.Module,
        scheduler_config: Mapping[str, Any],
        conditions: tuple[str, ...] = ("none",),
        name: str = "unet",
        digest: str = "",
    ) -> None:
        """Wrap a network in memory.

        Args:
            unet: a diffusers `UNet2DModel` with 3 p^2 input and output channels.
            scheduler_config: of a diffusers scheduler: the noise schedule and `prediction_type`.
            conditions: the names of the class labels, "none" first; "none" alone where the network takes no labels.
            name: the public name.
            digest: hash of the weights and configuration.

        Raises:
            ConfigError: the network's channels or size, its labels or the prediction type do not fit this adapter.
        """
        self.unet = unet
        self._middle: Any = unet.mid_block
        config: Any = unet.config
        block = round((config.in_channels / 3) ** 0.5)
        if 3 * block * block != config.in_channels or config.in_channels != config.out_channels:
            raise ConfigError(
                f"a pixel U-Net must have 3 p^2 input channels and as many output channels, "
                f"got {config.in_channels} and {config.out_channels}"
            )
        if not isinstance(config.sample_size, int):
            raise ConfigError(f"a pixel U-Net's sample_size must be one number, got {config.sample_size}")
        self.block = block
        self.prediction = scheduler_config.get("prediction_type", "epsilon")
        if self.prediction not in ("epsilon", "v_prediction", "sample"):
            raise ConfigError(f"prediction_type must be epsilon, v_prediction or sample, got {self.prediction!r}")
        self.alphas_cumprod = alphas_cumprod(dict(scheduler_config))
        if self.prediction == "epsilon" and float(self.alphas_cumprod[-1]) == 0:
            raise ConfigError(
                "a network that predicts epsilon must have a noise schedule that ends above a_t = 0, where epsilon "
                "says nothing about the image; set rescale_betas_zero_snr to false in its scheduler_config.json"
            )
        self._labelled = config.num_class_embeds is not None
        n_labels = config.num_class_embeds or 1
        if len(conditions) != n_labels or conditions[0] != "none":
            raise ConfigError(
                f'{CONDITIONS} must name the network\'s {n_labels} class labels, "none" first, '
                f"got {len(conditions)}: {', '.join(map(str, conditions[:5]))}"
            )
        self.name, self.digest, self.conditions = name, digest, conditions
        self.scheduler_config = dict(scheduler_config)
        side = config.sample_size * block
        self.shape: tuple[int, ...] = (3, side, side)
        depth = 2 ** (len(config.block_out_channels) - 1)
        self.bottleneck_shape: tuple[int, ...] | None = None
        if self._middle is not None:
            self.bottleneck_shape = (config.block_out_channels[-1], *[config.sample_size // depth] * 2)
        self._a = self.alphas_cumprod.to(self.device)

    @property
    def device(self) -> torch.device:
        """Where the network's weights are."""
        return next(self.unet.parameters()).device

    def predict(self, x: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        """What the network itself predicts: eps, v or x_0, shaped as x."""
        labels = condition if self._labelled else None
        blocks = pixel_unshuffle(x, self.block) if self.block > 1 else x
        out = self.unet(blocks, t, class_labels=labels, return_dict=False)[0]
        return pixel_shuffle(out, self.block) if self.block > 1 else out

    def denoise(self, x: Tensor, t: Tensor, condition: Tensor, bottleneck: Bottleneck | None = None) -> Tensor:
        """D(x, t, c), as the protocol says; the network runs once, with or without `bottleneck`."""
        if bottleneck is None:
            out = self.predict(x, t, condition)
        else:
            hook = self._middle.register_forward_hook(lambda _module, _args, h: bottleneck(h))
            try:
                out = self.predict(x, t, condition)
            finally:
                hook.remove()
        a = broadcast(self._a[t], x)
        if self.prediction == "v_prediction":  # v = sqrt(a) eps - sqrt(1-a) x_0, so D = sqrt(a) x - sqrt(1-a) v
            return a.sqrt() * x - (1 - a).sqrt() * out
        if self.prediction == "epsilon":  # undefined at a = 0, where eps says nothing about x_0
            return (x - (1 - a).sqrt() * out) / a.sqrt()
        return out.to(x.dtype)

    def encode_bottleneck(self, x: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        """h [n, *bottleneck_shape]: the output of `mid_block`; the decoder half is not run."""
        found: list[Tensor] = []

        def stop(_module: nn.Module, _args: object, h: Tensor) -> None:
            found.append(h)
            raise _DecoderHalfNotNeeded

        hook = self._middle.register_forward_hook(stop)
        try:
            self.predict(x, t, condition)
        except _DecoderHalfNotNeeded:
            pass
        finally:
            hook.remove()
        return found[0]

    def encode(self, images: Tensor) -> Tensor:
        """uint8 images as samples in [-1, 1]."""
        return encode_pixels(images.to(self.device))

    def decode(self, x: Tensor) -> Tensor:
        """Samples in [-1, 1] as uint8 images, rounded to the nearest level."""
        return decode_pixels(x)


class _DecoderHalfNotNeeded(Exception):
    """Not an error: it ends a forward pass early."""


def load_unet(folder: Path, device: str = "cpu", name: str | None = None) -> PixelUNet:
    """Load a pixel U-Net saved by diffusers.

    Args:
        folder: holds config.json and diffusion_pytorch_model.safetensors (half precision is widened to float32),
            or a pipeline folder with `unet/` in it; scheduler_config.json or scheduler/; conditions.json where the
            model is class-conditional.
        device: a torch device.
        name: the public name; the folder's own unless given.

    Raises:
        ConfigError: the folder is missing, damaged or holds another architecture.
    """
    unet_folder = folder / "unet" if (folder / "unet").is_dir() else folder
    schedule = next(
        (f for f in (folder / "scheduler" / "scheduler_config.json", folder / "scheduler_config.json") if f.is_file()),
        folder / "scheduler_config.json",
    )
    config = _read_config(unet_folder / "config.json")
    if config.get("_class_name") != "UNet2DModel":
        raise ConfigError(
            f"{unet_folder / 'config.json'} must describe a UNet2DModel, got {config.get('_class_name')!r}; "
            "give a folder saved by UNet2DModel.save_pretrained"
        )
    scheduler_config = _read_schedule(schedule)
    weights = unet_folder / WEIGHTS
    if not weights.is_file():
        raise ConfigError(f"no weights at {weights}; only safetensors are read: save with safe_serialization=True")
    unet = _load_network(unet_folder)
    conditions = _read_conditions(folder / CONDITIONS)
    digest = digest_of([file_digest(weights), config, scheduler_config, list(conditions)])
    return PixelUNet(unet.to(device), scheduler_config, conditions, name or folder.name, digest)


def _read_schedule(path: Path) -> dict[str, Any]:
    config = _read_config(path)
    try:
        alphas_cumprod(config)
    except (TypeError, ValueError, NotImplementedError) as error:
        raise ConfigError(f"{path} does not describe a noise schedule: {error}") from error
    return config


def _read_conditions(path: Path) -> tuple[str, ...]:
    if not path.is_file():
        return ("none",)
    names = _read_config(path).get("conditions")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names) or not names:
        raise ConfigError(f'{path} must hold {{"conditions": ["none", ...]}}, one name a class label, got {names!r}')
    return tuple(names)


def _read_config(path: Path) -> dict[str, Any]:
    return read_object(path, "give a folder saved by diffusers' save_pretrained")


def _load_network(folder: Path) -> nn.Module:
    from diffusers import UNet2DModel
    from diffusers.utils import logging
    from safetensors import SafetensorError, safe_open

    weights = folder / WEIGHTS
    try:
        with safe_open(weights, "pt") as f:
            found = set(f.keys())
        logging.set_verbosity_error()  # a mismatch is said below, in one sentence
        config = UNet2DModel.load_config(folder)
        with torch.device("meta"):  # a configuration may ask for more than there is memory
            wanted = set(UNet2DModel.from_config(config).state_dict())
        if found != wanted:
            odd = sorted(found ^ wanted)[0]
            raise ConfigError(f"{weights} is of another architecture than its config.json: {odd!r} is only in one")
        unet = UNet2DModel.from_pretrained(folder, use_safetensors=True, torch_dtype=torch.float32)
    except ConfigError:
        raise
    except (SafetensorError, OSError) as error:
        raise ConfigError(f"cannot read {weights}: {error}; it is damaged or cut short: copy it again") from error
    except (RuntimeError, ValueError, TypeError, AttributeError, LookupError, ArithmeticError, NameError) as error:
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ConfigError(f"{weights} does not fit its config.json: {first}") from error
    network: nn.Module = unet.eval().requires_grad_(False).to(memory_format=torch.channels_last)
    return network
