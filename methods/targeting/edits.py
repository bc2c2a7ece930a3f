"""The samples that an edit moves: chosen before sampling, so that the target is met if every edit succeeds."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bench.core.design import BLOCK

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


def edit_probabilities(p: Floats, r: Floats) -> tuple[float, Floats]:
    """Write the target as r = keep p + edit, with the largest possible keep.

    A sample is left alone with probability keep, and gets class k with probability edit_k. The choice does not depend
    on the class that the sample would have had, which is unknown before it is drawn; so, if every edit succeeds, a
    share keep p_k + edit_k = r_k ends in class k. edit >= 0 bounds keep by r_k / p_k.

    Args:
        p: [K], the model's own class shares, summing to 1.
        r: [K], the target, summing to 1.

    Returns:
        keep in [0, 1] and edit [K] >= 0, which sums to 1 - keep.

    >>> keep, edit = edit_probabilities(np.array([0.8, 0.2]), np.array([0.5, 0.5]))
    >>> keep, edit.tolist()
    (0.625, [0.0, 0.375])
    """
    occurs = p > 0
    keep = min(1.0, float((r[occurs] / p[occurs]).min()))
    return keep, np.maximum(r - keep * p, 0.0)


def stratified(seed: int, index: Ints) -> Floats:
    """Return a uniform number in [0, 1) per sample, by (seed, i): each BLOCK has one in every 1 / BLOCK of [0, 1).

    Each block of samples therefore meets any probability to within one sample.

    Args:
        seed: of the numbers.
        index: int64 [n], sample numbers.

    Returns:
        float64 [n].
    """
    blocks, positions = np.divmod(index, BLOCK)
    numbers = {}
    for block in np.unique(blocks).tolist():
        rng = np.random.default_rng([seed, block, 1])
        numbers[block] = (rng.permutation(BLOCK) + rng.random(BLOCK)) / BLOCK
    return np.array([numbers[b][i] for b, i in zip(blocks.tolist(), positions.tolist(), strict=True)])


def edited_class(keep: float, edit: Floats, u: Floats) -> Ints:
    """Return the class that each sample gets, int64 [n], by its uniform number u [n]; -1 where it is left alone."""
    borders = np.cumsum([keep, *edit])[:-1]
    return np.searchsorted(borders, u, side="right").astype(np.int64) - 1
