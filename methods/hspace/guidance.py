"""The guided step in h-space: one pass of the U-Net, the gradient through the ADP alone.

Source: Parihar et al. 2024, arXiv 2402.18206, by their repository rishubhpar/debiasing_gen_models at commit aeb2d96
(models/guided_diffusion/unet.py:755-784): h <- h - gamma(t) dL/dh, after which the decoder half runs on the changed h
and the unchanged skip connections. With logits W h + b, dL/dh = (dL/dlogits) W.

Two choices make a step, `Part.directions` and `Part.factor`:
- `released`: W itself, times gamma(t) = 450 scale beta_t^0.05; the scale is tuned per attribute and batch size.
- `class_gaps`, of this project: the differences of the class means of h in place of W, times a strength. For a
  Gaussian h, W = Sigma^-1 (mu_k - mu), so this is the gradient times the within-class covariance of h (the natural
  gradient). Its unit is the gap between class means at that timestep, for every attribute and network, and it avoids
  directions of little variance, which change a linear head's output without changing the image. The loss is summed
  over the batch, so the push on a sample does not depend on the batch size. The step also has the factors p (1 - p)
  and the distance of the batch from the target, both below 1 and small near the target, so useful strengths are tens
  to hundreds of gaps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.core.attributes import Attribute
from bench.core.errors import ConfigError, Incompatible
from bench.protocols.method import Batch, GuidedDenoiser, Task, check_window, micro_batches, timestep
from bench.protocols.model import BothRows, Bottleneck, DiffusionModel
from methods.hspace.adp import Heads

GAMMA = 450.0  # 1.5 x 300, multi_classifier.py:101 and :105 of the release

# (probabilities [n, K] of some rows, their mean over the guidance batch [K], the rows' sample numbers [n])
# -> dL/dp [n, K], with L summed over the guidance batch
LossGradient = Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Part:
    """The loss of one ADP, and the step down it.

    Attributes:
        heads: the ADP.
        gradient: of the loss.
        directions: [S, K, D]; the change of h for one unit of -dL/dlogits of each class.
        factor: of the step at a timestep.
        averaged: whether the loss is the mean over the guidance batch, not the sum.
    """

    heads: Heads
    gradient: LossGradient
    directions: Tensor
    factor: Callable[[int], float]
    averaged: bool = False


def class_gaps(heads: Heads, gradient: LossGradient, strength: float) -> Part:
    """Return a step along the differences of the class means, `strength` gaps long."""
    return Part(heads, gradient, heads.shift, lambda _t: strength)


def released(heads: Heads, gradient: LossGradient, factor: Callable[[int], float], averaged: bool) -> Part:
    """Return a step along the gradient in h itself."""
    return Part(heads, gradient, heads.weight, factor, averaged)


def gamma(alphas_cumprod: Tensor, scale: float, power: float) -> Callable[[int], float]:
    """Return the step's factor at a timestep: 450 scale beta_t^power, with beta_t = 1 - a_t / a_(t-1).

    >>> gamma(torch.tensor([0.99, 0.5]), 2.0, 0.0)(1)
    900.0
    """
    a = alphas_cumprod.double().cpu()
    beta = 1 - a / torch.cat([a.new_ones(1), a[:-1]])
    return lambda t: GAMMA * scale * float(beta[t]) ** power


@dataclass(frozen=True)
class Steering:
    """Settings that all parts of a guided step share.

    Attributes:
        temperature: of the softmax over the ADP's logits, > 0.
        window: the guided part of sampling, as fractions of the training timesteps, low < high in [0, 1].
        couples_batch: whether the gradients need the mean probabilities of the whole guidance batch. If so and the
            batch does not fit into one compute batch, an extra pass of the encoder half computes them first.
        both_rows: guide the unconditional rows of classifier-free guidance too. The extra pass is then a whole one.
        unguided: a timestep that is left alone, since it has no head; None where all have one.
    """

    temperature: float
    window: tuple[float, float]
    couples_batch: bool
    both_rows: bool = False
    unguided: int | None = None


def check_finite(name: str, value: float) -> None:
    """Check a strength or scale.

    Raises:
        ConfigError: it is NaN or infinite.
    """
    if not math.isfinite(value):
        raise ConfigError(f"{name} must be a finite number, got {value}")


def check_scales(scale: float, scales: Mapping[str, float] | None) -> None:
    """Check a scale for all attributes and those of single attributes.

    Raises:
        ConfigError: one is NaN or infinite.
    """
    check_finite("scale", scale)
    for name, value in (scales or {}).items():
        check_finite(f"scale of {name}", value)


def scale_of(task: Task, attribute: Attribute, scale: float, scales: Mapping[str, float] | None) -> float:
    """Return the scale of an attribute: its own, or that for all.

    Raises:
        Incompatible: `scales` names an attribute that neither the task nor its labelled set has.
    """
    known = [a.name for a in (*task.attributes, *(task.labelled.attributes if task.labelled else ()))]
    for name in scales or {}:
        if name not in known:
            raise Incompatible(
                f"scales names {name}, which is no attribute here; known: {', '.join(sorted(set(known)))}"
            )
    return (scales or {}).get(attribute.name, scale)


def check_fields(window: tuple[float, float], labels_per_class: int) -> None:
    """Check the fields that every method in h-space has.

    Raises:
        ConfigError: a field is out of range.
    """
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


def guide_bottleneck(model: DiffusionModel, parts: Sequence[Part], steering: Steering) -> GuidedDenoiser:
    """Return the guided denoiser of a sum of losses, one per ADP; a part whose factor is 0 is off.

    Args:
        model: with a bottleneck.
        parts: a loss and its step each.
        steering: what the parts share.
    """
    low, high = (round(fraction * len(model.alphas_cumprod)) for fraction in steering.window)

    def denoise(x: Tensor, t: int, batch: Batch) -> Tensor:
        active = [part for part in parts if part.factor(t) != 0]
        pieces = micro_batches(len(x), batch.micro)
        if not active or t == steering.unguided or not low <= t < high:
            return torch.cat([_plain(model, x, t, batch, piece) for piece in pieces])
        means = None
        if steering.couples_batch and len(pieces) > 1:
            means = _mean_probabilities(model, active, steering, x, t, batch)
        out = []
        for piece in pieces:

            def push(h: Tensor, piece: slice = piece) -> Tensor:
                return _pushed(h, t, batch, piece, active, means, steering)

            out.append(_plain(model, x, t, batch, piece, BothRows(push) if steering.both_rows else push))
        return torch.cat(out)

    return denoise


def _pushed(
    h: Tensor, t: int, batch: Batch, piece: slice, parts: list[Part], means: list[Tensor] | None, steering: Steering
) -> Tensor:
    """Return h after one step down the parts' losses; `means` are of the whole batch, None to take them from h."""
    flat = h.flatten(1)
    change = torch.zeros_like(flat)
    index = batch.index[piece]
    copies = len(flat) // len(index)  # 2 where the unconditional rows come along
    rows = copies * (batch.size or len(batch.index))
    for i, part in enumerate(parts):
        step = part.heads.at(t)
        p = (part.heads.logits(h, step) / steering.temperature).softmax(1)
        mean = p.mean(0)
        if steering.couples_batch:
            mean = means[i] if means is not None else batch.mean(p.sum(0)) / copies
        slope = part.gradient(p, mean, index.repeat(copies))
        toward = softmax_gradient(p, slope, steering.temperature)
        factor = part.factor(t) / rows if part.averaged else part.factor(t)
        change -= factor * (toward @ part.directions[step]).to(flat.dtype)
    return (flat + change).reshape(h.shape)


def _plain(
    model: DiffusionModel, x: Tensor, t: int, batch: Batch, piece: slice, bottleneck: Bottleneck | None = None
) -> Tensor:
    rows = x[piece]
    return model.denoise(rows, timestep(t, len(rows), x.device), batch.condition[piece], bottleneck)


def _mean_probabilities(
    model: DiffusionModel, parts: list[Part], steering: Steering, x: Tensor, t: int, batch: Batch
) -> list[Tensor]:
    sums: list[Tensor] = [torch.zeros((), device=x.device) for _ in parts]
    copies = 1
    for piece in micro_batches(len(x), batch.micro):
        h = _bottleneck(model, x, t, batch, piece, steering.both_rows)
        copies = len(h) // len(x[piece])
        for i, part in enumerate(parts):
            p = (part.heads.logits(h, part.heads.at(t)) / steering.temperature).softmax(1)
            sums[i] = sums[i] + p.sum(0)
    return [batch.mean(s) / copies for s in sums]


def _bottleneck(model: DiffusionModel, x: Tensor, t: int, batch: Batch, piece: slice, both_rows: bool) -> Tensor:
    """Return h of some rows, with that of the unconditional rows before it if asked."""
    rows = x[piece]
    if not both_rows:
        return model.encode_bottleneck(rows, timestep(t, len(rows), x.device), batch.condition[piece])
    recorded: list[Tensor] = []

    def record(h: Tensor) -> Tensor:
        recorded.append(h)
        return h

    _plain(model, x, t, batch, piece, BothRows(record))
    return recorded[0]
