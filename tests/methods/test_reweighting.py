"""What the reweighting family shares: the ratio, the draws, the discriminator and the networks."""

from __future__ import annotations

import dataclasses
import math
import types

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.models.mixture import SCHEDULER
from bench.models.unet import PixelUNet
from bench.protocols.method import Task
from methods import tiw_dsm
from methods.reweighting import weights
from methods.reweighting.family import Family, weighted_square
from methods.reweighting.networks import discriminator_network, score_network
from methods.reweighting.pool import Pool, from_reference
from methods.reweighting.ratio import (
    QUANTILES,
    discriminator_loss,
    importance_steps,
    log_ratio,
    logit_quantiles,
    time_density,
    weight_quantiles,
)
from methods.reweighting.settings import IMAGES, VECTORS, FineTuning, Settings
from tests.support.mixtures import GROUP, line, pictures
from tests.support.planes import plane, plane_task, ratio_errors
from tests.support.pools import EVEN, TINY, look, picture_task, unlabelled

# --- the ratio -----------------------------------------------------------------------------------------------------


def test_the_ratio_of_a_discriminator_that_knows_both_densities() -> None:
    p, q = torch.tensor([0.5, 0.1, 2.0]), torch.tensor([0.25, 0.8, 0.5])  # p_bias, p_data
    logit = torch.logit(q / (p + q))
    assert torch.allclose(log_ratio(logit, "disjoint").exp(), q / p)
    assert torch.allclose(log_ratio(logit, "pooled").exp(), q / ((p + q) / 2))
    sure = log_ratio(torch.tensor([-200.0, 200.0]), "pooled")
    assert sure.tolist() == pytest.approx([math.log(2) - 200, math.log(2)])


def test_the_discriminators_loss_and_its_minimiser() -> None:
    is_reference = torch.tensor([True, False])
    assert float(discriminator_loss(torch.zeros(2), is_reference)) == pytest.approx(math.log(2))
    assert float(discriminator_loss(torch.tensor([2.0, -2.0]), is_reference)) == pytest.approx(math.log1p(math.exp(-2)))
    p, q = torch.tensor([0.6, 0.3, 0.1]), torch.tensor([0.2, 0.3, 0.5])  # of three points
    points = torch.cat([torch.multinomial(w, 50_000, True, generator=torch.Generator().manual_seed(0)) for w in (q, p)])
    logit = torch.zeros(3, requires_grad=True)
    optimizer = torch.optim.LBFGS([logit], max_iter=50)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = discriminator_loss(logit[points], torch.arange(100_000) < 50_000)
        loss.backward()
        return loss

    optimizer.step(closure)
    assert torch.allclose(logit.detach().exp(), q / p, rtol=0.05)


@pytest.mark.parametrize("last", [0.0, 0.2])
def test_the_density_of_timesteps_makes_the_signal_uniform(last: float) -> None:
    a = torch.tensor([0.9, 0.5, last], dtype=torch.float64)
    assert time_density(a).tolist() == pytest.approx([0.1 / (1 - last), 0.4 / (1 - last), (0.5 - last) / (1 - last)])
    model = line()
    t = importance_steps(5000, time_density(model.alphas_cumprod), torch.Generator().manual_seed(0))
    share = torch.histc(model.alphas_cumprod[t], 10, 0, 1) / 5000
    assert torch.allclose(share, torch.full_like(share, 0.1), atol=0.003)
    assert (time_density(model.alphas_cumprod) > 0).all()


def test_timesteps_are_drawn_as_often_as_their_density_says() -> None:
    density = torch.tensor([0.5, 0.1, 0.0, 0.4], dtype=torch.float64)
    counts = torch.zeros(4)
    for seed in range(50):
        found = torch.bincount(importance_steps(200, density, torch.Generator().manual_seed(seed)), minlength=4)
        assert (found - 200 * density).abs().max() <= 1, "one in every 200th of the mass"
        counts += found
    assert torch.equal(importance_steps(6, EVEN, torch.Generator()), importance_steps(6, EVEN, torch.Generator()))
    assert counts[2] == 0


def test_quantiles_of_weights_are_those_of_the_logit_mapped() -> None:
    logit = torch.randn(2001, generator=torch.Generator().manual_seed(0))
    exact = torch.quantile(log_ratio(logit, "pooled").exp(), torch.tensor(QUANTILES))
    assert weight_quantiles([logit_quantiles(logit)], "pooled")[0] == pytest.approx(exact.tolist(), abs=1e-3)


def test_the_weighted_square() -> None:
    v_hat, v = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    # rows' mean squared errors are 2 and 12.5
    assert float(weighted_square(v_hat, v, torch.tensor([3.0, 0.5]))) == pytest.approx((3 * 2 + 0.5 * 12.5) / 2)


# --- draws ---------------------------------------------------------------------------------------------------------


def small_pool(flips: bool = False) -> Pool:
    """Reference images are 0 to 3, observed ones 100 to 111, as the value of every pixel."""
    values = np.concatenate([np.arange(4), np.arange(100, 112)]).astype(np.uint8)
    images = np.broadcast_to(values[:, None, None, None], (16, 3, 2, 2))
    return Pool(pictures(), images[:4], images[4:], flips)


@pytest.mark.parametrize(("draw", "share"), [("observed", 0.0), ("reference", 1.0), ("halves", 0.5), ("union", 4 / 16)])
def test_how_often_a_draw_takes_a_reference_image(draw: str, share: float) -> None:
    pool, n = small_pool(), 8000
    x0 = pool.clean(draw, n, torch.Generator().manual_seed(0))
    value = ((x0[:, 0, 0, 0] + 1) * 127.5).round()
    reference = value < 50
    assert float(reference.float().mean()) == pytest.approx(share, abs=0 if draw != "union" else 4 * 0.5 / n**0.5)
    assert set(value.int().tolist()) <= {0, 1, 2, 3, *range(100, 112)}
    if draw == "halves":
        assert torch.equal(reference, from_reference(n))
    for group in (value[reference], value[~reference]):
        if len(group):
            counts = group.unique(return_counts=True)[1]
            assert len(counts) in (4, 12), "every image is drawn"
            assert counts.max() < 1.3 * counts.min(), "and as often as any other of its set"


def test_half_of_what_is_drawn_is_mirrored() -> None:
    image = np.zeros((1, 3, 2, 2), np.uint8)
    image[..., 0] = 255
    x0 = Pool(pictures(), image, image, flips=True).clean("union", 1000, torch.Generator().manual_seed(0))
    left = x0[..., 0].mean((1, 2)) > 0
    assert torch.equal(x0[left][:, :, :, 0], torch.ones(int(left.sum()), 3, 2))
    assert torch.equal(x0[~left][:, :, :, 1], torch.ones(int((~left).sum()), 3, 2))
    assert float(left.float().mean()) == pytest.approx(0.5, abs=4 * 0.5 / 1000**0.5)


def test_noised_draws_are_of_the_forward_process() -> None:
    pool, t = small_pool(), torch.tensor([0, 400, 999])
    batch = pool.noised("union", t, torch.Generator().manual_seed(0))
    a = pictures().alphas_cumprod[t].float().reshape(3, 1, 1, 1)
    assert torch.allclose(batch.x, a.sqrt() * batch.x0 + (1 - a).sqrt() * batch.eps)
    assert batch.x.dtype == torch.float32
    assert torch.equal(batch.t, t)


def test_the_reference_set_is_the_first_images_of_the_unbiased_one() -> None:
    task = picture_task()
    family = Family(task, 0.1, TINY)
    assert family.n_reference == 20
    assert np.array_equal(family.pool.images[:20].numpy(), task.unbiased.images[:20])
    assert np.array_equal(family.pool.images[20:].numpy(), task.observed.images)


# --- the discriminator ---------------------------------------------------------------------------------------------


def test_a_time_dependent_discriminator_knows_the_ratio_at_every_noise_level() -> None:
    """Against one of clean samples that is asked about noised ones, as in the paper's toy."""
    errors = {
        name: [float(e.square().mean()) for e in by_time] for name, by_time in ratio_errors(range(0, 1000, 111)).items()
    }
    integrated = {name: float(np.mean(values)) for name, values in errors.items()}
    assert integrated["time-dependent"] < 0.1 * integrated["time-independent"]
    assert integrated["time-dependent"] < 0.05 * integrated["none"]
    assert errors["time-dependent"][-1] < 0.01, "nothing to tell at a_t = 0"
    assert errors["time-independent"][0] < 0.1 * errors["none"][0], "it knows clean samples"


def test_a_discriminator_sees_both_sides_equally_often_at_each_timestep(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the timestep by itself would tell the sides apart within a batch."""
    seen: list[Tensor] = []
    noised_draw = Pool.noised

    def spy(self: Pool, draw: str, t: Tensor, g: torch.Generator) -> object:
        if draw == "halves":
            seen.append(t)
        return noised_draw(self, draw, t, g)

    monkeypatch.setattr(Pool, "noised", spy)
    Family(picture_task(), 0.25, TINY).discriminator(time_dependent=True)
    assert len(seen) == TINY.discriminator_steps
    of_reference = from_reference(TINY.batch)
    for t in seen:
        assert torch.equal(t[of_reference].sort().values, t[~of_reference].sort().values)


def test_settings_that_are_not_given_are_those_for_the_kind_of_sample() -> None:
    assert Family(picture_task(), 0.25, None).settings == VECTORS
    assert Family(picture_task(), 0.25, TINY).settings == TINY
    faces = types.SimpleNamespace(shape=(3, 32, 32))
    assert Family(picture_task(model=faces), 0.25, None).settings == IMAGES


def test_the_notes_hold_the_weights_by_timestep_and_they_are_what_they_should_be() -> None:
    biased, unbiased = plane((0.9, 0.1)), plane((0.5, 0.5))
    task = plane_task(biased, unbiased, 2000, 500)
    settings = Settings(steps=2, discriminator_steps=300, batch=128, discriminator_lr=5e-3, ema=0.98)
    notes = tiw_dsm.Method(0.25, training=settings, init="scratch").build(task, 0).notes
    assert notes is not None
    found = notes["weights"]
    assert found["timesteps"][0] == 0
    assert found["timesteps"][-1] == 999
    assert found["quantiles"] == list(QUANTILES)
    spread = {draw: np.array(found[draw]) for draw in ("observed", "reference")}
    for rows in spread.values():
        assert rows.shape == (6, 5)
        assert (np.diff(rows, axis=1) >= 0).all()
        assert rows.min() >= 0
        assert rows.max() <= 2
    # d of clean samples is 0.5 / (0.5 + 0.1) in the rare group and 0.5 / (0.5 + 0.9) in the common one; w = 2 d
    assert spread["reference"][0, -1] == pytest.approx(2 * 0.5 / 0.6, rel=0.1)
    assert spread["observed"][0, 0] == pytest.approx(2 * 0.5 / 1.4, rel=0.2)
    assert spread["observed"][-1] == pytest.approx(np.ones(5), abs=0.1), "all alike at pure noise"


# --- networks ------------------------------------------------------------------------------------------------------

FACES = (3, 32, 32)


def test_the_networks_of_the_embedded_faces() -> None:
    x = torch.randn(2, *FACES, generator=torch.Generator().manual_seed(0))
    before = torch.random.get_rng_state()
    score, classifier = (make(FACES, 1000, Settings()) for make in (score_network, discriminator_network))
    again = score_network(FACES, 1000, Settings())
    assert torch.equal(torch.random.get_rng_state(), before), "the global generator is left alone"
    assert weights.pack(score).nbytes < 3e6
    assert np.array_equal(weights.pack(score), weights.pack(again))
    early, late = torch.tensor([10, 10]), torch.tensor([900, 900])
    with torch.no_grad():
        assert score(x, early).shape == x.shape
        assert not torch.allclose(score(x, early), score(x, late), atol=1e-3)
        assert classifier(x, early).shape == (2,)
        assert not torch.allclose(classifier(x, early), classifier(x, late), atol=1e-4)
    u = torch.zeros_like(x, requires_grad=True)
    (gradient,) = torch.autograd.grad(classifier(u, late).sum(), u)
    assert 0 < float(gradient.abs().max()) < 1, "its gradient at u = 0 is that of an ordinary function"


@pytest.mark.parametrize(
    ("shape", "is_image"), [(FACES, True), ((3, 8, 8), True), ((3, 2, 2), False), ((3, 32, 16), False), ((2,), False)]
)
def test_samples_that_are_no_images_go_to_perceptrons(shape: tuple[int, ...], is_image: bool) -> None:
    settings = Settings(channels=(8, 8, 8), discriminator_channels=(8,))
    assert settings.is_image(shape) == is_image
    x, t = torch.randn(3, *shape, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 5, 999])
    for make, wanted in ((score_network, (3, *shape)), (discriminator_network, (3,))):
        network = make(shape, 1000, settings)
        assert network(x, t).shape == wanted
        assert (type(network).__name__ == "Perceptron") != is_image


def test_weights_go_through_half_precision_and_back() -> None:
    one, two = (score_network((3, 8, 8), 1000, Settings(channels=(8, 16), seed=s)) for s in (1, 2))
    packed = weights.pack(one)
    assert packed.dtype == np.float16
    weights.unpack(packed, two)
    for p, q in zip(one.parameters(), two.parameters(), strict=True):
        assert torch.equal(p.detach().half().float(), q)
        assert not q.requires_grad
    assert np.array_equal(weights.pack(two), packed)


@pytest.mark.parametrize("init", ["model", "scratch"])
def test_pixel_images_go_through_the_whole_of_it(init: str) -> None:
    from diffusers import UNet2DModel

    torch.manual_seed(0)
    kinds = {"down_block_types": ("DownBlock2D",), "up_block_types": ("UpBlock2D",)}
    unet = UNet2DModel(
        sample_size=8, in_channels=3, out_channels=3, block_out_channels=(32,), layers_per_block=1, **kinds
    )
    model = PixelUNet(unet.eval().requires_grad_(False), {**SCHEDULER, "prediction_type": "v_prediction"})
    rng = np.random.default_rng(0)
    faces = [unlabelled(rng.integers(256, size=(40, 3, 8, 8), dtype=np.uint8), name) for name in ("one", "two")]
    task = Task(model, (GROUP,), EVEN.numpy(), (999, 0), observed=faces[0], unbiased=faces[1])
    settings = dataclasses.replace(TINY, channels=(8, 16), discriminator_channels=(8, 8))
    guided = tiw_dsm.Method(0.5, training=settings, init=init, fine_tuning=FineTuning(steps=3)).build(task, 0)
    found = look(guided, (3, 8, 8), torch.float32)
    assert found.dtype == torch.float32
    assert torch.isfinite(found).all()
