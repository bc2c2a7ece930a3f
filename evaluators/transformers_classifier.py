"""Attributes by any image classifier of the transformers library, from the hub or a folder."""

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
from bench.storage.hub import fetch
from evaluators.classifiers.abstention import abstain, check_threshold
from evaluators.classifiers.calibration import check_temperature, softmax
from evaluators.classifiers.files import read_confusion

Floats = npt.NDArray[np.floating]
BATCH = 32
READ = ("*.json", "*.safetensors")  # no code, no pickle


class Extractor:
    """Class probabilities of one attribute, by a transformers image classifier whose labels are told apart by name.

    The image transform is the checkpoint's own. A class's probability is the sum over its labels; labels that are of no
    class are left out, and what remains is scaled to sum to 1.

    Attributes:
        name: the public name.
        attributes: the one attribute that it reads.
        confusion: attribute name to counts [K, K], rows the true class; empty unless `heldout` gives it.
        digest: hash of the weights, the configuration and every field that decides the output.
    """

    name = "transformers_classifier"

    def __init__(
        self,
        model: str = "",
        attribute: str = "",
        classes: Sequence[Mapping[str, Sequence[str]]] = (),
        temperature: float = 1.0,
        threshold: float = 0.0,
        heldout: Path | str | None = None,
    ) -> None:
        """Load the classifier. Weights are safetensors alone, and code that comes with a model is never run.

        Args:
            model: `path:DIR` as save_pretrained writes it, or `hub:OWNER/NAME[@REVISION]`; there is no default.
            attribute: what to call the attribute.
            classes: a list, in class order, of class name to the model's labels that mean it; two classes or more. It
                is no mapping, since a suite's mappings have no order.
            temperature: > 0, what logits are divided by.
            threshold: in [0, 1]; a row whose largest probability is below it is NaN. 0 never abstains.
            heldout: a folder whose heldout.json holds the confusion that you measured on labelled images. It is of a
                classifier that always answers, so it cannot be given with a threshold.

        Raises:
            Incompatible: transformers is not installed.
            ConfigError: a field is missing or out of range, a label is unknown or in two classes, or the model cannot
                be read.
        """
        if not model or not attribute:
            raise ConfigError(
                "transformers_classifier must be told its `model`, `attribute` and `classes`, got "
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
        kept = {p.name: file_digest(p) for p in sorted(folder.iterdir()) if any(p.match(pattern) for pattern in READ)}
        self.digest = digest_of([self.name, kept, self._rows, self._temperature, self._threshold, list(named)])

    def extract(self, images: Tensor) -> dict[str, Floats]:
        """Attribute name to float32 probabilities [n, K] of uint8 images [n, 3, h, w].

        A row sums to 1, or is all NaN where the classifier abstains.

        Raises:
            ConfigError: the images are of another type or shape.
        """
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
            raise ConfigError(f"images must be uint8 [n, 3, h, w], got {images.dtype} {list(images.shape)}")
        parts = [np.empty((0, len(self._rows)), np.float32)]
        for start in range(0, len(images), BATCH):
            x = self._transform(images=list(images[start : start + BATCH].cpu()), return_tensors="pt")
            with torch.inference_mode():
                logits = self._network(**x).logits.float().numpy()
            parts.append(grouped(softmax(logits / np.float32(self._temperature)), self._rows))
        return {self.attributes[0].name: abstain(np.concatenate(parts), self._threshold)}


def _by_name(classes: Sequence[Mapping[str, Sequence[str]]]) -> dict[str, Sequence[str]]:
    known = not isinstance(classes, Mapping) and all(isinstance(one, Mapping) for one in classes)
    named = {name: labels for one in classes for name, labels in one.items()} if known else {}
    if len(named) < 2 or len(named) != sum(map(len, classes)):
        raise ConfigError(
            f"classes must be a list of two or more different names, each with its labels, got {classes!r:.200}; "
            "write it as - name: [label, label]"
        )
    return named


def grouped(probabilities: Floats, rows: Sequence[Sequence[int]]) -> Floats:
    """Probabilities of labels [n, L] summed within each class's labels, and scaled to sum to 1; [n, K].

    >>> grouped(np.array([[0.5, 0.1, 0.2, 0.2]]), [[0, 1], [2]])
    array([[0.75, 0.25]])
    """
    summed = np.stack([probabilities[:, list(row)].sum(axis=1) for row in rows], axis=1)
    scaled: Floats = summed / summed.sum(axis=1, keepdims=True)
    return scaled


def label_rows(classes: Mapping[str, Sequence[str]], labels: Mapping[int, str]) -> list[list[int]]:
    """The model's outputs that each class stands for, in class order.

    Raises:
        ConfigError: a class has no label, or a label is unknown, or is in two classes.
    """
    index = {label: int(i) for i, label in labels.items()}
    rows: list[list[int]] = []
    seen: set[str] = set()
    for name, wanted in classes.items():
        if isinstance(wanted, str) or not wanted:
            raise ConfigError(f"class {name} must have a list of the model's labels, got {wanted!r}")
        for label in wanted:
            if label not in index:
                known = ", ".join(list(index)[:20])
                raise ConfigError(f"class {name} must have labels of the model, got {label!r}; it has {known}")
            if label in seen:
                raise ConfigError(f"a label must be in one class, got {label!r} in two; leave it out of one")
            seen.add(label)
        rows.append([index[label] for label in wanted])
    return rows


def _folder(model: str) -> Path:
    kind, _, place = model.partition(":")
    if kind == "path" and place:
        if not (Path(place) / "config.json").is_file():
            raise ConfigError(f"no file {Path(place) / 'config.json'}; give a folder that save_pretrained wrote")
        return Path(place)
    if kind != "hub" or not place:
        raise ConfigError(f"model must be path:DIR or hub:OWNER/NAME[@REVISION], got {model!r}")
    return fetch(place, list(READ))


def _load(folder: Path, model: str) -> tuple[Any, Any]:
    from safetensors import SafetensorError

    try:
        import transformers
    except ImportError as error:
        raise Incompatible(
            f"transformers_classifier must have transformers, got: {error}; install the extra `transformers`"
        ) from error
    library: Any = transformers  # it types its factories in part alone
    common = {"local_files_only": True, "trust_remote_code": False}
    try:
        network, found = library.AutoModelForImageClassification.from_pretrained(
            folder, use_safetensors=True, output_loading_info=True, **common
        )
        transform = library.AutoImageProcessor.from_pretrained(folder, **common)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise ConfigError(
            f"{model} must be an image classifier with safetensors and no code of its own: {_first_line(error)}"
        ) from error
    if found["missing_keys"]:  # the library would draw them at random
        raise ConfigError(f"{model} must hold a whole classifier, got no weights for {min(found['missing_keys'])}")
    return network.float().eval().requires_grad_(False), transform


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
