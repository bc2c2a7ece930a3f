"""Denoising score matching: the prediction targets of a score network, and the timesteps of a batch."""

from __future__ import annotations

import torch
from torch import Tensor


def prediction_target(prediction: str, x0: Tensor, eps: Tensor, a: Tensor) -> Tensor:
    """Return what the network must predict for x_t = sqrt(a) x_0 + sqrt(1-a) eps.

    Args:
        prediction: "epsilon" (eps), "sample" (x_0) or "v_prediction" (v = sqrt(a) eps - sqrt(1-a) x_0).
        x0: [n, *shape], clean samples.
        eps: [n, *shape], the noise.
        a: a_t in [0, 1], shaped to multiply x0.

    Returns:
        [n, *shape].
    """
    return {"epsilon": eps, "sample": x0, "v_prediction": a.sqrt() * eps - (1 - a).sqrt() * x0}[prediction]


def stratified_steps(n: int, total: int, g: torch.Generator) -> Tensor:
    """Draw timesteps [n], int64 in [0, total): each is uniform, one in every n-th of the range, for a steadier loss.

    Source: Kingma et al. 2021, arXiv 2107.00630, appendix I.1 (low-discrepancy sampler).

    >>> sorted((stratified_steps(4, 8, torch.Generator().manual_seed(0)) // 2).tolist())
    [0, 1, 2, 3]
    """
    return ((torch.rand((), generator=g) + torch.arange(n) / n) % 1 * total).long()
