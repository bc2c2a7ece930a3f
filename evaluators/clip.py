"""CLIP as a zero-shot attribute classifier: its classes are described in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from bench.core.digest import digest_of
from bench.core.errors import ConfigError
from bench.core.json_text import read_object
from evaluators.classifiers.abstention import abstain, check_threshold
from evaluators.classifiers.calibration import check_temperature, softmax
from evaluators.classifiers.files import HELDOUT, read_confusion
from evaluators.contrastive.checkpoint import READ, Checkpoint, load_checkpoint
from evaluators.contrastive.prompts import Prompts, read_prompts

Floats = npt.NDArray[np.floating]


class Extractor:
    """Attribute classifier: zero-shot class probabilities of each attribute, by any model of open_clip.

    Source: Radford et al. 2021, arXiv 2103.00020, sections 3.1.2 and 3.1.4: the softmax over classes of scale x cosine
    between the image's embedding and each class's. A class's embedding is the normalised mean of the normalised
    embeddings of its sentences. The sentences are in bench/assets/prompts; another file of the same form (templates,
    and phrases by attribute and class) can be given.

    The embedded model only knows the words of its captions (bench/assets/avatars-clip/recipe.yaml) and drawn faces.

    Attributes:
        name: the public name.
        hub_files: patterns of the files of a hub's repository that are read.
        attributes: the attributes of the prompts.
        preprocess: the image transform, from the checkpoint's own configuration.
        temperature: divisor of the logits, > 0.
        threshold: the largest probability below which the classifier abstains.
        confusion: attribute name to counts [K, K] on held-out labelled images, rows the true class, from the
            heldout.json in the checkpoint's folder. Empty if there is none, if it was measured with other prompts, and
            if the classifier may abstain: it was measured on all images, not only on those that are classified.
        digest: hash of the weights, the transform, the sentences, the temperature and the threshold.
    """

    name = "clip"
    hub_files = READ

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
            pretrained: for an open_clip architecture, a tag of its weights or a file; None for every other `model`.
            prompts: name of shipped prompts, or a YAML file.
            temperature: > 0; None takes the one fitted together with the confusion, or 1 if there is none.
            threshold: in [0, 1]; a row whose largest probability is below it is NaN. 0 never abstains.

        Raises:
            UnknownName: no such model or prompts.
            ConfigError: an argument is out of range, a file is missing or damaged, or two classes of an attribute have
                the same tokens.
            Incompatible: the weights cannot be downloaded from here.
        """
        self.threshold = check_threshold(threshold)
        words = read_prompts(prompts)
        self.checkpoint = load_checkpoint(model, pretrained)
        self.attributes = words.described
        self.preprocess = self.checkpoint.preprocess
        folder, measured = self.checkpoint.folder, _measured(self.checkpoint, words)
        self.temperature = check_temperature(measured.get("temperature", 1.0) if temperature is None else temperature)
        self.confusion: Mapping[str, list[list[int]]] = {}
        if folder is not None and measured and not threshold:
            self.confusion = read_confusion(folder, self.attributes)
        self._classes = {a.name: class_embeddings(self.checkpoint, words, a.name) for a in self.attributes}
        self.digest = digest_of([self.checkpoint.digest, words.as_json(), self.temperature, self.threshold])

    def extract(self, images: Tensor) -> dict[str, Floats]:
        """Return attribute name to float32 probabilities [n, K] of uint8 images [n, 3, h, w].

        A row sums to 1, or is all NaN if the classifier abstains.

        Raises:
            ConfigError: the images are of another type or shape.
        """
        logits = self.zero_shot(images)
        return {name: abstain(softmax(z / self.temperature), self.threshold) for name, z in logits.items()}

    def zero_shot(self, images: Tensor) -> dict[str, npt.NDArray[np.float32]]:
        """Return attribute name to logits [n, K] of uint8 images [n, 3, h, w], before the temperature."""
        x = normalised(self.checkpoint.embed_images(images))
        scale = self.checkpoint.scale
        return {name: (scale * x @ classes.T).astype(np.float32) for name, classes in self._classes.items()}


def class_embeddings(checkpoint: Checkpoint, prompts: Prompts, attribute: str) -> npt.NDArray[np.float32]:
    """Return the embedding of each class of an attribute, float32 [K, d], of length 1.

    Raises:
        ConfigError: two classes have a sentence with the same tokens, e.g. because both are cut at the context length.
    """
    class_of: dict[tuple[int, ...], str] = {}
    rows = []
    for name in prompts.attributes[attribute]:
        sentences = prompts.sentences(attribute, name)
        for sentence, tokens in zip(sentences, checkpoint.tokenize(sentences).tolist(), strict=True):
            if class_of.setdefault(tuple(tokens), name) != name:
                raise ConfigError(
                    f"sentences of {attribute} must differ between classes, got {sentence!r} of {name} with the tokens "
                    f"of one of {class_of[tuple(tokens)]}; shorten it, or use other words"
                )
        rows.append(normalised(checkpoint.embed_texts(sentences)).mean(axis=0))
    return normalised(np.stack(rows))


def normalised(rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return rows [n, d] scaled to length 1."""
    scaled: npt.NDArray[np.float32] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return scaled


def _measured(checkpoint: Checkpoint, prompts: Prompts) -> dict[str, Any]:
    """Return the record of confusion and temperature measured with exactly these prompts; empty if there is none."""
    path = checkpoint.folder / HELDOUT if checkpoint.folder else None
    if path is None or not path.is_file():
        return {}
    record = read_object(path, "train the model again")
    return record if record.get("prompts_sha256") == digest_of(prompts.as_json()) else {}
