"""Assigned classes: a class per sample, set before sampling, so that the classes meet the target exactly."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bench.core.design import BLOCK


def largest_remainder(r: npt.NDArray[np.float64], n: int) -> npt.NDArray[np.int64]:
    """Return the counts [K] that sum to n and are nearest to n r: floors, then +1 for the largest remainders.

    Ties go to the earlier class.

    >>> largest_remainder(np.array([0.5, 0.3, 0.2]), 4).tolist()
    [2, 1, 1]
    """
    exact = r * n
    counts = np.floor(exact + 1e-9).astype(np.int64)  # 0.1 * 60 must count as 6 in floating point too
    order = np.argsort(-(exact - counts), kind="stable")
    counts[order[: n - counts.sum()]] += 1
    return counts


def assign_classes(r: npt.NDArray[np.float64], seed: int, index: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the class assigned to each sample: every BLOCK of sample numbers meets r, in random order.

    Args:
        r: float64 [K], the target, summing to 1.
        seed: of the order.
        index: int64 [n], sample numbers >= 0.

    Returns:
        int64 [n], classes. That of sample i depends on (r, seed, i) alone, so it does not change with the batch.
    """
    blocks, positions = np.divmod(index, BLOCK)
    block = np.repeat(np.arange(len(r)), largest_remainder(r, BLOCK))
    orders = {b: np.random.default_rng([seed, b]).permutation(block) for b in np.unique(blocks).tolist()}
    return np.array([orders[b][p] for b, p in zip(blocks.tolist(), positions.tolist(), strict=True)], dtype=np.int64)


def toward_assigned(
    assigned: Callable[[npt.NDArray[np.int64]], npt.NDArray[np.int64]], n_classes: int
) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """Return dL/dp [n, K] of L = -sum_i p_i[c_i], as a function of (p, mean of p, sample numbers).

    Args:
        assigned: maps sample numbers int64 [n] to classes int64 [n].
        n_classes: K.
    """

    def gradient(p: Tensor, _mean: Tensor, index: Tensor) -> Tensor:
        chosen = torch.from_numpy(assigned(index.cpu().numpy())).to(p.device)
        return -torch.nn.functional.one_hot(chosen, n_classes).to(p)

    return gradient
