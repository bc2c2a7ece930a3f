"""Wrappers that tell a clock the current stage of the sampling loop; the loop itself is unchanged."""

from __future__ import annotations

import dataclasses
from typing import Any

from torch import Tensor

from bench.profiling.clock import Clock
from bench.protocols.counting import Counted
from bench.protocols.method import Batch, Guided, GuidedDenoiser
from bench.protocols.model import Bottleneck
from bench.sampling.loop import Sampler, draw_batch

STEP_STAGES = ("unet", "unet_backward", "guidance", "scheduler")  # of every step; all other stages occur once per batch


class Timed(Counted):
    """A counted model that also tells a clock when its network runs, if it has a clock."""

    clock: Clock | None = None

    def denoise(self, x: Tensor, t: Tensor, condition: Tensor, bottleneck: Bottleneck | None = None) -> Tensor:
        """Call the model; `bottleneck` counts as guidance, and the backward pass is a separate stage."""
        clock = self.clock
        if clock is None:
            return super().denoise(x, t, condition, bottleneck)

        with clock.within("unet"):
            out = super().denoise(x, t, condition, _as_guidance(bottleneck, clock) if bottleneck is not None else None)
        if out.requires_grad:
            out.register_hook(lambda _: _enter(clock, "unet_backward"))
            if x.requires_grad:  # its gradient arrives when the backward pass through the network has ended
                x.register_hook(lambda _: _enter(clock, "guidance"))
        return out

    def encode_bottleneck(self, x: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        """Call the model's encoder half."""
        if self.clock is None:
            return super().encode_bottleneck(x, t, condition)
        with self.clock.within("unet"):
            return super().encode_bottleneck(x, t, condition)


def _as_guidance(bottleneck: Bottleneck, clock: Clock) -> Bottleneck:
    def steered(h: Tensor) -> Tensor:
        with clock.within("guidance"):
            return bottleneck(h)

    return steered


def _enter(clock: Clock, stage: str) -> None:
    clock.enter(stage)  # a hook's return value would replace the gradient


def watched(denoise: GuidedDenoiser, clock: Clock, network_only: bool) -> GuidedDenoiser:
    """Return a guided denoiser that tells the clock when it begins and ends; between calls, the sampler runs.

    Args:
        denoise: the guided denoiser.
        clock: the clock.
        network_only: whether the denoiser is a network without guidance, as for methods that train a network.
    """

    def wrapped(x: Tensor, t: int, batch: Batch) -> Tensor:
        clock.enter("unet" if network_only else "guidance")
        out = denoise(x, t, batch)
        clock.enter("scheduler")
        return out

    return wrapped


def sample_timed(
    model: Timed, guided: Guided, sampler: Sampler, batch: Batch, seed: int, clock: Clock, network_only: bool
) -> Tensor:
    """Draw and decode one guidance batch with the clock running.

    The stages are `STEP_STAGES`, "noise" (drawing it, and making the scheduler) and "decode" (to uint8 on the CPU).
    The scheduler stage includes the loop's check for NaN and the re-noising of repeated steps.

    Returns:
        uint8 images [n, 3, height, width], on the CPU.
    """
    model.clock = clock
    plain: Any = model
    try:
        clock.enter("noise")
        timed = dataclasses.replace(guided, denoise=watched(guided.denoise, clock, network_only))
        x = draw_batch(plain, timed, sampler, batch, seed, clock.end_step)
        with clock.within("decode"):
            images: Tensor = model.decode(x).cpu()
        clock.enter(None)
    finally:
        model.clock = None
    return images
