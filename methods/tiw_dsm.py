"""TIW-DSM: a score model of the unbiased distribution, trained on biased data with a time-dependent importance weight.

Source: Kim et al. 2024, arXiv 2403.01189.

With x_t = sqrt(a) x_0 + sqrt(1-a) eps, u = sqrt(a) x_t, and p_obs the distribution of the training samples:

1. Discriminator d(x_t, t): noised reference samples (1) against noised biased ones (0), balanced, at every t
   (`methods.reweighting.ratio.discriminator_loss`, `time_density`).
2. Ratio w_t(x) = p_data(x_t) / p_obs(x_t), from d (`methods.reweighting.ratio.log_ratio`).
3. Correction: grad log w_t is the score of p_data minus that of p_obs (`log_weight_and_gradient`).
4. Corrected target: the score of p(x_t | x_0) plus grad log w_t, in terms of eps and x_0 (`corrected`), then what
   the network predicts: v, epsilon or x_0 (`bench.training.score_matching.prediction_target`).
5. Objective: E_t E_{p_obs} lambda(t) w_t(x_t) || s_hat - corrected target ||^2
   (`methods.reweighting.family.weighted_square`).

The minimiser is the score of p_data at every t. Since w_t depends on (x_t, t) alone, the correction by itself moves the
minimiser and the weight by itself does not. The weight matters for a network that cannot fit the target everywhere, or
has too few samples to: it fits best under p_data, where it is used, instead of under p_obs.

The method aims at the distribution of the reference set, whatever a task's target is. Differs from the release in four
points: the model's own prediction type and noise schedule, with equal loss weight at every t; a discriminator that is a
function of sqrt(a_t) x_t; a network that starts from the model's weights (`init: model`), or a small one from scratch
that predicts v (`init: scratch`), where the release trains a large one from scratch; and the paper's formulas where the
published code computes something else (`reweighted`). The family shares the first three
(`methods.reweighting.settings`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from bench.core.errors import ConfigError
from bench.protocols.method import Cost, Guided, SearchSpace, Task, Traits
from bench.training.score_matching import prediction_target
from methods.reweighting.family import Family, Logit, Plan, discriminator_notes, weighted_square
from methods.reweighting.pool import DRAWS, Noised
from methods.reweighting.ratio import Reading, log_ratio
from methods.reweighting.settings import FINE_TUNING_SPACE, FineTuning, Init, Settings, check_fraction

Variant = Literal["full", "weight_only", "correction_only"]
Formula = Literal["paper", "released"]


def log_weight_and_gradient(
    logit: Logit, u: Tensor, t: Tensor, reading: Reading, formula: Formula = "paper"
) -> tuple[Tensor, Tensor]:
    """Return log w_t and its gradient in u = sqrt(a_t) x_t: grad_u log w = grad_x log w / sqrt(a_t), finite at a_t = 0.

    Args:
        logit: of the discriminator, a function of (u, t).
        u: [n, *shape].
        t: int64 [n].
        reading: defines p_obs.
        formula: "released" takes minus the gradient of d itself in place of that of log w.

    Returns:
        log w [n] and the gradient [n, *shape], both detached.
    """
    with torch.enable_grad():
        u = u.detach().requires_grad_()
        logits = logit(u, t)
        log_w = log_ratio(logits, reading)
        (gradient,) = torch.autograd.grad((-logits.sigmoid() if formula == "released" else log_w).sum(), u)
    return log_w.detach(), gradient


def corrected(x0: Tensor, eps: Tensor, a: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
    """Return (x_0', eps') whose eps' carries the corrected score, at the same x_t = sqrt(a) x_0' + sqrt(1-a) eps'.

    The score is -eps / sqrt(1-a), so adding grad_x log w to it is eps' = eps - sqrt(1-a) grad_x log w. At fixed x_t,
    x_0' = (x_t - sqrt(1-a) eps') / sqrt(a) = x_0 + (1-a) / sqrt(a) grad_x log w. With grad_x = sqrt(a) grad_u both
    are finite at a = 0, and so is v' = sqrt(a) eps' - sqrt(1-a) x_0' = v - sqrt(1-a) grad_u log w.

    Args:
        x0: [n, *shape].
        eps: [n, *shape].
        a: a_t, broadcast to x0.
        gradient: grad_u log w_t [n, *shape], u = sqrt(a_t) x_t.
    """
    return x0 + (1 - a) * gradient, eps - (a * (1 - a)).sqrt() * gradient


def reweighted(
    logit: Logit,
    batch: Noised,
    reading: Reading,
    variant: Variant = "full",
    formula: Formula = "paper",
    prediction: str = "v_prediction",
) -> tuple[Tensor, Tensor]:
    """Return the weight [n] of each row, and what the network must predict [n, *shape].

    With formula "released" both are as the authors' repository computes them at commit 51af8d4, for the record. The
    target is x_0 - sigma^2 grad_x d (classifier_lib.py:358-359, training/loss.py:104): d replaces log w, and the sign
    is the opposite of the paper's, so the target moves away from the reference set. The weights 2 d have one axis too
    many (training/loss.py:104) and multiply every row alike. Here each row has the batch's mean weight; the release
    has the sum, a constant factor that Adam's steps do not depend on.

    Args:
        logit: of the discriminator, a function of (u, t).
        batch: of p_obs, noised.
        reading: defines p_obs.
        variant: "weight_only" leaves the target unchanged, "correction_only" gives every row weight 1.
        formula: of the paper, or of its published code.
        prediction: of the network: "v_prediction", "epsilon" or "sample" (x_0).
    """
    log_w, gradient = log_weight_and_gradient(logit, batch.a.sqrt() * batch.x, batch.t, reading, formula)
    weight = log_w.exp()
    if formula == "released":
        weight = weight.mean().expand_as(weight)
    if variant == "correction_only":
        weight = torch.ones_like(weight)
    if variant == "weight_only":
        gradient = torch.zeros_like(gradient)
    x0, eps = corrected(batch.x0, batch.eps, batch.a, gradient)
    return weight, prediction_target(prediction, x0, eps, batch.a)


@dataclass(frozen=True)
class Method:
    """A score model trained on biased images, reweighted and corrected towards a small unbiased reference set.

    Kim et al. 2024, arXiv 2403.01189; the file's docstring lists the steps and the differences.

    Attributes:
        reference_frac: number of reference images, as a fraction of the biased training set; 0.05 to 0.5 in the paper.
        reading: "pooled": half of every batch is from the reference set, and w = 2 d <= 2; "disjoint": batches are from
            the biased training set alone, and w = d / (1 - d), which is unbounded.
        variant: "full", or one of the two ablations.
        formula: "paper", or "released": the arithmetic of the authors' repository at commit 51af8d4, whose correction
            has the opposite sign; defined for the pooled reading only.
        training: networks and budgets; None takes the defaults for images or for vectors.
        init: "model" trains a copy of the model's own network, without a condition; "scratch" trains a small network.
        fine_tuning: the budget with init "model"; with "scratch" it has no effect.
    """

    traits: ClassVar[Traits] = Traits(
        paper="Kim et al. 2024, arXiv 2403.01189",
        stage="training",
        needs=frozenset({"observed", "unbiased"}),
    )
    search_space: ClassVar[SearchSpace] = FINE_TUNING_SPACE
    reference_frac: float = 0.05
    reading: Reading = "pooled"
    variant: Variant = "full"
    formula: Formula = "paper"
    training: Settings | None = None
    init: Init = "model"
    fine_tuning: FineTuning = FineTuning()

    def __post_init__(self) -> None:
        """Check the ranges of the fields."""
        check_fraction(self.reference_frac)
        if self.formula == "released" and self.reading != "pooled":
            raise ConfigError(f"formula released must go with reading pooled, got reading {self.reading}")

    def build(self, task: Task, seed: int) -> Guided:
        """Train the discriminator and the score network, or read them from the cache.

        Raises:
            Incompatible: a set is missing, the reference set has too few images, or the model cannot be trained.
        """
        family = Family(task, self.reference_frac, self.training, self.fine_tuning if self.init == "model" else None)

        def plan() -> Plan:
            logit, note = family.discriminator(time_dependent=True)

            def objective(predicted: Tensor, batch: Noised) -> Tensor:
                choices = (self.reading, self.variant, self.formula, family.start.prediction)
                weight, target = reweighted(logit, batch, *choices)
                return weighted_square(predicted, target, weight)

            return Plan(objective, Cost(**note["cost"]), discriminator_notes(note, self.reading))

        formula = "released 51af8d4" if self.formula == "released" else self.formula  # not the sign cached before
        fields = {"reading": self.reading, "variant": self.variant, "formula": formula}
        recipe = family.discriminator_recipe(time_dependent=True)
        return family.learn("tiw_dsm", DRAWS[self.reading], plan, fields, recipe)
