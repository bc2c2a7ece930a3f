"""Image features of a contrastive image-text model, as CLIP-FID and CMMD use them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from torch import Tensor

from evaluators.contrastive.checkpoint import READ, load_checkpoint


class Extractor:
    """Image embeddings of any model of open_clip, float32 [n, d], not normalised.

    CLIP-FID as clean-fid computes it (Kynkaanniemi et al. 2023, arXiv 2203.06026) uses them unscaled; CMMD (Jayasumana
    et al. 2024, arXiv 2401.09603) normalises them first.

    The network of clean-fid's `clip_vit_b_32` is `model: ViT-B-32-quickgelu, pretrained: openai`, which open_clip
    downloads; the Frechet distance of these features is clean-fid's CLIP-FID (tests/evaluators/test_parity.py).

    Attributes:
        name: the public name.
        hub_files: patterns of the files of a hub's repository that are read.
        preprocess: the image transform, from the checkpoint's own configuration.
        digest: hash of the weights and the transform.
    """

    name = "clip_features"
    hub_files = READ

    def __init__(self, model: str = "avatars-clip", pretrained: str | None = None) -> None:
        """Load the model.

        Args:
            model: a shipped asset, `path:DIR`, `hub:OWNER/NAME[@REVISION]`, or one of open_clip's architectures.
            pretrained: for an open_clip architecture, a tag of its weights or a file; None for every other `model`.

        Raises:
            UnknownName: no such model.
            ConfigError: the weights are missing, damaged or of another architecture.
            Incompatible: the weights cannot be downloaded from here.
        """
        self._checkpoint = load_checkpoint(model, pretrained)
        self.preprocess, self.digest = self._checkpoint.preprocess, self._checkpoint.digest

    def extract(self, images: Tensor) -> dict[str, npt.NDArray[np.floating]]:
        """Return {"features": float32 [n, d]} of uint8 images [n, 3, h, w]; row i depends on image i alone.

        Raises:
            ConfigError: the images are of another type or shape.
        """
        return {"features": self._checkpoint.embed_images(images)}

    def embed_texts(self, texts: list[str]) -> npt.NDArray[np.floating]:
        """Return embeddings of texts in the space of the features, float32 [n, d], not normalised.

        A text longer than the model's context is cut there, as open_clip's tokenizers do.
        """
        return self._checkpoint.embed_texts(texts)
