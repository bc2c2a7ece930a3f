"""Universal guidance: a classifier of clean images steers every step through the predicted image D(x_t).

Source: Bansal et al. 2023, arXiv 2302.07121, as released in arpitbansal297/Universal-Guided-Diffusion at commit
ff82f88. Files and lines are of that repository.

1. Forward guidance: D moves along the gradient in x_t of a loss l(f(D(x_t))) of the classifier f (`forward_guided`).
2. Backward guidance: Adam lowers l from the forward-guided prediction, clamped to [-1, 1] before every step and at the
   end (`descend`; Guided_Diffusion_Imagenet/guided_diffusion/gaussian_diffusion.py:720-795). The release's scripts take
   1 step of rate 0.01 unless asked (Guided_Diffusion_Imagenet/Guided/Clip_guided.py, --optim_max_iters, --optim_lr). It
   stops at a sample whose loss is below 1e-5; here every step is taken.
3. Self-recurrence: the sampler takes every step `repeats` times; 2 to 10 in every command of the release's README, with
   250 to 1,000 steps.

With `through: noise`, `loss: assigned_probability`, `backward_steps: 0` and `repeats: 1` it is the image-space baseline
of Parihar et al. 2024, arXiv 2402.18206 (rishubhpar/debiasing_gen_models at commit aeb2d96, image_classifier.py:52-77,
:114-117, utils/diffusion_utils.py:95-97): L = -sum_i softmax(f(D_i) / 8)[c_i], summed over the attributes, with the
noise held; 300 times a scale there is `strength` here.

Through the network dD/dx = sqrt(a) / (1 - a) Cov[x_0 | x_t], so forward guidance moves D by
-s Cov[x_0 | x_t] grad_D l; with the noise held constant, by -s (1 - a) / a grad_D l. Where f(D(x_t)) = p(c | x_t), the
former with strength 1 is the exact class-conditional denoiser. A classifier of clean images is more confident about
D(x_t) than is warranted, by an amount that depends on the noise level, so the best strength must be tuned.

At a_t = 0 nothing is guided: x_t holds no information about x_0, so the gradient in x_t is 0 and its factor infinite.
The batch losses are of this project: distribution guidance in image space.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bench.core.errors import ConfigError
from bench.protocols.method import (
    Batch,
    Guided,
    SearchSpace,
    Task,
    Traits,
    check_window,
    micro_batches,
    timestep,
)
from bench.protocols.model import DiffusionModel
from methods.targeting.assigned_classes import assign_classes
from methods.targeting.classifiers import find_classifier, joint_log_probabilities
from methods.targeting.losses import GRADIENTS, relative_flatness, smooth

Through = Literal["unet", "noise"]
LossName = Literal["assigned_class", "assigned_probability", "chi_square", "kl"]
AssignedClasses = Callable[[npt.NDArray[np.int64]], npt.NDArray[np.int64]]  # sample numbers [n] -> classes [n]
# (log-probabilities of the joint [n, K] of some rows, or those of each attribute side by side, their exponentials' mean
# over the whole guidance batch [K], the rows' sample numbers [n]) -> a scalar whose gradient in the rows is that of L,
# summed over the guidance batch
RowsLoss = Callable[[Tensor, Tensor, Tensor], Tensor]


def forward_guided(denoised: Tensor, gradient: Tensor, a: float, strength: float) -> Tensor:
    """Return forward guidance, eps_hat = eps + s sqrt(1 - a) grad_x l, as a change of D.

    With D = (x - sqrt(1 - a) eps) / sqrt(a) this is D_hat = D - s (1 - a) / sqrt(a) grad_x l. For l = -log p(c | x_t)
    and s = 1 it is the class-conditional denoiser, by Tweedie's formula: the score gains grad log p(c | x_t).

    Args:
        denoised: D [n, *shape].
        gradient: grad_x l, shaped as D.
        a: a_t, in (0, 1).
        strength: s.
    """
    return denoised - strength * (1 - a) / math.sqrt(a) * gradient


def with_noise_held(gradient: Tensor, a: float) -> Tensor:
    """Return grad_x l from grad_D l where eps is held constant, so that dD/dx = 1 / sqrt(a), a > 0."""
    return gradient / math.sqrt(a)


def descend(gradient: Callable[[Tensor], Tensor], guided: Tensor, steps: int, lr: float) -> Tensor:
    """Return the prediction after backward guidance: `steps` steps of Adam on l(f(z)) from z = guided.

    z is clamped to [-1, 1], the range of images, before every step and at the end.

    Args:
        gradient: grad_z l, as a function of z.
        guided: the forward-guided prediction [n, *shape].
        steps: number of steps, >= 1.
        lr: Adam's rate.
    """
    z = guided.clone()
    optimiser = torch.optim.Adam([z], lr=lr)
    for _ in range(steps):
        z.clamp_(-1, 1)
        z.grad = gradient(z)
        optimiser.step()
    return z.clamp(-1, 1)


@dataclass(frozen=True)
class Steering:
    """A loss L of a guidance batch of clean images, and its gradient in them.

    L is summed over the batch, not averaged, so the push on a sample does not depend on the batch size.

    Attributes:
        log_probabilities: maps images [n, *shape] to the classifier's log p of the joint [n, K].
        loss: of some rows; see `RowsLoss`.
        couples_batch: whether `loss` depends on the mean probabilities of the whole guidance batch.
    """

    log_probabilities: Callable[[Tensor], Tensor]
    loss: RowsLoss
    couples_batch: bool

    def gradient(self, images: Tensor, batch: Batch) -> Tensor:
        """Return dL/dimages [n, *shape] for the images of a guidance batch, `batch.micro` rows at a time."""
        pieces = micro_batches(len(images), batch.micro)
        mean = self._mean(images, batch, pieces) if self.couples_batch and len(pieces) > 1 else None
        gradients: list[Tensor] = []
        for piece in pieces:
            with torch.enable_grad():
                rows = images[piece].detach().requires_grad_()
                log_p = self.log_probabilities(rows)
                p_hat = mean
                if p_hat is None:
                    p = log_p.detach().exp()
                    p_hat = batch.mean(p.sum(0)) if self.couples_batch else p.mean(0)
                gradients += torch.autograd.grad(self.loss(log_p, p_hat, batch.index[piece]), rows)
        return torch.cat(gradients)

    def _mean(self, images: Tensor, batch: Batch, pieces: list[slice]) -> Tensor:
        with torch.no_grad():
            return batch.mean(torch.cat([self.log_probabilities(images[piece]).exp() for piece in pieces]).sum(0))


def predict(model: DiffusionModel, x: Tensor, t: int, batch: Batch) -> Tensor:
    """Return D(x, t) [n, *shape] of a guidance batch, without a graph."""
    pieces = micro_batches(len(x), batch.micro)
    with torch.no_grad():
        return torch.cat([model.denoise(x[p], timestep(t, len(x[p]), x.device), batch.condition[p]) for p in pieces])


def predict_and_pull_back(
    model: DiffusionModel, steering: Steering, x: Tensor, t: int, batch: Batch
) -> tuple[Tensor, Tensor]:
    """Return D(x, t) of a guidance batch, and grad_x L(D(x, t)) through the network, both [n, *shape].

    The gradient in D is computed first and then pulled back through the network, so that memory holds one graph at a
    time. Where the loss needs the mean of a batch of several compute batches, a first pass of the network computes it.
    """
    pieces = micro_batches(len(x), batch.micro)
    upstream = None
    if steering.couples_batch and len(pieces) > 1:
        upstream = steering.gradient(predict(model, x, t, batch), batch)
    denoised: list[Tensor] = []
    gradients: list[Tensor] = []
    for piece in pieces:
        with torch.enable_grad():
            rows = x[piece].detach().requires_grad_()
            out = model.denoise(rows, timestep(t, len(rows), x.device), batch.condition[piece])
        denoised.append(out.detach())
        rows_batch = dataclasses.replace(batch, index=batch.index[piece])  # all rows, or a loss without a mean
        toward = steering.gradient(denoised[-1], rows_batch) if upstream is None else upstream[piece]
        gradients += torch.autograd.grad(out, rows, toward)
    return torch.cat(denoised), torch.cat(gradients)


def assigned_class_loss(assigned: AssignedClasses) -> RowsLoss:
    """Return L = -sum_i log p(c_i | image i), for the classes c = assigned(sample numbers)."""

    def loss(log_p: Tensor, _mean: Tensor, index: Tensor) -> Tensor:
        classes = torch.from_numpy(assigned(index.cpu().numpy())).to(log_p.device)
        return torch.nn.functional.nll_loss(log_p, classes, reduction="sum")

    return loss


def assigned_probability_loss(assigned: AssignedClasses, sizes: tuple[int, ...]) -> RowsLoss:
    """Return L = -sum_i sum_a p_a(c_ia | image i), over the attributes' own probabilities, side by side.

    Args:
        assigned: maps sample numbers to classes of the joint.
        sizes: number of classes of each attribute.
    """

    def loss(log_p: Tensor, _mean: Tensor, index: Tensor) -> Tensor:
        classes = np.unravel_index(assigned(index.cpu().numpy()), sizes)
        total = log_p.new_zeros(())
        for log_p_a, c in zip(log_p.split(sizes, dim=1), classes, strict=True):
            chosen = torch.from_numpy(c).to(log_p.device)
            total = total - log_p_a.gather(1, chosen[:, None]).exp().sum()
        return total

    return loss


def batch_loss(name: str, target: Tensor) -> RowsLoss:
    """Return L = n l(p_hat, r), as dl/dp_hat . p_i for each row with p_hat held constant: the same gradient, by row.

    Skewed targets take the smaller step of distribution guidance in h-space (`relative_flatness`).
    """
    flatness = relative_flatness(name, target)

    def loss(log_p: Tensor, mean: Tensor, _index: Tensor) -> Tensor:
        positive = mean.clamp(min=torch.finfo(mean.dtype).tiny)  # a probability may round to 0, where kl has no slope
        slope = GRADIENTS[name](positive, target.to(log_p))
        return flatness * (slope * log_p.exp()).sum()

    return loss


@dataclass(frozen=True)
class Method:
    """An image classifier f steers x_t so that f(D(x_t)) gives the assigned class, or the batch meets the target.

    Bansal et al. 2023, arXiv 2302.07121, as released; the file's docstring lists the steps.

    Attributes:
        classifier: name of the extractor that guides; it must offer logits.
        strength: s of forward guidance, 1 for Bayes' rule; 0 turns it off, which without backward guidance and
            repeats gives the base model exactly.
        through: "unet": the gradient goes through the network (a backward pass); "noise": the predicted noise is held
            constant, which needs no backward pass but weights high noise by 1 / a_t.
        backward_steps: Adam's steps of backward guidance; 0 turns it off.
        backward_lr: its learning rate, > 0.
        repeats: how often each step is taken (self-recurrence), >= 1.
        loss: "assigned_class": cross-entropy to the class assigned to each sample, the classes meeting the target;
            "assigned_probability": minus its probability, per attribute, the loss of Balancing Act's baseline;
            "chi_square" or "kl": of the batch's mean probabilities against the target (distribution guidance in image
            space).
        temperature: of the classifier's softmax, > 0; 8 in Balancing Act's baseline.
        window: the guided part of sampling, as fractions of the training timesteps, low < high.
    """

    search_space: ClassVar[SearchSpace] = {"strength": "0.5..32:log", "backward_lr": "0.001..0.3:log"}
    classifier: str = "attribute_resnet"
    strength: float = 2.0
    through: Through = "unet"
    backward_steps: int = 1
    backward_lr: float = 0.01
    repeats: int = 2
    loss: LossName = "assigned_class"
    temperature: float = 1.0
    window: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        """Check the ranges of the fields."""
        for name, value, choices in (("through", self.through, Through), ("loss", self.loss, LossName)):
            if value not in get_args(choices):
                raise ConfigError(f"{name} must be one of {', '.join(get_args(choices))}, got {value!r}")
        if not math.isfinite(self.strength):
            raise ConfigError(f"strength must be a finite number, got {self.strength}")
        if self.backward_steps < 0:
            raise ConfigError(f"backward_steps must be at least 0, got {self.backward_steps}")
        if not 0 < self.backward_lr < math.inf:
            raise ConfigError(f"backward_lr must be > 0 and finite, got {self.backward_lr}")
        if self.repeats < 1:
            raise ConfigError(f"repeats must be at least 1, got {self.repeats}")
        if not 0 < self.temperature < math.inf:
            raise ConfigError(f"temperature must be > 0 and finite, got {self.temperature}")
        check_window(self.window)

    @property
    def coupled(self) -> bool:
        """True where the loss is of the whole batch, so that its samples depend on one another."""
        return self.loss in ("chi_square", "kl")

    @property
    def traits(self) -> Traits:
        """The declared properties: `loss` decides whether samples are coupled, `through` the backward passes."""
        return Traits(
            paper="Bansal et al. 2023, arXiv 2302.07121",
            stage="sampling",
            needs=frozenset({"classifier", "target"}),
            couples_batch=self.coupled,
            couples_by_mean=self.coupled,
            backward=float(self.through == "unet" and self.strength != 0),
            neutral={"strength": 0.0, "backward_steps": 0, "repeats": 1},
        )

    def build(self, task: Task, seed: int) -> Guided:
        """Load and check the classifier; nothing is learnt.

        Raises:
            Incompatible: there is no such classifier, or it does not fit the task.
        """
        classifier, model = find_classifier(task, self.classifier), task.model

        def assigned(index: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
            return assign_classes(task.target, seed, index)

        def log_probabilities(images: Tensor) -> Tensor:
            logits = {name: values / self.temperature for name, values in classifier.logits(images).items()}
            if self.loss == "assigned_probability":
                return torch.cat([logits[a.name].log_softmax(1) for a in task.attributes], 1)
            return joint_log_probabilities(logits, task.attributes)

        steering = Steering(log_probabilities, self._loss(task, assigned), self.coupled)
        low, high = (round(fraction * len(model.alphas_cumprod)) for fraction in self.window)

        def denoise(x: Tensor, t: int, batch: Batch) -> Tensor:
            if float(model.alphas_cumprod[t]) == 0 or not low <= t < high:
                return predict(model, x, t, batch)
            return self._guide(model, steering, x, t, batch)

        return Guided(
            denoise,
            assigned_classes=None if self.coupled else assigned,
            repeats=self.repeats,
            notes={"classifier": self.classifier, "classifier_sha256": classifier.digest},
        )

    def _loss(self, task: Task, assigned: AssignedClasses) -> RowsLoss:
        """Return the loss that the field names."""
        if self.loss == "assigned_class":
            return assigned_class_loss(assigned)
        if self.loss == "assigned_probability":
            return assigned_probability_loss(assigned, tuple(a.n_classes for a in task.attributes))
        return batch_loss(self.loss, torch.from_numpy(smooth(task.target)))

    def _guide(self, model: DiffusionModel, steering: Steering, x: Tensor, t: int, batch: Batch) -> Tensor:
        """Return D_hat(x, t) where a_t > 0: forward guidance from D, then backward guidance from its result."""
        a = float(model.alphas_cumprod[t])

        def toward(images: Tensor) -> Tensor:
            return steering.gradient(images, batch)

        if self.strength != 0 and self.through == "unet":
            denoised, gradient = predict_and_pull_back(model, steering, x, t, batch)
            guided = forward_guided(denoised, gradient, a, self.strength)
        else:
            denoised = guided = predict(model, x, t, batch)
            if self.strength != 0:
                guided = forward_guided(denoised, with_noise_held(toward(denoised), a), a, self.strength)
        if self.backward_steps:
            guided = descend(toward, guided, self.backward_steps, self.backward_lr)
        return guided
