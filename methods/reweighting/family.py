"""What the methods of this family share: train (or find) a discriminator and a score network, and sample with it."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bench.core.errors import Incompatible
from bench.models.counting import Counted
from bench.protocols.method import Batch, Cost, Curves, Guided, GuidedDenoiser, Task, micro_batches, timestep
from bench.protocols.model import DiffusionModel
from bench.training.loop import Loss, summary
from bench.training.score_model import stratified_steps, target
from methods.reweighting.networks import discriminator_network, score_network
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
from methods.reweighting.settings import IMAGES, VECTORS, Settings
from methods.reweighting.trainer import Trainer
from methods.reweighting.weights import Note, load_or_train

LOOKED_AT = 256  # images of each set whose weights are noted
N_LOOKS = 6  # timesteps at which they are

Logit = Callable[[Tensor, Tensor], Tensor]  # (u = sqrt(a_t) x_t [n, *shape], t int64 [n]) -> logit of d [n]
Objective = Callable[[Tensor, Noised], Tensor]  # (predicted v [n, *shape], the batch) -> scalar loss


@dataclass(frozen=True)
class Plan:
    """What a method adds to denoising score matching, once it is known that a network must be trained.

    Attributes:
        objective: the loss of a batch.
        cost: of what was learnt for the objective.
        found: to note beside the score network (JSON-able).
    """

    objective: Objective
    cost: Cost = Cost()
    found: Mapping[str, object] = field(default_factory=dict)


def weighted_square(v_hat: Tensor, v: Tensor, weight: Tensor) -> Tensor:
    """The mean over rows of weight times the mean squared error of v.

    In terms of scores it is lambda(t) w ||s_hat - s||^2 with lambda(t) = (1 - a_t) / a_t, since at fixed x_t
    v_hat - v = -sqrt((1 - a_t) / a_t) (s_hat - s).

    Args:
        v_hat: [n, *shape], predicted.
        v: [n, *shape], wanted.
        weight: [n], >= 0.
    """
    return (weight * (v_hat - v).square().flatten(1).mean(1)).mean()


def plain() -> Plan:
    """Denoising score matching as it is: every row alike, v as its target."""

    def objective(v_hat: Tensor, batch: Noised) -> Tensor:
        v = target("v_prediction", batch.x0, batch.eps, batch.a)
        return weighted_square(v_hat, v, torch.ones(len(v), device=v.device))

    return Plan(objective)


class Family:
    """The two image sets of a task, and the training that every method of the family does with them.

    The reference set is the first `round(reference_frac * n_observed)` images of the unbiased set. Labels of neither
    set are read.
    """

    def __init__(self, task: Task, reference_frac: float, settings: Settings | None) -> None:
        """Check that the task has what is needed.

        Args:
            task: the task.
            reference_frac: size of the reference set as a fraction of the observed one's, in (0, 1].
            settings: networks and budgets; None takes those for images or for vectors, as the samples are.

        Raises:
            Incompatible: a set is missing, or the unbiased one has too few images.
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
        self.trainer = Trainer()

    @functools.cached_property
    def pool(self) -> Pool:
        """The images, loaded when something must be trained."""
        flips = self.settings.flips and self.settings.is_image(self.task.model.shape)
        reference = np.array(self.unbiased.images[: self.n_reference])
        return Pool(self.task.model, reference, np.array(self.observed.images), flips)

    def data_recipe(self) -> dict[str, object]:
        """The part of every key that says what is learnt from; JSON-able.

        The model gives the noise schedule and the shape, no weights: every network is trained from scratch.
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

    def discriminator_recipe(self, time_dependent: bool) -> dict[str, object]:
        """All that decides a discriminator; JSON-able."""
        what = {"what": "discriminator", "time_dependent": time_dependent}
        return {**what, **self.data_recipe(), "training": self.settings.of_discriminator()}

    def discriminator(self, time_dependent: bool) -> tuple[Logit, Note]:
        """The logit of d, from the cache or trained now, with the note beside it.

        Args:
            time_dependent: d(x_t, t), trained at every t; or d(x_0), trained on clean samples and asked with t = 0.
        """
        model = self.task.model
        network = discriminator_network(model.shape, len(model.alphas_cumprod), self.settings).to(model.device)
        logit = self.trainer.counted(network)

        def fit(checkpoint: Path) -> Note:
            what = "discriminator, time-dependent" if time_dependent else "discriminator of clean samples"
            loss, budget = self._discriminator_loss(logit, time_dependent), self.settings.discriminator_budget()
            losses, cost = self.trainer.train(network, loss, budget, checkpoint, what)
            return {
                "cost": dataclasses.asdict(cost),
                "found": {"discriminator": summary(losses), "logits": self._look(logit, time_dependent)},
            }

        note = load_or_train(network, self.discriminator_recipe(time_dependent), self.task.cache, fit)
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

    def _look(self, logit: Logit, time_dependent: bool) -> dict[str, object]:
        """Quantiles of the logit on either set, at timesteps evenly spread from the first to the last."""
        last = len(self.task.model.alphas_cumprod) - 1
        timesteps = [round(i * last / (N_LOOKS - 1)) for i in range(N_LOOKS)] if time_dependent else [0]
        sets: tuple[Draw, Draw] = ("observed", "reference")
        found: dict[str, object] = {"timesteps": timesteps, "quantiles": list(QUANTILES)}
        with torch.no_grad():
            for draw in sets:
                rows = []
                for t in timesteps:
                    g = torch.Generator().manual_seed(self.settings.seed)
                    batch = self.pool.noised(draw, torch.full((LOOKED_AT,), t), g)
                    u = batch.a.sqrt() * batch.x if time_dependent else batch.x0
                    rows.append(logit_quantiles(logit(u, batch.t)))
                found[draw] = rows
        return found

    def learn(
        self,
        name: str,
        draw: Draw,
        plan: Callable[[], Plan],
        fields: Mapping[str, object] | None = None,
        discriminator: Mapping[str, object] | None = None,
    ) -> Guided:
        """The denoiser of a score network: shipped, from the cache, or trained now.

        Args:
            name: of the method.
            draw: which images the score network is trained on.
            plan: called only if the network must be trained; learns what the objective needs.
            fields: of the method, that decide its objective (JSON-able).
            discriminator: the recipe of the one that the objective needs.

        Returns:
            The guided denoiser, with the cost and the notes from when the networks were trained.
        """
        model = self.task.model
        network = score_network(model.shape, len(model.alphas_cumprod), self.settings).to(model.device)
        recipe = {
            "what": name,
            "fields": dict(fields or {}),
            "draw": draw,
            **self.data_recipe(),
            "training": self.settings.of_score(),
            "discriminator": dict(discriminator) if discriminator is not None else None,
        }

        def fit(checkpoint: Path) -> Note:
            todo = plan()
            loss = self._score_loss(network, draw, todo.objective)
            budget = self.settings.score_budget()
            losses, own = self.trainer.train(network, loss, budget, checkpoint, f"score network of {name}")
            total = Cost(
                own.seconds + todo.cost.seconds,
                own.forward_rows + todo.cost.forward_rows,
                own.backward_rows + todo.cost.backward_rows,
            )
            found = {
                "reference_images": self.n_reference,
                "observed_images": len(self.observed),
                "parameters": sum(p.numel() for p in network.parameters()),
                "score_network": summary(losses),
                **todo.found,
            }
            return {"cost": dataclasses.asdict(total), "found": found}

        note = load_or_train(network, recipe, self.task.cache, fit)
        found = note["found"]
        return Guided(denoiser(model, network), cost=Cost(**note["cost"]), notes=found, curves=plotted(found))

    def _score_loss(self, network: nn.Module, draw: Draw, objective: Objective) -> Loss:
        n, pool, v = self.settings.batch, self.pool, self.trainer.counted(network)

        def loss(g: torch.Generator) -> Tensor:
            batch = pool.noised(draw, stratified_steps(n, len(pool.alphas_cumprod), g), g)
            return objective(v(batch.x, batch.t), batch)

        return loss


def discriminator_found(note: Note, reading: Reading) -> dict[str, object]:
    """What a discriminator's note says for a method's own: its training, and quantiles of w on either set by t."""
    logits = note["found"]["logits"]
    weights = {draw: weight_quantiles(logits[draw], reading) for draw in ("observed", "reference")}
    about = {"timesteps": logits["timesteps"], "quantiles": logits["quantiles"]}
    cost = {"discriminator_cost": note["cost"], "discriminator": note["found"]["discriminator"]}
    return {**cost, "weights": {**about, **weights}}


def plotted(found: Mapping[str, Any]) -> tuple[Curves, ...]:
    """The weights of the notes: their distribution on either set, and how it narrows with t. Nothing without weights.

    Source: the weight histograms of Kim et al. 2024, arXiv 2403.01189, as quantile functions.
    """
    if "weights" not in found:
        return ()
    weights, sets = found["weights"], ("observed", "reference")
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


def denoiser(model: DiffusionModel, network: nn.Module) -> GuidedDenoiser:
    """D = sqrt(a) x - sqrt(1-a) v of a network that predicts v; a counted model counts its rows as its own."""

    def denoise(x: Tensor, t: int, batch: Batch) -> Tensor:
        a = float(model.alphas_cumprod[t])
        rows = []
        for part in micro_batches(len(x), batch.micro):
            piece = x[part]
            v = network(piece.to(torch.float32), timestep(t, len(piece), x.device)).to(x.dtype)
            rows.append(a**0.5 * piece - (1 - a) ** 0.5 * v)
        if isinstance(model, Counted):
            model.counts.forward_rows += len(x)
        return torch.cat(rows)

    return denoise
