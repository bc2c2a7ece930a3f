"""Where trained networks are kept: a folder by the hash of what decides them, in the cache or shipped.

A folder holds weights.npy, every parameter in half precision in the module's order, and manifest.json with the
checksum, the key, what it is made from (`recipe`), what it cost, and what was found. The folders of a cache and the
shipped ones are the same: to ship a network, run a suite that trains it and copy its folder from the store's `fits`
to bench/assets/reweighting/, under any name. A shipped network is used wherever its key is asked for.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from bench.assets import asset_folder
from bench.core.digest import digest_of
from bench.core.provenance import commit, versions
from bench.storage.files import MANIFEST, read_arrays, read_note, remember

FORMAT = "reweighting 1"  # part of every key: raise when a training or a network changes
SHIPPED = asset_folder("reweighting")

Note = dict[str, Any]  # JSON-able


def pack(module: nn.Module) -> npt.NDArray[np.float16]:
    """Every parameter, flattened and in half precision, in the module's order."""
    flat = torch.cat([p.detach().reshape(-1) for p in module.parameters()])
    packed: npt.NDArray[np.float16] = flat.cpu().numpy().astype(np.float16)
    assert np.isfinite(packed).all(), "a weight is out of the range of half precision"
    return packed


def unpack(weights: npt.NDArray[np.float16], module: nn.Module) -> None:
    """Put packed weights into a module of the same architecture, and freeze it."""
    flat = torch.from_numpy(weights.astype(np.float32))
    parameters = list(module.parameters())
    pieces = flat.split([p.numel() for p in parameters])
    with torch.no_grad():
        for p, piece in zip(parameters, pieces, strict=True):
            p.copy_(piece.reshape(p.shape))
    module.eval().requires_grad_(False)


def load_or_train(module: nn.Module, recipe: Note, cache: Path | None, fit: Callable[[Path], Note]) -> Note:
    """Leave trained weights in a module: shipped ones, those of the cache, or trained now.

    The weights go through half precision in every case, so that all three give the same network.

    Args:
        module: the network, as initialised.
        recipe: all that decides its weights; its hash is the key.
        cache: a folder to keep them in; None keeps nothing.
        fit: trains `module` in place with the checkpoint file it is given, which may hold an interrupted training,
            and returns what to note: `cost` and `found`.

    Returns:
        The note beside the weights.
    """
    key = digest_of({"format": FORMAT, **recipe})
    for folder in sorted(SHIPPED.glob("*/")):
        if _key_of(folder) == key and (note := _load(folder, module)) is not None:
            return note
    with tempfile.TemporaryDirectory() as nowhere:
        checkpoint = (cache or Path(nowhere)) / f"reweighting-{key[:24]}.checkpoint.pt"

        def train() -> tuple[dict[str, npt.NDArray[np.float16]], Note]:
            made_with = {"versions": versions(), "commit": commit()}
            note = {**fit(checkpoint), "key": key, "recipe": recipe, "made_with": made_with}
            return {"weights": pack(module)}, note

        arrays, note = remember(cache and cache / f"reweighting-{key[:24]}", train)
        checkpoint.unlink(missing_ok=True)
    unpack(np.array(arrays["weights"]), module)
    return note


def _load(folder: Path, module: nn.Module) -> Note | None:
    arrays = read_arrays(folder)
    if arrays is None:
        return None
    unpack(np.array(arrays["weights"]), module)
    return read_note(folder)


def _key_of(folder: Path) -> str | None:
    """The key of a shipped network; None for a folder that is none."""
    try:
        key: str = json.loads((folder / MANIFEST).read_text())["note"]["key"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return key
