"""TIW-DSM against a mixture whose ratio and scores are exact: where its objective is stationary, and where it lands."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.core.errors import ConfigError
from bench.models.mixture import GaussianMixture
from bench.protocols.cache import NoCache
from bench.protocols.images import LabelledImages
from bench.protocols.method import Batch, Task
from bench.storage.fits import FitCache
from methods import dsm_halves, dsm_obs, dsm_ref, iw_dsm, tiw_dsm
from methods.iw_dsm import clean_weight
from methods.reweighting.family import Family
from methods.reweighting.pool import Noised, noised
from methods.reweighting.settings import Settings
from methods.tiw_dsm import corrected, log_weight_and_gradient, reweighted
from tests.support.mixtures import GROUP, line

BIASED, UNBIASED = line((0.8, 0.2)), line((0.5, 0.5))
EVEN = torch.tensor([0.5, 0.5], dtype=torch.float64)
ALPHAS = BIASED.alphas_cumprod
TIMES = (0, 30, 200, 400, 600, 800, 950, 998, 999)  # a_999 = 0
TELLING = (600, 800, 950, 999)  # where the biased and the unbiased score differ much
N = 40_000
CHANCE = 4.5  # standard errors that no fair statistic of this file exceeds
MISSED = 10.0  # standard errors of a miss that no chance explains
READINGS = ("disjoint", "pooled")


def mean(model: GaussianMixture) -> Tensor:
    return model.weights @ model.means


def exact_logit(u: Tensor, t: Tensor) -> Tensor:
    """log(p_data / p_bias) at x_t = u / sqrt(a_t); at a_t = 0 its limit, linear in u."""
    a = ALPHAS[t[0]]
    return u @ (mean(UNBIASED) - mean(BIASED)) if a == 0 else BIASED.log_ratio(u / a.sqrt(), t, EVEN)


def draw(reading: str, t: int, n: int = N, seed: int = 0) -> Noised:
    g = torch.Generator().manual_seed(1000 * seed + t)
    x0, unbiased = BIASED.sample(n, g)[0], UNBIASED.sample(n, g)[0]
    if reading == "pooled":
        x0[::2] = unbiased[::2]
    return noised(x0, torch.randn(n, 2, generator=g, dtype=torch.float64), torch.full((n,), t), ALPHAS)


def exact_v(model: GaussianMixture, batch: Noised) -> Tensor:
    denoised = model.denoise(batch.x, batch.t, torch.zeros_like(batch.t))
    return (batch.a.sqrt() * batch.x - denoised) / (1 - batch.a).sqrt()


def probes(x: Tensor) -> Tensor:
    """Test functions of x_t [n, 6], one in every direction that a small network could move."""
    one, two = x[:, 0], x[:, 1]
    return torch.stack([torch.ones_like(one), one, two, one * two, (3 * one).tanh(), (one + two).cos()], 1)


def standard_errors(weight: Tensor, residual: Tensor, x: Tensor) -> float:
    """The largest |E[w residual phi(x_t)]| over probes phi and coordinates, in its standard errors."""
    terms = (weight[:, None] * residual)[:, :, None] * probes(x)[:, None, :]
    return float((terms.mean(0) / (terms.std(0) / len(x) ** 0.5)).abs().max())


def miss(reading: str, t: int, variant: str = "full", formula: str = "paper") -> float:
    """How far the objective's gradient at the exact v of the unbiased mixture is from 0."""
    batch = draw(reading, t)
    weight, v = reweighted(exact_logit, batch, reading, variant, formula)
    return standard_errors(weight, v - exact_v(UNBIASED, batch), batch.x)


# --- the corrected target ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize("t", [30, 400, 998])
def test_the_target_carries_the_papers_correction_in_every_form(reading: str, t: int) -> None:
    batch = draw(reading, t, 50)
    a = float(ALPHAS[t])
    x = batch.x.clone().requires_grad_()
    ratio = BIASED.log_ratio(x, batch.t, EVEN)  # log p_data - log p_bias
    pool = torch.log((ratio.exp() + 1) / 2) if reading == "pooled" else torch.zeros_like(ratio)
    (g,) = torch.autograd.grad((ratio - pool).sum(), x)  # grad_x log(p_data / p_obs)

    log_w, h = log_weight_and_gradient(exact_logit, batch.a.sqrt() * batch.x, batch.t, reading)
    x0, eps = corrected(batch.x0, batch.eps, batch.a, h)
    weight, v = reweighted(exact_logit, batch, reading)
    assert torch.allclose(weight, (ratio - pool).exp())
    assert torch.allclose(log_w, ratio - pool)
    assert torch.allclose(-eps / (1 - a) ** 0.5, -batch.eps / (1 - a) ** 0.5 + g), "the score, plus the correction"
    assert torch.allclose(eps, batch.eps - (1 - a) ** 0.5 * g)
    assert torch.allclose(x0, batch.x0 + (1 - a) / a**0.5 * g)
    assert torch.allclose(a**0.5 * x0 + (1 - a) ** 0.5 * eps, batch.x), "x_t stays where it is"
    assert torch.allclose(v, a**0.5 * eps - (1 - a) ** 0.5 * x0)


def test_the_target_is_finite_and_right_where_nothing_is_left_of_the_sample() -> None:
    """At a_t = 0 the unbiased mixture's v is less its mean, and the biased sample's mean is moved onto it."""
    batch = draw("disjoint", 999)
    assert float(batch.a[0, 0]) == 0
    weight, v = reweighted(exact_logit, batch, "disjoint")
    assert torch.equal(weight, torch.ones(N, dtype=torch.float64))
    assert torch.allclose(v, -(batch.x0 + mean(UNBIASED) - mean(BIASED)))
    assert torch.allclose(v.mean(0), -mean(UNBIASED), atol=5 * 1.3 / N**0.5)


def test_the_released_formula_moves_against_the_slope_of_d_with_one_weight_for_all_rows() -> None:
    """The release's x_0-target is x_0 - sigma^2 grad_x d, away from the reference set."""
    batch = draw("pooled", 400, 50)
    u = batch.a.sqrt() * batch.x
    d = exact_logit(u, batch.t).sigmoid()
    _, of_log = log_weight_and_gradient(exact_logit, u, batch.t, "pooled")
    weight, v = reweighted(exact_logit, batch, "pooled", "full", "released")
    assert torch.allclose(weight, (2 * d).mean().expand(50))
    plain = batch.a.sqrt() * batch.eps - (1 - batch.a).sqrt() * batch.x0
    assert torch.allclose(v, plain + (1 - batch.a).sqrt() * d[:, None] * of_log)


# --- where the objective is stationary -----------------------------------------------------------------------------


@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize("variant", ["full", "correction_only"])
def test_with_the_exact_ratio_the_objective_is_stationary_at_the_exact_score(reading: str, variant: str) -> None:
    """Correction alone is stationary there too: a weight that depends on (x_t, t) alone moves no minimiser."""
    assert max(miss(reading, t, variant) for t in TIMES) < CHANCE


@pytest.mark.parametrize("reading", READINGS)
def test_away_from_the_exact_score_it_is_not_stationary(reading: str) -> None:
    for t in TIMES:
        batch = draw(reading, t)
        weight, v = reweighted(exact_logit, batch, reading)
        v_hat = exact_v(UNBIASED, batch) + 0.15 * probes(batch.x)[:, 4:5]
        assert standard_errors(weight, v - v_hat, batch.x) > MISSED
        if t in TELLING:
            assert standard_errors(weight, v - exact_v(BIASED, batch), batch.x) > MISSED


@pytest.mark.parametrize("reading", READINGS)
def test_the_weight_alone_stays_at_the_score_of_the_training_samples(reading: str) -> None:
    assert min(miss(reading, t, "weight_only") for t in TELLING) > MISSED
    batch = draw(reading, 400)
    weight, v = reweighted(exact_logit, batch, reading, "weight_only")
    own = BIASED if reading == "disjoint" else line((0.65, 0.35))  # (p_bias + p_data) / 2
    assert standard_errors(weight, v - exact_v(own, batch), batch.x) < CHANCE


def test_the_released_formula_misses() -> None:
    assert min(miss("pooled", t, "full", "released") for t in TELLING) > MISSED


MISTAKES = [(r, m) for r in READINGS for m in ("sign", "no logarithm", "no square root", "other reading")]
MISTAKES.remove(("pooled", "no logarithm"))  # grad w and grad log w are alike where w = 2 d is near 1; see `released`


@pytest.mark.parametrize(("reading", "mistake"), MISTAKES)
def test_mistakes_in_the_correction_miss(reading: str, mistake: str) -> None:
    right, wrong = [], []
    for t in (400, 600, 800):
        batch = draw(reading, t)
        u, root = batch.a.sqrt() * batch.x, (1 - batch.a).sqrt()
        log_w, h = log_weight_and_gradient(exact_logit, u, batch.t, reading)
        change = {
            "sign": -root * h,
            "no logarithm": root * log_w.exp()[:, None] * h,
            "no square root": h,
            "other reading": root
            * log_weight_and_gradient(exact_logit, u, batch.t, READINGS[1 - READINGS.index(reading)])[1],
        }[mistake]
        plain = batch.a.sqrt() * batch.eps - (1 - batch.a).sqrt() * batch.x0
        for found, correction in ((right, root * h), (wrong, change)):
            found.append(standard_errors(log_w.exp(), plain - correction - exact_v(UNBIASED, batch), batch.x))
    assert max(right) < CHANCE
    assert max(wrong) > MISSED


@pytest.mark.parametrize("reading", READINGS)
def test_the_ratio_of_clean_samples_as_weight_is_stationary_at_the_exact_score_too(reading: str) -> None:
    """IW-DSM; without its weight, or with the ratio turned round, it is not."""
    for t in TIMES:
        batch = draw(reading, t)
        residual = batch.a.sqrt() * batch.eps - (1 - batch.a).sqrt() * batch.x0 - exact_v(UNBIASED, batch)
        weight = clean_weight(exact_clean_logit, batch.x0, reading)
        assert standard_errors(weight, residual, batch.x) < CHANCE
        if t in TELLING:
            assert standard_errors(torch.ones(N), residual, batch.x) > MISSED
            assert standard_errors(1 / weight, residual, batch.x) > MISSED


def exact_clean_logit(x0: Tensor, t: Tensor) -> Tensor:
    """log(p_data / p_bias) of clean samples."""
    assert (t == 0).all()
    groups = [
        torch.distributions.MultivariateNormal(m, c).log_prob(x0).exp()
        for m, c in zip(BIASED.means, BIASED.covariances, strict=True)
    ]
    return (torch.stack(groups, 1) @ UNBIASED.weights / (torch.stack(groups, 1) @ BIASED.weights)).log()


@pytest.mark.parametrize("reading", READINGS)
def test_the_weight_decides_where_a_network_that_is_too_small_errs(reading: str) -> None:
    """A linear v: the full objective's best fit is the best one under p_data, that of the correction alone is not."""
    for t in (200, 400, 600):
        batch, test = draw(reading, t), noised_unbiased(t)
        fits = {}
        for variant in ("full", "correction_only"):
            weight, v = reweighted(exact_logit, batch, reading, variant)
            fits[variant] = linear_fit(batch.x, v, weight)
        best = linear_fit(test.x, exact_v(UNBIASED, test), torch.ones(N, dtype=torch.float64))

        def error(fit: Tensor, test: Noised = test) -> float:
            return float((design(test.x) @ fit - exact_v(UNBIASED, test)).square().mean())

        assert error(fits["full"]) < 1.01 * error(best)
        assert error(fits["correction_only"]) > error(fits["full"]) + 2 * (error(fits["full"]) - error(best))


def noised_unbiased(t: int) -> Noised:
    g = torch.Generator().manual_seed(77 + t)
    x0 = UNBIASED.sample(N, g)[0]
    return noised(x0, torch.randn(N, 2, generator=g, dtype=torch.float64), torch.full((N,), t), ALPHAS)


def design(x: Tensor) -> Tensor:
    return torch.cat([torch.ones(len(x), 1, dtype=x.dtype), x], 1)


def linear_fit(x: Tensor, v: Tensor, weight: Tensor) -> Tensor:
    root = weight.sqrt()[:, None]
    return torch.linalg.lstsq(root * design(x), root * v).solution


# --- what is trained on what ---------------------------------------------------------------------------------------


class Wiring(Exception):
    """Carries what a method would have trained."""


def wired(monkeypatch: pytest.MonkeyPatch, method: object, logit: Callable[[Tensor, Tensor], Tensor]) -> tuple:
    """The name, the draw and the objective that a method hands over, with `logit` as its discriminator."""
    looks = {"timesteps": [0], "quantiles": [0.5], "observed": [[0.0]], "reference": [[0.0]]}
    note = {"cost": {}, "found": {"discriminator": {}, "logits": looks}}

    def learn(_family: Family, name: str, draw: str, plan: Callable, *_: object) -> None:
        raise Wiring(name, draw, plan().objective)

    monkeypatch.setattr(Family, "learn", learn)
    monkeypatch.setattr(Family, "discriminator", lambda _family, time_dependent: (logit, note))
    with pytest.raises(Wiring) as caught:
        method.build(modes_task(0, None), 0)
    return caught.value.args


WIRES = {
    "tiw_dsm": (tiw_dsm.Method(0.5, init="scratch"), "halves"),
    "tiw_dsm disjoint": (tiw_dsm.Method(0.5, init="scratch", reading="disjoint"), "observed"),
    "tiw_dsm weight_only": (tiw_dsm.Method(0.5, init="scratch", variant="weight_only"), "halves"),
    "tiw_dsm correction_only": (tiw_dsm.Method(0.5, init="scratch", variant="correction_only"), "halves"),
    "tiw_dsm released": (tiw_dsm.Method(0.5, init="scratch", formula="released"), "halves"),
    "iw_dsm": (iw_dsm.Method(0.5, init="scratch"), "halves"),
    "iw_dsm disjoint": (iw_dsm.Method(0.5, init="scratch", reading="disjoint"), "observed"),
    "dsm_ref": (dsm_ref.Method(0.5, init="scratch"), "reference"),
    "dsm_obs": (dsm_obs.Method(0.5, init="scratch"), "union"),
    "dsm_halves": (dsm_halves.Method(0.5, init="scratch"), "halves"),
}


@pytest.mark.parametrize("title", list(WIRES))
def test_each_method_trains_on_its_draws_with_its_objective(title: str, monkeypatch: pytest.MonkeyPatch) -> None:
    method, wanted_draw = WIRES[title]

    def logit(u: Tensor, t: Tensor) -> Tensor:
        return u.tanh().sum(1) - t / 1000

    name, found_draw, objective = wired(monkeypatch, method, logit)
    assert (name, found_draw) == (title.split()[0], wanted_draw)
    batch = draw("pooled", 400, 40)
    v_hat = torch.randn(40, 2, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    v = batch.a.sqrt() * batch.eps - (1 - batch.a).sqrt() * batch.x0
    weight = torch.ones(40, dtype=torch.float64)
    if name == "iw_dsm":
        weight = clean_weight(logit, batch.x0, method.reading)
    if name == "tiw_dsm":
        weight, v = reweighted(logit, batch, method.reading, method.variant, method.formula)
    assert torch.allclose(objective(v_hat, batch), (weight * (v_hat - v).square().mean(1)).mean())


# --- where a small network lands -----------------------------------------------------------------------------------


class Plane(GaussianMixture):
    """A mixture whose "images" are its samples themselves."""

    def encode(self, images: Tensor) -> Tensor:
        return images.to(self.dtype)


def modes(weights: tuple[float, ...]) -> Plane:
    """Two groups in eight dimensions, each of six modes at the same places about its centre."""
    places = np.random.default_rng(5).normal(size=(6, 8)) * 0.6
    centre = np.array([1, 1, 0, 0, 0, 0, 0, 0]) * 2**0.5
    means = np.concatenate([places - centre, places + centre])
    return Plane(np.repeat(weights, 6) / 6, means, np.stack([0.04 * np.eye(8)] * 12))


def modes_task(seed: int, folder: Path | None) -> Task:
    """The unbiased set takes the modes in turns: how far its first few are from even by chance is no matter here."""
    n, g = 4000, torch.Generator().manual_seed(seed)
    biased, even = modes((0.9, 0.1)), modes((0.5, 0.5))
    noise = torch.randn(n, 8, generator=g, dtype=torch.float64)
    in_turn = even.means[torch.arange(n) % 12] + 0.2 * noise
    about = (np.zeros((n, 1), int), (GROUP,), EVEN.numpy())
    sets = (("observed", biased.sample(n, g)[0]), ("unbiased", in_turn))
    images = {name: LabelledImages(name, x.float().numpy(), *about, f"{name} {seed}") for name, x in sets}
    return Task(biased, (GROUP,), EVEN.numpy(), (), **images, cache=FitCache(folder) if folder else NoCache())


LANDING = Settings(
    steps=500, discriminator_steps=700, batch=128, peak_lr=8e-3, discriminator_lr=1e-2, ema=0.99, checkpoint_minutes=9
)
FRACTION = 0.009  # 36 reference samples, three of each mode
CONTESTANTS = {
    "full": tiw_dsm.Method(FRACTION, init="scratch"),
    "weight_only": tiw_dsm.Method(FRACTION, init="scratch", variant="weight_only"),
    "correction_only": tiw_dsm.Method(FRACTION, init="scratch", variant="correction_only"),
    "released": tiw_dsm.Method(FRACTION, init="scratch", formula="released"),
    "iw_dsm": iw_dsm.Method(FRACTION, init="scratch"),
    "dsm_ref": dsm_ref.Method(FRACTION, init="scratch"),
    "dsm_obs": dsm_obs.Method(FRACTION, init="scratch"),
}
GRID = range(100, 1000, 100)
NOISY = slice(6, 9)  # t of 700 to 900, where a sample takes its group


def landed(name: str, folder: Path | None, seed: int = 0) -> np.ndarray:
    """Mean squared error of the trained network's v under the unbiased mixture, at each t of GRID."""
    task, truth, n = modes_task(seed, folder), modes((0.5, 0.5)), 1000
    method = dataclasses.replace(CONTESTANTS[name], training=dataclasses.replace(LANDING, seed=seed))
    guided = method.build(task, 0)
    errors = []
    for t in GRID:
        g = torch.Generator().manual_seed(t)
        eps = torch.randn(n, 8, generator=g, dtype=torch.float64)
        batch = noised(truth.sample(n, g)[0], eps, torch.full((n,), t), ALPHAS)
        with torch.no_grad():
            found = guided.denoise(batch.x, t, Batch(torch.arange(n), torch.zeros(n, dtype=torch.long), n))
        wanted = truth.denoise(batch.x, batch.t, torch.zeros_like(batch.t))
        errors.append(float(((found - wanted).square() / (1 - batch.a)).mean()))
    return np.array(errors)


@pytest.fixture(scope="module")
def landing(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], np.ndarray]:
    """`landed`, each contestant trained once; those that share a discriminator train it once."""
    return cache(partial(landed, folder=tmp_path_factory.mktemp("landing")))


@pytest.mark.parametrize("name", ["weight_only", "iw_dsm", "dsm_ref", "dsm_obs"])
def test_a_small_network_lands_nearest_to_the_truth_with_the_full_objective(
    name: str, landing: Callable[[str], np.ndarray]
) -> None:
    assert landing("full").mean() < 0.93 * landing(name).mean()


@pytest.mark.parametrize("name", ["weight_only", "released", "dsm_obs"])
def test_where_a_sample_takes_its_group_objectives_that_miss_land_farther_off(
    name: str, landing: Callable[[str], np.ndarray]
) -> None:
    assert landing("full")[NOISY].mean() < 0.8 * landing(name)[NOISY].mean()


def test_the_correction_alone_lands_where_the_full_objective_does(landing: Callable[[str], np.ndarray]) -> None:
    """They share their minimiser; see above for what the weight changes."""
    assert landing("correction_only").mean() == pytest.approx(landing("full").mean(), rel=0.15)


# --- refusals ------------------------------------------------------------------------------------------------------


def test_the_released_formula_is_of_the_pooled_reading() -> None:
    with pytest.raises(ConfigError, match="formula released must go with reading pooled, got reading disjoint"):
        tiw_dsm.Method(formula="released", reading="disjoint")
