"""The groups of samples that a jackknife leaves out one at a time."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from bench.core.design import MIN_BATCHES, Design

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
FEW = 10  # groups of a jackknife whose replicates are costly; row i is in group i % FEW
FEW_BATCHES = f"fewer than {MIN_BATCHES} guidance batches: the interval is that of independent samples"


@dataclass(frozen=True)
class Groups:
    """Groups of the rows of an array.

    Attributes:
        labels: int64 [n], the group of every row, in [0, number of groups); every group has a row.
        note: why they are not what the design of the samples asks for; empty if they are.
        batches: whether they are whole guidance batches.
    """

    labels: Ints
    note: str = ""
    batches: bool = False

    @cached_property
    def sizes(self) -> Ints:
        """Number of rows of each group, int64 [groups]."""
        return np.bincount(self.labels)

    @property
    def count(self) -> int:
        """Number of groups."""
        return self.sizes.size

    def sums(self, values: Floats) -> Floats:
        """Return the sum of values [n] over each group, float64 [groups]."""
        return np.asarray(np.bincount(self.labels, values, self.count), dtype=np.float64)

    def members(self, group: int, rows: slice = slice(None)) -> Ints:
        """Return the positions of a group's members among some rows, rising int64."""
        return np.flatnonzero(self.labels[rows] == group)

    def without_each(self) -> list[list[int]]:
        """Return all groups, then all without each one: the samples of the jackknife."""
        every = list(range(self.count))
        return [every, *([g for g in every if g != left_out] for left_out in every)]


def means(values: Floats, groups: Groups) -> Floats:
    """Return the mean of values [n], then that without each group; float64 [1 + groups]."""
    return np.append(values.mean(), (values.sum() - groups.sums(values)) / (values.size - groups.sizes))


def one_group(n: int) -> Groups:
    """Return one group of all n rows."""
    return Groups(np.zeros(n, dtype=np.int64))


def singles(n: int) -> Groups:
    """Return n groups of one row each."""
    return Groups(np.arange(n))


def interleaved(n: int) -> Groups:
    """Return min(n, FEW) groups of n rows: row i is in group i % FEW."""
    return Groups(np.arange(n) % FEW)


def groups_of(design: Design | None, rows: Ints, *, few: bool) -> Groups:
    """Return the groups of some samples: whole guidance batches where a method steers whole batches.

    Args:
        design: that of all samples; None for independent draws.
        rows: int64 [m], the samples that are used, rising.
        few: whether there are to be `FEW` groups at most; single samples, or single batches, if not.

    Returns:
        Guidance batches, if the samples are of `MIN_BATCHES` or more; where few groups are wanted, batch i of the
        samples' is in group i % FEW. Groups of independent samples otherwise.
    """
    note = ""
    if design is not None and design.batches is not None:
        present, labels = np.unique(design.batches[rows], return_inverse=True)
        if present.size >= MIN_BATCHES:
            return Groups(labels % FEW if few else labels, batches=True)
        note = FEW_BATCHES
    labels = np.arange(len(rows))
    return Groups(labels % FEW if few else labels, note)
