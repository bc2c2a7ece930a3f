"""The model's own class shares: the classes that the ADP predicts for samples drawn without guidance."""

from __future__ import annotations

import dataclasses
import itertools
import math
import time

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bench.core.seeds import derive_seed
from bench.protocols.cache import Arrays, Note
from bench.protocols.method import Cost, Task, micro_batches, timestep
from bench.protocols.model import ddim_step
from methods.hspace.adp import CHUNK, Heads

FORMAT = "unguided 1"  # part of the cache's key: raise it when the calibration changes


def unguided_bottleneck(task: Task, n: int, seed: int) -> Tensor:
    """Draw n samples without guidance and condition, by deterministic DDIM steps, and return their last h.

    Their noise is independent of the noise of every evaluated sample.

    Args:
        task: gives the model and the timesteps.
        n: number of samples.
        seed: of the noise.

    Returns:
        float32 [n, D] on the CPU: h at the last timestep.
    """
    model = task.model
    g = torch.Generator().manual_seed(derive_seed("unguided", seed))
    noise = torch.randn(n, *model.shape, generator=g).to(model.device, model.dtype)
    rows = []
    with torch.no_grad():
        for piece in task.progress(micro_batches(n, CHUNK), "sampling without guidance for the class shares"):
            x, no_condition = noise[piece], timestep(0, len(noise[piece]), model.device)
            for t, following in itertools.pairwise(task.timesteps):
                denoised = model.denoise(x, timestep(t, len(x), x.device), no_condition)
                x = ddim_step(x, denoised, model.alphas_cumprod[t], model.alphas_cumprod[following])
            last = timestep(task.timesteps[-1], len(x), x.device)
            rows.append(model.encode_bottleneck(x, last, no_condition).flatten(1).float().cpu())
    return torch.cat(rows)


def unguided(task: Task, n: int, seed: int) -> tuple[Tensor, Cost]:
    """Return `unguided_bottleneck` of a task's model, from the cache or drawn now, and its cost."""

    def draw() -> tuple[Arrays, Note]:
        start = time.perf_counter()
        h = unguided_bottleneck(task, n, seed)
        rows = n * (len(task.timesteps) - 0.5)  # the last step needs the encoder half alone
        cost = Cost(time.perf_counter() - start, forward_rows=rows)
        return {"h": h.numpy()}, {"cost": dataclasses.asdict(cost)}

    key = [FORMAT, task.model.digest, task.timesteps, n, seed]
    arrays, note = task.cache.get("unguided", key, draw)
    return torch.from_numpy(np.array(arrays["h"])), Cost(**note["cost"])


def class_shares(heads: Heads, h: Tensor, t: int) -> npt.NDArray[np.float64]:
    """Return the shares [K] of the classes that the ADP predicts for h [n, D] of timestep t; they sum to 1."""
    predicted = heads.logits(h.to(heads.weight.device), heads.at(t)).argmax(1)
    counts = torch.bincount(predicted, minlength=heads.attribute.n_classes).double().cpu()
    shares: npt.NDArray[np.float64] = (counts / len(h)).numpy()
    return shares


def joint_shares(heads: list[Heads], h: Tensor, t: int) -> npt.NDArray[np.float64]:
    """Return the shares [K] of the joint's classes that several attributes' ADPs predict; the last varies fastest."""
    joint = torch.zeros(len(h), dtype=torch.int64)
    for head in heads:
        predicted = head.logits(h.to(head.weight.device), head.at(t)).argmax(1).cpu()
        joint = joint * head.attribute.n_classes + predicted
    counts = torch.bincount(joint, minlength=math.prod(head.attribute.n_classes for head in heads)).double()
    shares: npt.NDArray[np.float64] = (counts / len(h)).numpy()
    return shares


def smoothed(shares: npt.NDArray[np.float64], n: int) -> npt.NDArray[np.float64]:
    """Return the shares [K] of n samples and one more of each class (Laplace smoothing), all > 0.

    A class that no sample had may still be drawn.

    >>> smoothed(np.array([1.0, 0.0]), 8).tolist()
    [0.9, 0.1]
    """
    return (shares * n + 1) / (n + len(shares))
