"""Vectors in the plane whose density ratio is exact, and how far discriminators are from it by noise level."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from bench.models.mixture import GaussianMixture
from bench.protocols.method import Task
from methods.reweighting.family import Family
from methods.reweighting.pool import noised
from methods.reweighting.settings import Settings
from tests.support.mixtures import GROUP, line
from tests.support.pools import EVEN, unlabelled

GUESSES = ("time-dependent", "time-independent", "none")


class Plane(GaussianMixture):
    """A mixture whose "images" are its samples themselves."""

    def encode(self, images: Tensor) -> Tensor:
        return images.to(self.dtype)


def plane(weights: tuple[float, ...]) -> Plane:
    same = line(weights)
    return Plane(weights, same.means, same.covariances)


def plane_task(biased: Plane, unbiased: Plane, n_observed: int, n_unbiased: int) -> Task:
    sets = []
    for model, n, seed in ((biased, n_observed, 0), (unbiased, n_unbiased, 1)):
        x, _ = model.sample(n, torch.Generator().manual_seed(seed))
        sets.append(unlabelled(x.float().numpy(), f"plane {n} {seed}"))
    return Task(biased, (GROUP,), EVEN.numpy(), (), observed=sets[0], unbiased=sets[1])


def ratio_errors(timesteps: Sequence[int], seed: int = 0) -> dict[str, list[Tensor]]:
    """What two trained discriminators, and none, are off from the exact log p_data / p_bias, as in the paper's toy.

    p_bias is the mixture with shares 0.9 and 0.1, p_data the one with 0.5 and 0.5. The time-independent discriminator
    is trained on clean samples and asked about noised ones; "none" guesses a ratio of 1 everywhere.

    Args:
        timesteps: where to look.
        seed: of the networks and of their training.

    Returns:
        By name, for every timestep, the guess less the exact value of 1,000 noised samples of either mixture [2000].
    """
    biased, unbiased = plane((0.9, 0.1)), plane((0.5, 0.5))
    task = plane_task(biased, unbiased, 4000, 2000)
    settings = Settings(discriminator_steps=600, batch=256, discriminator_lr=5e-3, ema=0.99, seed=seed)
    family = Family(task, 0.5, settings)
    timely, timeless = (family.discriminator(time_dependent)[0] for time_dependent in (True, False))
    errors: dict[str, list[Tensor]] = {name: [] for name in GUESSES}
    for t in timesteps:
        g = torch.Generator().manual_seed(t)
        x0 = torch.cat([model.sample(1000, g)[0] for model in (biased, unbiased)])
        rows = torch.full((2000,), t)
        eps = torch.randn(2000, 2, generator=g, dtype=torch.float64)
        batch = noised(x0, eps, rows, biased.alphas_cumprod)
        exact = biased.log_ratio(batch.x, rows, EVEN)
        x, u = batch.x.float(), (batch.a.sqrt() * batch.x).float()
        guesses = (timely(u, rows), timeless(x, torch.zeros_like(rows)), torch.zeros(2000))
        for name, guess in zip(GUESSES, guesses, strict=True):
            errors[name].append((guess - exact).detach())
    return errors
