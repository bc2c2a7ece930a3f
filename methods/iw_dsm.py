"""IW-DSM: denoising score matching on biased data, each clean sample weighted by a time-independent density ratio."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from bench.protocols.method import Cost, Guided, Task, Traits, timestep
from bench.training.score_model import target
from methods.reweighting.family import Family, Logit, Plan, discriminator_found, weighted_square
from methods.reweighting.pool import DRAWS, Noised
from methods.reweighting.ratio import Reading, log_ratio
from methods.reweighting.settings import Settings, check_fraction


def clean_weight(logit: Logit, x0: Tensor, reading: Reading) -> Tensor:
    """w_0(x_0) = p_data(x_0) / p_obs(x_0) [n], from the logit of a discriminator of clean samples."""
    with torch.no_grad():
        return log_ratio(logit(x0, timestep(0, len(x0), x0.device)), reading).exp()


@dataclass(frozen=True)
class Method:
    """E_t E_{p_obs} lambda(t) w_0(x_0) || s_hat - grad log p(x_t | x_0) ||^2: weighted samples, targets left alone.

    Source: the baseline "IW-DSM" of Kim et al. 2024, arXiv 2403.01189. With the exact ratio its minimiser is the
    score of p_data too; its weights vary more, since clean samples are told apart more easily than noised ones.

    Attributes:
        reference_frac: size of the reference set, as a fraction of the observed set's.
        reading: "pooled", half of every batch is of the reference set and w = 2 d <= 2; or "disjoint", observed
            images alone and w = d / (1 - d), which has no bound.
        training: networks and budgets; those for the kind of sample unless given.
    """

    traits: ClassVar[Traits] = Traits(
        paper="Kim et al. 2024, arXiv 2403.01189",
        stage="training",
        needs=frozenset({"observed", "unbiased"}),
    )
    reference_frac: float = 0.05
    reading: Reading = "pooled"
    training: Settings | None = None

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        check_fraction(self.reference_frac)

    def build(self, task: Task, seed: int) -> Guided:
        """Train the discriminator and the score network, or take them from where they are kept.

        Raises:
            Incompatible: a set is missing, or the unbiased one has too few images.
        """
        family = Family(task, self.reference_frac, self.training)

        def plan() -> Plan:
            logit, note = family.discriminator(time_dependent=False)

            def objective(v_hat: Tensor, batch: Noised) -> Tensor:
                v = target("v_prediction", batch.x0, batch.eps, batch.a)
                return weighted_square(v_hat, v, clean_weight(logit, batch.x0, self.reading))

            return Plan(objective, Cost(**note["cost"]), discriminator_found(note, self.reading))

        recipe = family.discriminator_recipe(time_dependent=False)
        return family.learn("iw_dsm", DRAWS[self.reading], plan, {"reading": self.reading}, recipe)
