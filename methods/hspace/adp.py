"""The attribute distribution predictor (ADP): for every sampling step a linear map from h_t to class logits.

The idea is of Parihar et al. 2024, arXiv 2402.18206, whose release trains each head by gradient descent on inverted
images (`methods.hspace.inversion`). Here, in a fit of this project, the heads come in closed form, by ridge regression
of the one-hot labels on independently noised images; leave-one-out predictions choose the penalty and
scale the logits. At high noise h carries no information about the class: the leave-one-out predictions then carry none
either and the logits fall back to equal class probabilities, instead of memorising the training images.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bench.core.attributes import Attribute
from bench.core.errors import Incompatible
from bench.core.seeds import derive_seed
from bench.protocols.cache import Arrays, Note
from bench.protocols.method import Cost, Task, micro_batches, timestep
from bench.protocols.model import DiffusionModel, broadcast
from bench.protocols.progress import Progress, silent

PENALTIES = (1e-3, 1e-2, 1e-1, 1.0)  # of the ridge, relative to the mean squared length of centred h
FORMAT = "adp 2"  # part of the cache's key: raise it when the fit changes
CHUNK = 64  # images the encoder half runs on at once


@dataclass(frozen=True)
class Heads:
    """The ADP of one attribute (or of a joint) at every sampling step, S steps in all.

    Attributes:
        attribute: what it predicts.
        timesteps: int64 [S], the training timesteps that it was fitted for.
        weight: float32 [S, K, D]; logits = weight h + bias for the flattened h [D].
        bias: float32 [S, K].
        shift: float32 [S, K, D], the mean of h in each class less the mean over classes.
        accuracy: float64 [S], balanced over classes, in [0, 1]; leave-one-out, or on the training images.
        n: number of labelled images it was fitted on.
        cost: of the fitting pass, which other attributes may share.
        held_out: whether the accuracy is leave-one-out.
    """

    attribute: Attribute
    timesteps: Tensor
    weight: Tensor
    bias: Tensor
    shift: Tensor
    accuracy: Tensor
    n: int = 0
    cost: Cost = Cost()
    held_out: bool = True

    def at(self, t: int) -> int:
        """Return the index of the step that was fitted for timestep t.

        Raises:
            Incompatible: none was.
        """
        steps = (self.timesteps == t).nonzero()
        if not len(steps):
            raise Incompatible(f"the ADP was not fitted for timestep {t}; fit it for the steps that sampling visits")
        return int(steps[0, 0])

    def with_prior(self, shares: npt.NDArray[np.float64]) -> Heads:
        """Return the ADP for a model whose classes have these shares [K], > 0; the fit assumes equal shares.

        By Bayes' rule log(K shares) is added to the logits. Without it, the predicted distribution of a biased
        model's batch is near uniform wherever h carries little information, so that the batch is not pushed early in
        sampling, while the classes are still undecided.
        """
        shift = torch.from_numpy(np.log(len(shares) * shares)).to(self.bias)
        return dataclasses.replace(self, bias=self.bias + shift)

    def notes(self) -> dict[str, object]:
        """Return the number of images, the timesteps and the accuracy, for the run's records."""
        accuracy = [round(v, 4) for v in self.accuracy.tolist()]
        name = "adp_accuracy" if self.held_out else "adp_training_accuracy"
        return {"adp_images": self.n, "adp_timesteps": self.timesteps.tolist(), name: accuracy}

    def logits(self, h: Tensor, step: int) -> Tensor:
        """Return the logits [n, K] of h [n, ...] at a step's index."""
        return h.flatten(1).to(self.weight.dtype) @ self.weight[step].T + self.bias[step]


def ridge_inverse(gram: Tensor, penalty: float) -> Tensor:
    """Return (gram + penalty I)^-1 for inner products gram [n, n] and penalty > 0."""
    return torch.cholesky_inverse(torch.linalg.cholesky(gram + penalty * torch.eye(len(gram), dtype=gram.dtype)))


def ridge_leave_one_out(inverse: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Fit dual ridge regression without intercept, and compute its exact leave-one-out predictions.

    With G = gram + penalty I: alpha = G^-1 y, and the prediction for row i of the fit without row i is
    y_i - alpha_i / (G^-1)_ii.

    Args:
        inverse: G^-1 [n, n], of `ridge_inverse`.
        targets: [n, K], centred.

    Returns:
        alpha [n, K] and the leave-one-out predictions [n, K].
    """
    alpha = inverse @ targets
    return alpha, targets - alpha / inverse.diagonal()[:, None]


def gaussian_logits(z: Tensor, labels: Tensor, n_classes: int) -> tuple[Tensor, Tensor]:
    """Fit linear discriminant analysis with equal priors: logits = z weight^T + bias.

    Args:
        z: [n, m], n > m.
        labels: int64 [n]; every class must occur.
        n_classes: K.

    Returns:
        weight [K, m] and bias [K].
    """
    means = torch.stack([z[labels == k].mean(0) for k in range(n_classes)])
    within = z - means[labels]
    precision = torch.linalg.pinv(within.T @ within / (len(z) - n_classes), hermitian=True)
    weight = means @ precision
    return weight, -0.5 * (weight * means).sum(1)


class Step:
    """Flattened h [n, D] of one sampling step, centred, with the matrices that the fits of all attributes share."""

    def __init__(self, h: Tensor) -> None:
        self.centre = h.mean(0)
        self.rows = h - self.centre
        gram = (self.rows @ self.rows.T).double()
        scale = float(gram.diagonal().mean())
        self.inverses = [ridge_inverse(gram, penalty * scale) for penalty in PENALTIES]

    def fit(self, labels: Tensor, n_classes: int) -> tuple[Tensor, Tensor, Tensor, float]:
        """Fit the linear head of one attribute.

        Args:
            labels: int64 [n]; every class must occur at least twice.
            n_classes: K.

        Returns:
            weight [K, D], bias [K], shift [K, D] (see `Heads`), and the balanced leave-one-out accuracy.
        """
        targets = torch.nn.functional.one_hot(labels, n_classes).double()
        targets = targets - targets.mean(0)
        fits = [ridge_leave_one_out(inverse, targets) for inverse in self.inverses]
        alpha, held_out = min(fits, key=lambda fit: float((targets - fit[1]).square().sum()))
        # Logits fitted to the leave-one-out predictions are as confident as h warrants, and not overconfident.
        outer, bias = gaussian_logits(held_out, labels, n_classes)
        guess = (held_out @ outer.T + bias).argmax(1)
        accuracy = torch.stack([(guess[labels == k] == k).double().mean() for k in range(n_classes)]).mean()
        weight = (outer @ alpha.T).to(self.rows) @ self.rows
        means = torch.stack([self.rows[labels == k].mean(0) for k in range(n_classes)])
        return weight, bias.to(weight) - weight @ self.centre, means - means.mean(0), float(accuracy)


def noised_bottleneck(model: DiffusionModel, x0: Tensor, t: int, seed: int) -> Tensor:
    """Return flattened h [n, D] of x_t without condition, x0 [n, *shape] noised with the noise of (seed, t)."""
    g = torch.Generator().manual_seed(derive_seed("adp", seed, t))
    eps = torch.randn(x0.shape, generator=g, dtype=x0.dtype).to(x0.device)
    a = broadcast(model.alphas_cumprod[torch.tensor([t])], x0)
    x = a.sqrt() * x0 + (1 - a).sqrt() * eps
    rows = [
        model.encode_bottleneck(x[piece], timestep(t, len(x[piece]), x.device), timestep(0, len(x[piece]), x.device))
        for piece in micro_batches(len(x), CHUNK)
    ]
    return torch.cat(rows).flatten(1)


def fit_heads(
    model: DiffusionModel,
    x0: Tensor,
    labels: dict[Attribute, Tensor],
    timesteps: tuple[int, ...],
    seed: int,
    progress: Progress = silent,
) -> list[Heads]:
    """Fit the ADPs of several attributes in one pass of the encoder half.

    Args:
        model: the diffusion model, with a bottleneck.
        x0: [n, *shape], clean labelled samples.
        labels: for each attribute, int64 [n].
        timesteps: the training timesteps to fit for.
        seed: of the noise added to x0.
        progress: wraps the loop over the timesteps.
    """
    fits: dict[Attribute, list[tuple[Tensor, Tensor, Tensor, float]]] = {a: [] for a in labels}
    start = time.perf_counter()
    with torch.no_grad():
        for t in progress(timesteps, "fitting the attribute distribution predictor"):
            step = Step(noised_bottleneck(model, x0, t, seed).float().cpu())
            for attribute, column in labels.items():
                fits[attribute].append(step.fit(column, attribute.n_classes))
    cost = Cost(time.perf_counter() - start, forward_rows=len(x0) * len(timesteps) / 2)
    steps = torch.tensor(timesteps)
    heads = []
    for attribute in labels:
        *maps, accuracy = zip(*fits[attribute], strict=True)
        weight, bias, shift = (torch.stack(m).to(model.device) for m in maps)
        balanced = torch.tensor(accuracy, dtype=torch.float64)
        heads.append(Heads(attribute, steps, weight, bias, shift, balanced, len(x0), cost))
    return heads


def load_or_fit(task: Task, attribute: Attribute, labels_per_class: int, seed: int) -> Heads:
    """Return the ADP of one attribute, or of the joint of several, from the cache or fitted now.

    All single attributes of the labelled set are fitted in one pass of the encoder half, which tasks on different
    attributes share. A joint is fitted by itself.

    Args:
        task: gives the model, the labelled images, the timesteps and the cache.
        attribute: an attribute of the labelled set, or the product of the task's attributes.
        labels_per_class: labelled images per class of the attribute with the most classes in the pass.
        seed: of the noise added to the images.

    Raises:
        Incompatible: the model has no bottleneck, there is no labelled set, or it lacks a class.
    """
    data = task.labelled
    fitted: dict[Attribute, tuple[Attribute, ...]] = {attribute: task.attributes}
    if data is not None and attribute in data.attributes:
        fitted = {a: (a,) for a in data.attributes}
    x0, labels, n = first_labelled(task, fitted, labels_per_class)

    def fit() -> tuple[Arrays, Note]:
        heads = fit_heads(task.model, x0(), labels, task.timesteps, seed, task.progress)
        return pack(heads), {"n": n, "cost": dataclasses.asdict(heads[0].cost)}

    assert data is not None, "first_labelled refuses a task without"
    names = [a.name for a in fitted]
    key = [FORMAT, PENALTIES, task.model.digest, data.digest, n, seed, task.timesteps, names]
    arrays, note = task.cache.get("adp", key, fit)
    return unpack(arrays, note, attribute, list(fitted).index(attribute), task.model)


def first_labelled(
    task: Task, fitted: Mapping[Attribute, tuple[Attribute, ...]], labels_per_class: int
) -> tuple[Callable[[], Tensor], dict[Attribute, Tensor], int]:
    """Return a function for the first labelled images as samples x_0, their labels, and their number n.

    Args:
        task: gives the model and the labelled images.
        fitted: each attribute or joint to fit, with the attributes that it is the joint of.
        labels_per_class: labelled images per class of the attribute with the most classes.

    Raises:
        Incompatible: the model has no bottleneck, there is no labelled set, or it lacks a class.
    """
    model, data = task.model, task.labelled
    if model.bottleneck_shape is None:
        raise Incompatible(f"model {model.name} has no bottleneck; choose a U-Net")
    if data is None:
        raise Incompatible("there are no labelled images to learn from; add `labelled: NAME` to the suite")
    n = min(len(data), labels_per_class * max(a.n_classes for a in fitted))
    labels = {a: torch.from_numpy(data.column(parts)[:n]) for a, parts in fitted.items()}
    for a, column in labels.items():
        counts = torch.bincount(column, minlength=a.n_classes)
        if (counts < 2).any():
            rare = a.classes[int(counts.argmin())]
            raise Incompatible(f"the labelled images hold fewer than 2 of {a.name}={rare}; name a set with more")
    images = data.images[:n]
    return lambda: model.encode(torch.from_numpy(np.array(images))), labels, n


_FIELDS = ("timesteps", "weight", "bias", "shift", "accuracy")


def pack(heads: list[Heads]) -> Arrays:
    """Return the arrays of heads, for the cache."""
    return {f"{i}-{field}": getattr(head, field).cpu().numpy() for i, head in enumerate(heads) for field in _FIELDS}


def unpack(arrays: Arrays, note: Note, attribute: Attribute, i: int, model: DiffusionModel) -> Heads:
    """Return the heads number i of `pack`'s arrays."""
    steps, *maps, accuracy = (torch.from_numpy(np.array(arrays[f"{i}-{field}"])) for field in _FIELDS)
    weight, bias, shift = (m.to(model.device) for m in maps)
    return Heads(attribute, steps, weight, bias, shift, accuracy, note["n"], Cost(**note["cost"]))
