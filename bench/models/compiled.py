"""Compile a denoiser block by block with torch.compile; hooks stay outside, so that the bottleneck can be changed."""

from __future__ import annotations

import torch
from torch import nn

from bench.core.errors import ConfigError
from bench.models.adapter import Adapter

TRIAL = 2  # rows of the trial run; with 1, torch would compile for a batch of 1 only


def compile_blocks(model: Adapter) -> None:
    """Compile every block of the network's lists, and run the model once, so that errors show at loading.

    The `forward` of a block is compiled, not its call, so that hooks, such as those that change the bottleneck, stay
    outside. Blocks of one class and equal shapes share the compiled code.

    Raises:
        ConfigError: it cannot be compiled here, as without a C++ compiler on a CPU.
    """
    network: nn.Module = model.network
    blocks = [block for child in network.children() if isinstance(child, nn.ModuleList) for block in child]
    if isinstance(getattr(network, "mid_block", None), nn.Module):
        blocks.append(network.mid_block)  # type: ignore[arg-type]
    for block in blocks:
        if "forward" in vars(block):
            continue  # already compiled for a model that shares the network
        block.forward = torch.compile(block.forward)
    x = torch.zeros(TRIAL, *model.shape, device=model.device)
    none = torch.zeros(TRIAL, dtype=torch.int64, device=model.device)
    try:
        with torch.no_grad():
            model.denoise(x, none, none)
    except (RuntimeError, OSError, ImportError) as error:  # the errors of dynamo and inductor are RuntimeErrors
        if isinstance(error, torch.cuda.OutOfMemoryError):
            raise
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ConfigError(f"torch.compile does not work here: {first}; leave `compile` out") from error
