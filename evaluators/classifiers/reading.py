"""Predictions of an attribute classifier: probabilities of images, and differentiable logits."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bench.core.errors import ConfigError, Incompatible
from evaluators.classifiers.calibration import check_finite
from evaluators.classifiers.network import AttributeNetwork

CHUNK = 500  # batch size


def to_input(images: Tensor) -> Tensor:
    """Return uint8 images [n, 3, h, w] as the network takes them: float32 in [-1, 1]."""
    return images.float() / 127.5 - 1


def probabilities(network: AttributeNetwork, images: Tensor) -> dict[str, npt.NDArray[np.floating]]:
    """Return attribute name to float32 probabilities [n, K], rows summing to 1, of uint8 images [n, 3, size, size].

    Args:
        network: in evaluation mode.
        images: on any device.

    Raises:
        ConfigError: the images are of another size or type than the network's.
        NotFinite: the network returned NaN or infinity.
    """
    side = network.size
    if images.dtype != torch.uint8 or tuple(images.shape[1:]) != (3, side, side):
        raise ConfigError(
            f"attribute_{network.architecture} must be given uint8 images [n, 3, {side}, {side}], got {images.dtype} "
            f"{list(images.shape)}; use a model of that size, or train a classifier for this one"
        )
    device = next(network.parameters()).device
    parts: dict[str, list[npt.NDArray[np.floating]]] = {
        a.name: [np.empty((0, a.n_classes), np.float32)] for a in network.attributes
    }
    with torch.inference_mode():
        for chunk in images.split(CHUNK):
            logits = network(to_input(chunk.to(device)))
            for name, values in logits.items():
                check_finite(values.float().cpu().numpy())
                parts[name].append(values.softmax(-1).cpu().numpy())
    return {name: np.concatenate(values) for name, values in parts.items()}


def differentiable_logits(network: AttributeNetwork, x: Tensor) -> dict[str, Tensor]:
    """Return attribute name to logits [n, K], differentiable in x.

    Args:
        network: in evaluation mode; it is moved to the device of x.
        x: float images [n, 3, size, size], about in [-1, 1].

    Raises:
        Incompatible: x is of another size or type than the network's images.
    """
    side = network.size
    if not x.is_floating_point() or tuple(x.shape[1:]) != (3, side, side):
        raise Incompatible(
            f"attribute_{network.architecture} must be given float images [n, 3, {side}, {side}], got {x.dtype} "
            f"{list(x.shape)}; use a model of that size, or train a classifier for this one"
        )
    weight = next(network.parameters())
    if weight.device != x.device:
        network.to(x.device)
    logits: dict[str, Tensor] = network(x.to(weight.dtype))
    return logits
