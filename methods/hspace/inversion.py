"""The attribute distribution predictor (ADP) as released: linear heads trained on h along deterministic DDIM inversion.

Source: Parihar et al. 2024, arXiv 2402.18206, by their repository rishubhpar/debiasing_gen_models at commit aeb2d96.

1. Labelled images (their labels may be an attribute classifier's pseudo labels) are carried from the last sampling step
   up to the first by deterministic DDIM steps; h is recorded on the way (diffusion_latent.py:303-374). The first step
   of sampling is the end of the inversion, so it has no h and no head: 49 heads for 50 steps (multi_classifier.py:24).
2. One linear head per step maps the flattened h to class logits; cross-entropy.

The repository lacks the script that trains the heads. Adam with rate 0.01, 3 epochs and batches of 32 are those of a
third party's copy of the 49 heads (foundation-model-research/DiffLens, difflens/train_h_classifier/trainer_P2.py).
"""

from __future__ import annotations

import dataclasses
import math
import time

import torch
from torch import Tensor

from bench.core.attributes import Attribute
from bench.core.errors import Incompatible
from bench.core.seeds import derive_seed
from bench.protocols.cache import Arrays, Note
from bench.protocols.method import Cost, Task, micro_batches, timestep
from bench.protocols.model import DiffusionModel, ddim_step
from bench.protocols.progress import Progress, silent
from methods.hspace.adp import CHUNK, Heads, first_labelled, pack, unpack

FORMAT = "inverted adp 1"  # part of the cache's key: raise it when the fit changes
LEARNING_RATE, EPOCHS, ROWS = 0.01, 3, 32  # of Adam; rows per mini-batch


def invert(model: DiffusionModel, x: Tensor, t: int, after: int | None) -> tuple[Tensor, Tensor]:
    """Return h of x at timestep t without condition, and x one deterministic DDIM step noisier.

    Args:
        model: with a bottleneck.
        x: [n, *shape], at timestep t.
        t: training timestep.
        after: the noisier timestep to go to; None ends the inversion, which needs the encoder half alone.

    Returns:
        h [n, D], flattened, and x at `after` [n, *shape] (unchanged where the inversion ends).
    """
    a, out, rows = model.alphas_cumprod, [], []
    for piece in micro_batches(len(x), CHUNK):
        noisy = x[piece]
        at, no_condition = timestep(t, len(noisy), x.device), timestep(0, len(noisy), x.device)
        if after is None:
            rows.append(model.encode_bottleneck(noisy, at, no_condition).flatten(1))
            continue

        def record(h: Tensor) -> Tensor:
            rows.append(h.flatten(1))
            return h

        denoised = model.denoise(noisy, at, no_condition, record)
        out.append(ddim_step(noisy, denoised, a[t], a[after]))
    return torch.cat(rows), torch.cat(out) if out else x


def train_head(h: Tensor, labels: Tensor, n_classes: int, seed: int) -> tuple[Tensor, Tensor]:
    """Train one linear head by Adam on cross-entropy: EPOCHS epochs of mini-batches of ROWS rows.

    Args:
        h: float32 [n, D].
        labels: int64 [n].
        n_classes: K.
        seed: of the initial weights, uniform within 1 / sqrt(D) of 0, and of the order of the rows.

    Returns:
        weight [K, D] and bias [K].
    """
    g = torch.Generator().manual_seed(seed)
    bound = 1 / math.sqrt(h.shape[1])
    start = torch.empty(n_classes, h.shape[1] + 1).uniform_(-bound, bound, generator=g).to(h)
    with torch.enable_grad():
        weight, bias = (part.clone().requires_grad_() for part in (start[:, :-1], start[:, -1]))
        optimiser = torch.optim.Adam([weight, bias], lr=LEARNING_RATE)
        for _ in range(EPOCHS):
            for rows in torch.randperm(len(h), generator=g).to(h.device).split(ROWS):
                optimiser.zero_grad()
                torch.nn.functional.cross_entropy(h[rows] @ weight.T + bias, labels[rows]).backward()
                optimiser.step()
    return weight.detach(), bias.detach()


def train_heads(
    model: DiffusionModel,
    x0: Tensor,
    labels: dict[Attribute, Tensor],
    timesteps: tuple[int, ...],
    seed: int,
    progress: Progress = silent,
) -> list[Heads]:
    """Train the heads of several attributes along one inversion; `Heads.accuracy` is that on the training images.

    Args:
        model: the diffusion model, with a bottleneck.
        x0: [n, *shape], clean labelled samples.
        labels: for each attribute, int64 [n].
        timesteps: the training timesteps of sampling, falling; the first gets no head.
        seed: of the heads' initial weights and of the order of the images.
        progress: wraps the loop over the timesteps.
    """
    start = time.perf_counter()
    visited = timesteps[:0:-1]
    fits: dict[Attribute, list[tuple[Tensor, Tensor, Tensor, float]]] = {a: [] for a in labels}
    x = x0
    with torch.no_grad():
        for i, t in enumerate(progress(visited, "inverting the labelled images")):
            h, x = invert(model, x, t, visited[i + 1] if i + 1 < len(visited) else None)
            h = h.float()
            for attribute, column in labels.items():
                rows, k = column.to(h.device), attribute.n_classes
                weight, bias = train_head(h, rows, k, derive_seed("inverted adp", seed, attribute.name, t, bits=63))
                means = torch.stack([h[rows == c].mean(0) for c in range(k)])
                right = ((h @ weight.T + bias).argmax(1) == rows).double()
                balanced = float(torch.stack([right[rows == c].mean() for c in range(k)]).mean())
                fits[attribute].append((weight, bias, means - means.mean(0), balanced))
    cost = Cost(time.perf_counter() - start, forward_rows=len(x0) * (len(visited) - 0.5))
    heads = []
    for attribute in labels:
        *maps, accuracy = zip(*fits[attribute], strict=True)
        weight, bias, shift = (torch.stack(m).to(model.device) for m in maps)
        right = torch.tensor(accuracy, dtype=torch.float64)
        heads.append(Heads(attribute, torch.tensor(visited), weight, bias, shift, right, len(x0), cost, held_out=False))
    return heads


def load_or_train(task: Task, labels_per_class: int, seed: int) -> list[Heads]:
    """Return the heads of each of the task's attributes, from the cache or trained now.

    All attributes of the labelled set are trained along one inversion, which tasks on different attributes share.

    Args:
        task: gives the model, the labelled images, the timesteps and the cache.
        labels_per_class: labelled images per class of the attribute of the labelled set with the most classes.
        seed: of the heads' initial weights and of the order of the images.

    Raises:
        Incompatible: the model has no bottleneck, there is no labelled set, it lacks an attribute or a class, or
            sampling has a single step.
    """
    if len(task.timesteps) < 2:
        raise Incompatible("the first sampling step has no head, so one step cannot be guided; take 2 steps or more")
    every = task.attributes if task.labelled is None else task.labelled.attributes
    x0, labels, n = first_labelled(task, {a: (a,) for a in every}, labels_per_class)
    attributes = list(labels)
    for attribute in task.attributes:
        if attribute not in attributes:
            raise Incompatible(f"the labelled images are not labelled by {attribute.name}; name a set that is")

    def train() -> tuple[Arrays, Note]:
        heads = train_heads(task.model, x0(), labels, task.timesteps, seed, task.progress)
        return pack(heads), {"n": n, "cost": dataclasses.asdict(heads[0].cost)}

    assert task.labelled is not None, "first_labelled refuses a task without"
    names = [a.name for a in attributes]
    key = [FORMAT, task.model.digest, task.labelled.digest, n, seed, task.timesteps, names]
    arrays, note = task.cache.get("inverted-adp", key, train)
    heads = [unpack(arrays, note, a, attributes.index(a), task.model) for a in task.attributes]
    return [dataclasses.replace(h, held_out=False) for h in heads]
