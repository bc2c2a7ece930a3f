"""Abstention: all-NaN rows for images that an attribute classifier is not sure about."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bench.core.errors import ConfigError

Floats = npt.NDArray[np.floating]


def check_threshold(threshold: float) -> float:
    """Return the threshold.

    Raises:
        ConfigError: it is not in [0, 1].
    """
    if not 0 <= threshold <= 1:
        raise ConfigError(f"threshold must be in [0, 1], got {threshold}; 0 never abstains")
    return threshold


def abstain(probabilities: Floats, threshold: float) -> Floats:
    """Return probabilities [n, K] with NaN in every row whose largest value is below the threshold.

    >>> abstain(np.array([[0.9, 0.1], [0.5, 0.5]]), 0.8)
    array([[0.9, 0.1],
           [nan, nan]])
    """
    unsure = probabilities.max(axis=1, keepdims=True, initial=0.0) < threshold
    masked: Floats = np.where(unsure, np.array(np.nan, probabilities.dtype), probabilities)
    return masked
