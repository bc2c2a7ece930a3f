"""The density ratio that a discriminator between reference and biased training samples estimates.

Source: Kim et al. 2024, arXiv 2403.01189, with d = sigmoid(logit) the probability that a sample is from the reference
set; Eqs. 36-37 give the sign and the logarithm where the reference set is part of the training pool.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

# "disjoint": the score model is trained on samples of p_obs = p_bias alone.
# "pooled": on samples of p_obs = (p_bias + p_data) / 2, half of each batch from the reference set.
Reading = Literal["disjoint", "pooled"]
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)  # of weights, for the run's records


def discriminator_loss(logit: Tensor, is_reference: Tensor) -> Tensor:
    """Return the binary cross-entropy, -E_ref[log d] / 2 - E_bias[log(1 - d)] / 2 for equally many rows of both sides.

    Its minimiser is d = p_data / (p_data + p_bias).

    Args:
        logit: [n], of d.
        is_reference: bool [n], as many true as false.

    Returns:
        The mean, a scalar; log 2 for d = 1 / 2.
    """
    return functional.binary_cross_entropy_with_logits(logit, is_reference.to(logit.dtype))


def log_ratio(logit: Tensor, reading: Reading) -> Tensor:
    """Return log w = log(p_data / p_obs), elementwise.

    Disjoint: w = d / (1 - d), so log w is the logit itself. Pooled: w = 2 d, at most 2.
    """
    if reading == "disjoint":
        return logit
    return math.log(2) + functional.logsigmoid(logit)


def time_density(alphas_cumprod: Tensor) -> Tensor:
    """Return the distribution of the discriminator's timesteps, p(t) = a_(t-1) - a_t, with which a_t is uniform.

    This is the likelihood weighting g^2 / (1 - a) of Song et al. 2021, arXiv 2101.09258, times a (1 - a). On a cosine
    schedule, the weighting by itself takes 57 % of its draws from the first and the last twentieth of the timesteps:
    from nearly clean samples, and from noise that carries no information. The timesteps in between determine the
    class of a sample.

    Args:
        alphas_cumprod: float64 [T], a_t, falling.

    Returns:
        float64 [T], > 0, summing to 1.
    """
    before = torch.cat([torch.ones_like(alphas_cumprod[:1]), alphas_cumprod[:-1]])
    return (before - alphas_cumprod) / (1 - alphas_cumprod[-1])


def importance_steps(n: int, density: Tensor, g: torch.Generator) -> Tensor:
    """Draw timesteps int64 [n] from `density` [T], one in every n-th of its mass, in rising order up to a rotation."""
    u = (torch.rand((), generator=g, dtype=density.dtype) + torch.arange(n, dtype=density.dtype) / n) % 1
    return torch.searchsorted(density.cumsum(0), u, right=True).clamp(max=len(density) - 1)


def logit_quantiles(logit: Tensor) -> list[float]:
    """Return QUANTILES of a logit [n], rounded; the ratio rises with the logit, so they map to those of the weights."""
    levels = torch.tensor(QUANTILES, dtype=logit.dtype)
    return [round(v, 4) for v in torch.quantile(logit.detach().cpu(), levels).tolist()]


def weight_quantiles(logits: Sequence[Sequence[float]], reading: Reading) -> list[list[float]]:
    """Return the quantiles of w at several timesteps, from those of the logit."""
    weights = log_ratio(torch.tensor(logits, dtype=torch.float64), reading).exp()
    return [[round(v, 4) for v in row] for row in weights.tolist()]
