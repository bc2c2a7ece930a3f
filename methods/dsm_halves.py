"""DSM on the draws of TIW-DSM: a control that tells what the density ratio adds to drawing the reference set often.

Source: a control of this project, not of Kim et al. 2024 (arXiv 2403.01189), whose baselines do not include it. TIW-DSM
and IW-DSM (reading "pooled") draw half of every batch from the reference set, and so does this method; it trains by
plain denoising score matching, without a weight, a correction or a discriminator. Its minimiser is the score of
(p_bias + p_data) / 2, half of the way from the biased distribution to that of the reference set. What TIW-DSM leaves
less than this method is due to the ratio.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from bench.protocols.method import Guided, SearchSpace, Task, Traits
from methods.reweighting.family import Family, plain
from methods.reweighting.settings import FINE_TUNING_SPACE, FineTuning, Init, Settings, check_fraction


@dataclass(frozen=True)
class Method:
    """A score model of batches that are half from the reference set: the draws of TIW-DSM without its ratio.

    A control of this project.

    Attributes:
        reference_frac: number of reference images, as a fraction of the biased training set.
        training: networks and budgets; None takes the defaults for images or for vectors.
        init: "model" trains a copy of the model's own network, without a condition; "scratch" trains a small network.
        fine_tuning: the budget with init "model"; with "scratch" it has no effect.
    """

    traits: ClassVar[Traits] = Traits(
        paper="this project: a control of TIW-DSM",
        stage="training",
        needs=frozenset({"observed", "unbiased"}),
    )
    search_space: ClassVar[SearchSpace] = FINE_TUNING_SPACE
    reference_frac: float = 0.05
    training: Settings | None = None
    init: Init = "model"
    fine_tuning: FineTuning = FineTuning()

    def __post_init__(self) -> None:
        """Check the ranges of the fields."""
        check_fraction(self.reference_frac)

    def build(self, task: Task, seed: int) -> Guided:
        """Train the score network, or read it from the cache.

        Raises:
            Incompatible: a set is missing, the reference set has too few images, or the model cannot be trained.
        """
        family = Family(task, self.reference_frac, self.training, self.fine_tuning if self.init == "model" else None)
        return family.learn("dsm_halves", "halves", partial(plain, family.start.prediction))
