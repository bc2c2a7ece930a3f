"""CLIP as a classifier of attributes: it is asked in words, so it reads whatever can be said of an image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from bench.core.digest import digest_of
from bench.core.errors import ConfigError
from bench.storage.files import read_object
from evaluators.classifiers.abstention import abstain, check_threshold
from evaluators.classifiers.calibration import check_temperature, softmax
from evaluators.classifiers.files import HELDOUT, read_confusion
from evaluators.contrastive.checkpoint import Checkpoint, load_checkpoint
from evaluators.contrastive.prompts import Prompts, read_prompts

Floats = npt.NDArray[np.floating]


class Extractor:
    """Zero-shot class probabilities of each attribute, by any model of open_clip.

    Source: Radford et al. 2021, arXiv 2103.00020, sections 3.1.2 and 3.1.4: the softmax over classes of scale x cosine
    between an image's embedding and each class's; a class's embedding is the mean of those of its sentences, each
    normalised before and the mean after. The sentences are in bench/assets/prompts, and any other file of this form
    will do: templates, and phrases by attribute and class.

    The embedded model knows the words of its captions (bench/assets/avatars-clip/recipe.yaml) and drawn faces only.

    Attributes:
        name: the public name.
        attributes: what the prompts ask for.
        preprocess: the image transform, from the checkpoint's own configuration.
        temperature: what logits are divided by.
        threshold: the largest probability below which the classifier abstains.
        confusion: attribute name to counts [K, K] on held-out labelled images, rows the true class, from the
            heldout.json in the checkpoint's folder. Empty where there is none, where it was measured with other
            prompts, and where the classifier may abstain: the images it then keeps are not those that were measured.
        digest: hash of the weights, the transform, the sentences, the temperature and the threshold.
    """

    name = "clip"

    def __init__(
        self,
        model: str = "avatars-clip",
        pretrained: str | None = None,
        prompts: str = "avatars",
        temperature: float | None = None,
        threshold: float = 0.0,
    ) -> None:
        """Load the model and embed the prompts.

        Args:
            model: a shipped asset, `path:DIR`, `hub:OWNER/NAME[@REVISION]`, or one of open_clip's architectures.
            pretrained: for one of open_clip's architectures, a tag of its weights or a file; nothing else has one.
            prompts: shipped prompts by name, or a YAML file.
            temperature: > 0. Unless given, the one that was fitted beside the confusion, and 1 where there is none.
            threshold: in [0, 1]; a row whose largest probability is below it is NaN. 0 never abstains.

        Raises:
            UnknownName: no such model or prompts.
            ConfigError: an argument is out of its range, a file is missing or damaged, or two classes of an attribute
                come to the same tokens.
            Incompatible: the weights cannot be fetched from here.
        """
        self.threshold = check_threshold(threshold)
        words = read_prompts(prompts)
        self.checkpoint = load_checkpoint(model, pretrained)
        self.attributes = words.asked
        self.preprocess = self.checkpoint.preprocess
        folder, measured = self.checkpoint.folder, _measured(self.checkpoint, words)
        self.temperature = check_temperature(measured.get("temperature", 1.0) if temperature is None else temperature)
        self.confusion: Mapping[str, list[list[int]]] = {}
        if folder is not None and measured and not threshold:
            self.confusion = read_confusion(folder, self.attributes)
        self._classes = {a.name: class_embeddings(self.checkpoint, words, a.name) for a in self.attributes}
        self.digest = digest_of([self.checkpoint.digest, words.as_json(), self.temperature, self.threshold])

    def extract(self, images: Tensor) -> dict[str, Floats]:
        """Attribute name to float32 probabilities [n, K] of uint8 images [n, 3, h, w].

        A row sums to 1, or is all NaN where the classifier abstains.

        Raises:
            ConfigError: the images are of another type or shape.
        """
        found = {name: softmax(z / self.temperature) for name, z in self.zero_shot(images).items()}
        return {name: abstain(p, self.threshold) for name, p in found.items()}

    def zero_shot(self, images: Tensor) -> dict[str, npt.NDArray[np.float32]]:
        """Attribute name to logits [n, K] of uint8 images [n, 3, h, w], before the temperature."""
        x = normalised(self.checkpoint.embed_images(images))
        scale = self.checkpoint.scale
        return {name: (scale * x @ classes.T).astype(np.float32) for name, classes in self._classes.items()}


def class_embeddings(checkpoint: Checkpoint, prompts: Prompts, attribute: str) -> npt.NDArray[np.float32]:
    """Embedding of each class of an attribute, float32 [K, d], of length 1.

    Raises:
        ConfigError: two classes have a sentence with the same tokens, as where both are cut off at the context length.
    """
    seen: dict[tuple[int, ...], str] = {}
    rows = []
    for name in prompts.attributes[attribute]:
        sentences = prompts.sentences(attribute, name)
        for sentence, tokens in zip(sentences, checkpoint.tokenize(sentences).tolist(), strict=True):
            if seen.setdefault(tuple(tokens), name) != name:
                raise ConfigError(
                    f"sentences of {attribute} must differ between classes, got {sentence!r} of {name} with the tokens "
                    f"of one of {seen[tuple(tokens)]}; shorten it, or say it in other words"
                )
        rows.append(normalised(checkpoint.embed_texts(sentences)).mean(axis=0))
    return normalised(np.stack(rows))


def normalised(rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Rows [n, d] with length 1."""
    scaled: npt.NDArray[np.float32] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return scaled


def _measured(checkpoint: Checkpoint, prompts: Prompts) -> dict[str, Any]:
    """What was measured beside the weights with these very prompts; empty where nothing was."""
    path = checkpoint.folder / HELDOUT if checkpoint.folder else None
    if path is None or not path.is_file():
        return {}
    found = read_object(path, "train the model again")
    return found if found.get("prompts_sha256") == digest_of(prompts.as_json()) else {}
