"""Temperature scaling: one number that makes a classifier's probabilities as sure as it is right."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from bench.core.errors import ConfigError, Undefined

Floats = npt.NDArray[np.floating]
LOWEST, HIGHEST = 1e-3, 1e3  # the temperatures that are looked at


def check_temperature(temperature: float) -> float:
    """The temperature, or a ConfigError where it is not a number above 0."""
    if not (math.isfinite(temperature) and temperature > 0):
        raise ConfigError(f"temperature must be a number above 0, got {temperature}; 1 leaves logits as they are")
    return temperature


def softmax(logits: Floats) -> Floats:
    """Probabilities [n, K] of logits [n, K], in their precision."""
    from scipy.special import softmax as scipy_softmax

    found: Floats = scipy_softmax(logits, axis=1)
    return found


def fit_temperature(logits: Mapping[str, Floats], labels: Mapping[str, npt.NDArray[np.integer]]) -> float:
    """The temperature T of softmax(logits / T) that makes labels most likely, over all attributes together.

    It leaves every answer as it is, so a confusion measured on the same images stays as good as it was.

    Source: Guo et al. 2017, arXiv 1706.04599, section 4.2; by Brent's method on log T, in which the negative
    log-likelihood has one minimum: it is convex in 1 / T.

    Args:
        logits: attribute name to [n, K], of labelled images that the classifier did not learn from.
        labels: attribute name to [n], each in [0, K).

    Returns:
        T > 0, within a relative 1e-4.

    Raises:
        Undefined: no temperature is best, as where every answer is right (it would be 0) or the logits tell nothing.

    >>> fit_temperature({"a": np.array([[np.log(9), 0.0]] * 4)}, {"a": np.array([0, 0, 0, 1])})  # sure of 9 in 10
    2.0
    """
    from scipy.optimize import minimize_scalar

    def loss(log_t: float) -> float:
        return sum(negative_log_likelihood(z / math.exp(log_t), labels[name]) for name, z in logits.items())

    bounds = (math.log(LOWEST), math.log(HIGHEST))
    found = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-6})
    if not loss(found.x) < min(map(loss, bounds)):
        raise Undefined("a temperature must be fitted on images of which some are misread, and not all at random")
    return float(f"{math.exp(found.x):.5g}")


def negative_log_likelihood(logits: Floats, labels: npt.NDArray[np.integer]) -> float:
    """Mean of -log softmax(logits)[label] over the rows [n, K], in nats, >= 0."""
    from scipy.special import log_softmax

    return float(-log_softmax(logits.astype(np.float64), axis=1)[np.arange(len(labels)), labels].mean())
