"""The folder of a trained attribute classifier: weights, configuration, and its confusion on held-out images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch

from bench.core.attributes import Attribute
from bench.core.digest import digest_of, file_digest
from bench.core.errors import ConfigError
from bench.core.json_text import read_object
from evaluators.classifiers.network import AttributeNetwork

CONFIG, WEIGHTS, HELDOUT = "config.json", "model.safetensors", "heldout.json"
WIDEST = 8192  # largest number of channels of a stage; a larger one would exhaust memory before the weights are checked
FIRST = "cnn"  # architecture of a configuration without the key "network", which is younger than the first classifiers
HINT = "give a folder that a classifier was trained into"

Network = TypeVar("Network", bound=AttributeNetwork)


def network_weights(network: AttributeNetwork) -> bytes:
    """Return the weights in half precision, as the content of a safetensors file."""
    from safetensors.torch import save

    return save({k: v.half().contiguous() for k, v in network.state_dict().items()})


def network_config(network: AttributeNetwork) -> dict[str, object]:
    """Return the configuration that `load_network` rebuilds the network from, as a JSON object."""
    kind = {} if network.architecture == FIRST else {"network": network.architecture}
    attributes = {a.name: list(a.classes) for a in network.attributes}
    return {"attributes": attributes, "size": network.size, "widths": list(network.widths), **kind}


def load_network(folder: Path, architecture: type[Network]) -> Network:
    """Load the network of a folder, in float32 and evaluation mode, its weights frozen.

    Raises:
        ConfigError: a file is missing or damaged, or the folder holds another architecture.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    network, weights = _build(folder, architecture), folder / WEIGHTS
    try:
        stored = load_file(weights)
    except FileNotFoundError:
        raise ConfigError(f"no weights at {weights}; {HINT}") from None
    except (SafetensorError, OSError) as error:
        raise ConfigError(f"cannot read {weights}: {error}; it is damaged or cut short: copy it again") from error
    shapes = {name: tuple(v.shape) for name, v in stored.items()}
    expected = {name: tuple(v.shape) for name, v in network.state_dict().items()}
    odd = sorted(name for name in {*shapes, *expected} if shapes.get(name) != expected.get(name))
    if odd:
        raise ConfigError(f"{weights} is of another architecture than its {CONFIG}: {odd[0]!r} does not fit")
    network.load_state_dict({k: v.float() for k, v in stored.items()})
    return network.eval().requires_grad_(False)


def _build(folder: Path, architecture: type[Network]) -> Network:
    """Make the network that the configuration of a folder describes."""
    config = _read_json(folder / CONFIG)
    kind = config.get("network", FIRST)
    if kind != architecture.architecture:
        raise ConfigError(
            f"{folder / CONFIG} must describe a network of kind {architecture.architecture}, got {kind!r}; "
            "give a folder that such a classifier was trained into"
        )
    try:
        attributes = tuple(Attribute(name, tuple(classes)) for name, classes in config["attributes"].items())
        if not all(a.n_classes > 1 for a in attributes):
            raise ValueError("each attribute must have two classes or more")
        widths = tuple(config["widths"])
        if not all(type(width) is int and 1 <= width <= WIDEST for width in widths):
            raise ValueError(f"widths must be whole numbers from 1 to {WIDEST:,}, got {widths!s:.60}")
        with torch.random.fork_rng(devices=[]):  # the initial weights must not advance torch's global generator
            return architecture(attributes, widths, config["size"])
    except (LookupError, TypeError, AttributeError, ValueError, RuntimeError) as error:
        raise ConfigError(f"{folder / CONFIG} does not describe an attribute classifier: {error}") from error


def content_digest(folder: Path) -> str:
    """Return the hash of weights and configuration, which together decide the network's predictions."""
    return digest_of([file_digest(folder / WEIGHTS), _read_json(folder / CONFIG)])


def read_confusion(folder: Path, attributes: tuple[Attribute, ...]) -> Mapping[str, list[list[int]]]:
    """Return attribute name to its confusion matrix on held-out images, rows the true class.

    Raises:
        ConfigError: the file is missing or damaged, or lacks an attribute.
    """
    measured = _read_json(folder / HELDOUT)
    try:
        return {a.name: measured["attributes"][a.name]["confusion"] for a in attributes}
    except (KeyError, TypeError) as error:
        raise ConfigError(f"{folder / HELDOUT} must hold a confusion matrix for {error}; train it again") from error


def _read_json(path: Path) -> dict[str, Any]:
    return read_object(path, HINT)
