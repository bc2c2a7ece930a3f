"""Attribute switching's criterion and trajectory against its release, uzn36/AttributeSwitching at commit 166fac8."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from bench.models.mixture import GaussianMixture
from methods.attribute_switching import imbalance, noise_trajectory, step_betas, switch_points

STEPS = (999, 750, 500, 250, 0)
# Means outside [-1, 1], so that clamping matters.
MODEL = GaussianMixture(
    (0.5, 0.5), np.array([[-1.3] * 12, [1.2] * 12]), np.stack([0.02 * np.eye(12), 0.03 * np.eye(12)]), shape=(3, 2, 2)
)
X = torch.randn(4, *MODEL.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def trajectory(model: GaussianMixture, condition: int, clamp: bool) -> list[Tensor]:
    """main.py:38-45 and the DDIM step after it: x_0 is clamped, the noise is the network's."""
    a, x, recorded = model.alphas_cumprod, X, []
    for i, t in enumerate(STEPS):
        denoised = model.denoise(x, torch.full((4,), t), torch.full((4,), condition))
        eps = (x - a[t].sqrt() * denoised) / (1 - a[t]).sqrt()
        recorded.append(eps)
        if i + 1 < len(STEPS):
            s = STEPS[i + 1]
            x = a[s].sqrt() * (denoised.clamp(-1, 1) if clamp else denoised) + (1 - a[s]).sqrt() * eps
    return recorded


def test_the_trajectory_with_and_without_clamping() -> None:
    for clamp in (False, True):
        wanted = torch.stack(trajectory(MODEL, 1, clamp)).flatten(2)
        torch.testing.assert_close(noise_trajectory(MODEL, X, 1, STEPS, clamp), wanted, rtol=1e-5, atol=1e-5)
        mutant = noise_trajectory(MODEL, X, 1, STEPS, not clamp)
        assert not torch.allclose(mutant, wanted, rtol=1e-5, atol=1e-5)


def test_the_curve_over_every_training_timestep() -> None:
    """tau_searching.ipynb: || sum_{t >= tau} beta_t d_t - sum_{t < tau} beta_t d_t ||, here over a sample's pixels."""
    everything = tuple(range(999, -1, -1))
    a = MODEL.alphas_cumprod
    beta = 1 - a / torch.cat([a.new_ones(1), a[:-1]])
    d = torch.randn(1000, 2, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)  # in falling order
    found = imbalance(step_betas(everything, a)[:, None, None] * d)
    taus = switch_points(everything, 1000)
    weighted = beta.flip(0)[:, None, None] * d
    for j in (0, 1, 137, 500, 999, 1000):
        tau = round(float(taus[j]) * 1000)
        before = torch.tensor([t >= tau for t in everything])
        wanted = (weighted[before].sum(0) - weighted[~before].sum(0)).norm(dim=1)
        torch.testing.assert_close(found[j], wanted, rtol=1e-5, atol=1e-5)
        unweighted = (d[before].sum(0) - d[~before].sum(0)).norm(dim=1)
        assert not torch.allclose(found[j], unweighted, rtol=1e-5, atol=1e-5)
