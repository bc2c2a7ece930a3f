"""Faces in photographs: whether there is one, its FaceNet embedding, and attributes that a linear probe reads in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal
from urllib.error import URLError

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from bench.core.attributes import Attribute
from bench.core.digest import digest_of, file_digest
from bench.core.errors import ConfigError, Incompatible
from bench.storage.files import cache_root
from evaluators.classifiers.linear_probe import LinearProbe, load_probe
from evaluators.classifiers.mtcnn import FaceDetector, detected

Floats = npt.NDArray[np.floating]
RELEASE = "https://github.com/timesler/facenet-pytorch/releases/download/v2.2.9/"
WEIGHTS = {"vggface2": "20180402-114759-vggface2.pt", "casia-webface": "20180408-102900-casia-webface.pt"}
SIDE = 160  # of a crop, in pixels: what the embedding was trained at
WIDTH = 512
BATCH = 32


class Extractor:
    """Whether MTCNN finds a face; on request its InceptionResnetV1 embedding, and attributes by a linear probe.

    Source: Zhang et al. 2016, arXiv 1604.02878 (MTCNN, whose weights the package facenet-pytorch holds), and Schroff et
    al. 2015, arXiv 1503.03832 (FaceNet), in the architecture of Szegedy et al. 2016, arXiv 1602.07261, with the weights
    that facenet-pytorch publishes. The crop is that package's own: the box without a margin, bilinear to 160 x 160.

    Attributes:
        name: the public name.
        digest: hash of all weights and of the crop.
        attributes: what the probe reads; there is no such attribute without a probe.
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
        """Load what is asked for.

        Args:
            embed: give embeddings too; False gives the detection alone, which needs no file that is not installed.
            weights: a file of weights for the embedding, .pt or .safetensors. Unless given, the release's file in the
                cache folder.
            pretrained: which of the release's two files that is.
            download: fetch that file where it is not there yet.
            probe: a folder that `linear_probe.fit_probe` wrote for these weights; it needs `embed`.

        Raises:
            Incompatible: embeddings are asked for, and their weights are not at hand.
            ConfigError: a file is damaged or of another network, the probe is not of these weights, or the fields
                contradict each other.
        """
        if not embed and (weights is not None or download or probe is not None):
            raise ConfigError("weights, download and probe must come with `embed: true`, got embed false; set it")
        if pretrained not in WEIGHTS:
            raise ConfigError(f"pretrained must be one of {', '.join(WEIGHTS)}, got {pretrained!r}")
        self._detector = FaceDetector()
        self._network: Any = None
        self._probe: LinearProbe | None = None
        self.confusion: dict[str, Any] = {}
        identity: list[Any] = [self.name, self._detector.identity, SIDE]
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
        """What was found in images.

        Args:
            images: uint8 [n, 3, h, w], h and w >= 20.

        Returns:
            "detected", float32 [n], 1 where there is a face and 0 where there is none. With `embed`, "features",
            float32 [n, 512], rows of length 1, of the largest face. With a probe, attribute name to float32
            probabilities [n, K]. Rows of embeddings and probabilities are all NaN where there is no face.

        Raises:
            ConfigError: the images are of another type or shape, or too small.
        """
        boxes = self._detector.boxes(images)
        found: dict[str, Floats] = {"detected": detected(boxes)}
        if self._network is not None:
            found["features"] = self._embed(images, boxes)
        if self._probe is not None:
            found |= self._probe.probabilities(found["features"])
        return found

    def crops(self, images: Tensor) -> npt.NDArray[np.uint8]:
        """The largest face of each image that has one, uint8 [m, 3, 160, 160], m <= n, in their order."""
        boxes = self._detector.boxes(images)
        return _crop(images, boxes).numpy().astype(np.uint8)

    def _embed(self, images: Tensor, boxes: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        features = np.full((len(images), WIDTH), np.nan, dtype=np.float32)
        rows = np.flatnonzero(detected(boxes))
        for start in range(0, len(rows), BATCH):
            some = rows[start : start + BATCH]
            x = (_crop(images[some], boxes[some]) - 127.5) / 128  # as the weights were trained
            with torch.inference_mode():
                features[some] = self._network(x).numpy()
        return features


def _crop(images: Tensor, boxes: npt.NDArray[np.float32]) -> Tensor:
    """The boxes of those images that have one, float32 [m, 3, 160, 160] of whole numbers in [0, 255]."""
    from facenet_pytorch import extract_face
    from PIL import Image

    crops = [torch.empty(0, 3, SIDE, SIDE)]
    for image, box in zip(images.cpu(), boxes, strict=True):
        if np.isfinite(box).all():
            picture = Image.fromarray(image.permute(1, 2, 0).numpy())
            crops.append(extract_face(picture, box, SIDE)[None])
    return torch.cat(crops)


def _release_file(pretrained: str, download: bool) -> Path:
    folder = cache_root() / "facenet"
    path = folder / WEIGHTS[pretrained]
    if path.is_file():
        return path
    if not download:
        raise Incompatible(
            f"facenet must have the weights of InceptionResnetV1 to embed, got no file {path}; put "
            f"{WEIGHTS[pretrained]} of facenet-pytorch's release v2.2.9 there, give its place as `weights`, or set "
            "`download: true`"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(RELEASE + WEIGHTS[pretrained], str(path), progress=False)
    except (URLError, OSError) as error:
        raise Incompatible(
            f"{RELEASE}{WEIGHTS[pretrained]} cannot be downloaded: {error}; fetch it elsewhere and put it at {path}"
        ) from error
    return path


def load_embedding(path: Path) -> nn.Module:
    """InceptionResnetV1 with the weights of a file, frozen, for float32 [n, 3, 160, 160] to [n, 512] of length 1.

    Raises:
        ConfigError: the file is missing, damaged, or of another network.
    """
    from facenet_pytorch import InceptionResnetV1

    stored = {k: v for k, v in _read_weights(path).items() if not k.startswith("logits.")}  # of the identities
    with torch.device("meta"):  # no weights are drawn first, so the global generator stays as it is
        network: nn.Module = InceptionResnetV1()
    wanted = {k: tuple(v.shape) for k, v in network.state_dict().items() if not k.endswith("num_batches_tracked")}
    odd = sorted(k for k, shape in wanted.items() if k not in stored or tuple(stored[k].shape) != shape)
    if odd:
        raise ConfigError(
            f"{path} must hold InceptionResnetV1, got weights in which {odd[0]!r} does not fit; use a file of "
            "facenet-pytorch's release v2.2.9"
        )
    network.to_empty(device="cpu").load_state_dict({k: v for k, v in stored.items() if k in wanted}, strict=False)
    return network.eval().requires_grad_(False)


def _read_weights(path: Path) -> dict[str, Tensor]:
    from pickle import UnpicklingError

    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        stored = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise ConfigError(f"no weights at {path}; give the place of a file of facenet-pytorch's release") from None
    except (SafetensorError, OSError, RuntimeError, EOFError, UnpicklingError) as error:
        first = str(error).strip().splitlines()[:1]
        raise ConfigError(f"cannot read {path}: {' '.join(first)}; it is damaged or no file of weights") from error
    if not isinstance(stored, dict) or not all(isinstance(v, Tensor) for v in stored.values()):
        raise ConfigError(f"{path} must hold named tensors, got {type(stored).__name__}; give a state dict")
    return stored


def _check_probe(probe: LinearProbe, folder: Path, source: str) -> None:
    if probe.source != source:
        raise ConfigError(f"the probe of {folder} must be fitted on embeddings of these weights; fit it on them")
    for name, weight in probe.weight.items():
        if weight.shape[1] != WIDTH:
            raise ConfigError(f"the probe of {folder} must read {WIDTH} features for {name}, got {weight.shape[1]}")
