"""DSM(ref): denoising score matching on the small, unbiased reference set alone.

Source: the baseline "DSM(ref)" of Kim et al. 2024, arXiv 2403.01189. A score network is trained on the reference
images, from scratch in the paper and from the model's weights by default here. It is unbiased, but has few images to
learn from.

Differs from the paper in the network, the budget and the parametrisation, which the whole family shares
(`methods.reweighting.settings`).
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
    """A score model of the reference images alone: unbiased, trained on few images.

    The baseline "DSM(ref)" of Kim et al. 2024, arXiv 2403.01189.

    Attributes:
        reference_frac: number of reference images, as a fraction of the biased training set.
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
        return family.learn("dsm_ref", "reference", partial(plain, family.start.prediction))
