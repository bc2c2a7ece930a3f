"""The trained methods start from the model: targets of every prediction type, any U-Net, low rank, refusals."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench.core.errors import Incompatible
from bench.models.latent import Autoencoder
from bench.models.latent_unet import LatentUNet
from bench.models.mixture import SCHEDULER
from bench.models.unet import PixelUNet
from bench.protocols.cache import NoCache
from bench.protocols.counting import Counted
from bench.protocols.method import Batch, Guided, Task
from bench.storage.files import read_arrays
from bench.storage.fits import FitCache
from bench.training.score_matching import prediction_target
from methods.iw_dsm import clean_weight
from methods.reweighting import trainer
from methods.reweighting.family import Family, weighted_square
from methods.reweighting.pool import Noised
from methods.reweighting.settings import IMAGES, FineTuning, Settings
from methods.reweighting.start import from_model
from methods.reweighting.weights import Differences
from methods.tiw_dsm import log_weight_and_gradient, reweighted
from tests.methods.test_tiw_dsm import (
    BIASED,
    CHANCE,
    MISSED,
    READINGS,
    TELLING,
    UNBIASED,
    N,
    draw,
    exact_clean_logit,
    exact_logit,
    standard_errors,
)
from tests.support.mixtures import GROUP
from tests.support.pipelines import LINEAR, latent_scheduler, tiny_autoencoder, tiny_unet
from tests.support.pools import EVEN, METHODS, unlabelled

PREDICTIONS = ("epsilon", "v_prediction", "sample")
MOMENT = Settings(discriminator_steps=3, batch=8, channels=(8,), discriminator_channels=(8,), checkpoint_minutes=1e-9)
STARTED = [name for name in METHODS if name != "dsm_obs"]
every_prediction = pytest.mark.parametrize("prediction", PREDICTIONS)

# --- the corrected target of every prediction type, on the exact mixture ---------------------------------------------


def exact(model: Any, batch: Noised, prediction: str) -> Tensor:
    """The minimiser of plain score matching on samples of `model`: E[target | x_t]."""
    denoised = model.denoise(batch.x, batch.t, torch.zeros_like(batch.t))
    return prediction_target(
        prediction, denoised, (batch.x - batch.a.sqrt() * denoised) / (1 - batch.a).sqrt(), batch.a
    )


def times(prediction: str, among: tuple[int, ...]) -> list[int]:
    """Timesteps without a_t = 0 for epsilon, which says nothing about the sample there."""
    return [t for t in among if prediction != "epsilon" or t != 999]


@every_prediction
@pytest.mark.parametrize("reading", READINGS)
def test_with_the_exact_ratio_the_objective_is_stationary_at_the_exact_prediction(
    prediction: str, reading: str
) -> None:
    for t in times(prediction, (30, 400, 800, 999)):
        batch = draw(reading, t)
        weight, target = reweighted(exact_logit, batch, reading, prediction=prediction)
        residual = target - exact(UNBIASED, batch, prediction)
        assert standard_errors(weight, residual, batch.x) < CHANCE
        if t in TELLING:
            assert standard_errors(weight, target - exact(BIASED, batch, prediction), batch.x) > MISSED


@every_prediction
def test_a_correction_of_the_other_sign_or_in_the_form_of_another_prediction_misses(prediction: str) -> None:
    t = 600
    batch = draw("disjoint", t)
    log_w, h = log_weight_and_gradient(exact_logit, batch.a.sqrt() * batch.x, batch.t, "disjoint")
    plain = prediction_target(prediction, batch.x0, batch.eps, batch.a)
    corrections = {
        name: prediction_target(name, (1 - batch.a) * h, -(batch.a * (1 - batch.a)).sqrt() * h, batch.a)
        for name in PREDICTIONS
    }
    truth = exact(UNBIASED, batch, prediction)
    assert standard_errors(log_w.exp(), plain + corrections[prediction] - truth, batch.x) < CHANCE
    wrong = [-corrections[prediction], *(c for name, c in corrections.items() if name != prediction)]
    for change in wrong:
        assert standard_errors(log_w.exp(), plain + change - truth, batch.x) > MISSED


@every_prediction
def test_iw_dsm_is_stationary_at_the_exact_prediction_too(prediction: str) -> None:
    for t in times(prediction, (200, 800)):
        batch = draw("pooled", t)
        weight = clean_weight(exact_clean_logit, batch.x0, "pooled")
        residual = prediction_target(prediction, batch.x0, batch.eps, batch.a) - exact(UNBIASED, batch, prediction)
        assert standard_errors(weight, residual, batch.x) < CHANCE
        if t in TELLING:
            assert standard_errors(torch.ones(N), residual, batch.x) > MISSED


@every_prediction
def test_the_losses_of_the_prediction_types_weigh_the_score_as_stated(prediction: str) -> None:
    """lambda(t) is (1 - a) / a of v, 1 - a of epsilon and (1 - a)^2 / a of x_0."""
    batch = draw("disjoint", 400, 200)
    a = float(batch.a[0, 0])
    one, two = exact(UNBIASED, batch, prediction), exact(BIASED, batch, prediction)
    scores = [model.score(batch.x, batch.t) for model in (UNBIASED, BIASED)]
    stated = {"v_prediction": (1 - a) / a, "epsilon": 1 - a, "sample": (1 - a) ** 2 / a}[prediction]
    ones = torch.ones(200)
    assert torch.allclose(weighted_square(one, two, ones), stated * weighted_square(*scores, ones))


# --- any U-Net of diffusers ------------------------------------------------------------------------------------------


def pixels(prediction: str = "v_prediction", **changes: Any) -> PixelUNet:
    schedule = {**(LINEAR if prediction == "epsilon" else SCHEDULER), "prediction_type": prediction}
    conditions = ("none", *(f"class {k}" for k in range(1, changes.get("num_class_embeds", 1))))
    return PixelUNet(
        tiny_unet(**changes).requires_grad_(False), schedule, conditions, "tiny", f"{prediction} {changes}"
    )


def latents() -> LatentUNet:
    network = tiny_unet(in_channels=4, out_channels=4).requires_grad_(False)
    autoencoder = Autoencoder(tiny_autoencoder().requires_grad_(False), 8)
    return LatentUNet(network, autoencoder, dict(latent_scheduler().config), "tiny latents", "latents")


MODELS = {
    **{prediction: lambda p=prediction: pixels(p) for prediction in PREDICTIONS},
    "with classes": lambda: pixels(num_class_embeds=3),
    "with a learnt variance": lambda: pixels("epsilon", out_channels=6),
    "latents": latents,
}


def task_of(model: Any, folder: Path | None = None) -> Task:
    side, rng = model.image_size, np.random.default_rng(0)
    sets = [
        unlabelled((rng.integers(128, size=(40, 3, side, side)) + 127 * k).astype(np.uint8), f"set {k}") for k in (0, 1)
    ]
    cache = FitCache(folder) if folder else NoCache()
    return Task(model, (GROUP,), EVEN.numpy(), (999, 0), observed=sets[0], unbiased=sets[1], cache=cache)


def started(name: str, **fields: Any) -> Any:
    tuning = {"steps": 3, "peak_lr": 1e-2, **fields}
    return METHODS[name].Method(0.5, training=MOMENT, fine_tuning=FineTuning(**tuning))


def look(guided: Guided, model: Any) -> Tensor:
    x = torch.randn(5, *model.shape, generator=torch.Generator().manual_seed(0))
    batch = Batch(torch.arange(5), torch.zeros(5, dtype=torch.long), 2)
    with torch.no_grad():
        return torch.stack([guided.denoise(x, t, batch) for t in (900, 500, 0)])


@pytest.mark.parametrize(
    ("name", "kind"), [*((name, "v_prediction") for name in STARTED), *(("tiw_dsm", kind) for kind in MODELS)]
)
def test_a_copy_of_the_models_network_is_trained_and_the_model_stays(name: str, kind: str) -> None:
    model = MODELS[kind]()
    before = {key: value.clone() for key, value in model.network.state_dict().items()}
    guided = started(name).build(task_of(model), 0)
    assert all(torch.equal(value, before[key]) for key, value in model.network.state_dict().items())
    assert not any(p.requires_grad for p in model.network.parameters())
    vanilla = Guided(lambda x, t, b: model.denoise(x, torch.full((5,), t), b.condition))
    trained, own = look(guided, model), look(vanilla, model)
    assert torch.isfinite(trained).all()
    assert not torch.allclose(trained, own, atol=1e-3)
    assert guided.notes["parameters"] == sum(p.numel() for p in model.network.parameters())


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("rank", [0, 2])
def test_before_training_it_is_the_model_without_a_condition(kind: str, rank: int) -> None:
    model = MODELS[kind]()
    start = from_model(model, IMAGES, FineTuning(rank=rank))
    x = torch.randn(3, *model.shape, generator=torch.Generator().manual_seed(0))
    t, none = torch.full((3,), 400), torch.zeros(3, dtype=torch.long)
    assert torch.equal(start.denoise(x, 400), model.denoise(x, t, none))
    assert torch.equal(start.predict(x, t), model.predict(x, t, none))
    assert start.prediction == model.prediction


@pytest.mark.parametrize("kind", PREDICTIONS)
def test_the_objective_is_that_of_the_models_prediction(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of all methods, at the targets and weights of `reweighted` and `clean_weight`, whose closed forms stand above."""
    caught: dict[str, Any] = {}
    monkeypatch.setattr(Family, "learn", lambda _, name, draw, plan, *__: caught.update({name: plan().objective}))

    def logit(u: Tensor, t: Tensor) -> Tensor:
        return u.flatten(1).tanh().sum(1) - t / 1000

    looks = {"timesteps": [0], "quantiles": [0.5], "observed": [[0.0]], "reference": [[0.0]]}
    note = {"cost": {}, "found": {"discriminator": {}, "logits": looks}}
    monkeypatch.setattr(Family, "discriminator", lambda _family, time_dependent: (logit, note))
    task = task_of(MODELS[kind]())
    batch = Family(task, 0.5, MOMENT).pool.noised("halves", torch.full((6,), 300), torch.Generator().manual_seed(0))
    plain = prediction_target(kind, batch.x0, batch.eps, batch.a)
    targets = {
        "tiw_dsm": reweighted(logit, batch, "pooled", prediction=kind),
        "iw_dsm": (clean_weight(logit, batch.x0, "pooled"), plain),
        "dsm_ref": (torch.ones(6), plain),
        "dsm_halves": (torch.ones(6), plain),
    }
    guess = torch.randn(plain.shape, generator=torch.Generator().manual_seed(1))
    for name, (weight, target) in targets.items():
        started(name).build(task, 0)
        assert torch.allclose(caught[name](guess, batch), weighted_square(guess, target, weight))


# --- what is stored --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rank", [0, 2])
def test_what_is_trained_is_cached_and_read_back(rank: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Counted(pixels())
    first = started("dsm_halves", rank=rank).build(task_of(model, tmp_path), 0)
    steps = 3 * MOMENT.batch
    assert (first.cost.forward_rows, first.cost.backward_rows) == (steps, steps)
    assert model.counts.forward_rows == 0
    total = sum(p.numel() for p in model.network.parameters())
    assert first.notes["parameters"] == total if rank == 0 else first.notes["parameters"] < total / 3
    (folder,) = [path for path in tmp_path.glob("*/*") if path.is_dir()]
    sizes = {name: array.nbytes for name, array in read_arrays(folder).items()}
    assert set(sizes) == ({"differences", "scales"} if rank == 0 else {"weights"})
    assert sum(sizes.values()) < 1.4 * total
    monkeypatch.setattr(trainer, "train", None)
    again = started("dsm_halves", rank=rank).build(task_of(model, tmp_path), 0)
    assert torch.equal(look(first, model), look(again, model))
    assert model.counts.forward_rows == 2 * 3 * 5


def test_the_key_holds_the_model_and_the_fine_tuning(tmp_path: Path) -> None:
    def entries(model: Any, **fields: Any) -> int:
        started("dsm_ref", **fields).build(task_of(model, tmp_path), 0)
        return len([path for path in tmp_path.glob("*/*") if path.is_dir()])

    assert entries(pixels()) == 1
    assert entries(pixels(num_class_embeds=3)) == 2, "the model's weights"
    assert entries(pixels(), steps=2) == 3
    assert entries(pixels(), rank=1) == 4
    assert entries(pixels(), peak_lr=2e-2) == 5


def test_differences_are_stored_to_a_254th_of_the_largest_of_their_row() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 5, 3), nn.Flatten(), nn.Linear(4, 2, bias=False))
    start = [p.detach().clone() for p in network.parameters()]
    packing = Differences(network)
    with torch.no_grad():
        for p in network.parameters():
            p.add_(0.01 * torch.randn_like(p))
        network[2].weight[1] = start[2][1]  # a row that did not move
    trained = [p.detach().clone() for p in network.parameters()]
    arrays = packing.pack()
    assert arrays["differences"].dtype == np.int8
    assert len(arrays["scales"]) == 5 + 1 + 2
    packing.unpack(arrays)
    for p, before, after in zip(network.parameters(), start, trained, strict=True):
        rows = (after - before).flatten(1) if after.ndim > 1 else (after - before)[None]
        error = (p - after).reshape(rows.shape).abs()
        assert (error <= rows.abs().amax(1, keepdim=True) / 254 * 1.001 + 1e-8).all()
        assert not p.requires_grad
    assert torch.equal(network[2].weight[1], start[2][1])


class Interrupted(Exception):
    pass


@pytest.mark.parametrize("rank", [0, 2])
def test_an_interrupted_training_resumes_with_the_same_result(
    rank: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = pixels(dropout=0.5)  # of which nothing may be seen: a resumed training would draw other numbers
    method = started("dsm_halves", rank=rank)
    unbroken = method.build(task_of(model, tmp_path / "unbroken"), 0)
    encode, calls = PixelUNet.encode, 0

    def interrupted(self: PixelUNet, images: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise Interrupted
        return encode(self, images)

    monkeypatch.setattr(PixelUNet, "encode", interrupted)
    with pytest.raises(Interrupted):
        method.build(task_of(model, tmp_path / "broken"), 0)
    resumed = method.build(task_of(model, tmp_path / "broken"), 0)
    assert calls == 4, "two steps, the interruption, and the third step"
    assert torch.equal(look(resumed, model), look(unbroken, model))


# --- refusals --------------------------------------------------------------------------------------------------------


def half() -> Any:
    return PixelUNet(tiny_unet().half(), {**SCHEDULER, "prediction_type": "sample"}, name="tiny")


def compiled() -> Any:
    model = pixels()
    model.network.mid_block.forward = model.network.mid_block.forward
    return model


def sequentially_offloaded() -> Any:
    model = pixels()
    model.network.runs_on = torch.device("cpu")
    return model


def offloaded() -> Any:
    model = latents()
    model.autoencoder.network.runs_on = torch.device("cuda:0")
    return model


def flow() -> Any:
    model = pixels()
    model.prediction = "flow_matching"
    return model


REFUSED = {
    "half": (half, "the network of tiny cannot be trained: its weights are float16; leave `dtype` out"),
    "compiled": (compiled, "cannot be trained: it is compiled; leave `compile` out"),
    "sequential": (sequentially_offloaded, "it is offloaded, and its weights are freed before a backward pass; leave"),
    "offload": (offloaded, "its autoencoder is offloaded, and would change places with it at every step; leave"),
    "flow": (flow, "it predicts flow_matching, and the corrected targets are those of epsilon, v_prediction or sample"),
    "mixture": (lambda: BIASED, "model gaussian_mixture has no network that a method can train"),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_a_network_that_cannot_be_trained_is_refused_with_what_to_do(reason: str) -> None:
    make, message = REFUSED[reason]
    task = dataclasses.replace(task_of(pixels()), model=make())
    with pytest.raises(Incompatible, match=message) as refusal:
        started("tiw_dsm").build(task, 0)
    assert str(refusal.value).endswith("set init: scratch")
    assert "\n" not in str(refusal.value)


def test_dsm_obs_from_the_model_is_vanilla_and_says_so() -> None:
    with pytest.raises(Incompatible, match=r"leaves it as it is: read vanilla's row, or set init: scratch"):
        METHODS["dsm_obs"].Method(0.5, training=MOMENT).build(task_of(pixels()), 0)
