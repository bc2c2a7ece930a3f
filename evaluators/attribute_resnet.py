"""A second attribute classifier for methods to guide with, so that no method is scored by its own guide.

It is residual and smooth where the default classifier (`attribute_cnn`) is plain and pooled. It learns from the
labelled set that methods may use, and works at half resolution from its first layer on, so a gradient through it costs
little compared with the diffusion model's.
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

ASSET = Path(str(files("bench"))) / "assets" / "avatars-resnet"


class Residual(nn.Module):
    """Pre-activation residual block of two convolutions (He et al. 2016, arXiv 1603.05027).

    SiLU has a gradient everywhere, and strided convolutions pass it to every pixel; ReLU and max pooling do not.
    """

    def __init__(self, before: int, after: int, stride: int) -> None:
        """Make the block.

        Args:
            before: input channels.
            after: output channels.
            stride: 2 halves the resolution, 1 keeps it.
        """
        super().__init__()
        self.main = nn.Sequential(
            *_activation(before),
            nn.Conv2d(before, after, 3, stride, padding=1, bias=False),
            *_activation(after),
            nn.Conv2d(after, after, 3, padding=1, bias=False),
        )
        keeps = before == after and stride == 1
        self.shortcut: nn.Module = nn.Identity() if keeps else nn.Conv2d(before, after, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return [n, after, h / stride, w / stride] of x [n, before, h, w]."""
        total: Tensor = self.shortcut(x) + self.main(x)
        return total


def _activation(width: int) -> list[nn.Module]:
    return [nn.GroupNorm(math.gcd(8, width), width), nn.SiLU()]


class AttributeResNet(AttributeNetwork):
    """Residual network: a strided first layer, then a block per stage; stages after the first halve the resolution."""

    architecture = "resnet"

    @staticmethod
    def make_backbone(widths: tuple[int, ...]) -> nn.Module:
        """Return the layers from images [n, 3, h, w] to features [n, widths[-1], ...]."""
        layers: list[nn.Module] = [nn.Conv2d(3, widths[0], 3, stride=2, padding=1)]
        before = widths[0]
        for depth, width in enumerate(widths):
            layers.append(Residual(before, width, stride=2 if depth else 1))
            before = width
        return nn.Sequential(*layers, *_activation(before))


class Extractor:
    """Attribute classifier: class probabilities of each attribute.

    Attributes:
        name: the public name.
        digest: hash of the weights and the configuration.
        network: the network, frozen.
        attributes: the attributes that it predicts.
        confusion: attribute name to its confusion matrix on held-out faces, rows the true class.
    """

    name = "attribute_resnet"

    def __init__(self, folder: Path = ASSET) -> None:
        """Load the network.

        Args:
            folder: weights, configuration and measured confusion, as the `train` command writes them.

        Raises:
            ConfigError: a file is missing or damaged, or the weights are of another architecture.
        """
        self.network = load_network(folder, AttributeResNet)
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
