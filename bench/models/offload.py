"""Offload idle networks of a latent model to the CPU, to save an accelerator's memory.

- "model": the denoiser is on the device; to encode or decode, it changes places with the autoencoder. Costs a copy of
  both per guidance batch, and saves the memory of the smaller one.
- "sequential": both are on the CPU, and every layer is copied to the device while it runs. Costs a copy of all weights
  per call, and needs little more memory than activations.

Text encoders are always on the CPU: they encode each prompt once, at loading. Neither choice needs accelerate, and
neither changes the numbers. Source of the names: diffusers' `enable_model_cpu_offload` and
`enable_sequential_cpu_offload`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn

from bench.core.errors import ConfigError
from bench.models.bf16 import forget_copies

Offload = Literal["none", "model", "sequential"]


def check_offload(offload: Offload, device: str) -> None:
    """Refuse to offload if the device is the CPU.

    Raises:
        ConfigError: the model runs on the CPU.
    """
    if offload != "none" and torch.device(device).type == "cpu":
        raise ConfigError(
            f"offload: {offload} frees an accelerator's memory, got device {device}; leave it out, or run on an "
            "accelerator"
        )


def device_of(network: nn.Module) -> torch.device:
    """Return the device on which a network runs, to which offloaded weights are copied."""
    runs_on: torch.device | None = getattr(network, "runs_on", None)
    return runs_on or next(network.parameters()).device


def visit(network: nn.Module, device: str) -> nn.Module:
    """Let every layer of a network on the CPU run on a device: copy its weights before the call and free them after.

    Parameters and buffers of modules with children stay on the device, and so do embeddings, whose weights other code
    reads too (as a quantiser its codes). A backward pass is impossible: the weights are freed before it.
    """
    target = torch.empty(0, device=device).device  # with its index
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
    """The weights of one layer: the originals stay on the CPU, copies are on the device during a call."""

    def __init__(self, weights: list[Tensor], device: torch.device) -> None:
        self._weights, self._at_home, self._device = weights, [w.data for w in weights], device

    def enter(self, _module: nn.Module, _args: object) -> None:
        for weight in self._weights:
            weight.data = weight.data.to(self._device)

    def leave(self, _module: nn.Module, _args: object, _output: object) -> None:
        for weight, home in zip(self._weights, self._at_home, strict=True):
            weight.data = home


@contextmanager
def taking_turns(resting: nn.Module, working: nn.Module) -> Iterator[None]:
    """Exchange the devices of two networks within the block, so that `working` runs on the device of `resting`.

    Nothing is moved if both are on the same device.
    """
    device = device_of(resting)
    if device_of(working) == device:
        yield
        return
    idle_device = device_of(working)
    forget_copies(resting)
    resting.to(idle_device)
    working.to(device)
    try:
        yield
    finally:
        working.to(idle_device)
        resting.to(device)
