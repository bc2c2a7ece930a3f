"""DSM(obs): denoising score matching on the biased training set and the reference images together.

Source: the baseline "DSM(obs)" of Kim et al. 2024, arXiv 2403.01189. A score network is trained from scratch on the
union of both sets, every image equally often and with weight 1. It learns the bias of the training set, and shows what
the corrections of IW-DSM and TIW-DSM change.

Differs from the paper in the network, the budget and the parametrisation, which the whole family shares
(`methods.reweighting.settings`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from bench.protocols.method import Guided, Task, Traits
from methods.reweighting.family import Family, plain
from methods.reweighting.settings import Settings, check_fraction


@dataclass(frozen=True)
class Method:
    """A score model of the biased training set and the reference images together, every image equally often.

    The baseline "DSM(obs)" of Kim et al. 2024, arXiv 2403.01189.

    Attributes:
        reference_frac: number of reference images, as a fraction of the biased training set.
        training: networks and budgets; None takes the defaults for images or for vectors.
    """

    traits: ClassVar[Traits] = Traits(
        paper="Kim et al. 2024, arXiv 2403.01189",
        stage="training",
        needs=frozenset({"observed", "unbiased"}),
    )
    reference_frac: float = 0.05
    training: Settings | None = None

    def __post_init__(self) -> None:
        """Check the ranges of the fields."""
        check_fraction(self.reference_frac)

    def build(self, task: Task, seed: int) -> Guided:
        """Train the score network, or read it from the cache.

        Raises:
            Incompatible: a set is missing, or the reference set has too few images.
        """
        return Family(task, self.reference_frac, self.training).learn("dsm_obs", "union", plain)
