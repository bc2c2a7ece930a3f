"""torch.compile of a denoiser's blocks: regions, each with its hooks outside, so that a bottleneck stays in reach."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from bench.core.errors import ConfigError
from bench.models.adapter import Adapter

TRIAL = 2  # rows; with 1 the compiled code would be for 1 alone


def compile_blocks(model: Adapter) -> None:
    """Compile every block of the lists that the network is made of, and run it once: an error shows now, in a sentence.

    A block's `forward` is compiled, not its call: what hooks do, such as steering the bottleneck, stays outside. Blocks
    of one class share the compiled code where their shapes agree.

    Raises:
        ConfigError: it cannot be compiled here, as without a C++ compiler on a CPU.
    """
    network: nn.Module = model.network
    blocks = [block for part in network.children() if isinstance(part, nn.ModuleList) for block in part]
    if isinstance(getattr(network, "mid_block", None), nn.Module):
        blocks.append(network.mid_block)  # type: ignore[arg-type]
    for block in blocks:
        if "forward" in vars(block):
            continue  # compiled already, for a model that shares the network
        compiled: Any = torch.compile(block.forward)
        block.forward = compiled
    x = torch.zeros(TRIAL, *model.shape, device=model.device)
    none = torch.zeros(TRIAL, dtype=torch.int64, device=model.device)
    try:
        with torch.no_grad():
            model.denoise(x, none, none)
    except (RuntimeError, OSError, ImportError) as error:  # dynamo's and inductor's own are RuntimeErrors
        if isinstance(error, torch.cuda.OutOfMemoryError):
            raise
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ConfigError(f"torch.compile does not work here: {first}; leave `compile` out") from error
