"""The frame of an attribute classifier: a body of some architecture, a global average, and one head an attribute."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor, nn

from bench.core.attributes import Attribute


class AttributeNetwork(nn.Module, ABC):
    """A network that reads every attribute of an image at once.

    Attributes:
        architecture: the name that recipes and configurations call it by; its extractor is "attribute_" and this.
        attributes: what it reads, a head each.
        widths: channels of each stage of the body.
        size: side in pixels of the images it is for.
    """

    architecture: ClassVar[str]

    def __init__(self, attributes: tuple[Attribute, ...], widths: tuple[int, ...], size: int) -> None:
        """A network with fresh weights, drawn from torch's global generator."""
        super().__init__()
        self.attributes, self.widths, self.size = attributes, widths, size
        self.body = self.make_body(widths)
        self.heads = nn.ModuleDict({a.name: nn.Linear(widths[-1], a.n_classes) for a in attributes})

    @staticmethod
    @abstractmethod
    def make_body(widths: tuple[int, ...]) -> nn.Module:
        """Images [n, 3, h, w] to features [n, widths[-1], ...]; row i depends on image i alone."""

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Logits of every attribute.

        Args:
            x: float [n, 3, h, w] in [-1, 1].

        Returns:
            Attribute name to logits [n, K]; differentiable in x.
        """
        h = self.body(x).mean((2, 3))
        return {name: head(h) for name, head in self.heads.items()}
