"""Losses of a batch's predicted distribution p_hat against the target r.

Source: Parihar et al. 2024, arXiv 2402.18206, by their repository rishubhpar/debiasing_gen_models at commit aeb2d96:
chi-square for unconditional models (multi_classifier.py), KL for Stable Diffusion (run_stable_diffusion.py).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from torch import Tensor

FLOOR = 0.01  # target share that a class of target 0 gets in a loss, so that its term stays finite


def chi_square(p_hat: Tensor, r: Tensor) -> Tensor:
    """Return L = sum_k (p_hat_k - r_k)^2 / r_k, for r_k > 0."""
    return ((p_hat - r) ** 2 / r).sum()


def chi_square_gradient(p_hat: Tensor, r: Tensor) -> Tensor:
    """Return dL/dp_hat_k = 2 (p_hat_k - r_k) / r_k."""
    return 2 * (p_hat - r) / r


def kl(p_hat: Tensor, r: Tensor) -> Tensor:
    """Return L = sum_k p_hat_k log(p_hat_k / r_k), for p_hat_k, r_k > 0."""
    return (p_hat * (p_hat / r).log()).sum()


def kl_gradient(p_hat: Tensor, r: Tensor) -> Tensor:
    """Return dL/dp_hat_k = log(p_hat_k / r_k) + 1."""
    return (p_hat / r).log() + 1


GRADIENTS = {"chi_square": chi_square_gradient, "kl": kl_gradient}


def of_batch(name: str, r: Tensor) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """Return dL/dp [n, K] of a named loss of the batch, as a function of (p, mean of p, sample numbers)."""

    def gradient(p: Tensor, mean: Tensor, _index: Tensor) -> Tensor:
        return GRADIENTS[name](mean, r).expand_as(p)

    return gradient


def relative_flatness(loss: str, r: Tensor) -> float:
    """Return the step size that keeps guidance stable for a skewed target, in (0, 1]: 1 for a uniform r.

    Chi-square's largest second derivative is 2 / min_k r_k. A step sized for a uniform target (2 K) overshoots by
    1 / (K min_k r_k) for a skewed one, and the batch diverges. The slope of KL grows only logarithmically.
    """
    return float(len(r) * r.min()) if loss == "chi_square" else 1.0


def smooth(r: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return r with its zeros raised to FLOOR and the other shares scaled to sum to 1; r itself if it has no zero.

    Both losses grow without bound as r_k falls to 0 for a class that still occurs. A floor keeps the push away from
    such a class strong and finite.

    >>> smooth(np.array([0.0, 1.0])).tolist()
    [0.01, 0.99]
    """
    zeros = r == 0
    if not zeros.any():
        return r
    return np.where(zeros, FLOOR, r * (1 - FLOOR * zeros.sum()))
