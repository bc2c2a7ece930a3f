"""The Pareto front: which of several points no other one beats."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def pareto_front(values: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Say which points no other point dominates, every objective to be made small.

    A point dominates another if it is nowhere larger and somewhere smaller; equal points do not dominate each other.

    Source: Ehrgott 2005, Multicriteria Optimization, Definition 2.1.

    Args:
        values: [n, m] finite numbers, one row per point; n may be 0.

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


def hypervolume(values: npt.ArrayLike, reference: npt.ArrayLike) -> float:
    """Measure of what at least one point dominates and what itself dominates the reference point.

    Every objective is to be made small. A point that is not below the reference in every objective adds nothing.

    Source: Zitzler & Thiele 1998 ("size of the space covered"); computed by slicing along the last objective (While et
    al. 2006, IEEE Trans. Evolutionary Computation 10(1), section III): exact, and at most n^(m-1) steps of sorting.

    Args:
        values: [n, m] finite numbers, one row per point, m >= 1; n may be 0.
        reference: [m], the corner that the points are to be below.

    Returns:
        The volume, >= 0, in the product of the objectives' units.

    Raises:
        ValueError: other shapes, or a value that is not finite.

    >>> hypervolume([[1, 3], [2, 2], [3, 3]], [4, 4])  # 3 x 1 + 2 x 1
    5.0
    """
    points, corner = checked(values), checked(np.atleast_2d(reference))[0]
    if len(points) and points.shape[1] != corner.size:
        raise ValueError(f"the reference must have {points.shape[1]} objectives, as the points do, got {corner.size}")
    return _slices(points[(points < corner).all(axis=1)], corner) if len(points) else 0.0


def _slices(points: npt.NDArray[np.float64], corner: npt.NDArray[np.float64]) -> float:
    if not len(points):
        return 0.0
    if corner.size == 1:
        return float(corner[0] - points.min())
    points = points[np.argsort(points[:, -1], kind="stable")]
    depth = np.diff(points[:, -1], append=corner[-1])  # of the slice that begins at each point
    return sum(float(d) * _slices(points[: i + 1, :-1], corner[:-1]) for i, d in enumerate(depth) if d > 0)


def checked(values: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Points as float64 [n, m].

    Raises:
        ValueError: another shape, or a value that is not finite: where a number is missing, nothing is dominated.
    """
    points = np.asarray(values, dtype=np.float64)
    if points.size == 0 and points.ndim < 2:
        return points.reshape(0, 1)
    if points.ndim != 2:
        raise ValueError(f"points must be an array [n, m], one row per point, got shape {points.shape}")
    if not np.isfinite(points).all():
        raise ValueError("points must be finite; leave out those without a value")
    return points
