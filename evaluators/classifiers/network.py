"""The common structure of attribute classifiers: a backbone, a global average, and one head per attribute."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor, nn

from bench.core.attributes import Attribute


class AttributeNetwork(nn.Module, ABC):
    """A network that predicts all attributes of an image at once.

    Attributes:
        architecture: its name in recipes and configurations; the extractor is called "attribute_" plus this.
        attributes: the attributes that it predicts, one head each.
        widths: channels of each stage of the backbone.
        size: side of its input images, in pixels.
    """

    architecture: ClassVar[str]

    def __init__(self, attributes: tuple[Attribute, ...], widths: tuple[int, ...], size: int) -> None:
        """Initialise the weights from torch's global generator, as torch's layers do."""
        super().__init__()
        self.attributes, self.widths, self.size = attributes, widths, size
        self.add_module("body", self.make_backbone(widths))  # the prefix of its weights in stored files
        self.heads = nn.ModuleDict({a.name: nn.Linear(widths[-1], a.n_classes) for a in attributes})

    @staticmethod
    @abstractmethod
    def make_backbone(widths: tuple[int, ...]) -> nn.Module:
        """Return layers from images [n, 3, h, w] to features [n, widths[-1], ...]; row i depends on image i alone."""

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Return logits of every attribute.

        Args:
            x: float [n, 3, h, w] in [-1, 1].

        Returns:
            Attribute name to logits [n, K]; differentiable in x.
        """
        h = self.get_submodule("body")(x).mean((2, 3))
        return {name: head(h) for name, head in self.heads.items()}
