"""The Pareto front: which of several points no other one beats."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bench.tradeoff.objectives import checked


def pareto_front(values: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Say which points no other point dominates, every objective to be made small.

    A point dominates another if it is nowhere larger and somewhere smaller; equal points do not dominate each other.

    Source: Ehrgott 2005, Multicriteria Optimization, Definition 2.1.

    Args:
        values: [n, m] finite numbers, one row a point; n may be 0.

    Returns:
        bool [n]; of n > 0 points at least one is on the front.

    Raises:
        ValueError: another shape, or a value that is not finite.

    >>> pareto_front([[1, 3], [2, 2], [3, 3]]).tolist()
    [True, True, False]
    """
    points = checked(values)
    no_larger = (points[:, None] <= points[None]).all(axis=2)  # [i, j]: i is nowhere larger than j
    dominated = np.asarray((no_larger & ~no_larger.T).any(axis=0), dtype=np.bool_)
    return ~dominated
