"""The base class of adapters of diffusers networks: noise schedule, conversion of predictions to D, bottleneck."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from bench.core.errors import ConfigError, Incompatible, UnknownName
from bench.models.configs import blocks_of
from bench.models.offload import device_of
from bench.models.schedule import alphas_cumprod
from bench.protocols.model import Bottleneck, broadcast, decode_pixels, encode_pixels


class Adapter:
    """A network as a denoiser of images in [-1, 1]; a subclass defines in `predict` how the network is called.

    Source: Ho et al. 2020 (epsilon prediction), Salimans & Ho 2022, arXiv 2202.00512 (v-prediction).

    Attributes:
        shape: of one sample.
        image_size: side of an image, in pixels.
        bottleneck_shape: of h for one sample; None if the network has no bottleneck.
        predictions: the prediction types that `denoised_of` converts.
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
        scheduler_config: Mapping[str, object],
        conditions: tuple[str, ...],
        name: str,
        digest: str,
    ) -> None:
        """Wrap a network and check its noise schedule.

        Args:
            network: in evaluation mode.
            middle: the module of `network` whose output is the bottleneck, or None.
            scheduler_config: of a diffusers scheduler: the noise schedule and `prediction_type`.
            conditions: names, "none" first.
            name: public name.
            digest: hash of everything that decides the model's output.

        Raises:
            ConfigError: the prediction type is unknown, or epsilon where the schedule ends at a_t = 0.
        """
        self._network, self._middle = network, middle
        prediction = scheduler_config.get("prediction_type", "epsilon")
        if prediction not in self.predictions:
            raise ConfigError(f"prediction_type must be {_either(self.predictions)}, got {prediction!r}")
        self.prediction = str(prediction)
        self.alphas_cumprod = alphas_cumprod(dict(scheduler_config))
        if self.prediction == "epsilon" and float(self.alphas_cumprod[-1]) == 0:
            raise ConfigError(
                "a network that predicts epsilon must have a noise schedule that ends above a_t = 0, where epsilon "
                "says nothing about the image; set rescale_betas_zero_snr to false in its scheduler_config.json"
            )
        self.scheduler_config = dict(scheduler_config)
        self.name, self.digest, self.conditions = name, digest, conditions
        self._a = self.alphas_cumprod.to(self.device)
        self._weights = next(network.parameters()).dtype  # the network's precision; samples stay float32

    @property
    def network(self) -> nn.Module:
        """The denoising network."""
        return self._network

    @property
    def device(self) -> torch.device:
        """The device on which the network runs."""
        return device_of(self._network)

    def predict(self, x: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        """Return the network's prediction: eps, v or x_0, shaped as x."""
        raise NotImplementedError

    def encoder_half(self, x: Tensor, t: Tensor, condition: Tensor) -> None:
        """Run the network at least to the bottleneck; its output is ignored."""
        self.predict(x, t, condition)

    def apply_bottleneck(self, output: object, bottleneck: Bottleneck) -> object:
        """Return the middle module's output with `bottleneck` applied to the rows that belong to samples."""
        return bottleneck(self.bottleneck_of(output))

    def bottleneck_of(self, output: object) -> Tensor:
        """Return h [n, *bottleneck_shape] from the middle module's output."""
        assert isinstance(output, Tensor), "a subclass unpacks other outputs"
        return output

    def denoised_of(self, x: Tensor, t: Tensor, out: Tensor) -> Tensor:
        """Return D = E[x_0 | x_t] from the network's prediction `out` for x at t."""
        a = broadcast(self._a[t], x)
        if self.prediction == "v_prediction":  # v = sqrt(a) eps - sqrt(1-a) x_0, so D = sqrt(a) x - sqrt(1-a) v
            return a.sqrt() * x - (1 - a).sqrt() * out
        if self.prediction == "epsilon":  # undefined at a = 0, where eps says nothing about x_0
            return (x - (1 - a).sqrt() * out) / a.sqrt()
        return out.to(x.dtype)

    def denoise(self, x: Tensor, t: Tensor, condition: Tensor, bottleneck: Bottleneck | None = None) -> Tensor:
        """Return D(x, t, c), as the protocol defines it; the network runs once, with or without `bottleneck`."""
        rows = x.to(self._weights)
        if bottleneck is None:
            out = self.predict(rows, t, condition)
        else:
            assert self._middle is not None, "a method checks bottleneck_shape first"
            hook = self._middle.register_forward_hook(lambda _module, _args, h: self.apply_bottleneck(h, bottleneck))
            try:
                out = self.predict(rows, t, condition)
            finally:
                hook.remove()
        return self.denoised_of(x, t, out.to(x.dtype) if self._weights != x.dtype else out)

    def encode_bottleneck(self, x: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        """Return h [n, *bottleneck_shape]; the forward pass ends at the bottleneck."""
        captured: list[Tensor] = []

        def stop(_module: nn.Module, _args: object, output: object) -> None:
            captured.append(self.bottleneck_of(output))
            raise _DecoderHalfNotNeeded

        assert self._middle is not None, "a method checks bottleneck_shape first"
        hook = self._middle.register_forward_hook(stop)
        try:
            self.encoder_half(x.to(self._weights), t, condition)
        except _DecoderHalfNotNeeded:
            pass
        finally:
            hook.remove()
        return captured[0]

    def trainable_copy(self) -> Self:
        """Return a copy with a network of its own, to train; everything else is shared with this model.

        Raises:
            Incompatible: the network cannot be trained; the error says why and what to do.
        """
        reason = self.untrainable()
        if reason:
            raise Incompatible(f"the network of {self.name} cannot be trained: {reason}, or set init: scratch")
        copies: dict[int, object] = {}  # of every object within the network, by the identity of the original
        copy.deepcopy(self._network, copies)
        twin = copy.copy(self)
        for name, value in vars(self).items():
            if isinstance(value, nn.Module) and id(value) in copies:
                setattr(twin, name, copies[id(value)])
        return twin

    def untrainable(self) -> str:
        """Return why the network cannot be trained and what to do, "" if it can."""
        if self.prediction not in Adapter.predictions:
            return (
                f"it predicts {self.prediction}, and the corrected targets are those of "
                f"{_either(Adapter.predictions)}; choose a model that predicts one of them"
            )
        if self._weights != torch.float32:
            return f"its weights are {str(self._weights).removeprefix('torch.')}; leave `dtype` out"
        if any("forward" in vars(module) for module in self._network.modules()):
            return "it is compiled; leave `compile` out"
        if hasattr(self._network, "runs_on"):
            return "it is offloaded, and its weights are freed before a backward pass; leave `offload` out"
        return ""

    def encode(self, images: Tensor) -> Tensor:
        """Return uint8 images [n, 3, h, w] as samples in [-1, 1]."""
        return encode_pixels(images.to(self.device))

    def decode(self, x: Tensor) -> Tensor:
        """Return samples in [-1, 1] as uint8 images, rounded to the nearest level."""
        return decode_pixels(x)


def _either(names: tuple[str, ...]) -> str:
    """Return names as "a, b or c"."""
    return " or ".join(filter(None, (", ".join(names[:-1]), names[-1])))


class _DecoderHalfNotNeeded(Exception):
    """Ends a forward pass early; never leaves this module."""


def middle_block(
    transformer: nn.Module, chosen: str | None, lists: tuple[str, ...] = ("transformer_blocks",)
) -> nn.Module:
    """Return the block of a transformer whose output is the bottleneck.

    Args:
        transformer: a network with `lists`.
        chosen: "transformer_blocks.K"; by default the last block of the first half, the position of a U-Net's middle.
        lists: names of its lists of blocks, in the order of execution.

    Raises:
        UnknownName: no such block.
    """
    blocks = {f"{name}.{k}": block for name in lists for k, block in enumerate(blocks_of(transformer, name))}
    name = chosen or list(blocks)[(len(blocks) - 1) // 2]
    if name not in blocks:
        raise UnknownName("bottleneck of a transformer", name, blocks)
    return blocks[name]
