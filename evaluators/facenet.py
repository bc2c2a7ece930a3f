"""Faces in photographs: detection, FaceNet embedding, and attributes predicted from it by a linear probe."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from bench.core.attributes import Attribute
from bench.core.digest import digest_of, file_digest
from bench.core.errors import ConfigError
from bench.storage.files import cache_root
from evaluators.classifiers.linear_probe import LinearProbe, load_probe
from evaluators.classifiers.mtcnn import FaceDetector, detected
from evaluators.pretrained.weights import read_tensors, released_file

Floats = npt.NDArray[np.floating]
RELEASE = "https://github.com/timesler/facenet-pytorch/releases/download/v2.2.9/"
WEIGHTS = {"vggface2": "20180402-114759-vggface2.pt", "casia-webface": "20180408-102900-casia-webface.pt"}
SIDE = 160  # side of a crop in pixels, as in the embedding's training
WIDTH = 512
BATCH = 32


class Extractor:
    """Face detection by MTCNN; optionally the face's InceptionResnetV1 embedding and attributes by a linear probe.

    Source: Zhang et al. 2016, arXiv 1604.02878 (MTCNN, with the weights in the package facenet-pytorch), and Schroff et
    al. 2015, arXiv 1503.03832 (FaceNet), in the architecture of Szegedy et al. 2016, arXiv 1602.07261, with the weights
    that facenet-pytorch publishes. The crop is that package's: the box without a margin, bilinear to 160 x 160.

    Attributes:
        name: the public name.
        digest: hash of all weights and of the crop.
        attributes: the attributes that the probe predicts; the attribute does not exist without a probe.
        confusion: attribute name to the probe's confusion counts, rows the true class; empty without a probe.
    """

    name = "facenet"
    attributes: tuple[Attribute, ...]

    def __init__(
        self,
        embed: bool = False,
        weights: Path | str | None = None,
        pretrained: Literal["vggface2", "casia-webface"] = "vggface2",
        download: bool = False,
        probe: Path | str | None = None,
    ) -> None:
        """Load the detector and, if requested, the embedding and the probe.

        Args:
            embed: return embeddings too; False only detects, which needs no file outside installed packages.
            weights: file of weights for the embedding, .pt or .safetensors; None takes the release's file in the cache
                folder.
            pretrained: which of the release's two files that is.
            download: download that file if it is missing.
            probe: folder of a linear probe fitted on embeddings of these weights; needs `embed`.

        Raises:
            Incompatible: embeddings are requested, and their weights are not available.
            ConfigError: a file is damaged or of another network, the probe was fitted on other weights, or the fields
                contradict each other.
        """
        if not embed and (weights is not None or download or probe is not None):
            raise ConfigError("weights, download and probe must come with `embed: true`, got embed false; set it")
        if pretrained not in WEIGHTS:
            raise ConfigError(f"pretrained must be one of {', '.join(WEIGHTS)}, got {pretrained!r}")
        self._detector = FaceDetector()
        self._network: nn.Module | None = None
        self._probe: LinearProbe | None = None
        self.confusion: dict[str, list[list[int]]] = {}
        identity: list[object] = [self.name, self._detector.identity, SIDE]
        if embed:
            path = Path(weights) if weights is not None else _release_file(pretrained, download)
            self._network = load_embedding(path)
            identity.append(file_digest(path))
        self.embedding_digest = digest_of(identity)
        if probe is not None:
            self._probe = load_probe(Path(probe))
            _check_probe(self._probe, Path(probe), self.embedding_digest)
            self.attributes = self._probe.attributes
            self.confusion = dict(self._probe.confusion)
            identity.append(self._probe.digest)
        self.digest = digest_of(identity)

    def extract(self, images: Tensor) -> dict[str, Floats]:
        """Return detections, embeddings and attribute probabilities of images.

        Args:
            images: uint8 [n, 3, h, w], h and w >= 20.

        Returns:
            "detected", float32 [n], 1 for a face and 0 for none. With `embed`, "features", float32 [n, 512], rows of
            length 1, of the largest face. With a probe, attribute name to float32 probabilities [n, K]. Rows of
            embeddings and probabilities are all NaN without a face.

        Raises:
            ConfigError: the images are of another type or shape, or too small.
        """
        boxes = self._detector.boxes(images)
        arrays: dict[str, Floats] = {"detected": detected(boxes)}
        if self._network is not None:
            arrays["features"] = self._embed(self._network, images, boxes)
        if self._probe is not None:
            arrays |= self._probe.probabilities(arrays["features"])
        return arrays

    def crops(self, images: Tensor) -> npt.NDArray[np.uint8]:
        """Return the largest face of each image that has one, uint8 [m, 3, 160, 160], m <= n, in order."""
        boxes = self._detector.boxes(images)
        return _crop(images, boxes).numpy().astype(np.uint8)

    def _embed(self, network: nn.Module, images: Tensor, boxes: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        features = np.full((len(images), WIDTH), np.nan, dtype=np.float32)
        rows = np.flatnonzero(detected(boxes))
        for start in range(0, len(rows), BATCH):
            batch = rows[start : start + BATCH]
            x = (_crop(images[batch], boxes[batch]) - 127.5) / 128  # as in the training of the weights
            with torch.inference_mode():
                features[batch] = network(x).numpy()
        return features


def _crop(images: Tensor, boxes: npt.NDArray[np.float32]) -> Tensor:
    """Return the crops of the images that have a box, float32 [m, 3, 160, 160] of whole numbers in [0, 255]."""
    from facenet_pytorch import extract_face
    from PIL import Image

    crops = [torch.empty(0, 3, SIDE, SIDE)]
    for image, box in zip(images.cpu(), boxes, strict=True):
        if np.isfinite(box).all():
            picture = Image.fromarray(image.permute(1, 2, 0).numpy())
            crops.append(extract_face(picture, box, SIDE)[None])
    return torch.cat(crops)


def _release_file(pretrained: str, download: bool) -> Path:
    path = cache_root() / "facenet" / WEIGHTS[pretrained]
    need = "facenet must have the weights of InceptionResnetV1 to embed"
    return released_file(path, RELEASE + WEIGHTS[pretrained], download, need)


def load_embedding(path: Path) -> nn.Module:
    """Load InceptionResnetV1, frozen: float32 [n, 3, 160, 160] to float32 [n, 512] of length 1.

    Raises:
        ConfigError: the file is missing, damaged, or of another network.
    """
    from facenet_pytorch import InceptionResnetV1

    tensors = read_tensors(path, "give the path of a file of facenet-pytorch's release")
    stored = {k: v for k, v in tensors.items() if not k.startswith("logits.")}  # drop the layer of the identities
    with torch.device("meta"):  # draws no initial weights, so torch's global generator is untouched
        network: nn.Module = InceptionResnetV1()
    shapes = {k: tuple(v.shape) for k, v in network.state_dict().items() if not k.endswith("num_batches_tracked")}
    odd = sorted(k for k, shape in shapes.items() if k not in stored or tuple(stored[k].shape) != shape)
    if odd:
        raise ConfigError(
            f"{path} must hold InceptionResnetV1, got weights in which {odd[0]!r} does not fit; use a file of "
            "facenet-pytorch's release v2.2.9"
        )
    network.to_empty(device="cpu").load_state_dict({k: v for k, v in stored.items() if k in shapes}, strict=False)
    return network.eval().requires_grad_(False)


def _check_probe(probe: LinearProbe, folder: Path, source: str) -> None:
    if probe.source != source:
        raise ConfigError(f"the probe of {folder} must be fitted on embeddings of these weights; fit it on them")
    for name, weight in probe.weight.items():
        if weight.shape[1] != WIDTH:
            raise ConfigError(f"the probe of {folder} must take {WIDTH} features for {name}, got {weight.shape[1]}")
