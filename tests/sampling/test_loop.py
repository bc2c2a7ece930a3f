"""The sampling loop on the mixture, where what it must draw is known."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler

from bench.core.errors import ConfigError, Incompatible, NotFinite
from bench.models.mixture import GaussianMixture
from bench.models.schedule import log_snr_timesteps, make_scheduler
from bench.protocols.counting import Counted
from bench.protocols.method import Batch, GuidedDenoiser, Task
from bench.sampling.loop import Sampler, draw_noise, generators, renoise, sample_batch, signal_ratio
from methods.vanilla import Method as Vanilla
from tests.support.mixtures import GROUP, line


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


@pytest.mark.parametrize("name", ["ddim", "ddpm"])
def test_noising_back_is_the_forward_transition_of_the_schedulers_own_step(name: str) -> None:
    """a_t / a_s of each step from t to s, so that noising back x_s of the exact marginal gives that of t."""
    model, steps = line(), 25
    scheduler = make_scheduler(name, model.scheduler_config, steps)
    a, timesteps = model.alphas_cumprod, scheduler.timesteps.tolist()
    for t, s in zip(timesteps, [*timesteps[1:], None], strict=True):
        end = 1.0 if s is None else float(a[s])
        assert signal_ratio(scheduler, t) == pytest.approx(float(a[t]) / end, rel=1e-6)
    z, eps = torch.randn(2, 200_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x_s = 0.8 * 2.0 + 0.6 * z  # a_s = 0.64, x_0 = 2
    x_t = renoise(x_s, 0.25 / 0.64, eps)  # to a_t = 0.25
    assert float(x_t.mean()) == pytest.approx(0.5 * 2.0, abs=4 * 0.75**0.5 / 200_000**0.5)
    assert float(x_t.var()) == pytest.approx(0.75, rel=0.02)


def test_a_repeated_step_costs_a_call_each_and_keeps_the_distribution() -> None:
    model, n = Counted(line((0.8, 0.2))), 800
    batch = Batch(torch.arange(n), torch.zeros(n, dtype=torch.long), n)
    x = sample_batch(model, plain(model), Sampler("ddim", 40), batch, 0, repeats=3)
    assert model.counts.forward_rows == 3 * 40 * n
    share = float((model.posterior(x, torch.zeros(n, dtype=torch.long)).argmax(1) == 0).double().mean())
    assert abs(share - 0.8) < 4 * (0.8 * 0.2 / n) ** 0.5 + 0.01
    once = sample_batch(model, plain(model), Sampler("ddim", 40), batch, 0)
    assert not torch.equal(x, once)
    part = Batch(torch.arange(5, 9), torch.zeros(4, dtype=torch.long), 4)
    alone = sample_batch(model, plain(model), Sampler("ddim", 40), part, 0, repeats=3)
    assert torch.allclose(x[5:9], alone, atol=1e-9)


def test_steps_are_not_repeated_under_a_sampler_with_a_memory() -> None:
    batch = Batch(torch.arange(2), torch.zeros(2, dtype=torch.long), 2)
    with pytest.raises(Incompatible, match=r"none can be repeated; use ddim or ddpm"):
        sample_batch(line(), plain(line()), Sampler("dpmsolver++", 5), batch, 0, repeats=2)


@pytest.mark.parametrize("eta", [0.0, 0.5, 0.9])  # at 1, diffusers' first step from a_T = 0 is the root of -1e-8
@pytest.mark.parametrize("clip", [False, True])
def test_evenly_spaced_steps_are_those_of_diffusers(eta: float, clip: bool) -> None:
    config = {**line().scheduler_config, "clip_sample": clip}
    ours, theirs = make_scheduler("ddim", config, 20), DDIMScheduler(**config, prediction_type="sample")
    theirs.set_timesteps(20)
    assert torch.equal(ours.timesteps, theirs.timesteps)
    g = torch.Generator().manual_seed(0)
    x, denoised = 2 * torch.randn(2, 5, 3, 4, 4, generator=g)
    for t in theirs.timesteps:
        pair = [[torch.Generator().manual_seed(int(t) + i) for i in range(5)] for _ in range(2)]
        wanted = theirs.step(denoised, t, x, eta=eta, generator=pair[0]).prev_sample
        assert torch.allclose(ours.step(denoised, t, x, eta=eta, generator=pair[1]).prev_sample, wanted, atol=1e-5)


@pytest.mark.parametrize("steps", [1, 2, 25, 400, 1000])
def test_steps_even_in_log_snr_fall_from_pure_noise_and_differ(steps: int) -> None:
    a = line().alphas_cumprod
    found = log_snr_timesteps(a, steps)
    assert found[0] == 999
    assert len(found) == steps
    assert all(t > s >= 0 for t, s in itertools.pairwise(found))
    if steps == 25:
        gaps = (a[found[1:]] / (1 - a[found[1:]])).log().diff()
        assert float(gaps.min()) > 0.8 * float(gaps.max())


def test_what_many_pixels_share_is_drawn_in_its_true_share_only_with_steps_at_high_noise() -> None:
    """A rare tone that many pixels share: even steps lose a third of it, the same number even in log-SNR little."""
    d = 200
    means = np.stack([np.zeros(d), np.full(d, -0.9), np.full(d, -1.8)])
    model = GaussianMixture((0.7, 0.2, 0.1), means, np.stack([0.01 * np.eye(d)] * 3))

    def share(spacing: str, steps: int) -> float:
        x = draw(model, Sampler("ddim", steps, spacing=spacing), 1500)
        return float((model.posterior(x, torch.zeros(1500, dtype=torch.long)).argmax(1) == 2).double().mean())

    even, fine, spaced = share("model", 25), share("model", 500), share("logsnr", 25)
    assert abs(fine - 0.1) < 4 * (0.09 / 1500) ** 0.5
    assert even < fine - 0.02
    assert abs(spaced - fine) < abs(even - fine) / 2


@pytest.mark.parametrize("name", ["ddpm", "dpmsolver++"])
def test_the_other_samplers_visit_the_same_spaced_steps(name: str) -> None:
    model, sampler = line(), Sampler(name, 30, spacing="logsnr")
    assert sampler.timesteps(model) == Sampler("ddim", 30, spacing="logsnr").timesteps(model)
    x = draw(model, sampler, 600)
    share = float((model.posterior(x, torch.zeros(600, dtype=torch.long)).argmax(1) == 0).double().mean())
    assert abs(share - 0.8) < 4 * (0.16 / 600) ** 0.5 + 0.02


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
        ({"spacing": "even"}, "spacing must be one of model, logsnr"),
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
