"""Image features of a contrastive image-text model, of the tower that CLIP-FID and CMMD look through."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from torch import Tensor

from evaluators.contrastive.checkpoint import load_checkpoint


class Extractor:
    """Image embeddings of any model of open_clip, [n, d], not normalised.

    Their length is kept since it cannot be had back: CLIP-FID as clean-fid computes it (Kynkaanniemi et al. 2023, arXiv
    2203.06026) takes them as they are, and CMMD (Jayasumana et al. 2024, arXiv 2401.09603) divides by it first.

    The network of clean-fid's `clip_vit_b_32` is `model: ViT-B-32-quickgelu, pretrained: openai`, which open_clip
    fetches; a Frechet distance of these features is then its CLIP-FID (tests/evaluators/test_parity.py).

    Attributes:
        name: the public name.
        preprocess: the image transform, from the checkpoint's own configuration.
        digest: hash of the weights and the transform.
    """

    name = "clip_features"

    def __init__(self, model: str = "avatars-clip", pretrained: str | None = None) -> None:
        """Load the model.

        Args:
            model: a shipped asset, `path:DIR`, `hub:OWNER/NAME[@REVISION]`, or one of open_clip's architectures.
            pretrained: for one of open_clip's architectures, a tag of its weights or a file; nothing else has one.

        Raises:
            UnknownName: no such model.
            ConfigError: the weights are missing, damaged or of another architecture.
            Incompatible: they cannot be fetched from here.
        """
        self._checkpoint = load_checkpoint(model, pretrained)
        self.preprocess, self.digest = self._checkpoint.preprocess, self._checkpoint.digest

    def extract(self, images: Tensor) -> dict[str, npt.NDArray[np.floating]]:
        """{"features": float32 [n, d]} of uint8 images [n, 3, h, w]; row i depends on image i alone.

        Raises:
            ConfigError: the images are of another type or shape.
        """
        return {"features": self._checkpoint.embed_images(images)}

    def embed_texts(self, texts: list[str]) -> npt.NDArray[np.floating]:
        """Embeddings of texts in the space of the features, float32 [n, d], not normalised.

        A text that is longer than the model's context is cut there, as open_clip's tokenizers do.
        """
        return self._checkpoint.embed_texts(texts)
