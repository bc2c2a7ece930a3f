"""DSM(obs): denoising score matching on the biased training set and the reference images together.

Source: the baseline "DSM(obs)" of Kim et al. 2024, arXiv 2403.01189. A score network is trained from scratch on the
union of both sets, every image equally often and with weight 1. It learns the bias of the training set, and shows what
the corrections of IW-DSM and TIW-DSM change.

Differs from the paper in the network, the budget and the parametrisation, which the whole family shares
(`methods.reweighting.settings`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from bench.core.errors import Incompatible
from bench.protocols.method import Guided, Task, Traits
from methods.reweighting.family import Family, plain
from methods.reweighting.settings import Init, Settings, check_fraction


@dataclass(frozen=True)
class Method:
    """A score model of the biased training set and the reference images together, every image equally often.

    The baseline "DSM(obs)" of Kim et al. 2024, arXiv 2403.01189.

    Attributes:
        reference_frac: number of reference images, as a fraction of the biased training set.
        training: networks and budgets; None takes the defaults for images or for vectors.
        init: "scratch" trains a small network; "model", the family's default, is refused, since the model's own network
            trained further on its own biased images is the model: vanilla's row.
    """

    traits: ClassVar[Traits] = Traits(
        paper="Kim et al. 2024, arXiv 2403.01189",
        stage="training",
        needs=frozenset({"observed", "unbiased"}),
    )
    reference_frac: float = 0.05
    training: Settings | None = None
    init: Init = "model"

    def __post_init__(self) -> None:
        """Check the ranges of the fields."""
        check_fraction(self.reference_frac)

    def build(self, task: Task, seed: int) -> Guided:
        """Train the score network, or read it from the cache.

        Raises:
            Incompatible: a set is missing, the reference set has too few images, or init is "model".
        """
        family = Family(task, self.reference_frac, self.training)
        if self.init == "model":
            raise Incompatible(
                "dsm_obs from the model trains it further on its own biased images, which leaves it as it is: read "
                "vanilla's row, or set init: scratch"
            )
        return family.learn("dsm_obs", "union", partial(plain, family.start.prediction))
