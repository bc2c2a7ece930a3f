"""The embedded judge: a small convolutional network that reads every attribute of a face at once.

Its measured confusion on held-out faces ships beside its weights, so a score that rests on it can say how far it
can be trusted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from bench.attributes import Attribute
from bench.errors import ConfigError
from bench.files import digest_of, file_digest, read_object, write_bytes, write_json

ASSET = Path(str(files("bench"))) / "assets" / "avatars-cnn"
CONFIG, WEIGHTS, HELDOUT = "config.json", "model.safetensors", "heldout.json"
CHUNK = 500  # images the network sees at a time


class AttributeCNN(nn.Module):
    """Convolution blocks, a global average, and one linear head an attribute.

    The normalisation is by groups of channels, not by batch: a row's result does not depend on the other rows, and
    averaged weights need no statistics made again.
    """

    def __init__(self, attributes: tuple[Attribute, ...], widths: tuple[int, ...], size: int) -> None:
        """A network with fresh weights, drawn from torch's global generator.

        Args:
            attributes: what to read, a head each.
            widths: channels of each block; every block but the last halves the resolution.
            size: side in pixels of the images it is for.
        """
        super().__init__()
        self.attributes, self.widths, self.size = attributes, widths, size
        layers: list[nn.Module] = []
        before = 3
        for depth, width in enumerate(widths):
            layers += [nn.MaxPool2d(2)] if depth else []
            layers += [*_convolution(before, width), *_convolution(width, width)]
            before = width
        self.body = nn.Sequential(*layers)
        self.heads = nn.ModuleDict({a.name: nn.Linear(before, a.n_classes) for a in attributes})

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Logits of every attribute.

        Args:
            x: float [n, 3, h, w] in [-1, 1].

        Returns:
            Attribute name to logits [n, K]; differentiable in x.
        """
        h = self.body(x).mean((2, 3))
        return {name: head(h) for name, head in self.heads.items()}


def _convolution(before: int, after: int) -> list[nn.Module]:
    return [
        nn.Conv2d(before, after, 3, padding=1, bias=False),
        nn.GroupNorm(math.gcd(8, after), after),
        nn.ReLU(inplace=True),
    ]


class Extractor:
    """Class probabilities of each attribute.

    Attributes:
        name: the public name.
        digest: hash of the weights and the configuration.
        network: the network, frozen, for whoever needs its gradient in the image.
        attributes: what it reads.
        confusion: attribute name to its confusion matrix on held-out faces, rows the true class.
    """

    name = "attribute_cnn"

    def __init__(self, folder: Path = ASSET) -> None:
        """Load the network.

        Args:
            folder: as `bench.training.classifier` writes it: weights, configuration and measured confusion.

        Raises:
            ConfigError: a file is missing or damaged, or the weights are of another architecture.
        """
        self.network = load_network(folder)
        self.attributes = self.network.attributes
        self.digest = digest_of([file_digest(folder / WEIGHTS), _read_json(folder / CONFIG)])
        measured = _read_json(folder / HELDOUT)
        try:
            self.confusion: Mapping[str, list[list[int]]] = {
                a.name: measured["attributes"][a.name]["confusion"] for a in self.attributes
            }
        except (KeyError, TypeError) as error:
            raise ConfigError(f"{folder / HELDOUT} must hold a confusion matrix for {error}; train it again") from error

    def extract(self, images: Tensor) -> dict[str, npt.NDArray[np.floating]]:
        """Attribute name to float32 probabilities [n, K], rows summing to 1, of uint8 images [n, 3, size, size].

        Raises:
            ConfigError: the images are of another size or type than the network's.
        """
        return probabilities(self.network, images)


def probabilities(network: AttributeCNN, images: Tensor) -> dict[str, npt.NDArray[np.floating]]:
    """As `Extractor.extract`, with any network; it must be in evaluation mode."""
    side = network.size
    if images.dtype != torch.uint8 or tuple(images.shape[1:]) != (3, side, side):
        raise ConfigError(
            f"attribute_cnn must be given uint8 images [n, 3, {side}, {side}], got {images.dtype} "
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
                parts[name].append(values.softmax(-1).cpu().numpy())
    return {name: np.concatenate(values) for name, values in parts.items()}


def to_input(images: Tensor) -> Tensor:
    """uint8 images [n, 3, h, w] as what the network takes: float32 in [-1, 1]."""
    return images.float() / 127.5 - 1


def save_network(network: AttributeCNN, folder: Path) -> None:
    """Write the weights in half precision, and the configuration."""
    from safetensors.torch import save

    write_bytes(folder / WEIGHTS, save({k: v.half().contiguous() for k, v in network.state_dict().items()}))
    attributes = {a.name: list(a.classes) for a in network.attributes}
    write_json(folder / CONFIG, {"attributes": attributes, "size": network.size, "widths": list(network.widths)})


def load_network(folder: Path) -> AttributeCNN:
    """The network of a folder, in float32 and evaluation mode, its weights frozen.

    Raises:
        ConfigError: a file is missing or damaged, or the weights are of another architecture.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    config, weights = _read_json(folder / CONFIG), folder / WEIGHTS
    try:
        attributes = tuple(Attribute(name, tuple(classes)) for name, classes in config["attributes"].items())
        network = AttributeCNN(attributes, tuple(config["widths"]), config["size"])
    except (KeyError, TypeError, AttributeError, ValueError, RuntimeError) as error:
        raise ConfigError(f"{folder / CONFIG} does not describe an attribute classifier: {error}") from error
    try:
        stored = load_file(weights)
    except FileNotFoundError:
        raise ConfigError(f"no weights at {weights}; give a folder that a classifier was trained into") from None
    except (SafetensorError, OSError) as error:
        raise ConfigError(f"cannot read {weights}: {error}; it is damaged or cut short: copy it again") from error
    found = {name: tuple(v.shape) for name, v in stored.items()}
    wanted = {name: tuple(v.shape) for name, v in network.state_dict().items()}
    odd = sorted(name for name in {*found, *wanted} if found.get(name) != wanted.get(name))
    if odd:
        raise ConfigError(f"{weights} is of another architecture than its {CONFIG}: {odd[0]!r} does not fit")
    network.load_state_dict({k: v.float() for k, v in stored.items()})
    return network.eval().requires_grad_(False)


def _read_json(path: Path) -> dict[str, Any]:
    return read_object(path, "give a folder that a classifier was trained into")
