"""What of a latent model waits on the CPU while it has nothing to do, so that less of an accelerator's memory is held.

- "model": the denoiser and the autoencoder take turns. The denoiser is on the device; to encode or decode, the two
  change places and back. It costs a copy of both a guidance batch, and saves the smaller of the two.
- "sequential": both wait on the CPU, and every layer visits the device while it runs. It costs a copy of all weights
  every call, and leaves on the device little more than activations.

Text encoders are on the CPU in any case: they read each prompt once, when the model is loaded. Neither choice needs
accelerate, and neither changes what is computed. Source of the names: diffusers' `enable_model_cpu_offload` and
`enable_sequential_cpu_offload`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn

from bench.core.errors import ConfigError

Offload = Literal["none", "model", "sequential"]


def check_offload(offload: Offload, device: str) -> None:
    """Refuse to offload from the CPU to itself.

    Raises:
        ConfigError: the model runs on the CPU.
    """
    if offload != "none" and torch.device(device).type == "cpu":
        raise ConfigError(
            f"offload: {offload} frees an accelerator's memory, got device {device}; leave it out, or run on an "
            "accelerator"
        )


def device_of(network: nn.Module) -> torch.device:
    """Where a network runs: where its weights are, or where they go for that."""
    runs_on: torch.device | None = getattr(network, "runs_on", None)
    return runs_on or next(network.parameters()).device


def visit(network: nn.Module, device: str) -> nn.Module:
    """Let every layer of a network on the CPU run on a device: its weights go there before, and are let go after.

    What a module without children holds goes along with it. Parameters and buffers of others stay on the device, and so
    do embeddings, whose weights others read as well (a quantiser its codes).
    Gradients of inputs are not had this way: a layer's weights are gone by the time of the backward pass.
    """
    target = torch.empty(0, device=device).device  # with its number
    for module in network.modules():
        held = [*module.parameters(recurse=False), *module.buffers(recurse=False)]
        if next(module.children(), None) is not None or isinstance(module, nn.Embedding):
            for value in held:
                value.data = value.data.to(target)
        elif held:
            visitor = _Visitor(held, target)
            module.register_forward_pre_hook(visitor.enter)
            module.register_forward_hook(visitor.leave, always_call=True)
    network.runs_on = target  # type: ignore[assignment]
    return network


class _Visitor:
    """The weights of one layer: those on the CPU stay there, and a copy of them visits the device."""

    def __init__(self, weights: list[Tensor], device: torch.device) -> None:
        self._weights, self._at_home, self._device = weights, [w.data for w in weights], device

    def enter(self, _module: nn.Module, _args: Any) -> None:
        for weight in self._weights:
            weight.data = weight.data.to(self._device)

    def leave(self, _module: nn.Module, _args: Any, _output: Any) -> None:
        for weight, home in zip(self._weights, self._at_home, strict=True):
            weight.data = home


@contextmanager
def taking_turns(resting: nn.Module, working: nn.Module) -> Iterator[None]:
    """Let a network that waits on the CPU work on the device of another, which waits meanwhile.

    Where both run on one device already, nothing is moved.
    """
    device = device_of(resting)
    if device_of(working) == device:
        yield
        return
    place = device_of(working)
    resting.to(place)
    working.to(device)
    try:
        yield
    finally:
        working.to(place)
        resting.to(device)
