"""IW-DSM: denoising score matching on biased data, each clean sample weighted by a time-independent density ratio.

Source: the baseline "IW-DSM" of Kim et al. 2024, arXiv 2403.01189.

1. A discriminator d(x_0) learns to tell clean reference images (1) from clean images of the biased training set (0).
2. It gives the weight w_0(x_0) = p_data(x_0) / p_obs(x_0) (`clean_weight`).
3. The score network minimises E_t E_{p_obs} lambda(t) w_0(x_0) || s_hat - grad log p(x_t | x_0) ||^2: weighted samples
   with unchanged targets.

With the exact ratio the minimiser is the score of p_data, as with TIW-DSM. The weights vary more than those of TIW-DSM,
since clean samples are easier to tell apart than noised ones.

Differs from the paper in the network, the budget and the parametrisation, which the whole family shares
(`methods.reweighting.settings`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from bench.protocols.method import Cost, Guided, SearchSpace, Task, Traits, timestep
from bench.training.score_matching import prediction_target
from methods.reweighting.family import Family, Logit, Plan, discriminator_notes, weighted_square
from methods.reweighting.pool import DRAWS, Noised
from methods.reweighting.ratio import Reading, log_ratio
from methods.reweighting.settings import FINE_TUNING_SPACE, FineTuning, Init, Settings, check_fraction


def clean_weight(logit: Logit, x0: Tensor, reading: Reading) -> Tensor:
    """Return w_0(x_0) = p_data(x_0) / p_obs(x_0) [n], from the logit of a discriminator of clean samples."""
    with torch.no_grad():
        return log_ratio(logit(x0, timestep(0, len(x0), x0.device)), reading).exp()


@dataclass(frozen=True)
class Method:
    """A score model trained on biased images, each weighted by the density ratio of its clean version.

    The baseline "IW-DSM" of Kim et al. 2024, arXiv 2403.01189; the file's docstring lists the steps.

    Attributes:
        reference_frac: number of reference images, as a fraction of the biased training set.
        reading: "pooled": half of every batch is from the reference set, and w = 2 d <= 2; "disjoint": batches are from
            the biased training set alone, and w = d / (1 - d), which is unbounded.
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
    training: Settings | None = None
    init: Init = "model"
    fine_tuning: FineTuning = FineTuning()

    def __post_init__(self) -> None:
        """Check the ranges of the fields."""
        check_fraction(self.reference_frac)

    def build(self, task: Task, seed: int) -> Guided:
        """Train the discriminator and the score network, or read them from the cache.

        Raises:
            Incompatible: a set is missing, the reference set has too few images, or the model cannot be trained.
        """
        family = Family(task, self.reference_frac, self.training, self.fine_tuning if self.init == "model" else None)

        def plan() -> Plan:
            logit, note = family.discriminator(time_dependent=False)

            def objective(predicted: Tensor, batch: Noised) -> Tensor:
                target = prediction_target(family.start.prediction, batch.x0, batch.eps, batch.a)
                return weighted_square(predicted, target, clean_weight(logit, batch.x0, self.reading))

            return Plan(objective, Cost(**note["cost"]), discriminator_notes(note, self.reading))

        recipe = family.discriminator_recipe(time_dependent=False)
        return family.learn("iw_dsm", DRAWS[self.reading], plan, {"reading": self.reading}, recipe)
