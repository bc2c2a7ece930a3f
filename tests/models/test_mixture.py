"""The analytic model against numerical integration and automatic differentiation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import integrate

from bench.core.errors import ConfigError
from bench.models.mixture import GaussianMixture
from bench.protocols.model import noise_of, score_of
from tests.support.mixtures import line

STEPS = (0, 250, 600, 900, 999)  # 999 is pure noise: a = 0


def points(model: GaussianMixture, t: int, n: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(t)
    x0, _ = model.sample(n, g)
    a = model.alphas_cumprod[t]
    eps = torch.randn(x0.shape, generator=g, dtype=x0.dtype)
    return a.sqrt() * x0 + (1 - a).sqrt() * eps, torch.full((n,), t)


@pytest.mark.parametrize("t", STEPS)
def test_denoiser_is_the_posterior_mean_by_numerical_integration(t: int) -> None:
    model = GaussianMixture((0.7, 0.3), [[-1.0], [2.0]], [[[0.5]], [[0.2]]])
    x, steps = points(model, t, 3)
    a = float(model.alphas_cumprod[t])
    ours = model.denoise(x, steps, torch.zeros_like(steps))

    grid = np.linspace(-8, 8, 200_001)
    prior = sum(
        w * np.exp(-((grid - m) ** 2) / (2 * v)) / np.sqrt(2 * np.pi * v)
        for w, m, v in ((0.7, -1.0, 0.5), (0.3, 2.0, 0.2))
    )
    for row, value in zip(x[:, 0].tolist(), ours[:, 0].tolist(), strict=True):
        density = prior * np.exp(-((row - np.sqrt(a) * grid) ** 2) / (2 * (1 - a)))
        exact = integrate.simpson(grid * density, x=grid) / integrate.simpson(density, x=grid)
        assert value == pytest.approx(exact, abs=1e-7)


@pytest.mark.parametrize("t", STEPS)
def test_score_is_the_gradient_of_the_log_density(t: int) -> None:
    model = line()
    x, steps = points(model, t)
    x.requires_grad_(True)
    (gradient,) = torch.autograd.grad(model.log_density(x, steps).sum(), x)
    x = x.detach()
    assert torch.allclose(model.score(x, steps), gradient, atol=1e-9)
    denoised = model.denoise(x, steps, torch.zeros_like(steps))
    assert torch.allclose(score_of(x, denoised, model.alphas_cumprod[steps]), gradient, atol=1e-7)


def test_group_scores_are_the_scores_of_the_groups_alone() -> None:
    model = line()
    x, steps = points(model, 400)
    for group in (0, 1):
        alone = line(tuple(np.eye(2)[group]))
        assert torch.allclose(model.score(x, steps, group), alone.score(x, steps), atol=1e-9)
        asked = model.denoise(x, steps, torch.full_like(steps, group + 1))
        assert torch.allclose(asked, alone.denoise(x, steps, torch.zeros_like(steps)), atol=1e-9)


@pytest.mark.parametrize("t", STEPS[1:])
def test_density_ratio_between_two_weightings(t: int) -> None:
    model, other = line((0.8, 0.2)), line((0.3, 0.7))
    x, steps = points(model, t)
    exact = other.log_density(x, steps) - model.log_density(x, steps)
    assert torch.allclose(model.log_ratio(x, steps, other.weights), exact, atol=1e-9)
    wrong = model.log_density(x, steps) - other.log_density(x, steps)  # the flipped ratio must not pass
    if t < 999:
        assert not torch.allclose(model.log_ratio(x, steps, other.weights), wrong, atol=1e-3)


def test_shifting_the_bottleneck_by_the_log_weight_ratio_reweights_exactly() -> None:
    model, other = line((0.8, 0.2)), line((0.3, 0.7))
    x, steps = points(model, 500)
    shift = (other.weights / model.weights).log()
    none = torch.zeros_like(steps)
    guided = model.denoise(x, steps, none, lambda h: h + shift)
    assert torch.allclose(guided, other.denoise(x, steps, none), atol=1e-9)
    assert torch.allclose(model.encode_bottleneck(x, steps, none).softmax(1), model.posterior(x, steps))


def test_noise_of_undoes_the_forward_process() -> None:
    model = line()
    g = torch.Generator().manual_seed(0)
    x0, eps = torch.randn(5, 2, generator=g), torch.randn(5, 2, generator=g)
    a = model.alphas_cumprod[torch.full((5,), 300)]
    x = a.sqrt().float()[:, None] * x0 + (1 - a).sqrt().float()[:, None] * eps
    assert torch.allclose(noise_of(x, x0, a), eps, atol=1e-5)


def test_timesteps_may_differ_among_rows() -> None:
    model = line()
    x, _ = points(model, 300, 3)
    steps = torch.tensor([10, 500, 990])
    mixed = model.denoise(x, steps, torch.zeros(3, dtype=torch.long))
    for i in range(3):
        one = model.denoise(x[i : i + 1], steps[i : i + 1], torch.zeros(1, dtype=torch.long))
        assert torch.equal(mixed[i : i + 1], one)


@pytest.mark.parametrize(
    ("weights", "covariance", "message"),
    [
        ((0.5, 0.6), np.eye(2), "must sum to 1"),
        ((1.2, -0.2), np.eye(2), ">= 0"),
        ((0.5, 0.5), -np.eye(2), "positive definite"),
        ((0.5, 0.5), np.eye(3), "must agree"),
    ],
)
def test_bad_mixtures_are_refused(weights: tuple[float, ...], covariance: np.ndarray, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        GaussianMixture(weights, [[0.0, 0.0], [1.0, 1.0]], np.stack([covariance] * 2))
