"""Universal guidance: with an exact classifier it is the exact conditional denoiser; its gradients are autograd's."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import torch

from bench.core.attributes import Attribute, joint_labels, product
from bench.core.errors import ConfigError, Incompatible
from bench.engine.resources import Resources
from bench.models.mixture import GaussianMixture
from bench.protocols.counting import Counted
from bench.protocols.method import Batch, Guided, Task
from bench.protocols.model import noise_of
from bench.sampling.loop import Sampler, sample_batch
from evaluators.attribute_resnet import Extractor
from methods import vanilla
from methods.targeting.assigned_classes import BLOCK, assign_classes
from methods.targeting.classifiers import joint_log_probabilities
from methods.targeting.losses import chi_square, kl, relative_flatness, smooth
from methods.universal_guidance import Method, Steering, descend
from tests.support.mixtures import GROUP, pictures

STEPS = Sampler("ddim", 10)
FINE = Sampler("ddim", 50)
OFFSET, SCALES = -0.3, (1.2, 0.9)  # of the simplices that the classes of each attribute sit on
PAIR = (Attribute("a", ("0", "1")), Attribute("b", ("0", "1", "2")))
LOSSES = ("assigned_class", "assigned_probability", "chi_square", "kl")
OF_SAMPLES = LOSSES[:2]
THIN = 1e-16  # variance along the axes that tell classes apart


class Barycentric:
    """The exact classifier of a mixture whose groups are points along the axes that tell them apart.

    There D(x_t) = sum_k p(k | x_t) mu_k, so the posterior is D's barycentric coordinates at *every* noise level.
    """

    digest = "barycentric"

    def __init__(self, attributes: tuple[Attribute, ...]) -> None:
        self.attributes = attributes

    def logits(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        found, first = {}, 0
        for attribute, scale in zip(self.attributes, SCALES, strict=False):
            after = first + attribute.n_classes - 1
            rest = (x[:, first:after] - OFFSET) / scale
            p = torch.cat([1 - rest.sum(1, keepdim=True), rest], 1)
            found[attribute.name], first = p.clamp(1e-12, 1 - 1e-12).log(), after
        return found


def weights_of(n_classes: int) -> np.ndarray:
    return np.arange(1, n_classes + 1) / np.arange(1, n_classes + 1).sum()


def exact_task(*n_classes: int, target: np.ndarray | None = None) -> Task:
    """Each attribute on a simplex of its own axes, independent of the other, and one axis that tells nothing."""
    attributes = tuple(Attribute(name, tuple(map(str, range(n)))) for name, n in zip("ab", n_classes, strict=False))
    places = [OFFSET + scale * np.eye(n)[:, 1:] for scale, n in zip(SCALES, n_classes, strict=False)]
    classes = list(np.ndindex(n_classes))
    means = np.stack([np.concatenate([*(p[k] for p, k in zip(places, c, strict=True)), [0.2]]) for c in classes])
    weights = [np.prod([weights_of(n)[k] for n, k in zip(n_classes, c, strict=True)]) for c in classes]
    covariance = np.diag([THIN] * (means.shape[1] - 1) + [0.3])
    model = GaussianMixture(weights, means, np.stack([covariance] * len(means)))
    r = np.full(len(means), 1 / len(means)) if target is None else target
    return Task(model, attributes, r, FINE.timesteps(model), classifier=lambda _: Barycentric(attributes))


def contested(task: Task, t: int) -> torch.Tensor:
    """40 x_t where every class has a say: the log odds of each attribute's classes are within 4 of its first."""
    rng = np.random.default_rng(t)
    a = float(task.model.alphas_cumprod[t])
    columns = []
    for n, scale in zip([a.n_classes for a in task.attributes], SCALES, strict=False):
        odds = rng.uniform(-4, 4, (40, n - 1)) - np.log(weights_of(n)[1:] / weights_of(n)[0])
        longer = 2 * OFFSET * scale + scale**2  # |mu_k|^2 - |mu_0|^2
        columns.append((odds + a * longer / (2 * (1 - a))) * (1 - a) / (np.sqrt(a) * scale))
    return torch.from_numpy(np.concatenate([*columns, rng.normal(size=(40, 1))], 1))


def bayes(**fields: object) -> Method:
    """As the theory has it: forward guidance of strength 1 at every level."""
    return Method(**{"strength": 1.0, "backward_steps": 0, "repeats": 1, **fields})


def at(t: int, n: int) -> torch.Tensor:
    return torch.full((n,), t)


def noise(n: int) -> torch.Tensor:
    return torch.randn(n, 3, 2, 2, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def whole(n: int, micro: int | None = None, start: int = 0) -> Batch:
    return Batch(torch.arange(start, start + n), torch.zeros(n, dtype=torch.long), micro or n)


def off(found: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Relative error of each row."""
    return (found - wanted).flatten(1).norm(dim=1) / wanted.flatten(1).norm(dim=1)


def draw(task: Task, denoise: Callable, n: int, steps: Sampler = STEPS, micro: int | None = None, start: int = 0):
    return sample_batch(task.model, denoise, steps, whole(n, micro, start), seed=0)


LEVELS = [t for t in FINE.timesteps(pictures()) if t < 999] + [0, 1, 998]


# --- the exact conditional denoiser --------------------------------------------------------------------------------


@pytest.mark.parametrize("n_classes", [(2,), (3,), (2, 3), (3, 2)])
def test_strength_one_is_the_exact_conditional_denoiser_at_every_level(n_classes: tuple[int, ...]) -> None:
    task = exact_task(*n_classes)
    guided = bayes().build(task, 3)
    chosen = torch.from_numpy(assign_classes(task.target, 3, np.arange(40)))
    assert len(chosen.unique()) == len(task.target), "every class is asked for"
    worst = 0.0
    for t in LEVELS:
        x = contested(task, t)
        exact = task.model.denoise(x, at(t, 40), 1 + chosen)
        worst = max(worst, float(off(guided.denoise(x, t, whole(40)), exact).max()))
    assert worst < 1e-6


def test_wrong_formulas_miss_it() -> None:
    """The flipped sign, the noise held, no log (the push is p(c | x_t) times too small), no 1 - a_t (too large)."""
    task, model = exact_task(2), exact_task(2).model
    chosen = torch.from_numpy(assign_classes(task.target, 3, np.arange(40)))
    for t in LEVELS:
        a = float(model.alphas_cumprod[t])
        x = contested(task, t).requires_grad_()
        p = model.posterior(x, at(t, 40))[torch.arange(40), chosen]
        (slope,) = torch.autograd.grad(p.sum(), x)
        p, x = p.detach()[:, None], x.detach()
        denoised, exact = (model.denoise(x, at(t, 40), c) for c in (at(0, 40), 1 + chosen))
        right = slope / p * (1 - a) / a**0.5
        assert off(denoised + right, exact).max() < 1e-6
        no_log, no_noise = slope * (1 - a) / a**0.5, slope / p / a**0.5
        assert off(denoised + no_log, exact).median() > 0.05
        torch.testing.assert_close(denoised + no_log - exact, (p - 1) * right, rtol=1e-6, atol=1e-7)
        torch.testing.assert_close(denoised + no_noise - exact, right * a / (1 - a), rtol=1e-5, atol=1e-7)
        for method in (bayes(strength=-1.0), bayes(through="noise")):
            missed = method.build(task, 3).denoise(x, t, whole(40))
            assert off(missed, exact).median() > 0.1, (method, t)


@pytest.mark.parametrize("n_classes", [(2,), (2, 3)])
def test_guided_samples_are_those_of_the_conditional_model(n_classes: tuple[int, ...]) -> None:
    """Along whole trajectories; at the first step a_t = 0 and neither is told the class."""
    r = np.arange(1, np.prod(n_classes) + 1) ** 2.0
    task = exact_task(*n_classes, target=r / r.sum())
    chosen = torch.from_numpy(assign_classes(task.target, 5, np.arange(BLOCK)))

    def asked(x: torch.Tensor, t: int, batch: Batch) -> torch.Tensor:
        condition = 1 + chosen if float(task.model.alphas_cumprod[t]) > 0 else batch.condition
        return task.model.denoise(x, at(t, BLOCK), condition)

    found, wanted = (draw(task, d, BLOCK, FINE) for d in (bayes().build(task, 5).denoise, asked))
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
    assert torch.equal(task.model.posterior(found, at(0, BLOCK)).argmax(1), chosen)


def test_the_joint_of_two_attributes_is_the_product_in_the_order_of_its_labels() -> None:
    g = torch.Generator().manual_seed(0)
    logits = {"b": torch.randn(4, 3, generator=g), "a": torch.randn(4, 2, generator=g)}
    joint, p, q = joint_log_probabilities(logits, PAIR).exp(), logits["a"].softmax(1), logits["b"].softmax(1)
    for i, j in np.ndindex(2, 3):
        (k,) = joint_labels(np.array([[i, j]]), PAIR)
        torch.testing.assert_close(joint[:, k], p[:, i] * q[:, j])


def adam(gradient: Callable[[torch.Tensor], torch.Tensor], z: torch.Tensor, steps: int, lr: float) -> torch.Tensor:
    """Adam from its paper's algorithm, clamped to [-1, 1] before every step and at the end."""
    m = v = torch.zeros_like(z)
    for i in range(1, steps + 1):
        z = z.clamp(-1, 1)
        g = gradient(z)
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        z = z - lr * (m / (1 - 0.9**i)) / ((v / (1 - 0.999**i)).sqrt() + 1e-8)
    return z.clamp(-1, 1)


def test_backward_guidance_is_adam_within_the_range_of_images() -> None:
    g = torch.Generator().manual_seed(0)
    guided, c = torch.randn(2, 5, 3, generator=g, dtype=torch.float64)
    assert guided.abs().max() > 1
    for m in (1, 4):
        found = descend(lambda z: z - c, guided, m, 0.3)
        torch.testing.assert_close(found, adam(lambda z: z - c, guided, m, 0.3))
    first = descend(lambda z: z - c, guided, 1, 0.01)  # Adam's first step has length lr whatever the gradient
    start = guided.clamp(-1, 1)
    torch.testing.assert_close(first, (start - 0.01 * (start - c).sign()).clamp(-1, 1), rtol=0, atol=1e-8)


class Linear:
    """A classifier of twelve numbers with random linear logits."""

    digest = "linear"

    def __init__(self, attributes: tuple[Attribute, ...]) -> None:
        g = torch.Generator().manual_seed(0)
        self.attributes = attributes
        self.weight = {a.name: 0.7 * torch.randn(12, a.n_classes, generator=g) for a in attributes}

    def logits(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {name: x.flatten(1) @ w.to(x) for name, w in self.weight.items()}


SKEWED = np.array([0.3, 0.05, 0.2, 0.15, 0.1, 0.2])


def picture_task(
    model: GaussianMixture | Counted | None = None, attributes: tuple[Attribute, ...] = (GROUP,), **more: object
) -> Task:
    model, n_classes = model or pictures(), product(attributes).n_classes
    task = Task(model, attributes, np.full(n_classes, 1 / n_classes), STEPS.timesteps(model))
    return dataclasses.replace(task, **{"classifier": lambda _: Linear(attributes), **more})


def loss_in_one_piece(name: str, task: Task, images: torch.Tensor, seed: int) -> torch.Tensor:
    """L as the papers write it, times n: a batch three times as long pushes each sample the same."""
    logits = Linear(task.attributes).logits(images)
    first, second = (logits[a.name].softmax(1) for a in task.attributes)
    if name == "assigned_probability":
        i, j = np.unravel_index(assign_classes(task.target, seed, np.arange(len(first))), (2, 3))
        return -(first[torch.arange(len(first)), i] + second[torch.arange(len(first)), j]).sum()
    p = torch.stack([first[:, i] * second[:, j] for i in range(2) for j in range(3)], 1)
    if name == "assigned_class":
        chosen = torch.from_numpy(assign_classes(task.target, seed, np.arange(len(p))))
        return -p[torch.arange(len(p)), chosen].log().sum()
    r = torch.from_numpy(smooth(task.target))
    value = {"chi_square": chi_square, "kl": kl}[name](p.mean(0), r)
    return len(p) * relative_flatness(name, r) * value


@pytest.mark.parametrize("micro", [9, 4])
@pytest.mark.parametrize("through", ["unet", "noise"])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("target", [np.full(6, 1 / 6), SKEWED, np.array([0.5, 0, 0.2, 0.1, 0.1, 0.1])])
def test_the_push_is_automatic_differentiation_of_the_whole_batchs_loss(
    target: np.ndarray, loss: str, through: str, micro: int
) -> None:
    """eps_hat = eps + s sqrt(1 - a) grad_x L, with one graph from x_t to L in one piece."""
    task, t, n = picture_task(attributes=PAIR, target=target), 499, 9
    model, x = task.model, noise(n).requires_grad_()
    a = model.alphas_cumprod[at(t, n)]
    denoised = model.denoise(x, at(t, n), at(0, n))
    eps = noise_of(x, denoised, a).detach()
    root, rest = float(a[0]) ** 0.5, float(1 - a[0]) ** 0.5
    images = denoised if through == "unet" else (x - rest * eps) / root
    (gradient,) = torch.autograd.grad(loss_in_one_piece(loss, task, images, 1), x)
    found = bayes(loss=loss, through=through, strength=0.3).build(task, 1).denoise(x.detach(), t, whole(n, micro))
    torch.testing.assert_close(noise_of(x.detach(), found, a), eps + 0.3 * rest * gradient, rtol=1e-9, atol=1e-11)
    assert off(found, denoised.detach()).min() > 1e-4, "the push is not nothing"


@pytest.mark.parametrize("loss", LOSSES)
def test_backward_guidance_descends_the_loss_from_the_forward_guided_prediction(loss: str) -> None:
    task = picture_task(attributes=PAIR, target=SKEWED)
    t, n = 499, 7
    x = noise(n)

    def gradient(images: torch.Tensor) -> torch.Tensor:
        images = images.detach().requires_grad_()
        return torch.autograd.grad(loss_in_one_piece(loss, task, images, 1), images)[0]

    for strength in (0.0, 0.5):
        method = bayes(strength=strength, backward_steps=3, backward_lr=0.2, loss=loss)
        forward = bayes(strength=strength, loss=loss).build(task, 1).denoise(x, t, whole(n))
        wanted = adam(gradient, forward, 3, 0.2)
        for micro in (n, 3):
            found = method.build(task, 1).denoise(x, t, whole(n, micro))
            torch.testing.assert_close(found, wanted, rtol=1e-7, atol=1e-9)
        assert off(found, forward.clamp(-1, 1)).min() > 1e-3, "the descent is not nothing"


# --- what a method promises ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", LOSSES)
def test_strength_zero_is_vanilla_bit_for_bit(loss: str) -> None:
    task = picture_task()
    neutral, base = bayes(strength=0.0, loss=loss).build(task, 0), vanilla.Method().build(task, 0)
    for micro in (2, 5):
        plain = draw(task, base.denoise, 5, micro=micro)
        assert torch.equal(draw(task, neutral.denoise, 5, micro=micro), plain)
    assert not torch.equal(draw(task, bayes(loss=loss).build(task, 0).denoise, 5), plain)


def test_assigned_classes_do_not_depend_on_the_batch_and_batch_losses_do() -> None:
    task = picture_task(attributes=PAIR, target=SKEWED)
    for loss in LOSSES:
        method = bayes(loss=loss)
        guided = method.build(task, 0)
        one = draw(task, guided.denoise, 12)
        torch.testing.assert_close(draw(task, guided.denoise, 12, micro=5), one, rtol=1e-9, atol=1e-9)
        parts = torch.cat([draw(task, guided.denoise, 5), draw(task, guided.denoise, 7, start=5)])
        assert method.traits.couples_batch == (loss not in OF_SAMPLES) == (guided.assigned_classes is None)
        assert torch.allclose(parts, one, atol=1e-9) != method.traits.couples_batch
        assert method.traits.couples_by_mean == method.traits.couples_batch  # the losses take the mean probabilities


@pytest.mark.parametrize(("couples", "micro", "rows"), [(True, 4, [4]), (True, 2, [2] * 4), (False, 2, [2, 2])])
def test_the_classifier_sees_images_twice_only_for_the_mean_of_several_batches(
    couples: bool, micro: int, rows: list[int]
) -> None:
    calls: list[int] = []

    def log_probabilities(images: torch.Tensor) -> torch.Tensor:
        calls.append(len(images))
        return images.flatten(1).log_softmax(1)

    steering = Steering(log_probabilities, lambda log_p, p_hat, _index: (log_p.exp() @ p_hat).sum(), couples)
    steering.gradient(torch.eye(4), Batch(torch.arange(4), torch.zeros(4, dtype=torch.long), micro))
    assert calls == rows


@pytest.mark.parametrize(
    ("fields", "micro", "forward", "backward"),
    [
        ({}, 8, 1, 1),
        ({"repeats": 3}, 3, 1, 1),  # the sampler's own
        ({"loss": "assigned_probability", "through": "noise"}, 3, 1, 0),
        ({"through": "noise"}, 3, 1, 0),
        ({"loss": "kl"}, 3, 2, 1),  # a first pass finds the batch's mean
        ({"loss": "kl", "through": "noise"}, 3, 1, 0),
        ({"strength": 0.0, "backward_steps": 4}, 3, 1, 0),
        ({"backward_steps": 4, "through": "noise", "loss": "chi_square"}, 3, 1, 0),
    ],
)
def test_network_passes_of_a_step(fields: dict, micro: int, forward: int, backward: int) -> None:
    model, method = Counted(pictures()), bayes(**fields)
    guided, x = method.build(picture_task(model), 0), noise(8)
    out = guided.denoise(x, 499, whole(8, micro))
    assert (model.counts.forward_rows, model.counts.backward_rows) == (8 * forward, 8 * backward)
    assert (method.traits.calls, method.traits.backward, method.repeats) == (1, backward, guided.repeats)
    assert (out.shape, out.dtype, out.requires_grad) == (x.shape, x.dtype, False)
    assert torch.equal(x, noise(8))
    assert guided.notes == {"classifier": "attribute_resnet", "classifier_sha256": "linear"}


def test_where_x_t_holds_nothing_of_x_0_nothing_is_guided() -> None:
    model, x = Counted(pictures()), noise(6)
    task, plain = picture_task(model), model.denoise(x, at(999, 6), at(0, 6))
    assert float(model.alphas_cumprod[999]) == 0
    for fields in ({}, {"through": "noise"}, {"loss": "kl"}, {"backward_steps": 2}):
        assert torch.equal(bayes(**fields).build(task, 0).denoise(x, 999, whole(6)), plain)
    assert model.counts.backward_rows == 0
    for t in (998, 0):  # and next to it, and at the other end, all is finite
        for fields in ({}, {"through": "noise"}, {"loss": "kl"}, {"loss": "chi_square"}):
            assert torch.isfinite(bayes(**fields).build(task, 0).denoise(x, t, whole(6))).all()


def test_a_batch_that_is_sure_of_one_class_stays_finite() -> None:
    """Where every probability of a class rounds to 0, the slope of kl would be -inf."""

    class Sure(Linear):
        def logits(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            zero = x.flatten(1).sum(1) * 0
            return {"group": torch.stack([zero, zero - 2000 + x.flatten(1).sum(1)], 1)}

    task = picture_task(classifier=lambda _: Sure((GROUP,)))
    for loss in LOSSES:
        assert torch.isfinite(bayes(loss=loss).build(task, 0).denoise(noise(4), 499, whole(4))).all(), loss


def test_the_window_leaves_the_rest_of_sampling_alone() -> None:
    task, x = picture_task(), noise(4)
    guided, plain = bayes(window=(0.3, 0.6)).build(task, 0), vanilla.Method().build(task, 0)
    for t, on in ((299, False), (300, True), (599, True), (600, False)):
        assert torch.equal(guided.denoise(x, t, whole(4)), plain.denoise(x, t, whole(4))) != on


@pytest.mark.parametrize("loss", ["chi_square", "kl"])
def test_batch_losses_bring_the_mixture_to_the_target(loss: str) -> None:
    task = exact_task(2, target=np.array([0.8, 0.2]))  # the groups have weights 1/3 and 2/3

    def gap(guided: Guided) -> float:
        group = task.model.posterior(draw(task, guided.denoise, 200, FINE), at(0, 200)).argmax(1).numpy()
        return float(np.linalg.norm(np.bincount(group, minlength=2) / 200 - task.target))

    before = gap(vanilla.Method().build(task, 0))
    assert before > 0.5
    assert gap(bayes(loss=loss, strength=4.0).build(task, 0)) < before / 8


# --- refusals ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"through": "both"}, "through must be one of unet, noise, got 'both'"),
        ({"loss": "hinge"}, "loss must be one of assigned_class, assigned_probability, chi_square, kl, got 'hinge'"),
        ({"strength": float("nan")}, "strength must be a finite number, got nan"),
        ({"backward_steps": -1}, "backward_steps must be at least 0, got -1"),
        ({"backward_lr": 0.0}, "backward_lr must be > 0 and finite, got 0.0"),
        ({"backward_lr": float("inf")}, "backward_lr must be > 0 and finite, got inf"),
        ({"temperature": 0.0}, "temperature must be > 0 and finite, got 0.0"),
        ({"repeats": 0}, "repeats must be at least 1, got 0"),
        ({"window": (0.6, 0.4)}, r"window must be two fractions with 0 <= low < high <= 1, got \[0.6, 0.4\]"),
    ],
)
def test_fields_out_of_range_are_refused(fields: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{message}$"):
        Method(**fields)


@pytest.mark.parametrize(
    ("classifier", "message"),
    [
        (None, "there are no classifiers to guide with"),
        (lambda _: Linear(PAIR), "classifier attribute_resnet does not read group, only a, b; guide with"),
        (
            lambda _: Linear((Attribute("group", ("1", "0")),)),
            "divides group into 1, 0, the task into 0, 1; guide with",
        ),
    ],
)
def test_a_classifier_that_does_not_fit_is_refused_with_the_reason(classifier: Callable, message: str) -> None:
    with pytest.raises(Incompatible, match=message):
        Method().build(picture_task(classifier=classifier), 0)


def test_samples_that_are_no_images_of_the_classifiers_size_are_refused() -> None:
    glasses = next(a for a in Extractor().attributes if a.name == "eyeglasses")
    with pytest.raises(Incompatible, match=r"must be given float images \[n, 3, 32, 32\], got .* \[1, 3, 2, 2\]"):
        Method().build(picture_task(attributes=(glasses,), classifier=Resources().guide), 0)
