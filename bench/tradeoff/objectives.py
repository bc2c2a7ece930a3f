"""Points as rows of objectives, every one of which is to be made small."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def checked(values: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Points as float64 [n, m].

    Raises:
        ValueError: another shape, or a value that is not finite: where a number is missing, nothing is dominated.
    """
    points = np.asarray(values, dtype=np.float64)
    if points.size == 0 and points.ndim < 2:
        return points.reshape(0, 1)
    if points.ndim != 2:
        raise ValueError(f"points must be an array [n, m], one row a point, got shape {points.shape}")
    if not np.isfinite(points).all():
        raise ValueError("points must be finite; leave out those without a value")
    return points
