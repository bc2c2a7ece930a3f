"""The sampling design of a cell: which of its samples are independent draws, and which numbers a method fixed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

INDEPENDENT, BY_CLASS, BY_BATCH = "independent", "by class", "by batch"  # values of the column `design` of results.csv
MIN_BATCHES = 8  # guidance batches from which their spread is used; fewer tell too little of it

BLOCK = 60  # samples whose assigned classes meet the target together; 60 is a multiple of 2, 3, 4, 5, 6, 10 and 12


@dataclass(frozen=True)
class Design:
    """Dependence of a cell's samples on one another.

    Attributes:
        strata: int64 [n], >= 0: the class that the method conditioned each sample on or assigned to it, where the
            method fixed how many samples each class has; equal numbers where it fixed nothing. Within a stratum,
            samples are independent draws of one distribution.
        batches: int64 [n], >= 0: the guidance batch of each sample, where the method steers whole batches, so that
            only different batches are independent; None where samples do not depend on their batch.
        block: samples in which each stratum has the same number of every prompt's samples, in random order, so that
            the numbers in a last, smaller block are random; 0 where all numbers are fixed.
    """

    strata: npt.NDArray[np.int64]
    batches: npt.NDArray[np.int64] | None = None
    block: int = 0

    @classmethod
    def independent(cls, n: int) -> Design:
        """Return the design of n independent draws."""
        return cls(np.zeros(n, dtype=np.int64))

    def rows(self, rows: slice) -> Design:
        """Return the design of some of the samples."""
        return Design(self.strata[rows], None if self.batches is None else self.batches[rows], self.block)

    @property
    def name(self) -> str:
        """The value of the column `design` of results.csv."""
        if self.batches is not None:
            return BY_BATCH
        return BY_CLASS if np.ptp(self.strata, axis=0) > 0 else INDEPENDENT

    def split(self, ends: npt.ArrayLike) -> list[Design]:
        """Return the designs of consecutive parts, such as prompts, given the number after the last sample of each."""
        begins = np.asarray(ends)[:-1]
        strata = np.split(self.strata, begins)
        batches = [None] * len(strata) if self.batches is None else np.split(self.batches, begins)
        return [Design(*arrays, self.block) for arrays in zip(strata, batches, strict=True)]

    def within(self, ends: npt.ArrayLike) -> Design:
        """Return the design with parts as further strata: every part has a fixed number of samples."""
        part_of_sample = np.searchsorted(np.asarray(ends), np.arange(len(self.strata)), side="right")
        return Design(part_of_sample * (self.strata.max(initial=0) + 1) + self.strata, self.batches, self.block)
