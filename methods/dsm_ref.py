"""DSM(ref): denoising score matching on the small unbiased reference set alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from bench.protocols.method import Guided, Task, Traits
from methods.reweighting.family import Family, plain
from methods.reweighting.settings import Settings, check_fraction


@dataclass(frozen=True)
class Method:
    """A score model of the reference set: unbiased, and with little to learn from.

    Source: the baseline "DSM(ref)" of Kim et al. 2024, arXiv 2403.01189.

    Attributes:
        reference_frac: size of the reference set, as a fraction of the observed set's.
        training: networks and budgets; those for the kind of sample unless given.
    """

    traits: ClassVar[Traits] = Traits(
        paper="Kim et al. 2024, arXiv 2403.01189",
        stage="training",
        needs=frozenset({"observed", "unbiased"}),
    )
    reference_frac: float = 0.05
    training: Settings | None = None

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        check_fraction(self.reference_frac)

    def build(self, task: Task, seed: int) -> Guided:
        """Train the score network, or take it from where it is kept.

        Raises:
            Incompatible: a set is missing, or the unbiased one has too few images.
        """
        return Family(task, self.reference_frac, self.training).learn("dsm_ref", "reference", plain)
