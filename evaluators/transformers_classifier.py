"""Attribute classifier made from any image classifier of the transformers library, from the hub or a folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bench.core.attributes import Attribute
from bench.core.digest import digest_of, file_digest
from bench.core.errors import ConfigError, Incompatible
from bench.storage.hub import FileChoice, fetch
from evaluators.classifiers.abstention import abstain, check_threshold
from evaluators.classifiers.calibration import check_temperature, softmax
from evaluators.classifiers.files import read_confusion
from evaluators.pretrained.images import check_images
from evaluators.pretrained.weights import first_line

Floats = npt.NDArray[np.floating]
BATCH = 32
READ = ("*.json", "*.safetensors")  # neither code nor pickled objects
WEIGHTS = ("model.safetensors", "model-*-of-?????.safetensors")  # of those that the library reads


class Extractor:
    """Class probabilities of one attribute, by a transformers image classifier whose labels are mapped to classes.

    The image transform is the checkpoint's. A class's probability is the sum over its labels; labels of no class are
    left out, and the probabilities are rescaled to sum to 1.

    Attributes:
        name: the public name.
        hub_files: patterns of the files of a hub's repository that are read.
        attributes: the one attribute that it predicts.
        confusion: attribute name to counts [K, K], rows the true class; empty without `heldout`.
        digest: hash of the weights, the configuration and every field that decides the output.
    """

    name = "transformers_classifier"
    hub_files = ("config.json", "*.json", *WEIGHTS)

    def __init__(
        self,
        model: str = "",
        attribute: str = "",
        classes: Sequence[Mapping[str, Sequence[str]]] = (),
        temperature: float = 1.0,
        threshold: float = 0.0,
        heldout: Path | str | None = None,
    ) -> None:
        """Load the classifier. Weights must be safetensors, and code that comes with a model is never run.

        Args:
            model: `path:DIR` as save_pretrained writes it, or `hub:OWNER/NAME[@REVISION]`; there is no default.
            attribute: the attribute's name.
            classes: a list, in class order, of class name to the model's labels for it; two classes or more. It is not
                a mapping, since a suite's mappings have no order.
            temperature: > 0, divisor of the logits.
            threshold: in [0, 1]; a row whose largest probability is below it is NaN. 0 never abstains.
            heldout: a folder whose heldout.json holds a confusion matrix measured on labelled images. It is that of a
                classifier that never abstains, so it cannot be combined with a threshold.

        Raises:
            Incompatible: transformers is not installed.
            ConfigError: a field is missing or out of range, a label is unknown or in two classes, or the model cannot
                be read.
        """
        if not model or not attribute:
            raise ConfigError(
                "transformers_classifier needs `model`, `attribute` and `classes`, got "
                f"model {model!r} and attribute {attribute!r}; give them under `with`"
            )
        self._temperature, self._threshold = check_temperature(temperature), check_threshold(threshold)
        if heldout is not None and threshold:
            raise ConfigError(f"heldout must come without a threshold, got threshold {threshold}; leave one out")
        named = _by_name(classes)
        self.attributes = (Attribute(attribute, tuple(named)),)
        self.confusion = {} if heldout is None else read_confusion(Path(heldout), self.attributes)
        folder = _folder(model)
        self._network, self._transform = _load(folder, model)
        self._rows = label_rows(named, self._network.config.id2label)
        files = {p.name: file_digest(p) for p in sorted(folder.iterdir()) if any(p.match(pattern) for pattern in READ)}
        self.digest = digest_of([self.name, files, self._rows, self._temperature, self._threshold, list(named)])

    def extract(self, images: Tensor) -> dict[str, Floats]:
        """Return attribute name to float32 probabilities [n, K] of uint8 images [n, 3, h, w].

        A row sums to 1, or is all NaN if the classifier abstains.

        Raises:
            ConfigError: the images are of another type or shape.
        """
        check_images(images)
        parts = [np.empty((0, len(self._rows)), np.float32)]
        for start in range(0, len(images), BATCH):
            x = self._transform(images=list(images[start : start + BATCH].cpu()), return_tensors="pt")
            with torch.inference_mode():
                logits = self._network(**x).logits.float().numpy()
            parts.append(grouped(softmax(logits / np.float32(self._temperature)), self._rows))
        return {self.attributes[0].name: abstain(np.concatenate(parts), self._threshold)}


def _by_name(classes: Sequence[Mapping[str, Sequence[str]]]) -> dict[str, Sequence[str]]:
    valid = not isinstance(classes, Mapping) and all(isinstance(entry, Mapping) for entry in classes)
    named = {name: labels for entry in classes for name, labels in entry.items()} if valid else {}
    if len(named) < 2 or len(named) != sum(map(len, classes)):
        raise ConfigError(
            f"classes must be a list of two or more different names, each with its labels, got {classes!r:.200}; "
            "write it as - name: [label, label]"
        )
    return named


def grouped(probabilities: Floats, rows: Sequence[Sequence[int]]) -> Floats:
    """Return probabilities of labels [n, L] summed over each class's labels and rescaled to sum to 1; [n, K].

    >>> grouped(np.array([[0.5, 0.1, 0.2, 0.2]]), [[0, 1], [2]])
    array([[0.75, 0.25]])
    """
    summed = np.stack([probabilities[:, list(row)].sum(axis=1) for row in rows], axis=1)
    scaled: Floats = summed / summed.sum(axis=1, keepdims=True)
    return scaled


def label_rows(classes: Mapping[str, Sequence[str]], labels: Mapping[int, str]) -> list[list[int]]:
    """Return the indices of the model's outputs that belong to each class, in class order.

    Raises:
        ConfigError: a class has no label, or a label is unknown, or is in two classes.
    """
    index = {label: int(i) for i, label in labels.items()}
    rows: list[list[int]] = []
    used: set[str] = set()
    for name, members in classes.items():
        if isinstance(members, str) or not members:
            raise ConfigError(f"class {name} must have a list of the model's labels, got {members!r}")
        for label in members:
            if label not in index:
                available = ", ".join(list(index)[:20])
                raise ConfigError(f"class {name} must have labels of the model, got {label!r}; it has {available}")
            if label in used:
                raise ConfigError(f"a label must be in one class, got {label!r} in two; leave it out of one")
            used.add(label)
        rows.append([index[label] for label in members])
    return rows


def _folder(model: str) -> Path:
    kind, _, address = model.partition(":")
    if kind == "path" and address:
        if not (Path(address) / "config.json").is_file():
            raise ConfigError(f"no file {Path(address) / 'config.json'}; give a folder that save_pretrained wrote")
        return Path(address)
    if kind != "hub" or not address:
        raise ConfigError(f"model must be path:DIR or hub:OWNER/NAME[@REVISION], got {model!r}")
    return fetch(address, FileChoice(Extractor.hub_files))


def _load(folder: Path, model: str) -> tuple[Any, Any]:
    from safetensors import SafetensorError

    try:
        import transformers
    except ImportError as error:
        raise Incompatible(
            f"transformers_classifier must have transformers, got: {error}; install the extra `transformers`"
        ) from error
    library: Any = transformers  # its factories are only partly typed
    common = {"local_files_only": True, "trust_remote_code": False}
    try:
        with torch.random.fork_rng(devices=[]):  # initial weights must not advance torch's global generator
            network, loading = library.AutoModelForImageClassification.from_pretrained(
                folder, use_safetensors=True, output_loading_info=True, **common
            )
        transform = library.AutoImageProcessor.from_pretrained(folder, **common)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise ConfigError(
            f"{model} must be an image classifier with safetensors and without code: {first_line(error)}"
        ) from error
    if loading["missing_keys"]:  # the library would initialise them at random
        raise ConfigError(f"{model} must hold a whole classifier, got no weights for {min(loading['missing_keys'])}")
    return network.float().eval().requires_grad_(False), transform
