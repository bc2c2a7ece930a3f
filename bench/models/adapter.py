"""What every adapter of a diffusers network shares: its schedule, its prediction turned into D, and its bottleneck."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from bench.core.errors import ConfigError, UnknownName
from bench.models.offload import device_of
from bench.models.schedule import alphas_cumprod
from bench.protocols.model import Bottleneck, broadcast, decode_pixels, encode_pixels


class Adapter:
    """A network as a denoiser of images in [-1, 1]; a subclass says how the network is called, in `predict`.

    Source: Ho et al. 2020 (epsilon prediction), Salimans & Ho 2022, arXiv 2202.00512 (v-prediction).

    Attributes:
        shape: of one sample.
        image_size: the side of one image, in pixels.
        bottleneck_shape: of one h; None where the network has no bottleneck.
        predictions: the prediction types that `denoised_of` knows.
    """

    predictions: ClassVar[tuple[str, ...]] = ("epsilon", "v_prediction", "sample")
    dtype = torch.float32
    shape: tuple[int, ...]
    image_size: int
    bottleneck_shape: tuple[int, ...] | None

    def __init__(
        self,
        network: nn.Module,
        middle: nn.Module | None,
        scheduler_config: Mapping[str, Any],
        conditions: tuple[str, ...],
        name: str,
        digest: str,
    ) -> None:
        """Check the noise schedule.

        Args:
            network: in evaluation mode.
            middle: the module of `network` whose output is the bottleneck; None where there is none.
            scheduler_config: of a diffusers scheduler: the noise schedule and `prediction_type`.
            conditions: names, "none" first.
            name: the public name.
            digest: hash of everything that decides what it computes.

        Raises:
            ConfigError: the prediction type is unknown, or says nothing where the schedule ends.
        """
        self._network, self._middle = network, middle
        self.prediction = scheduler_config.get("prediction_type", "epsilon")
        if self.prediction not in self.predictions:
            known = " or ".join(filter(None, (", ".join(self.predictions[:-1]), self.predictions[-1])))
            raise ConfigError(f"prediction_type must be {known}, got {self.prediction!r}")
        self.alphas_cumprod = alphas_cumprod(dict(scheduler_config))
        if self.prediction == "epsilon" and float(self.alphas_cumprod[-1]) == 0:
            raise ConfigError(
                "a network that predicts epsilon must have a noise schedule that ends above a_t = 0, where epsilon "
                "says nothing about the image; set rescale_betas_zero_snr to false in its scheduler_config.json"
            )
        self.scheduler_config = dict(scheduler_config)
        self.name, self.digest, self.conditions = name, digest, conditions
        self._a = self.alphas_cumprod.to(self.device)
        self._weights = next(network.parameters()).dtype  # what it computes in; samples stay float32

    @property
    def network(self) -> nn.Module:
        """What denoises."""
        return self._network

    @property
    def device(self) -> torch.device:
        """Where the network runs."""
        return device_of(self._network)

    def predict(self, x: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        """What the network itself predicts: eps, v or x_0, shaped as x."""
        raise NotImplementedError

    def encoder_half(self, x: Tensor, t: Tensor, condition: Tensor) -> None:
        """Any pass of the network that reaches the bottleneck; what comes after it is not looked at."""
        self.predict(x, t, condition)

    def change(self, output: Any, bottleneck: Bottleneck) -> Any:
        """What the middle module gave, with `bottleneck` called on the rows that stand for a sample."""
        return bottleneck(output)

    def bottleneck_of(self, output: Any) -> Tensor:
        """h of what the middle module gave."""
        h: Tensor = output
        return h

    def denoised_of(self, x: Tensor, t: Tensor, out: Tensor) -> Tensor:
        """D of what the network predicted for x at t."""
        a = broadcast(self._a[t], x)
        if self.prediction == "v_prediction":  # v = sqrt(a) eps - sqrt(1-a) x_0, so D = sqrt(a) x - sqrt(1-a) v
            return a.sqrt() * x - (1 - a).sqrt() * out
        if self.prediction == "epsilon":  # undefined at a = 0, where eps says nothing about x_0
            return (x - (1 - a).sqrt() * out) / a.sqrt()
        return out.to(x.dtype)

    def denoise(self, x: Tensor, t: Tensor, condition: Tensor, bottleneck: Bottleneck | None = None) -> Tensor:
        """D(x, t, c), as the protocol says; the network runs once, with or without `bottleneck`."""
        rows = x.to(self._weights)
        if bottleneck is None:
            out = self.predict(rows, t, condition)
        else:
            assert self._middle is not None, "a method looks at bottleneck_shape first"
            hook = self._middle.register_forward_hook(lambda _module, _args, h: self.change(h, bottleneck))
            try:
                out = self.predict(rows, t, condition)
            finally:
                hook.remove()
        return self.denoised_of(x, t, out.to(x.dtype) if self._weights != x.dtype else out)

    def encode_bottleneck(self, x: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        """h [n, *bottleneck_shape]; what follows the bottleneck is not run."""
        found: list[Tensor] = []

        def stop(_module: nn.Module, _args: object, output: Any) -> None:
            found.append(self.bottleneck_of(output))
            raise _DecoderHalfNotNeeded

        assert self._middle is not None, "a method looks at bottleneck_shape first"
        hook = self._middle.register_forward_hook(stop)
        try:
            self.encoder_half(x.to(self._weights), t, condition)
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


def middle_block(transformer: Any, chosen: str | None, lists: tuple[str, ...] = ("transformer_blocks",)) -> nn.Module:
    """The block of a transformer whose output is the bottleneck.

    Args:
        transformer: with `lists`.
        chosen: "transformer_blocks.K"; unless given, the block that ends the first half, where a U-Net's middle is.
        lists: the names of its lists of blocks, in the order in which they run.

    Raises:
        UnknownName: there is no such block.
    """
    blocks = {f"{name}.{k}": block for name in lists for k, block in enumerate(getattr(transformer, name))}
    name = chosen or list(blocks)[(len(blocks) - 1) // 2]
    if name not in blocks:
        raise UnknownName("bottleneck of a transformer", name, blocks)
    found: nn.Module = blocks[name]
    return found


def middle_shape(config: Any) -> tuple[int, ...]:
    """The shape of a U-Net's middle block's output for one sample: every level but the last halves the sides."""
    side = config.sample_size // 2 ** (len(config.block_out_channels) - 1)
    return (config.block_out_channels[-1], side, side)
