"""The common part of the reweighting family: train or load a discriminator and a score network, and sample with it."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from bench.core.errors import Incompatible
from bench.protocols.cache import Checkpoint, Note
from bench.protocols.counting import Counted
from bench.protocols.method import Batch, Cost, Curves, Guided, GuidedDenoiser, Task, micro_batches, timestep
from bench.protocols.model import DiffusionModel
from bench.training.loop import Loss, summary
from bench.training.score_matching import prediction_target, stratified_steps
from methods.reweighting.networks import discriminator_network
from methods.reweighting.pool import Draw, Noised, Pool, from_reference
from methods.reweighting.ratio import (
    QUANTILES,
    Reading,
    discriminator_loss,
    importance_steps,
    logit_quantiles,
    time_density,
    weight_quantiles,
)
from methods.reweighting.settings import IMAGES, VECTORS, FineTuning, Settings
from methods.reweighting.start import Start, from_model, from_scratch
from methods.reweighting.trainer import Trainer
from methods.reweighting.weights import Weights, load_or_train

LOOKED_AT = 256  # images of each set whose weights are noted
N_LOOKS = 6  # timesteps at which they are noted

Logit = Callable[[Tensor, Tensor], Tensor]  # (u = sqrt(a_t) x_t [n, *shape], t int64 [n]) -> logit of d [n]
Objective = Callable[[Tensor, Noised], Tensor]  # (the network's prediction [n, *shape], the batch) -> scalar loss


@dataclass(frozen=True)
class Plan:
    """The objective that a method trains its score network with.

    Attributes:
        objective: the loss of a batch.
        cost: of what was learnt for the objective, such as a discriminator.
        notes: noted beside the score network (JSON-able).
    """

    objective: Objective
    cost: Cost = Cost()
    notes: Mapping[str, object] = field(default_factory=dict)


def weighted_square(predicted: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Return the mean over rows of weight times the mean squared error of what the network predicts.

    In terms of scores it is lambda(t) w ||s_hat - s||^2. At fixed x_t, the error of v is -sqrt((1 - a) / a) times that
    of the score, the error of epsilon -sqrt(1 - a) times it, and the error of x_0 (1 - a) / sqrt(a) times it. So
    lambda(t) is (1 - a) / a, 1 - a and (1 - a)^2 / a.

    Args:
        predicted: [n, *shape].
        target: [n, *shape].
        weight: [n], >= 0.
    """
    return (weight * (predicted - target).square().flatten(1).mean(1)).mean()


def plain(prediction: str) -> Plan:
    """Return unweighted denoising score matching for a network with this prediction: weight 1 for every row."""

    def objective(predicted: Tensor, batch: Noised) -> Tensor:
        target = prediction_target(prediction, batch.x0, batch.eps, batch.a)
        return weighted_square(predicted, target, torch.ones(len(target), device=target.device))

    return Plan(objective)


class Family:
    """The two image sets of a task, and the training that every method of the family does with them.

    The reference images are the first `round(reference_frac * n_observed)` images of the task's reference set
    (`Task.unbiased`); n_observed is the size of the biased training set (`Task.observed`). Labels of neither set are
    read.
    """

    def __init__(
        self, task: Task, reference_frac: float, settings: Settings | None, fine_tuning: FineTuning | None = None
    ) -> None:
        """Check that the task has what the family needs.

        Args:
            task: the task.
            reference_frac: number of reference images, as a fraction of the biased training set, in (0, 1].
            settings: networks and budgets; None takes those for images or for vectors, depending on the samples.
            fine_tuning: the budget of a score network that starts from the model; None starts from random weights.

        Raises:
            Incompatible: a set is missing, or the reference set has too few images.
        """
        observed, unbiased = task.observed, task.unbiased
        if observed is None:
            raise Incompatible("there are no observed images to train on; add `observed: NAME` to the suite")
        if unbiased is None:
            raise Incompatible("there is no unbiased set to take the reference from; add `unbiased: NAME` to the suite")
        n = round(reference_frac * len(observed))
        if not 1 <= n <= len(unbiased):
            raise Incompatible(
                f"reference_frac {reference_frac:g} of {len(observed):,} observed images asks for {n:,} of the "
                f"{len(unbiased):,} unbiased ones; choose another fraction or a larger set"
            )
        self.task, self.n_reference = task, n
        self.settings = settings or (IMAGES if IMAGES.is_image(task.model.shape) else VECTORS)
        self.observed, self.unbiased = observed, unbiased
        self._fine_tuning = fine_tuning
        self.trainer = Trainer()

    @functools.cached_property
    def start(self) -> Start:
        """The score network before its training.

        Raises:
            Incompatible: it is the model's own, which cannot be trained.
        """
        if self._fine_tuning is None:
            return from_scratch(self.task.model, self.settings)
        return from_model(self.task.model, self.settings, self._fine_tuning)

    @functools.cached_property
    def pool(self) -> Pool:
        """The images, read when a network must be trained."""
        flips = self.settings.flips and self.settings.is_image(self.task.model.shape)
        reference = np.array(self.unbiased.images[: self.n_reference])
        return Pool(self.task.model, reference, np.array(self.observed.images), flips)

    def data_recipe(self) -> Note:
        """Return the part of every key that describes the data, with the model's noise schedule and shape; JSON-able.

        The model's weights are in the keys of networks that start from them only.
        """
        model = self.task.model
        return {
            "observed": self.observed.digest,
            "unbiased": self.unbiased.digest,
            "n_reference": self.n_reference,
            "shape": list(model.shape),
            "is_image": self.settings.is_image(model.shape),
            "schedule": {k: v for k, v in model.scheduler_config.items() if not k.startswith("_")},
        }

    def discriminator_recipe(self, time_dependent: bool) -> Note:
        """Return everything that determines a discriminator; JSON-able."""
        header = {"what": "discriminator", "time_dependent": time_dependent}
        return {**header, **self.data_recipe(), "training": self.settings.of_discriminator()}

    def discriminator(self, time_dependent: bool) -> tuple[Logit, Note]:
        """Return the logit of d, from the cache or trained now, with the note beside it.

        Args:
            time_dependent: True for d(x_t, t), trained at every t; False for d(x_0), trained on clean samples and
                called with t = 0.
        """
        model = self.task.model
        network = discriminator_network(model.shape, len(model.alphas_cumprod), self.settings).to(model.device)
        logit = self.trainer.counted(network)

        def fit(checkpoint: Checkpoint) -> Note:
            label = "discriminator, time-dependent" if time_dependent else "discriminator of clean samples"
            loss, budget = self._discriminator_loss(logit, time_dependent), self.settings.discriminator_budget()
            losses, cost = self.trainer.train(network, loss, budget, checkpoint, label)
            return {
                "cost": dataclasses.asdict(cost),
                "found": {"discriminator": summary(losses), "logits": self._logit_notes(logit, time_dependent)},
            }

        recipe = self.discriminator_recipe(time_dependent)
        note = load_or_train(Weights(network), recipe, self.task.cache, fit)
        return logit, note

    def _discriminator_loss(self, logit: Logit, time_dependent: bool) -> Loss:
        n, pool = self.settings.batch, self.pool
        is_reference = from_reference(n).to(self.task.model.device)
        density = time_density(self.task.model.alphas_cumprod).cpu()

        def loss(g: torch.Generator) -> Tensor:
            if not time_dependent:
                x0 = pool.clean("halves", n, g)
                return discriminator_loss(logit(x0, timestep(0, n, x0.device)), is_reference)
            t = importance_steps(n // 2, density, g).repeat_interleave(2)  # each pair of rows shares its t
            batch = pool.noised("halves", t, g)
            return discriminator_loss(logit(batch.a.sqrt() * batch.x, batch.t), is_reference)

        return loss

    def _logit_notes(self, logit: Logit, time_dependent: bool) -> Note:
        """Return quantiles of the logit on either set, at timesteps evenly spread from the first to the last."""
        last = len(self.task.model.alphas_cumprod) - 1
        timesteps = [round(i * last / (N_LOOKS - 1)) for i in range(N_LOOKS)] if time_dependent else [0]
        sets: tuple[Draw, Draw] = ("observed", "reference")
        notes: Note = {"timesteps": timesteps, "quantiles": list(QUANTILES)}
        with torch.no_grad():
            for draw in sets:
                rows = []
                for t in timesteps:
                    g = torch.Generator().manual_seed(self.settings.seed)
                    batch = self.pool.noised(draw, torch.full((LOOKED_AT,), t), g)
                    u = batch.a.sqrt() * batch.x if time_dependent else batch.x0
                    rows.append(logit_quantiles(logit(u, batch.t)))
                notes[draw] = rows
        return notes

    def learn(
        self,
        name: str,
        draw: Draw,
        plan: Callable[[], Plan],
        fields: Mapping[str, object] | None = None,
        discriminator: Mapping[str, object] | None = None,
    ) -> Guided:
        """Return the denoiser of a score network, from the cache or trained now.

        Args:
            name: of the method.
            draw: which images the score network is trained on.
            plan: learns what the objective needs; called only if the network must be trained.
            fields: the method's fields that determine its objective (JSON-able).
            discriminator: the recipe of the discriminator that the objective needs; None where it needs none.

        Returns:
            The guided denoiser, with the cost and the notes of the run that trained the networks.
        """
        start = self.start
        recipe = {
            "what": name,
            "fields": dict(fields or {}),
            "draw": draw,
            **self.data_recipe(),
            **start.recipe,
            "discriminator": dict(discriminator) if discriminator is not None else None,
        }

        def fit(checkpoint: Checkpoint) -> Note:
            training = plan()
            loss = self._score_loss(draw, training.objective)
            label = f"score network of {name}"
            losses, cost = self.trainer.train(start.network, loss, start.budget, checkpoint, label)
            notes = {
                "reference_images": self.n_reference,
                "observed_images": len(self.observed),
                "parameters": sum(p.numel() for p in start.network.parameters()),
                "score_network": summary(losses),
                **training.notes,
            }
            return {"cost": dataclasses.asdict(cost + training.cost), "found": notes}

        note = load_or_train(start.packing, recipe, self.task.cache, fit)
        notes: Note = note["found"]
        denoise = denoiser(self.task.model, start)
        return Guided(denoise, cost=Cost(**note["cost"]), notes=notes, curves=weight_curves(notes))

    def _score_loss(self, draw: Draw, objective: Objective) -> Loss:
        n, pool, predict = self.settings.batch, self.pool, self.trainer.counted(self.start.predict)

        def loss(g: torch.Generator) -> Tensor:
            batch = pool.noised(draw, stratified_steps(n, len(pool.alphas_cumprod), g), g)
            return objective(predict(batch.x, batch.t), batch)

        return loss


def discriminator_notes(note: Note, reading: Reading) -> Note:
    """Return the notes on a discriminator: its training, and quantiles of w on either set by timestep."""
    logits = note["found"]["logits"]
    weights = {draw: weight_quantiles(logits[draw], reading) for draw in ("observed", "reference")}
    axes = {"timesteps": logits["timesteps"], "quantiles": logits["quantiles"]}
    training = {"discriminator_cost": note["cost"], "discriminator": note["found"]["discriminator"]}
    return {**training, "weights": {**axes, **weights}}


def weight_curves(notes: Note) -> tuple[Curves, ...]:
    """Return the weights of the notes as curves: their quantiles on either set, and how these narrow with t.

    Source: the weight histograms of Kim et al. 2024, arXiv 2403.01189, as quantile functions. A method without weights
    has no curves.
    """
    if "weights" not in notes:
        return ()
    weights, sets = notes["weights"], ("observed", "reference")
    timesteps, quantiles = weights["timesteps"], weights["quantiles"]
    panels = [
        Curves(
            f"Weights at timestep {timesteps[0]}",
            "quantile",
            "weight w",
            quantiles,
            {f"{name} images": weights[name][0] for name in sets},
        )
    ]
    if len(timesteps) > 1:
        shown = [(k, q) for k, q in enumerate(quantiles) if q in (QUANTILES[0], 0.5, QUANTILES[-1])]
        lines = {f"{name}, quantile {q:g}": [row[k] for row in weights[name]] for name in sets for k, q in shown}
        panels.append(Curves("Weights by noise level", "timestep", "weight w", timesteps, lines))
    return tuple(panels)


def denoiser(model: DiffusionModel, start: Start) -> GuidedDenoiser:
    """Return the trained network's D for whole guidance batches; a counted model counts its rows as its own."""

    def denoise(x: Tensor, t: int, batch: Batch) -> Tensor:
        rows = [start.denoise(x[piece], t) for piece in micro_batches(len(x), batch.micro)]
        if isinstance(model, Counted):
            model.counts.forward_rows += len(x)
        return torch.cat(rows)

    return denoise
