"""Class-gap guidance in h-space: gradients in closed form, the ADP against what can be known, counts, equalities."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import UNet2DModel

from bench.core.attributes import Attribute, marginal, product
from bench.core.errors import ConfigError, Incompatible
from bench.models.mixture import SCHEDULER, GaussianMixture
from bench.models.unet import PixelUNet
from bench.protocols.counting import Counted
from bench.protocols.images import LabelledImages
from bench.protocols.method import Batch, Guided, Task
from bench.sampling.loop import Sampler, sample_batch
from bench.storage.fits import FitCache
from methods import class_gap_guidance, vanilla
from methods.hspace.adp import Heads, fit_heads, gaussian_logits, load_or_fit, ridge_inverse, ridge_leave_one_out
from methods.hspace.guidance import Steering, class_gaps, guide_bottleneck, softmax_gradient
from methods.targeting.assigned_classes import BLOCK, assign_classes, largest_remainder
from methods.targeting.losses import FLOOR, chi_square, chi_square_gradient, kl, kl_gradient, relative_flatness, smooth
from tests.support.mixtures import GROUP, labelled, pictures

STEPS = Sampler("ddim", 10)
TARGET = np.array([0.5, 0.5])


def tiny_unet() -> PixelUNet:
    torch.manual_seed(0)
    unet = UNet2DModel(
        sample_size=4,
        in_channels=12,
        out_channels=12,
        block_out_channels=(32, 32),
        layers_per_block=1,
        norm_num_groups=8,  # 32 groups of one channel would normalise the embedding of t away
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
    )
    config = {**SCHEDULER, "prediction_type": "v_prediction"}
    return PixelUNet(unet.eval().requires_grad_(False), config, name="tiny", digest="tiny")


def tiny_faces(n: int = 60) -> LabelledImages:
    rng = np.random.default_rng(0)
    labels = rng.integers(2, size=(n, 1))
    images = rng.integers(0, 100, size=(n, 3, 8, 8)) + 150 * labels[:, :, None, None]
    return LabelledImages("tiny", images.astype(np.uint8), labels, (GROUP,), TARGET, "tiny faces")


def mixture_task(model: GaussianMixture | Counted | None = None, target: np.ndarray = TARGET, **more: object) -> Task:
    model = model or pictures()
    task = Task(model, (GROUP,), target, STEPS.timesteps(model), labelled(pictures()))
    return dataclasses.replace(task, **more)


def unet_task(model: PixelUNet | Counted | None = None) -> Task:
    model = model or tiny_unet()
    return Task(model, (GROUP,), TARGET, STEPS.timesteps(model), tiny_faces())


def draw(task: Task, guided: Guided, n: int, micro: int | None = None, start: int = 0) -> torch.Tensor:
    batch = Batch(torch.arange(start, start + n), torch.zeros(n, dtype=torch.long), micro or n)
    return sample_batch(task.model, guided.denoise, STEPS, batch, seed=0)


def of_samples(**fields: object) -> class_gap_guidance.Method:
    """Class-gap guidance of each sample to a class, without a prior."""
    defaults = {"loss": "assigned_class", "strength": 300.0, "temperature": 2.0, "calibration": 0}
    return class_gap_guidance.Method(**{**defaults, **fields})


# --- losses and gradients ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("loss", "gradient"), [(chi_square, chi_square_gradient), (kl, kl_gradient)])
@pytest.mark.parametrize("r", [(0.5, 0.5), (0.9, 0.1), (0.2, 0.3, 0.5)])
def test_loss_gradients_match_automatic_differentiation(loss, gradient, r: tuple[float, ...]) -> None:
    target = torch.tensor(r, dtype=torch.float64)
    p = torch.rand(len(r), dtype=torch.float64, generator=torch.Generator().manual_seed(1)).softmax(0).requires_grad_()
    (exact,) = torch.autograd.grad(loss(p, target), p)
    assert torch.allclose(gradient(p.detach(), target), exact)


@pytest.mark.parametrize("r", [(0.5, 0.5), (0.1, 0.9), (0.2, 0.3, 0.5)])
def test_the_step_shrinks_as_the_losss_largest_curvature_grows(r: tuple[float, ...]) -> None:
    target = torch.tensor(r, dtype=torch.float64)
    hessian = torch.autograd.functional.hessian(lambda p: chi_square(p, target), target)
    uniform = torch.full_like(target, 1 / len(r))
    reference = torch.autograd.functional.hessian(lambda p: chi_square(p, uniform), uniform)
    ratio = float(reference.diagonal().max() / hessian.diagonal().max())
    assert relative_flatness("chi_square", target) == pytest.approx(ratio)


def test_losses_at_known_values() -> None:
    r, p = torch.tensor([0.5, 0.5]), torch.tensor([0.7, 0.3])
    assert float(chi_square(p, r)) == pytest.approx(0.2**2 / 0.5 * 2)
    assert float(kl(p, r)) == pytest.approx(0.7 * np.log(1.4) + 0.3 * np.log(0.6))
    assert float(chi_square(r, r)) == 0
    assert float(kl(r, r)) == 0


@pytest.mark.parametrize("temperature", [1.0, 8.0])
def test_the_push_is_the_gradient_of_the_batchs_loss_through_the_linear_adp(temperature: float) -> None:
    """With shift = weight (a within-class covariance of I) the push is -strength n dL/dh, by autograd."""
    g = torch.Generator().manual_seed(0)
    n, d, k = 7, 5, 3
    weight, bias = torch.randn(1, k, d, generator=g).double(), torch.randn(1, k, generator=g).double()
    heads = Heads(GROUP, torch.tensor([4]), weight, bias, weight, torch.ones(1))
    r = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)
    h = torch.randn(n, d, generator=g).double().requires_grad_()
    p_hat = ((h @ weight[0].T + bias[0]) / temperature).softmax(1).mean(0)
    (gradient,) = torch.autograd.grad(n * chi_square(p_hat, r), h)
    seen = {}

    class Model:
        alphas_cumprod = torch.linspace(1, 0, 10)

        def denoise(self, x, t, condition, bottleneck):
            seen["change"] = bottleneck(h.detach()) - h.detach()
            return x

    def slope(p, mean, _index):
        return chi_square_gradient(mean, r).expand_as(p)

    steering = Steering(temperature, (0, 1), couples_batch=True)
    denoise = guide_bottleneck(Model(), [class_gaps(heads, slope, 0.7)], steering)
    denoise(torch.zeros(n, 1), 4, Batch(torch.arange(n), torch.zeros(n), n))
    assert torch.allclose(seen["change"], -0.7 * gradient, atol=1e-12)


def pushes(strengths: tuple[float, ...], window: tuple[float, float], times: tuple[int, ...]) -> dict[int, float]:
    """By timestep of 1,000, how far a loss of slope 1, 10, ... of each part moves h; 0 where h is left alone."""
    weight = torch.tensor([[[1.0], [-1.0]]] * len(times), dtype=torch.float64)
    heads = Heads(GROUP, torch.tensor(times), weight, torch.zeros(len(times), 2).double(), weight, torch.ones(1))
    moved = dict.fromkeys(times, 0.0)

    class Model:
        alphas_cumprod = torch.linspace(1, 0, 1000)

        def denoise(self, x, t, condition, bottleneck):
            if bottleneck is not None:
                moved[int(t[0])] = float(bottleneck(torch.zeros(1, 1).double()))
            return x

    def slope(size):
        return lambda p, mean, _index: torch.tensor([[-size, size]], dtype=torch.float64)

    parts = [class_gaps(heads, slope(10.0**i), strength) for i, strength in enumerate(strengths)]
    denoise = guide_bottleneck(Model(), parts, Steering(1.0, window, couples_batch=False))
    for t in times:
        denoise(torch.zeros(1, 1), t, Batch(torch.arange(1), torch.zeros(1), 1))
    return moved


def test_the_window_holds_its_lower_border_and_not_its_upper_one() -> None:
    # At h = 0, p = (1/2, 1/2) and dL/dlogits = (-1/2, 1/2): the push is +1 per unit of strength.
    assert pushes((1.0,), (0.3, 0.6), (299, 300, 599, 600)) == {299: 0.0, 300: 1.0, 599: 1.0, 600: 0.0}


def test_only_strength_0_turns_a_part_off() -> None:
    for strengths, push in (((1.0,), 1.0), ((0.0,), 0.0), ((1.0, 0.0), 1.0), ((0.0, 1.0), 10.0), ((2.0, 1.0), 12.0)):
        assert pushes(strengths, (0.0, 1.0), (500,))[500] == pytest.approx(push)


def test_softmax_gradient_matches_automatic_differentiation() -> None:
    g = torch.Generator().manual_seed(0)
    logits = torch.randn(4, 3, generator=g, dtype=torch.float64).requires_grad_()
    upstream = torch.randn(4, 3, generator=g, dtype=torch.float64)
    p = (logits / 3).softmax(1)
    (exact,) = torch.autograd.grad((p * upstream).sum(), logits)
    assert torch.allclose(softmax_gradient(p.detach(), upstream, 3.0), exact)


# --- targets -------------------------------------------------------------------------------------------------------


def test_zeros_of_a_target_are_raised_to_the_floor_and_others_left_alone() -> None:
    assert smooth(np.array([0.3, 0.7])).tolist() == [0.3, 0.7]
    raised = smooth(np.array([0.0, 0.4, 0.6]))
    assert raised == pytest.approx([FLOOR, 0.4 * (1 - FLOOR), 0.6 * (1 - FLOOR)])
    assert raised.sum() == pytest.approx(1)


def test_marginals_of_an_asymmetric_joint() -> None:
    a, b = Attribute("a", ("0", "1")), Attribute("b", ("0", "1", "2"))
    joint = np.array([0.1, 0.2, 0.3, 0.05, 0.15, 0.2])
    assert marginal(joint, (a, b), a) == pytest.approx([0.6, 0.4])
    assert marginal(joint, (a, b), b) == pytest.approx([0.15, 0.35, 0.5])


@pytest.mark.parametrize(
    ("r", "n", "counts"), [((0.5, 0.5), 5, [3, 2]), ((0.1, 0.9), 60, [6, 54]), ((1 / 3, 1 / 3, 1 / 3), 10, [4, 3, 3])]
)
def test_largest_remainder(r: tuple[float, ...], n: int, counts: list[int]) -> None:
    assert largest_remainder(np.array(r), n).tolist() == counts


def test_assigned_classes_meet_the_target_and_depend_on_the_sample_number_alone() -> None:
    r = np.array([0.1, 0.9])
    whole = assign_classes(r, 3, np.arange(2 * BLOCK))
    assert np.bincount(whole[:BLOCK]).tolist() == np.bincount(whole[BLOCK:]).tolist() == [6, 54]
    assert np.array_equal(whole[50:70], assign_classes(r, 3, np.arange(50, 70)))
    assert not np.array_equal(whole, assign_classes(r, 4, np.arange(2 * BLOCK)))
    assert not np.array_equal(whole[:BLOCK], np.sort(whole[:BLOCK]))


# --- the attribute distribution predictor --------------------------------------------------------------------------


def test_leave_one_out_predictions_equal_refitting_without_each_row() -> None:
    rng = np.random.default_rng(0)
    rows, targets = torch.from_numpy(rng.normal(size=(12, 5))), torch.from_numpy(rng.normal(size=(12, 2)))
    penalty = 0.3
    _, held_out = ridge_leave_one_out(ridge_inverse(rows @ rows.T, penalty), targets)
    for i in range(12):
        keep = [j for j in range(12) if j != i]
        solved = torch.linalg.solve(rows[keep].T @ rows[keep] + penalty * torch.eye(5), rows[keep].T @ targets[keep])
        assert torch.allclose(held_out[i], rows[i] @ solved)


def test_gaussian_logits_recover_the_log_ratio_of_two_gaussians() -> None:
    g = torch.Generator().manual_seed(0)
    labels = torch.arange(40_000) % 2
    centre = torch.tensor([[-1.0, 0.0], [1.0, 0.5]], dtype=torch.float64)
    z = torch.randn(40_000, 2, generator=g, dtype=torch.float64) * torch.tensor([1.0, 2.0]) + centre[labels]
    weight, bias = gaussian_logits(z, labels, 2)
    precision = torch.diag(torch.tensor([1.0, 0.25], dtype=torch.float64))
    exact = (centre[1] - centre[0]) @ precision
    assert torch.allclose(weight[1] - weight[0], exact, atol=0.05)
    middle = centre.mean(0)
    assert float((weight[1] - weight[0]) @ middle + bias[1] - bias[0]) == pytest.approx(0, abs=0.05)


def test_the_adps_accuracy_is_bayes_at_every_step_and_chance_at_pure_noise() -> None:
    model, timesteps = pictures((0.5, 0.5)), (999, 700, 300, 0)
    x0, group = model.sample(1500, torch.Generator().manual_seed(0))
    (heads,) = fit_heads(model, x0, {GROUP: group}, timesteps, seed=0)
    distance = float((model.means[1] - model.means[0]).norm())
    for step, t in enumerate(timesteps):
        a = float(model.alphas_cumprod[t])
        spread = np.sqrt(a * 0.02 + 1 - a)
        bayes = 0.5 * (1 + torch.erf(torch.tensor(np.sqrt(a) * distance / (2 * spread) / np.sqrt(2))).item())
        assert float(heads.accuracy[step]) == pytest.approx(bayes, abs=4 * 0.5 / 1500**0.5)


def test_pure_noise_gives_logits_that_claim_nothing() -> None:
    """A fit that memorised its images would be sure of itself at t = 999, where h knows nothing."""
    model, data = tiny_unet(), tiny_faces()
    x0 = model.encode(torch.from_numpy(np.array(data.images)))
    (heads,) = fit_heads(model, x0, {GROUP: torch.from_numpy(data.labels[:, 0])}, (999, 0), seed=0)
    fresh = torch.randn(200, *model.shape, generator=torch.Generator().manual_seed(9))
    h = model.encode_bottleneck(fresh, torch.full((200,), 999), torch.zeros(200, dtype=torch.long))
    p = heads.logits(h, heads.at(999)).softmax(1)
    assert float(p.mean(0).sub(0.5).abs().max()) < 0.2
    assert float(heads.accuracy[1]) > 0.95  # while bright and dark images are told apart without noise


def test_an_adp_asked_about_a_step_it_was_not_fitted_for_is_an_error() -> None:
    heads = load_or_fit(mixture_task(), GROUP, 100, 0)
    with pytest.raises(Incompatible, match="not fitted for timestep 123"):
        heads.at(123)


def test_the_cache_gives_the_same_adp_and_a_damaged_one_is_fitted_again(tmp_path: Path) -> None:
    task = mixture_task(cache=FitCache(tmp_path))
    first, second = load_or_fit(task, GROUP, 100, 0), load_or_fit(task, GROUP, 100, 0)
    assert torch.equal(first.weight, second.weight)
    assert first.cost == second.cost
    assert first.cost.forward_rows == first.n * len(task.timesteps) / 2
    (stored,) = tmp_path.glob("*/adp-*/0-weight.npy")
    stored.write_bytes(stored.read_bytes()[:-8])
    assert torch.equal(first.weight, load_or_fit(task, GROUP, 100, 0).weight)
    other = load_or_fit(task, GROUP, 100, 1)
    assert not torch.equal(first.weight, other.weight)


# --- the methods ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [class_gap_guidance.Method, of_samples])
@pytest.mark.parametrize("task", [mixture_task, unet_task])
def test_strength_zero_is_vanilla_bit_for_bit(method, task) -> None:
    made = task()
    neutral = draw(made, method(strength=0.0).build(made, 0), 8)
    assert torch.equal(neutral, draw(made, vanilla.Method().build(made, 0), 8))
    changed = draw(made, method(strength=5.0).build(made, 0), 8)
    assert not torch.equal(neutral, changed)


@pytest.mark.parametrize("method", [class_gap_guidance.Method, of_samples])
def test_the_unet_runs_once_a_step_and_never_backwards(method) -> None:
    model = Counted(tiny_unet())
    task = unet_task(model)
    guided = method().build(task, 0)
    model.counts.forward_rows = 0
    draw(task, guided, 8)
    assert model.counts.forward_rows == 8 * STEPS.steps
    assert model.counts.backward_rows == 0


@pytest.mark.parametrize("make", [mixture_task, unet_task])
def test_micro_batches_give_the_samples_of_one_batch_for_half_a_call_more(make) -> None:
    task = make()
    model = Counted(task.model)
    task = dataclasses.replace(task, model=model)
    guided = class_gap_guidance.Method(strength=5.0, window=(0.0, 1.0)).build(task, 0)
    model.counts.forward_rows = 0
    whole = draw(task, guided, 12)
    assert model.counts.forward_rows == 12 * STEPS.steps
    model.counts.forward_rows = 0
    parts = draw(task, guided, 12, micro=5)
    assert model.counts.forward_rows == 1.5 * 12 * STEPS.steps
    assert torch.allclose(whole, parts, atol=1e-4)
    alone = torch.cat([draw(task, guided, 6), draw(task, guided, 6, start=6)])
    assert not torch.allclose(whole, alone, atol=1e-4)  # two batches are not one: the coupling is real


def test_the_loss_of_a_sample_does_not_depend_on_the_batch() -> None:
    task = mixture_task()
    guided = of_samples(strength=5.0).build(task, 0)
    whole = draw(task, guided, 12)
    parts = torch.cat([draw(task, guided, 5), draw(task, guided, 7, start=5)])
    assert torch.allclose(whole, parts, atol=1e-12)


def shares(model: GaussianMixture, x: torch.Tensor) -> np.ndarray:
    group = model.posterior(x, torch.zeros(len(x), dtype=torch.long)).argmax(1)
    return np.bincount(group.numpy(), minlength=2) / len(x)


@pytest.mark.parametrize("target", [(0.5, 0.5), (0.2, 0.8), (0.0, 1.0)])
@pytest.mark.parametrize("loss", ["chi_square", "kl"])
def test_the_loss_of_a_batch_brings_the_mixture_to_the_target(target: tuple[float, float], loss: str) -> None:
    model, r = pictures((0.8, 0.2)), np.array(target)
    task = mixture_task(model, r)
    before = np.linalg.norm(shares(model, draw(task, vanilla.Method().build(task, 0), 200)) - r)
    guided = class_gap_guidance.Method(strength=20.0, temperature=1.0, loss=loss).build(task, 0)
    after = np.linalg.norm(shares(model, draw(task, guided, 200)) - r)
    assert after < before / (3 if loss == "chi_square" else 2)  # the slope of KL is gentler at the same strength


def test_the_loss_of_a_sample_brings_each_sample_to_its_class() -> None:
    model = pictures((0.8, 0.2))
    task = mixture_task(model)
    guided = of_samples(strength=40.0, temperature=8.0).build(task, 0)
    x = draw(task, guided, 60)
    group = model.posterior(x, torch.zeros(60, dtype=torch.long)).argmax(1).numpy()
    assert guided.assigned_classes is not None
    assert (group == guided.assigned_classes(np.arange(60))).mean() > 0.9


def four_groups() -> tuple[GaussianMixture, LabelledImages, tuple[Attribute, Attribute]]:
    a, b = Attribute("a", ("0", "1")), Attribute("b", ("0", "1"))
    signs = np.array([[-1, -1], [-1, 1], [1, -1], [1, 1]])
    means = np.concatenate([np.repeat(signs[:, :1], 6, 1), np.repeat(signs[:, 1:], 6, 1)], 1) * 0.4
    model = GaussianMixture((0.6, 0.2, 0.15, 0.05), means, np.stack([0.02 * np.eye(12)] * 4), shape=(3, 2, 2))
    even = GaussianMixture((0.25,) * 4, means, np.stack([0.02 * np.eye(12)] * 4), shape=(3, 2, 2))
    x, group = even.sample(800, torch.Generator().manual_seed(0))
    labels = np.stack(np.unravel_index(group.numpy(), (2, 2)), 1)
    data = LabelledImages("four", even.decode(x).numpy(), labels, (a, b), np.full((2, 2), 0.25), "four")
    return model, data, (a, b)


@pytest.mark.parametrize("over", ["joint", "marginals"])
def test_several_attributes_as_joint_or_as_marginals(over: str) -> None:
    model, data, attributes = four_groups()
    task = Task(model, attributes, np.full(4, 0.25), STEPS.timesteps(model), data)

    def gap(guided: Guided) -> tuple[float, float]:
        x = draw(task, guided, 200)
        group = model.posterior(x, torch.zeros(200, dtype=torch.long)).argmax(1).numpy()
        joint = (np.bincount(group, minlength=4) / 200).reshape(2, 2)
        return float(np.linalg.norm(joint - 0.25)), float(np.linalg.norm(joint.sum(1) - 0.5))

    before = gap(vanilla.Method().build(task, 0))
    method = class_gap_guidance.Method(strength=6.0, over=over)
    guided = method.build(task, 0)
    after = gap(guided)
    assert after[1] < before[1] / 2
    assert after[0] < before[0] / (2 if over == "joint" else 1.3)
    assert guided.notes is not None
    assert list(guided.notes) == ([product(attributes).name] if over == "joint" else ["a", "b"])


def test_the_window_leaves_the_rest_of_sampling_alone() -> None:
    task = mixture_task()
    off = class_gap_guidance.Method(strength=5.0, window=(0.0, 0.001)).build(task, 0)
    assert torch.equal(draw(task, off, 8), draw(task, vanilla.Method().build(task, 0), 8))


# --- refusals ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [class_gap_guidance.Method, of_samples])
@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"temperature": 0.0}, "temperature must be > 0"),
        ({"window": (0.6, 0.4)}, "window must be two fractions"),
        ({"labels_per_class": 1}, "labels_per_class must be at least 2"),
        ({"strength": float("nan")}, "strength must be a finite number"),
    ],
)
def test_fields_out_of_range_are_refused(method, fields: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        method(**fields)


def test_the_loss_of_a_sample_is_of_the_joint() -> None:
    with pytest.raises(ConfigError, match="loss assigned_class must go with over joint, got over marginals"):
        of_samples(over="marginals")


def test_needs_that_are_not_met_are_refused_with_the_reason() -> None:
    method = class_gap_guidance.Method()
    with pytest.raises(Incompatible, match="no labelled images"):
        method.build(mixture_task(labelled=None), 0)
    model = pictures()
    model.bottleneck_shape = None
    with pytest.raises(Incompatible, match="no bottleneck"):
        method.build(mixture_task(model), 0)
    data = labelled(pictures())
    one_sided = dataclasses.replace(data, labels=np.zeros_like(data.labels))
    with pytest.raises(Incompatible, match="fewer than 2 of group=1"):
        method.build(mixture_task(labelled=one_sided), 0)
