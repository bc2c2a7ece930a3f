"""The model's own class shares: what the ADP sees in samples drawn without guidance, at the last timestep."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import time
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bench.core.digest import digest_of
from bench.core.progress import track
from bench.protocols.method import Cost, Task, micro_batches, timestep
from bench.protocols.model import DiffusionModel, ddim_step
from bench.storage.files import remember
from methods.hspace.adp import CHUNK, Heads

FORMAT = "unguided 1"  # part of the cache's key: raise when the calibration changes


def unguided_bottleneck(model: DiffusionModel, timesteps: tuple[int, ...], n: int, seed: int) -> Tensor:
    """h [n, D] of n unguided samples at the last timestep, along deterministic DDIM steps; nothing asked.

    Their noise is that of no sample of an evaluation.
    """
    digest = hashlib.sha256(f"unguided {seed}".encode()).digest()
    g = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
    noise = torch.randn(n, *model.shape, generator=g).to(model.device, model.dtype)
    found = []
    with torch.no_grad():
        for part in track(micro_batches(n, CHUNK), "sampling without guidance for the class shares"):
            x, asked = noise[part], timestep(0, len(noise[part]), model.device)
            for t, following in itertools.pairwise(timesteps):
                denoised = model.denoise(x, timestep(t, len(x), x.device), asked)
                x = ddim_step(x, denoised, model.alphas_cumprod[t], model.alphas_cumprod[following])
            last = timestep(timesteps[-1], len(x), x.device)
            found.append(model.encode_bottleneck(x, last, asked).flatten(1).float().cpu())
    return torch.cat(found)


def unguided(task: Task, n: int, seed: int) -> tuple[Tensor, Cost]:
    """What `unguided_bottleneck` finds for a task's model, from the cache or drawn now, and what it cost."""

    def draw() -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]:
        h, cost = _draw(task, n, seed)
        return {"h": h.numpy()}, {"cost": dataclasses.asdict(cost)}

    key = digest_of([FORMAT, task.model.digest, task.timesteps, n, seed])
    arrays, note = remember(task.cache and task.cache / f"unguided-{key[:24]}", draw)
    return torch.from_numpy(np.array(arrays["h"])), Cost(**note["cost"])


def _draw(task: Task, n: int, seed: int) -> tuple[Tensor, Cost]:
    start = time.perf_counter()
    h = unguided_bottleneck(task.model, task.timesteps, n, seed)
    rows = n * (len(task.timesteps) - 0.5)  # the last step needs the encoder half alone
    return h, Cost(time.perf_counter() - start, forward_rows=rows)


def class_shares(heads: Heads, h: Tensor, t: int) -> npt.NDArray[np.float64]:
    """The shares [K] of the classes that the ADP sees in h [n, D] of timestep t."""
    seen = heads.logits(h.to(heads.weight.device), heads.at(t)).argmax(1)
    counts = torch.bincount(seen, minlength=heads.attribute.n_classes).double().cpu()
    shares: npt.NDArray[np.float64] = (counts / len(h)).numpy()
    return shares


def possible(shares: npt.NDArray[np.float64], n: int) -> npt.NDArray[np.float64]:
    """Shares [K] with one more sample of each class than the n had: a class that was not seen may still be drawn."""
    return (shares * n + 1) / (n + len(shares))
