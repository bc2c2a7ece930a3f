"""Face detection in photographs with MTCNN, with the weights in the package facenet-pytorch."""

from __future__ import annotations

from importlib.resources import as_file, files

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bench.core.digest import file_digest
from bench.core.errors import ConfigError
from evaluators.pretrained.images import check_images

PACKAGE = "facenet_pytorch"
NETWORKS = ("pnet.pt", "rnet.pt", "onet.pt")
SMALLEST = 20  # side in pixels of the smallest face that is detected, as in the package and the paper


class FaceDetector:
    """Detector of the largest face of each image, as a box.

    Source: Zhang et al. 2016, arXiv 1604.02878, in the code and with the weights and thresholds (0.6, 0.7, 0.7) of
    facenet-pytorch. It was trained on photographs; its results on drawings are arbitrary.

    Images are processed one at a time: in a batch, the package shifts each image's boxes by an amount that depends on
    the other images, and a box that begins outside its image can then suppress a box of the preceding image.

    Attributes:
        identity: digests of the weights and the settings; part of the digest of extractors that use the detector.
    """

    def __init__(self) -> None:
        """Load the weights.

        Raises:
            ConfigError: facenet-pytorch is not installed.
        """
        try:
            from facenet_pytorch import MTCNN
        except ImportError as error:
            raise ConfigError("MTCNN must be installed; install facenet-pytorch") from error
        with torch.random.fork_rng(devices=[]):  # the initial weights must not advance torch's global generator
            self._network = MTCNN(min_face_size=SMALLEST).eval()
        self.identity = [*_weight_digests(), SMALLEST, *self._network.thresholds]

    def boxes(self, images: Tensor) -> npt.NDArray[np.float32]:
        """Return the box of the largest face of each image.

        Args:
            images: uint8 [n, 3, h, w], h and w >= 20.

        Returns:
            float32 [n, 4] of left, top, right, bottom in pixels, which may lie outside the image; a row is NaN
            without a face.

        Raises:
            ConfigError: the images are of another type or shape, or too small for any face.
        """
        check_images(images)
        if min(images.shape[2:]) < SMALLEST:
            raise ConfigError(
                f"images must be {SMALLEST} x {SMALLEST} or more for a face to be found, got "
                f"{images.shape[2]} x {images.shape[3]}; use a model of larger images"
            )
        largest = np.full((len(images), 4), np.nan, dtype=np.float32)
        for row, image in zip(largest, images.cpu(), strict=True):
            boxes = self._network.detect(image.permute(1, 2, 0))[0]
            if boxes is not None:
                row[:] = boxes[0]  # the largest comes first
        return largest


def _weight_digests() -> list[str]:
    digests = []
    for name in NETWORKS:
        with as_file(files(PACKAGE) / "data" / name) as path:
            digests.append(file_digest(path))
    return digests


def detected(boxes: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return 1.0 for rows of boxes [n, 4] with a face, 0.0 for NaN rows; float32 [n]."""
    return np.asarray(np.isfinite(boxes).all(axis=1), dtype=np.float32)
