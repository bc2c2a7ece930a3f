"""Train an attribute classifier, and measure it on held-out images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from bench.core.errors import ConfigError
from bench.core.progress import console
from bench.data import load_data, print_left_out
from bench.protocols.images import LabelledImages
from bench.recipes.classifier_files import save_network
from bench.recipes.cycles import train_cycles
from bench.recipes.recipe import ClassifierRecipe, Record
from bench.storage.files import write_json
from bench.training.loop import summary
from evaluators.attribute_cnn import AttributeCNN
from evaluators.attribute_resnet import AttributeResNet
from evaluators.classifiers.files import HELDOUT, load_network
from evaluators.classifiers.network import AttributeNetwork
from evaluators.classifiers.reading import probabilities, to_input

NETWORKS: dict[str, type[AttributeNetwork]] = {n.architecture: n for n in (AttributeCNN, AttributeResNet)}


def train_classifier(recipe: ClassifierRecipe, folder: Path) -> Record:
    """Train from `recipe`, or resume; write weights, configuration and held-out confusion.

    Returns:
        The record of the training: steps, losses, the data's name and hash, held-out accuracy by attribute.

    Raises:
        ConfigError: the held-out set has other attributes or another size than the training set.
    """
    data = load_data(recipe.data)
    heldout = load_data(recipe.heldout)
    print_left_out([data, heldout])
    if heldout.attributes != data.attributes or heldout.images.shape[1:] != data.images.shape[1:]:
        raise ConfigError(f"heldout must have the attributes and the size of data, got {heldout.name} and {data.name}")
    torch.manual_seed(recipe.training.seed)  # layers are initialised from the global generator
    architecture = NETWORKS[recipe.network]
    network = architecture(data.attributes, recipe.widths, recipe.data.size).to(memory_format=torch.channels_last)
    images = torch.from_numpy(np.array(data.images))
    labels = torch.from_numpy(np.array(data.labels))
    settings = recipe.training

    def loss(g: torch.Generator) -> Tensor:
        rows = torch.randint(len(images), (settings.batch,), generator=g)
        x = augment(to_input(images[rows]), recipe.shift, settings.flips, g)
        logits = network(x.contiguous(memory_format=torch.channels_last))
        terms = [functional.cross_entropy(logits[a.name], labels[rows, j]) for j, a in enumerate(data.attributes)]
        return torch.stack(terms).sum()

    losses = train_cycles(network, loss, settings.budgets(), folder / "checkpoint.pt", f"classifier {folder.name}")
    save_network(network, folder)
    classifier = load_network(folder, architecture)  # as written, in half precision
    measured = measure(probabilities(classifier, torch.from_numpy(np.array(heldout.images))), heldout)
    write_json(folder / HELDOUT, measured)
    console.print(f"wrote {folder}")
    accuracy = {name: values["accuracy"] for name, values in measured["attributes"].items()}
    record = {"data": data.name, "data_sha256": data.digest, "n": len(data), "heldout_accuracy": accuracy}
    return {**summary(losses), **record}


def augment(x: Tensor, shift: int, flips: bool, g: torch.Generator) -> Tensor:
    """Change images slightly without changing an attribute, so that the blurrier images of generators work too.

    Args:
        x: float [n, 3, h, w] in [-1, 1].
        shift: largest shift in pixels, each way and along each axis; the border is repeated outwards.
        flips: mirror half of the rows.
        g: the source of every draw.

    Returns:
        The rows mirrored, shifted, blurred, tinted and noised at random; shaped as x, about in [-1, 1].
    """
    n = len(x)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(n, *shape, generator=g)

    if flips:
        x = torch.where(uniform(0, 1, 1, 1, 1) < 0.5, x.flip(-1), x)
    x = shifted(x, torch.randint(-shift, shift + 1, (n, 2), generator=g))
    soft = functional.avg_pool2d(functional.pad(x, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    x = torch.lerp(x, soft, uniform(-1, 1, 1, 1, 1).clamp(min=0))  # half of the rows stay sharp
    x = x * uniform(0.95, 1.05, 3, 1, 1) + uniform(-0.04, 0.04, 1, 1, 1)
    return x + uniform(-0.1, 0.1, 1, 1, 1).clamp(min=0) * torch.randn(x.shape, generator=g)  # and half stay clean


def shifted(x: Tensor, offsets: Tensor) -> Tensor:
    """Shift each row by its offset, the border repeated outwards.

    Args:
        x: [n, c, h, w].
        offsets: int64 [n, 2], pixels (down, right).

    Returns:
        [n, c, h, w]; pixel (i, j) of row k is pixel (i - offsets[k, 0], j - offsets[k, 1]) of x, clamped to its edge.
    """
    n, _, h, w = x.shape
    down = (torch.arange(h) - offsets[:, :1]).clamp(0, h - 1)
    right = (torch.arange(w) - offsets[:, 1:]).clamp(0, w - 1)
    rows = torch.arange(n).reshape(n, 1, 1)
    return x.permute(0, 2, 3, 1)[rows, down[:, :, None], right[:, None, :]].permute(0, 3, 1, 2)


def measure(predicted: Mapping[str, npt.NDArray[np.floating]], heldout: LabelledImages) -> dict[str, Any]:
    """Return confusion and accuracy on a held-out set, by attribute and class, with the set's name, hash and length.

    Args:
        predicted: attribute name to a classifier's probabilities [n, K] of the set's images.
        heldout: the set.
    """
    attributes = {}
    for j, attribute in enumerate(heldout.attributes):
        table = confusion(heldout.labels[:, j], predicted[attribute.name].argmax(1), attribute.n_classes)
        right, n_true = np.diag(table), table.sum(axis=1)
        attributes[attribute.name] = {
            "classes": list(attribute.classes),
            "confusion": table.tolist(),
            "accuracy": float(right.sum() / table.sum()),
            # a class that the set lacks has no accuracy
            "class_accuracy": [float(r / t) if t else None for r, t in zip(right, n_true, strict=True)],
        }
    return {"data": heldout.name, "data_sha256": heldout.digest, "n": len(heldout), "attributes": attributes}


def confusion(
    true: npt.NDArray[np.integer], predicted: npt.NDArray[np.integer], n_classes: int
) -> npt.NDArray[np.int64]:
    """Return counts [n_classes, n_classes] of labels [n]; rows are true classes, columns predicted ones."""
    table = np.zeros((n_classes, n_classes), np.int64)
    np.add.at(table, (true, predicted), 1)
    return table
