"""The default attribute classifier: a small convolutional network that predicts all attributes of a face at once.

Its measured confusion on held-out faces ships beside its weights, so every score that depends on it can be checked
against its error.
"""

from __future__ import annotations

import math
from importlib.resources import files
from pathlib import Path

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from evaluators.classifiers.files import content_digest, load_network, read_confusion
from evaluators.classifiers.network import AttributeNetwork
from evaluators.classifiers.reading import differentiable_logits, probabilities

ASSET = Path(str(files("bench"))) / "assets" / "avatars-cnn"


class AttributeCNN(AttributeNetwork):
    """Convolutional network with two convolutions per stage; every stage except the last halves the resolution.

    It uses group normalisation instead of batch normalisation: a row's result does not depend on the other rows, and
    averaged weights need no new statistics.
    """

    architecture = "cnn"

    @staticmethod
    def make_backbone(widths: tuple[int, ...]) -> nn.Module:
        """Return the layers from images [n, 3, h, w] to features [n, widths[-1], ...]."""
        layers: list[nn.Module] = []
        before = 3
        for depth, width in enumerate(widths):
            layers += [nn.MaxPool2d(2)] if depth else []
            layers += [*_convolution(before, width), *_convolution(width, width)]
            before = width
        return nn.Sequential(*layers)


def _convolution(before: int, after: int) -> list[nn.Module]:
    return [
        nn.Conv2d(before, after, 3, padding=1, bias=False),
        nn.GroupNorm(math.gcd(8, after), after),
        nn.ReLU(inplace=True),
    ]


class Extractor:
    """Attribute classifier: class probabilities of each attribute.

    Attributes:
        name: the public name.
        digest: hash of the weights and the configuration.
        network: the network, frozen.
        attributes: the attributes that it predicts.
        confusion: attribute name to its confusion matrix on held-out faces, rows the true class.
    """

    name = "attribute_cnn"

    def __init__(self, folder: Path = ASSET) -> None:
        """Load the network.

        Args:
            folder: weights, configuration and measured confusion, as the `train` command writes them.

        Raises:
            ConfigError: a file is missing or damaged, or the weights are of another architecture.
        """
        self.network = load_network(folder, AttributeCNN)
        self.attributes = self.network.attributes
        self.digest = content_digest(folder)
        self.confusion = read_confusion(folder, self.attributes)

    def extract(self, images: Tensor) -> dict[str, npt.NDArray[np.floating]]:
        """Return attribute name to float32 probabilities [n, K], rows summing to 1, of uint8 images [n, 3, size, size].

        Raises:
            ConfigError: the images are of another size or type than the network's.
        """
        return probabilities(self.network, images)

    def logits(self, x: Tensor) -> dict[str, Tensor]:
        """Return attribute name to logits [n, K] of float images [n, 3, size, size] in [-1, 1]; differentiable in x.

        Raises:
            Incompatible: x is of another size or type than the network's images.
        """
        return differentiable_logits(self.network, x)
