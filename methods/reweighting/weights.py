"""Trained networks in a cache, under the hash of a recipe: whole, or as differences from the weights at the start."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from bench.core.errors import ConfigError
from bench.protocols.cache import Arrays, Cache, Checkpoint, Note

NAME = "reweighting"  # of the family's entries in a cache
FORMAT = "reweighting 1"  # part of every key: raise it when a training or a network changes
LEVELS = 127  # of a difference, either side of 0


class Packing(Protocol):
    """The form in which the weights of a network are stored."""

    def pack(self) -> Arrays:
        """Return the network's weights as arrays.

        Raises:
            ConfigError: a weight is out of the range of the form.
        """
        ...

    def unpack(self, arrays: Arrays) -> None:
        """Put packed weights into the network, and freeze it."""
        ...


class Weights:
    """Every parameter of a network, in half precision and in the module's order."""

    def __init__(self, network: nn.Module) -> None:
        self.network = network

    def pack(self) -> Arrays:
        """Return the parameters; see `Packing`."""
        return {"weights": pack(self.network)}

    def unpack(self, arrays: Arrays) -> None:
        """Put the parameters into the network; see `Packing`."""
        unpack(arrays["weights"], self.network)


class Differences:
    """The differences of every parameter from its value at the start, in steps of 1 / 127 of the row's largest one.

    A row is what belongs to one output of a layer; a bias is one row. A difference is off by at most 1 / 254 of the
    largest of its row. The form takes a quarter of the space of the weights in single precision.
    """

    def __init__(self, network: nn.Module) -> None:
        """Note the parameters as the start."""
        self.network = network
        self._start = [p.detach().clone() for p in network.parameters()]

    def pack(self) -> Arrays:
        """Return the differences; see `Packing`."""
        steps, scales = [], []
        for p, start in zip(self.network.parameters(), self._start, strict=True):
            rows = _rows(p.detach() - start)
            scale = rows.abs().amax(1, keepdim=True) / LEVELS
            steps.append((rows / scale.clamp(min=torch.finfo(scale.dtype).tiny)).round().to(torch.int8).flatten())
            scales.append(scale.flatten())
        return {"differences": torch.cat(steps).cpu().numpy(), "scales": torch.cat(scales).cpu().numpy()}

    def unpack(self, arrays: Arrays) -> None:
        """Add the differences to the start; see `Packing`."""
        steps, scales = (torch.from_numpy(arrays[name].astype(np.float32)) for name in ("differences", "scales"))
        sizes = [(_rows(start).shape[0], start.numel()) for start in self._start]
        rows = zip(scales.split([n for n, _ in sizes]), steps.split([n for _, n in sizes]), strict=True)
        with torch.no_grad():
            for p, start, (scale, step) in zip(self.network.parameters(), self._start, rows, strict=True):
                difference = scale[:, None] * step.reshape(len(scale), -1)
                p.copy_(start + difference.reshape(p.shape).to(start))
        self.network.eval().requires_grad_(False)


def _rows(parameter: Tensor) -> Tensor:
    """Return a parameter as [outputs, numbers per output]; a vector is one row."""
    return parameter.flatten(1) if parameter.ndim > 1 else parameter.reshape(1, -1)


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


def load_or_train(packing: Packing, recipe: Note, cache: Cache, fit: Callable[[Checkpoint], Note]) -> Note:
    """Put trained weights into a network: from the cache, or trained now.

    The weights are packed and unpacked in either case, so both give the same network.

    Args:
        packing: of the network, as initialised.
        recipe: everything that determines its weights, JSON-able.
        cache: of the task.
        fit: trains the network in place and returns the note: `cost` and `found`. It gets the checkpoint to save an
            unfinished training in, and to resume from.

    Returns:
        The note stored beside the weights.
    """
    key = {"format": FORMAT, **recipe}
    with cache.checkpoint(NAME, key) as checkpoint:

        def train() -> tuple[Arrays, Note]:
            note = fit(checkpoint)
            return packing.pack(), note

        arrays, note = cache.get(NAME, key, train)
    packing.unpack(arrays)
    return note
