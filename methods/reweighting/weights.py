"""Trained networks in a cache: every parameter in half precision, in the module's order, under the hash of a recipe."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from bench.core.errors import ConfigError
from bench.protocols.cache import Cache, Checkpoint, Note

NAME = "reweighting"  # of the family's entries in a cache
FORMAT = "reweighting 1"  # part of every key: raise it when a training or a network changes


def pack(module: nn.Module) -> npt.NDArray[np.float16]:
    """Return every parameter of a module, flattened, in half precision and in the module's order.

    Raises:
        ConfigError: a parameter is out of the range of half precision.
    """
    flat = torch.cat([p.detach().reshape(-1) for p in module.parameters()])
    packed: npt.NDArray[np.float16] = flat.cpu().numpy().astype(np.float16)
    if not np.isfinite(packed).all():
        raise ConfigError("a trained weight is out of the range of half precision; lower the peak learning rate")
    return packed


def unpack(weights: npt.NDArray[np.generic], module: nn.Module) -> None:
    """Put packed weights into a module of the same architecture, and freeze it."""
    flat = torch.from_numpy(weights.astype(np.float32))
    parameters = list(module.parameters())
    pieces = flat.split([p.numel() for p in parameters])
    with torch.no_grad():
        for p, piece in zip(parameters, pieces, strict=True):
            p.copy_(piece.reshape(p.shape))
    module.eval().requires_grad_(False)


def load_or_train(module: nn.Module, recipe: Note, cache: Cache, fit: Callable[[Checkpoint], Note]) -> Note:
    """Put trained weights into a module: from the cache, or trained now.

    The weights go through half precision in either case, so both give the same network.

    Args:
        module: the network, as initialised.
        recipe: everything that determines its weights, JSON-able.
        cache: of the task.
        fit: trains `module` in place and returns the note: `cost` and `found`. It gets the checkpoint to save an
            unfinished training in, and to resume from.

    Returns:
        The note stored beside the weights.
    """
    key = {"format": FORMAT, **recipe}
    with cache.checkpoint(NAME, key) as checkpoint:

        def train() -> tuple[dict[str, npt.NDArray[np.float16]], Note]:
            note = fit(checkpoint)
            return {"weights": pack(module)}, note

        arrays, note = cache.get(NAME, key, train)
    unpack(arrays["weights"], module)
    return note
