"""Mean and covariance of features, factored for Frechet distances."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from bench.core.errors import Undefined

Floats = npt.NDArray[np.float64]

NEGATIVE = 1e-8  # share of the largest eigenvalue below which a negative one is rounding


@dataclass(frozen=True)
class Gaussian:
    """A fit of features.

    Attributes:
        mean: float64 [d].
        covariance: float64 [d, d], symmetric, positive semi-definite, over n - 1 as numpy.cov and clean-fid have it.
    """

    mean: Floats
    covariance: Floats

    @cached_property
    def factor(self) -> Floats:
        """A with A A' = covariance, float64 [d, d]; computed once, since a reference is used many times."""
        return factor(self.covariance)


def factor(covariance: Floats) -> Floats:
    """A with A A' = covariance: Cholesky's, or the eigenvectors' where the matrix is singular.

    Args:
        covariance: float64 [d, d], symmetric.

    Returns:
        float64 [d, d].

    Raises:
        Undefined: an eigenvalue is negative, and not by rounding.
    """
    try:
        return np.asarray(np.linalg.cholesky(covariance), dtype=np.float64)
    except np.linalg.LinAlgError:
        values, vectors = np.linalg.eigh(covariance)
        return np.asarray(vectors * np.sqrt(not_negative(values)))


def not_negative(values: npt.NDArray[np.floating]) -> Floats:
    """Eigenvalues [d] of a positive semi-definite matrix with those that rounding made negative set to 0.

    Raises:
        Undefined: one is further below 0 than rounding takes it.
    """
    if values.min() < -NEGATIVE * np.abs(values).max():
        raise Undefined(
            f"a covariance must have no negative eigenvalue, got {values.min():.3g} beside {values.max():.3g}; "
            "compute it in float64"
        )
    clipped: Floats = np.clip(values, 0.0, None, dtype=np.float64)
    return clipped
