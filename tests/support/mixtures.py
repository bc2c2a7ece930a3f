"""The analytic mixtures that the tests share; those of `bench.plugin_checks.worlds`, and one in the plane."""

from __future__ import annotations

from bench.models.mixture import GaussianMixture
from bench.plugin_checks.worlds import GROUP, Posterior, labelled, pictures

__all__ = ["GROUP", "Posterior", "labelled", "line", "pictures"]


def line(weights: tuple[float, ...] = (0.8, 0.2)) -> GaussianMixture:
    """Two well separated groups in the plane, of different shapes."""
    means = [[-1.5, 0.0], [1.5, 0.5]]
    covariances = [[[0.20, 0.05], [0.05, 0.30]], [[0.30, -0.10], [-0.10, 0.15]]]
    return GaussianMixture(weights, means, covariances)
