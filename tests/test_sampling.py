"""The sampling loop on the mixture, where what it must draw is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bench.errors import ConfigError, NotFinite
from bench.models.counting import Counted
from bench.models.mixture import GaussianMixture
from bench.models.schedule import make_scheduler
from bench.sampling import Sampler, draw_noise, generators, sample_batch
from methods.base import Batch, GuidedDenoiser, Task
from methods.vanilla import Method as Vanilla
from tests.mixtures import GROUP, line


def plain(model: GaussianMixture) -> GuidedDenoiser:
    return Vanilla().build(Task(model, (GROUP,), np.full(2, 0.5), ()), 0).denoise


def draw(
    model: GaussianMixture, sampler: Sampler, n: int, seed: int = 0, start: int = 0, micro: int = 0
) -> torch.Tensor:
    batch = Batch(torch.arange(start, start + n), torch.zeros(n, dtype=torch.long), micro or n)
    return sample_batch(model, plain(model), sampler, batch, seed)


@pytest.mark.parametrize(
    "sampler",
    [
        Sampler("ddim", 150),
        Sampler("ddim", 200, eta=1.0),
        Sampler("ddpm", 200),
        Sampler("dpmsolver++", 60),
    ],
    ids=["ddim", "ddim-eta1", "ddpm", "dpmsolver++"],
)
def test_proportions_means_and_covariances_meet_the_exact_ones(sampler: Sampler) -> None:
    model, n = line((0.8, 0.2)), 1500
    x = draw(model, sampler, n)
    group = model.posterior(x, torch.zeros(n, dtype=torch.long)).argmax(1)
    share = float((group == 0).double().mean())
    assert abs(share - 0.8) < 4 * (0.8 * 0.2 / n) ** 0.5 + 0.005  # 0.005: the solver's own error at these steps
    for k in (0, 1):
        rows, m = x[group == k], int((group == k).sum())
        deviation = model.covariances[k].diagonal().sqrt()
        assert ((rows.mean(0) - model.means[k]).abs() < 4 * deviation / m**0.5 + 0.02).all()
        scale = deviation[:, None] * deviation[None, :]
        assert ((rows.T.cov() - model.covariances[k]).abs() < (4 * (2 / m) ** 0.5 + 0.04) * scale).all()


def test_one_gaussian_is_reached_by_ddim_exactly_as_its_flow_says() -> None:
    """For one Gaussian the probability flow maps noise z to mu + L z componentwise, with diagonal covariance."""
    model = GaussianMixture((1.0,), [[0.3, -0.8]], [[[0.25, 0.0], [0.0, 2.25]]])
    z = draw_noise(generators(0, torch.arange(50)), model)
    x = draw(model, Sampler("ddim", 1000), 50)
    assert torch.allclose(x, model.means[0] + z * torch.tensor([0.5, 1.5]), atol=0.02)


@pytest.mark.parametrize("sampler", [Sampler("ddim", 10, eta=1.0), Sampler("ddpm", 10), Sampler("ddim", 10)])
def test_a_sample_depends_on_its_number_and_the_seed_alone(sampler: Sampler) -> None:
    model = line()
    whole = draw(model, sampler, 12)
    assert torch.equal(whole, draw(model, sampler, 12))
    assert torch.equal(whole, draw(model, sampler, 12, micro=5))
    parts = [draw(model, sampler, 5), draw(model, sampler, 7, start=5)]
    assert torch.equal(whole, torch.cat(parts))
    assert not torch.equal(whole, draw(model, sampler, 12, seed=1))


def test_noise_is_standard_normal_and_independent_between_samples() -> None:
    noise = draw_noise(generators(3, torch.arange(4000)), line())
    assert noise.mean().abs() < 4 / 8000**0.5
    assert abs(float(noise.var()) - 1) < 4 * (2 / 8000) ** 0.5
    lag = (noise[1:] * noise[:-1]).mean()
    assert lag.abs() < 4 / 8000**0.5


def test_denoiser_calls_and_backward_passes_are_counted() -> None:
    model = Counted(line())
    batch = Batch(torch.arange(6), torch.zeros(6, dtype=torch.long), 4)
    sample_batch(model, plain(model), Sampler("ddim", 7), batch, 0)
    assert model.counts.forward_rows == 6 * 7
    assert model.counts.backward_rows == 0
    model.encode_bottleneck(
        torch.zeros(4, 2, dtype=torch.float64), torch.full((4,), 9), torch.zeros(4, dtype=torch.long)
    )
    assert model.counts.forward_rows == 6 * 7 + 2
    x = torch.zeros(3, 2, dtype=torch.float64, requires_grad=True)
    model.denoise(x, torch.full((3,), 9), torch.zeros(3, dtype=torch.long)).sum().backward()
    assert model.counts.backward_rows == 3


def test_bf16_keeps_the_samplers_own_arithmetic_in_full_precision() -> None:
    model = line()
    assert draw(model, Sampler("ddim", 5, precision="bf16"), 4).dtype == torch.float64


def test_a_denoiser_that_returns_nan_is_named_with_step_and_samples() -> None:
    model = line()

    def broken(x: torch.Tensor, t: int, batch: Batch) -> torch.Tensor:
        out = plain(model)(x, t, batch)
        if t < 500:
            out[2] = torch.nan
        return out

    batch = Batch(torch.arange(10, 14), torch.zeros(4, dtype=torch.long), 4)
    with pytest.raises(NotFinite, match=r"timestep \d+ for 1 samples \(12\)"):
        sample_batch(model, broken, Sampler("ddim", 10), batch, 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "euler"}, "must be one of"),
        ({"steps": 0}, "steps must be 1 to 1000"),
        ({"steps": 1001}, "steps must be 1 to 1000"),
        ({"eta": 1.5}, "eta must be 0 to 1"),
        ({"name": "ddpm", "eta": 0.5}, "eta is a setting of ddim"),
    ],
)
def test_bad_settings_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Sampler(**arguments).timesteps(line())


def test_schedulers_are_told_that_the_denoiser_is_given() -> None:
    scheduler = make_scheduler("ddim", line().scheduler_config, 25)
    assert scheduler.config.prediction_type == "sample"
    assert int(scheduler.timesteps[0]) == 999  # trailing: sampling starts at pure noise
    assert float(scheduler.alphas_cumprod[999]) == 0.0
