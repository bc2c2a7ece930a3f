"""How far two classifiers agree on the same images, beyond what chance would give."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def cohen_kappa(tables: Floats) -> Floats:
    """kappa = (p_o - p_e) / (1 - p_e), with p_o the share of equal labels and p_e that of independent ones.

    Source: Cohen 1960, "A coefficient of agreement for nominal scales", Eq. 1.

    Args:
        tables: [..., K, K], counts or shares of every pair of labels of the same images; rows one classifier's,
            columns the other's. Leave out the images on which either abstains.

    Returns:
        [...], in [-1, 1]: 1 where they always agree, 0 where they agree as often as independent ones would; NaN where
        both name one and the same class throughout (p_e = 1), and where a table is empty.

    >>> cohen_kappa(np.array([[2.0, 0.0], [1.0, 1.0]])).item()
    0.5
    """
    total = tables.sum(axis=(-2, -1), keepdims=True)
    shares = np.divide(tables, total, where=total > 0, out=np.full(tables.shape, np.nan))
    observed = np.trace(shares, axis1=-2, axis2=-1)
    expected = (shares.sum(axis=-1) * shares.sum(axis=-2)).sum(axis=-1)
    room = np.where(1 - expected > 1e-12, 1 - expected, np.nan)  # 1e-12: above the rounding of sums of shares
    return np.asarray((observed - expected) / room)
