"""The density ratio that a discriminator between reference and observed samples knows.

Source: Kim et al. 2024, arXiv 2403.01189, with d = sigmoid(logit) the probability that a sample is of the reference
set; see its Eqs. 36-37 for the sign and the logarithm where the reference set is part of the observed pool.
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
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)  # of weights, for the record


def discriminator_loss(logit: Tensor, is_reference: Tensor) -> Tensor:
    """Binary cross-entropy, -E_ref[log d] / 2 - E_bias[log(1 - d)] / 2 for equally many rows of both sides.

    Its minimiser is d = p_data / (p_data + p_bias).

    Args:
        logit: [n], of d.
        is_reference: bool [n], as many true as false.

    Returns:
        The mean, a scalar; log 2 for a discriminator that knows nothing.
    """
    return functional.binary_cross_entropy_with_logits(logit, is_reference.to(logit.dtype))


def log_ratio(logit: Tensor, reading: Reading) -> Tensor:
    """Log w = log(p_data / p_obs), elementwise.

    Disjoint: w = d / (1 - d), so log w is the logit itself. Pooled: w = 2 d, at most 2.
    """
    if reading == "disjoint":
        return logit
    return math.log(2) + functional.logsigmoid(logit)


def time_density(alphas_cumprod: Tensor) -> Tensor:
    """How often the discriminator sees each timestep: p(t) = a_(t-1) - a_t, so that a_t itself is uniform.

    This is the likelihood weighting g^2 / (1 - a) of Song et al. 2021, arXiv 2101.09258, times a (1 - a). The weighting
    by itself, on a cosine schedule, takes 57 % of its draws from the first and the last twentieth of the timesteps:
    from samples as good as clean, and from noise in which there is nothing to tell. The middle decides what a
    sample becomes.

    Args:
        alphas_cumprod: float64 [T], a_t, falling.

    Returns:
        float64 [T], > 0, summing to 1.
    """
    before = torch.cat([torch.ones_like(alphas_cumprod[:1]), alphas_cumprod[:-1]])
    return (before - alphas_cumprod) / (1 - alphas_cumprod[-1])


def importance_steps(n: int, density: Tensor, g: torch.Generator) -> Tensor:
    """Timesteps int64 [n] drawn from `density` [T], one in every n-th of its mass, in rising order but for a shift."""
    u = (torch.rand((), generator=g, dtype=density.dtype) + torch.arange(n, dtype=density.dtype) / n) % 1
    return torch.searchsorted(density.cumsum(0), u, right=True).clamp(max=len(density) - 1)


def logit_quantiles(logit: Tensor) -> list[float]:
    """QUANTILES of a logit [n], rounded. The ratio rises with the logit, so they map to those of the weights."""
    wanted = torch.tensor(QUANTILES, dtype=logit.dtype)
    return [round(v, 4) for v in torch.quantile(logit.detach().cpu(), wanted).tolist()]


def weight_quantiles(logits: Sequence[Sequence[float]], reading: Reading) -> list[list[float]]:
    """The quantiles of w at each of several timesteps, from those of the logit."""
    weights = log_ratio(torch.tensor(logits, dtype=torch.float64), reading).exp()
    return [[round(v, 4) for v in row] for row in weights.tolist()]
