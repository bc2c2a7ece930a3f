"""Temperature scaling: calibration of a classifier's probabilities by one number."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from bench.core.errors import ConfigError, NotFinite, Undefined

Floats = npt.NDArray[np.floating]
LOWEST, HIGHEST = 1e-3, 1e3  # range of the temperatures


def check_temperature(temperature: float) -> float:
    """Return the temperature.

    Raises:
        ConfigError: it is not a number above 0.
    """
    if not (math.isfinite(temperature) and temperature > 0):
        raise ConfigError(f"temperature must be a number above 0, got {temperature}; 1 leaves logits as they are")
    return temperature


def check_finite(outputs: Floats) -> Floats:
    """Return the outputs [n, ...] of a classifier's network.

    Raises:
        NotFinite: one is NaN or infinite.
    """
    bad = np.asarray(~np.isfinite(outputs).all(axis=tuple(range(1, outputs.ndim))))
    if bad.any():
        raise NotFinite(
            f"the attribute classifier returned NaN or infinity for {int(bad.sum())} of {len(bad)} images; its weights "
            "are damaged, or too large for their precision"
        )
    return outputs


def softmax(logits: Floats) -> Floats:
    """Return probabilities [n, K] of logits [n, K], in their precision.

    Raises:
        NotFinite: a logit is NaN or infinite, whose row of NaN would read as an abstention.
    """
    from scipy.special import softmax as scipy_softmax

    check_finite(logits)
    probabilities: Floats = scipy_softmax(logits, axis=1)
    return probabilities


def fit_temperature(logits: Mapping[str, Floats], labels: Mapping[str, npt.NDArray[np.integer]]) -> float:
    """Fit the temperature T of softmax(logits / T) by maximum likelihood of the labels, jointly over all attributes.

    The predicted classes do not change, so a confusion matrix measured on the same images stays valid.

    Source: Guo et al. 2017, arXiv 1706.04599, section 4.2; by Brent's method on log T, in which the negative
    log-likelihood has one minimum: it is convex in 1 / T.

    Args:
        logits: attribute name to [n, K], of labelled images that the classifier was not trained on.
        labels: attribute name to [n], each in [0, K).

    Returns:
        T > 0, within a relative 1e-4.

    Raises:
        Undefined: no temperature is best, e.g. if all predictions are correct (T would be 0) or all are random.

    >>> logits = np.array([[np.log(9), 0.0]] * 4)  # probability 0.9, but only 3 of 4 are correct
    >>> fit_temperature({"a": logits}, {"a": np.array([0, 0, 0, 1])})
    2.0
    """
    from scipy.optimize import minimize_scalar

    def loss(log_t: float) -> float:
        return sum(negative_log_likelihood(z / math.exp(log_t), labels[name]) for name, z in logits.items())

    bounds = (math.log(LOWEST), math.log(HIGHEST))
    minimum = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-6})
    if not loss(minimum.x) < min(map(loss, bounds)):
        raise Undefined(
            "a temperature must be fitted on images of which some, but not a random share, are misclassified"
        )
    return float(f"{math.exp(minimum.x):.5g}")


def negative_log_likelihood(logits: Floats, labels: npt.NDArray[np.integer]) -> float:
    """Return the mean of -log softmax(logits)[label] over the rows [n, K], in nats, >= 0."""
    from scipy.special import log_softmax

    return float(-log_softmax(logits.astype(np.float64), axis=1)[np.arange(len(labels)), labels].mean())
