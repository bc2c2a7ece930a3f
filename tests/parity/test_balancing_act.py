"""Distribution guidance, sample guidance, latent editing and the heads against the formulas of their release.

Formulas, files and lines: rishubhpar/debiasing_gen_models at commit aeb2d96. Each comparison is in double precision, to
1e-5, and fails for every mutant beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.core.attributes import Attribute
from bench.protocols.images import LabelledImages
from bench.protocols.method import Batch, Task
from bench.protocols.model import BothRows
from methods import distribution_guidance, latent_editing, sample_guidance
from methods.hspace import inversion
from methods.hspace.adp import Heads
from methods.targeting.assigned_classes import assign_classes
from methods.targeting.edits import edited_class, stratified

T, N, D = 501, 8, 12
BETAS = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
FIRST, SECOND = Attribute("a", ("0", "1")), Attribute("b", ("0", "1", "2"))
R = {"a": torch.tensor([0.9, 0.1]).double(), "b": torch.tensor([0.2, 0.3, 0.5]).double()}
JOINT = (R["a"][:, None] * R["b"][None]).flatten().numpy()


class Recorder:
    """A model whose bottleneck is a fixed tensor; it returns the changed one. Two halves stand for guidance's rows."""

    name, digest, dtype, shape, conditions = "recorder", "recorder", torch.float64, (D,), ("none",)
    bottleneck_shape, device = (D,), torch.device("cpu")
    alphas_cumprod = (1 - BETAS).cumprod(0)

    def __init__(self, h: Tensor, unconditional: Tensor | None = None) -> None:
        self.h, self.unconditional = h, unconditional

    def denoise(self, x: Tensor, t: Tensor, condition: Tensor, bottleneck: Any = None) -> Tensor:
        if bottleneck is None:
            return self.h
        if self.unconditional is None:
            return bottleneck(self.h)
        if isinstance(bottleneck, BothRows):
            return bottleneck(torch.cat([self.unconditional, self.h]))
        return torch.cat([self.unconditional, bottleneck(self.h)])


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def heads_of(attribute: Attribute, seed: int) -> Heads:
    k = attribute.n_classes
    weight, shift, bias = normal(1, k, D, seed=seed), normal(1, k, D, seed=seed + 1), normal(1, k, seed=seed + 2)
    return Heads(attribute, torch.tensor([T]), weight, bias, shift - shift.mean(1, keepdim=True), torch.ones(1))


HEADS = {FIRST: heads_of(FIRST, 10), SECOND: heads_of(SECOND, 20)}


def step(module: Any, attributes: tuple[Attribute, ...], model: Recorder, **fields: object) -> Tensor:
    """h after one step of a method at timestep T, with fixed heads in place of trained ones."""
    target = JOINT if len(attributes) == 2 else R[attributes[0].name].numpy()
    task = Task(model, attributes, target, (999, T))  # type: ignore[arg-type]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "load_or_train", lambda *_: [HEADS[a] for a in attributes])
        if hasattr(module, "unguided"):
            patch.setattr(module, "unguided", lambda *_: (normal(40, D, seed=9), inversion.Cost()))
        guided = module.Method(**fields).build(task, 0)
    return guided.denoise(torch.zeros(N, D).double(), T, Batch(torch.arange(N), torch.zeros(N, dtype=torch.long), N))


def released(h: Tensor, losses: list[Callable[[Tensor], Tensor]], gammas: list[float]) -> Tensor:
    """h - sum of gamma dL/dh, by automatic differentiation (unet.py:755-784)."""
    h = h.clone().requires_grad_()
    total = sum(gamma * loss(h) for gamma, loss in zip(gammas, losses, strict=True))
    (gradient,) = torch.autograd.grad(total, h)
    return (h - gradient).detach()


def logits(h: Tensor, attribute: Attribute) -> Tensor:
    return h @ HEADS[attribute].weight[0].T + HEADS[attribute].bias[0]


def chi_square(attribute: Attribute) -> Callable[[Tensor], Tensor]:
    """multi_classifier.py:51: the mean of softmax(logits / 8) against r."""
    r = R[attribute.name]
    return lambda h: (((logits(h, attribute) / 8).softmax(1).mean(0) - r) ** 2 / r).sum()


def gamma(scale: float) -> float:
    """1.5 beta_t^0.05 300 scale (multi_classifier.py:101, :105)."""
    return 1.5 * float(BETAS[T]) ** 0.05 * 300 * scale


def agree(found: Tensor, wanted: Tensor) -> bool:
    return torch.allclose(found, wanted, rtol=1e-5, atol=1e-5)


H = normal(N, D, seed=1)
STEP_MUTANTS: list[dict[str, object]] = [
    {"temperature": 3.0}, {"gamma_power": 0.0}, {"gamma_power": 0.5}, {"loss": "kl"}, {"scale": 149.0},
]  # fmt: skip


def test_distribution_guidance_is_the_released_step() -> None:
    wanted = released(H, [chi_square(FIRST)], [gamma(150)])
    assert agree(step(distribution_guidance, (FIRST,), Recorder(H)), wanted)
    assert (wanted - H).abs().max() > 0.1
    for mutant in STEP_MUTANTS:
        assert not agree(step(distribution_guidance, (FIRST,), Recorder(H), **mutant), wanted), mutant


def test_each_attribute_has_its_own_term_and_scale() -> None:
    """multi_classifier.py:109-171."""
    wanted = released(H, [chi_square(FIRST), chi_square(SECOND)], [gamma(150), gamma(40)])
    assert agree(step(distribution_guidance, (FIRST, SECOND), Recorder(H), scales={"b": 40.0}), wanted)
    assert not agree(step(distribution_guidance, (FIRST, SECOND), Recorder(H)), wanted)


def test_on_stable_diffusion_all_rows_are_guided_by_a_constant() -> None:
    """h - 500 * 600 dKL/dh over the doubled batch (run_stable_diffusion.py:18, :40-44)."""
    both, r = torch.cat([normal(N, D, seed=2), H]), R["a"]

    def kl(h: Tensor) -> Tensor:
        m = (logits(h, FIRST) / 8).softmax(1).mean(0)
        return (m * (m / r).log()).sum()

    fields: dict[str, object] = {"loss": "kl", "scale": 300000 / 450, "gamma_power": 0.0}
    wanted = released(both, [kl], [500.0 * 600.0])
    assert agree(step(distribution_guidance, (FIRST,), Recorder(H, both[:N]), **fields), wanted)
    for mutant in ({"rows": "conditional"}, {"gamma_power": 0.05}, {"loss": "chi_square"}):
        assert not agree(step(distribution_guidance, (FIRST,), Recorder(H, both[:N]), **(fields | mutant)), wanted)


def test_sample_guidance_is_the_released_step() -> None:
    """L = -sum_i softmax(logits_i / 8)[c_i] (h_classification.py:62-95)."""
    classes = torch.from_numpy(assign_classes(JOINT, 0, np.arange(N)))
    assert len(classes.unique()) > 2
    chosen = {FIRST: classes // 3, SECOND: classes % 3}

    def loss(attribute: Attribute) -> Callable[[Tensor], Tensor]:
        return lambda h: -(logits(h, attribute) / 8).softmax(1)[torch.arange(N), chosen[attribute]].sum()

    wanted = released(H, [loss(FIRST), loss(SECOND)], [gamma(15), gamma(15)])
    assert agree(step(sample_guidance, (FIRST, SECOND), Recorder(H), scale=15.0), wanted)
    for mutant in ({"temperature": 2.0}, {"gamma_power": 0.0}, {"scale": -15.0}, {"scales": {"a": 1.0}}):
        fields = {"scale": 15.0, **mutant}
        assert not agree(step(sample_guidance, (FIRST, SECOND), Recorder(H), **fields), wanted), mutant


def test_latent_editing_adds_a_fixed_direction_times_the_scale() -> None:
    """h + scale direction_t for the chosen samples (h_classification.py:147-153), whatever h is."""
    n = 60
    h = normal(n, D, seed=3)
    task = Task(Recorder(h), (FIRST,), R["a"].numpy(), (999, T))  # type: ignore[arg-type]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(latent_editing, "load_or_train", lambda *_: [HEADS[FIRST]])
        patch.setattr(latent_editing, "unguided", lambda *_: (normal(40, D, seed=9), inversion.Cost()))
        guided = latent_editing.Method(scale=1.7).build(task, 0)
    batch = Batch(torch.arange(n), torch.zeros(n, dtype=torch.long), n)
    found = guided.denoise(torch.zeros(n, D).double(), T, batch)
    assert guided.notes is not None
    edits: Any = guided.notes["edits"]
    classes = edited_class(edits["kept"], np.array(edits["given"]), stratified(0, np.arange(n)))
    assert set(classes) > {-1}
    means = HEADS[FIRST].shift[0]
    towards = torch.stack([means[0] - means[1], means[1] - means[0]])
    wanted = h.clone()
    for i in np.flatnonzero(classes >= 0):
        wanted[i] += 1.7 * towards[classes[i]]
    assert agree(found, wanted)
    assert not agree(found, h + (wanted - h) / 2), "half the gap, the shift from the mean of all classes"
    moved = found - h
    assert agree(moved[classes >= 0], moved[classes >= 0][:1].expand((classes >= 0).sum(), D)), "one fixed direction"


class Linear:
    """A model with a linear denoiser, so that inversion can be restated."""

    name, digest, dtype, shape, conditions = "linear", "linear", torch.float64, (D,), ("none",)
    bottleneck_shape, device = (D,), torch.device("cpu")
    alphas_cumprod = (1 - BETAS).cumprod(0)

    def __init__(self) -> None:
        self.map, self.middle = 0.3 * normal(D, D, seed=4), normal(D, D, seed=5)

    def encode_bottleneck(self, x: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        return x @ self.middle + t[:, None] / 1000

    def denoise(self, x: Tensor, t: Tensor, condition: Tensor, bottleneck: Any = None) -> Tensor:
        if bottleneck is not None:
            bottleneck(self.encode_bottleneck(x, t, condition))
        return x @ self.map

    def encode(self, images: Tensor) -> Tensor:
        return images.double().flatten(1) / 50 - 2.5


def test_h_is_recorded_along_deterministic_ddim_inversion() -> None:
    """x_s = sqrt(a_s) D + sqrt(1 - a_s) eps from t up to s, h taken at t; the last step up has no h."""
    model, x = Linear(), normal(N, D, seed=6)
    a, x0, timesteps = model.alphas_cumprod, x, (999, 600, 200, 0)
    recorded, rolled = {}, x0
    for t, s in ((0, 200), (200, 600), (600, 999)):
        recorded[t] = model.encode_bottleneck(rolled, torch.full((N,), t), torch.zeros(N))
        denoised = rolled @ model.map
        eps = (rolled - a[t].sqrt() * denoised) / (1 - a[t]).sqrt()
        rolled = a[s].sqrt() * denoised + (1 - a[s]).sqrt() * eps
    seen = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            inversion, "train_head", lambda h, *_: seen.append(h) or (normal(2, D).float(), normal(2).float())
        )
        column = {FIRST: torch.arange(N) % 2}
        (heads,) = inversion.train_heads(model, x0, column, timesteps, 0)  # type: ignore[arg-type]
    assert heads.timesteps.tolist() == [0, 200, 600], "no head for the first step of sampling"
    for t, h in zip((0, 200, 600), seen, strict=True):
        assert agree(h, recorded[t].float())
    noised = a[600].sqrt() * x0 + (1 - a[600]).sqrt() * normal(N, D, seed=8)
    mutant = model.encode_bottleneck(noised, torch.full((N,), 600), torch.zeros(N))
    assert not agree(seen[2], mutant.float()), "independent noise is not inversion"


def test_a_head_is_trained_by_adam_on_cross_entropy() -> None:
    """Adam from its paper's algorithm, on the head's own initial weights and order of rows."""
    h, labels = normal(70, D, seed=7), torch.arange(70) % 3
    weight, bias = inversion.train_head(h, labels, 3, 5)

    def adam(rate: float, epochs: int, rows: int) -> Tensor:
        g = torch.Generator().manual_seed(5)
        w = torch.empty(3, D + 1).uniform_(-(D**-0.5), D**-0.5, generator=g).double()
        m, v, i = torch.zeros_like(w), torch.zeros_like(w), 0
        design = torch.cat([h, torch.ones(70, 1).double()], 1)
        for _ in range(epochs):
            for batch in torch.randperm(70, generator=g).split(rows):
                p = (design[batch] @ w.T).softmax(1)
                p[torch.arange(len(batch)), labels[batch]] -= 1
                gradient, i = p.T @ design[batch] / len(batch), i + 1
                m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
                w = w - rate * (m / (1 - 0.9**i)) / ((v / (1 - 0.999**i)).sqrt() + 1e-8)
        return w

    assert agree(torch.cat([weight, bias[:, None]], 1), adam(0.01, 3, 32))
    for mutant in ((0.001, 3, 32), (0.01, 2, 32), (0.01, 3, 16)):
        assert not agree(torch.cat([weight, bias[:, None]], 1), adam(*mutant)), mutant


def test_the_heads_learn_from_labelled_images_and_leave_the_generator_alone() -> None:
    model = Linear()
    images = np.random.default_rng(0).integers(0, 255, (600, D, 1, 1)).astype(np.uint8)
    labels = (images[:, :1, 0, 0] > 127).astype(np.int64)
    data = LabelledImages("few", images, labels, (FIRST,), np.array([0.5, 0.5]), "few")
    task = Task(model, (FIRST,), np.array([0.5, 0.5]), (999, 600, 0), data)  # type: ignore[arg-type]
    state = torch.get_rng_state()
    (heads,) = inversion.load_or_train(task, 250, 0)
    assert torch.equal(torch.get_rng_state(), state)
    assert heads.n == 500
    assert heads.cost.forward_rows == 500 * 1.5  # two heads; the encoder half alone serves the last
    assert set(heads.notes()) == {"adp_images", "adp_timesteps", "adp_training_accuracy"}
    assert float(heads.accuracy.min()) > 0.8
