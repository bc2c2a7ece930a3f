"""Universal guidance against its release, and against Balancing Act's baseline of that name, on fixed tensors.

Formulas: arpitbansal297/Universal-Guided-Diffusion at commit ff82f88, gaussian_diffusion.py:640-795, and
rishubhpar/debiasing_gen_models at aeb2d96, image_classifier.py:52-77, :114-117. To 1e-5 in double precision; every
mutant beside a comparison fails it.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.core.attributes import Attribute
from bench.models.mixture import GaussianMixture
from bench.protocols.method import Batch, Task
from bench.protocols.model import noise_of
from methods.targeting.assigned_classes import assign_classes
from methods.universal_guidance import Method

T, N = 499, 6
PAIR = (Attribute("a", ("0", "1")), Attribute("b", ("0", "1", "2")))
TARGET = np.array([0.3, 0.05, 0.2, 0.15, 0.1, 0.2])


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


WEIGHT = {"a": normal(12, 2, seed=1), "b": normal(12, 3, seed=2)}


class Classifier:
    """A smooth classifier that is not linear."""

    digest, attributes = "smooth", PAIR

    def logits(self, x: Tensor) -> dict[str, Tensor]:
        return {name: (2 * x.flatten(1)).sin() @ w for name, w in WEIGHT.items()}


MODEL = GaussianMixture(
    (0.8, 0.2), 0.4 * normal(2, 12, seed=3).numpy(), np.stack([0.02 * np.eye(12)] * 2), shape=(3, 2, 2)
)
TASK = Task(MODEL, PAIR, TARGET, (999, T, 0), classifier=lambda _: Classifier())
X, A = normal(N, 3, 2, 2, seed=4), float(MODEL.alphas_cumprod[T])
CLASSES = torch.from_numpy(assign_classes(TARGET, 0, np.arange(N)))
TIMES, NONE = torch.full((N,), T), torch.zeros(N, dtype=torch.long)


def eps_of(denoised: Tensor) -> Tensor:
    return noise_of(X, denoised, MODEL.alphas_cumprod[TIMES])


def found(**fields: object) -> Tensor:
    """The noise prediction of the method."""
    return eps_of(Method(**fields).build(TASK, 0).denoise(X, T, Batch(torch.arange(N), NONE, N)))


def negative_log(images: Tensor) -> Tensor:
    """Cross-entropy to the assigned classes of both attributes."""
    logits = Classifier().logits(images)
    return torch.nn.functional.cross_entropy(logits["a"], CLASSES // 3, reduction="sum") + (
        torch.nn.functional.cross_entropy(logits["b"], CLASSES % 3, reduction="sum")
    )


def forward(weight: float) -> Tensor:
    """eps - sqrt(1 - a) wt grad_x(-loss), through the network."""
    x = X.clone().requires_grad_()
    denoised = MODEL.denoise(x, TIMES, NONE)
    (gradient,) = torch.autograd.grad(-negative_log(denoised), x)
    return eps_of(denoised.detach()) - (1 - A) ** 0.5 * weight * gradient


def agree(one: Tensor, other: Tensor) -> bool:
    return torch.allclose(one, other, rtol=1e-5, atol=1e-5)


def test_forward_guidance() -> None:
    wanted = forward(2.0)
    assert agree(found(strength=2.0, backward_steps=0), wanted)
    for mutant in ({"strength": -2.0}, {"through": "noise"}, {"loss": "assigned_probability"}, {"temperature": 8.0}):
        assert not agree(found(**{"strength": 2.0, "backward_steps": 0, **mutant}), wanted), mutant


@pytest.mark.parametrize("steps", [1, 5])
def test_backward_guidance_is_adam_from_the_clamped_forward_guided_prediction(steps: int) -> None:
    z = (X - (1 - A) ** 0.5 * forward(2.0)) / A**0.5
    m, v = torch.zeros_like(z), torch.zeros_like(z)
    for i in range(1, steps + 1):
        z = z.clamp(-1, 1).detach().requires_grad_()
        (g,) = torch.autograd.grad(negative_log(z), z)
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        z = (z - 0.01 * (m / (1 - 0.9**i)) / ((v / (1 - 0.999**i)).sqrt() + 1e-8)).detach()
    wanted = eps_of(z.clamp(-1, 1))
    assert agree(found(strength=2.0, backward_steps=steps), wanted)
    for mutant in ({"backward_lr": 0.02}, {"strength": 0.0}, {"backward_steps": steps + 1}):
        assert not agree(found(**{"strength": 2.0, "backward_steps": steps, **mutant}), wanted), mutant


def test_the_defaults_are_one_backward_step_and_recurrence() -> None:
    """Clip_guided.py: --optim_max_iters 1, --optim_lr 1e-2; --optim_num_steps 2 or more in every command."""
    method = Method()
    assert (method.backward_steps, method.backward_lr, method.repeats, method.through) == (1, 0.01, 2, "unet")
    assert Method().build(TASK, 0).repeats == 2


def test_the_baseline_of_balancing_act() -> None:
    """eps + sqrt(1 - a) 300 scale grad_x(-sum softmax(f(x_0) / 8)[c]) per attribute, with eps held constant."""
    x = X.clone().requires_grad_()
    eps = eps_of(MODEL.denoise(X, TIMES, NONE))
    logits = Classifier().logits((x - (1 - A) ** 0.5 * eps) / A**0.5)
    rows = torch.arange(N)
    loss = -(logits["a"] / 8).softmax(1)[rows, CLASSES // 3] - (logits["b"] / 8).softmax(1)[rows, CLASSES % 3]
    (gradient,) = torch.autograd.grad(loss.sum(), x)
    wanted = eps + (1 - A) ** 0.5 * 300 * 0.02 * gradient
    fields: dict[str, object] = {
        "through": "noise", "loss": "assigned_probability", "temperature": 8.0, "strength": 300 * 0.02,
        "backward_steps": 0, "repeats": 1,
    }  # fmt: skip
    assert agree(found(**fields), wanted)
    for mutant in ({"temperature": 1.0}, {"through": "unet"}, {"loss": "assigned_class"}, {"strength": -6.0}):
        assert not agree(found(**{**fields, **mutant}), wanted), mutant
