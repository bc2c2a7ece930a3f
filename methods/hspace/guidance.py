"""The guided step in h-space: one pass of the U-Net, the gradient through the ADP alone.

Source: Parihar et al. 2024, arXiv 2402.18206, Eq. 8: h <- h - gamma dL/dh, after which the decoder half runs on
the changed h and the unchanged skip connections.

Strength. The paper tunes gamma for every attribute and batch size. Here two choices let one strength fit them all:
- L is summed over the batch, not averaged: the push on a sample depends on the batch's distribution and not on the
  batch size.
- The gradient is multiplied by the within-class covariance of h (it is the natural gradient of a Gaussian h). The
  ADP's weights of a Gaussian h are Sigma^-1 (mu_k - mu), so the step goes along the differences of the class means.
  Its unit is the gap between class means at that timestep, for every attribute and network. It avoids directions of
  little variance, which change a linear head's output without changing the image.
The step also has the factors p (1 - p) and the distance of the batch from the target, both below 1 and small near the
target, so useful strengths are tens to hundreds of gaps.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from bench.core.errors import ConfigError
from bench.protocols.method import Batch, GuidedDenoiser, check_window, micro_batches, timestep
from bench.protocols.model import DiffusionModel
from methods.hspace.adp import Heads

# (probabilities [n, K] of some rows, their mean over the guidance batch [K], the rows' sample numbers [n])
# -> dL/dp [n, K], with L summed over the guidance batch
LossGradient = Callable[[Tensor, Tensor, Tensor], Tensor]
Part = tuple[Heads, LossGradient, float]  # an ADP, the gradient of its loss, its strength


def check_fields(strength: float, window: tuple[float, float], labels_per_class: int) -> None:
    """Check the fields that every method in h-space has.

    Raises:
        ConfigError: a field is out of range.
    """
    if not math.isfinite(strength):
        raise ConfigError(f"strength must be a finite number, got {strength}")
    check_window(window)
    if labels_per_class < 2:
        raise ConfigError(f"labels_per_class must be at least 2, got {labels_per_class}")


def check_temperature(temperature: float) -> None:
    """Check the temperature of a softmax.

    Raises:
        ConfigError: it is not > 0 and finite.
    """
    if not 0 < temperature < math.inf:
        raise ConfigError(f"temperature must be > 0, got {temperature}")


def softmax_gradient(p: Tensor, upstream: Tensor, temperature: float) -> Tensor:
    """Return dL/dlogits = (diag(p) - p p^T) dL/dp / T [n, K], for p = softmax(logits / T) and upstream = dL/dp."""
    return p * (upstream - (p * upstream).sum(1, keepdim=True)) / temperature


def guide_bottleneck(
    model: DiffusionModel,
    parts: list[Part],
    temperature: float,
    window: tuple[float, float],
    couples_batch: bool,
) -> GuidedDenoiser:
    """Return the guided denoiser of a sum of losses, one per ADP.

    Args:
        model: with a bottleneck.
        parts: ADP, gradient of its loss, and strength, in units of the gap between class means; 0 turns a part off.
        temperature: of the softmax over the ADP's logits, > 0.
        window: the guided part of sampling, as fractions of the training timesteps, low < high in [0, 1].
        couples_batch: whether the gradients need the mean probabilities of the whole guidance batch. If so and the
            batch does not fit into one compute batch, an extra pass of the encoder half computes them first.
    """
    active = [(heads, gradient, strength) for heads, gradient, strength in parts if strength != 0]
    low, high = (round(fraction * len(model.alphas_cumprod)) for fraction in window)

    def denoise(x: Tensor, t: int, batch: Batch) -> Tensor:
        pieces = micro_batches(len(x), batch.micro)
        if not active or not low <= t < high:
            return torch.cat([_plain(model, x, t, batch, piece) for piece in pieces])
        means = None
        if couples_batch and len(pieces) > 1:
            means = _mean_probabilities(model, [heads for heads, _, _ in active], temperature, x, t, batch)
        out = []
        for piece in pieces:

            def push(h: Tensor, piece: slice = piece) -> Tensor:
                flat = h.flatten(1)
                change = torch.zeros_like(flat)
                for i, (heads, gradient, strength) in enumerate(active):
                    step = heads.at(t)
                    p = (heads.logits(h, step) / temperature).softmax(1)
                    mean = means[i] if means else batch.mean(p.sum(0)) if couples_batch else p.mean(0)
                    toward = softmax_gradient(p, gradient(p, mean, batch.index[piece]), temperature)
                    change -= strength * (toward @ heads.shift[step]).to(flat.dtype)
                return (flat + change).reshape(h.shape)

            out.append(_plain(model, x, t, batch, piece, push))
        return torch.cat(out)

    return denoise


def _plain(
    model: DiffusionModel,
    x: Tensor,
    t: int,
    batch: Batch,
    piece: slice,
    bottleneck: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    rows = x[piece]
    return model.denoise(rows, timestep(t, len(rows), x.device), batch.condition[piece], bottleneck)


def _mean_probabilities(
    model: DiffusionModel, heads: list[Heads], temperature: float, x: Tensor, t: int, batch: Batch
) -> list[Tensor]:
    sums: list[Tensor] = [torch.zeros((), device=x.device) for _ in heads]
    for piece in micro_batches(len(x), batch.micro):
        rows = x[piece]
        h = model.encode_bottleneck(rows, timestep(t, len(rows), x.device), batch.condition[piece])
        for i, head in enumerate(heads):
            sums[i] = sums[i] + (head.logits(h, head.at(t)) / temperature).softmax(1).sum(0)
    return [batch.mean(s) for s in sums]
