"""Agreement of two classifiers on the same images, beyond chance."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def cohen_kappa(tables: Floats) -> Floats:
    """Return kappa = (p_o - p_e) / (1 - p_e), with p_o the share of equal labels and p_e that of independent labels.

    Source: Cohen 1960, "A coefficient of agreement for nominal scales", Eq. 1.

    Args:
        tables: [..., K, K], counts or shares of every pair of labels of the same images; rows are the first
            classifier's labels, columns the second's. Leave out the images on which either abstains.

    Returns:
        [...], in [-1, 1]: 1 if they always agree, 0 if they agree as often as independent classifiers; NaN if both give
        all images the same class (p_e = 1), and for an empty table.

    >>> cohen_kappa(np.array([[2.0, 0.0], [1.0, 1.0]])).item()
    0.5
    """
    total = tables.sum(axis=(-2, -1), keepdims=True)
    shares = np.divide(tables, total, where=total > 0, out=np.full(tables.shape, np.nan))
    observed = np.trace(shares, axis1=-2, axis2=-1)
    expected = (shares.sum(axis=-1) * shares.sum(axis=-2)).sum(axis=-1)
    beyond_chance = np.where(1 - expected > 1e-12, 1 - expected, np.nan)  # 1e-12: above the rounding of sums of shares
    return np.asarray((observed - expected) / beyond_chance)
