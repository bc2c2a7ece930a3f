"""LPIPS: an embedding of images whose squared distance is the learned perceptual distance."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from bench.core.digest import digest_of, file_digest
from bench.core.errors import ConfigError, Incompatible
from bench.storage.files import cache_root
from evaluators.pretrained.images import check_images
from evaluators.pretrained.weights import read_tensors, released_file

FILE = "alexnet-owt-7be5be79.pth"
LAYERS = (1, 4, 7, 9, 11)  # indices in torchvision's AlexNet.features: its five convolutions after ReLU
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # ImageNet's mean and deviation, for images in [-1, 1]
SMALLEST = 32  # side in pixels; with a smaller one, AlexNet's third convolution has no input
BATCH = 64
HINT = f"give the path of {FILE}"


class Extractor:
    """The embedding phi with ||phi(x) - phi(y)||^2 = LPIPS(x, y), by AlexNet and the heads of version 0.1.

    Source: Zhang et al. 2018, arXiv 1801.03924, Eq. 1: the sum over layers l of the mean over positions (h, w)
    of sum_c w_lc (y_lhwc - y'_lhwc)^2, the activations y normalised to length 1 over the channels. Since every w_lc is
    >= 0, that is the squared distance of the points sqrt(w_lc / (H_l W_l)) y_lhwc, so each image is embedded once. The
    package lpips holds the heads w; AlexNet's weights are torchvision's and must be downloaded.

    Images are scaled to `side` first; the default of 64 pixels is the size of the patches that the heads were fitted
    on. Channels with weight 0 are left out; points have half precision.

    Attributes:
        name: the public name.
        side: side in pixels that images are scaled to.
        digest: hash of the weights, the heads and the side.
    """

    name = "lpips"

    def __init__(self, weights: Path | str | None = None, download: bool = False, side: int = 64) -> None:
        """Load the network.

        Args:
            weights: torchvision's file of AlexNet's ImageNet weights; None takes the one in the cache folder.
            download: download that file if it is missing.
            side: side in pixels that images are scaled to, >= 32.

        Raises:
            Incompatible: the weights or the package lpips are not available.
            ConfigError: a file is damaged or of another network, or the side is too small.
        """
        if side < SMALLEST:
            raise ConfigError(f"the side must be {SMALLEST} pixels or more, got {side}")
        heads = heads_file()
        path = Path(weights) if weights is not None else _release_file(download)
        self.side = side
        self._network, self._heads = load_alexnet(path), read_heads(heads)
        self.digest = digest_of([self.name, file_digest(path), file_digest(heads), side])

    def extract(self, images: Tensor) -> dict[str, npt.NDArray[np.floating]]:
        """Return {"perceptual": float16 [n, d]} of uint8 images [n, 3, h, w]; row i depends on image i alone.

        Raises:
            ConfigError: the images are of another type or shape.
        """
        check_images(images)
        points = [self.embed(batch).half().numpy() for batch in images.split(BATCH)]
        return {"perceptual": np.concatenate(points)}

    @torch.inference_mode()
    def embed(self, images: Tensor) -> Tensor:
        """Return the points float32 [n, d] of uint8 images [n, 3, h, w]."""
        x = images.float()
        if x.shape[-2:] != (self.side, self.side):
            x = interpolate(x, (self.side, self.side), mode="bilinear", antialias=True, align_corners=False)
        x = x / 127.5 - 1
        shift, scale = (torch.tensor(v).view(1, 3, 1, 1) for v in (SHIFT, SCALE))
        x, parts = (x - shift) / scale, []
        for i, layer in enumerate(self._network):
            x = layer(x)
            if i in LAYERS:
                y = x / (x.norm(dim=1, keepdim=True) + 1e-10)
                weight = self._heads[LAYERS.index(i)].flatten()
                root = (weight[weight > 0] / (x.shape[2] * x.shape[3])).sqrt()
                parts.append((y[:, weight > 0] * root[:, None, None]).flatten(1))
        return torch.cat(parts, dim=1)


def heads_file() -> Path:
    """Return the path of the heads of AlexNet, version 0.1, in the package lpips.

    Raises:
        Incompatible: the package is not installed.
    """
    try:
        return Path(str(distribution("lpips").locate_file("lpips/weights/v0.1/alex.pth")))
    except PackageNotFoundError:
        raise Incompatible("lpips must have the package of its heads; install it: pip install lpips") from None


def read_heads(path: Path) -> list[Tensor]:
    """Read the weight >= 0 of every channel, float32 [1, C, 1, 1], for each of LAYERS.

    Raises:
        ConfigError: the file is damaged or of another network.
    """
    stored = read_tensors(path, HINT)
    candidates = [stored.get(f"lin{i}.model.1.weight") for i in range(len(LAYERS))]
    heads = [w for w in candidates if w is not None and w.ndim == 4 and bool((w >= 0).all())]
    if [w.shape[1] for w in heads] != [64, 192, 384, 256, 256]:
        raise ConfigError(f"{path} must hold the heads of AlexNet, got others; install the package lpips anew")
    return heads


def load_alexnet(path: Path) -> nn.Sequential:
    """Load the convolutions of torchvision's AlexNet up to the last of LAYERS, frozen.

    Raises:
        ConfigError: the file is missing, damaged, or of another network.
    """
    from torchvision.models import alexnet

    with torch.device("meta"):  # draws no initial weights, so torch's global generator is untouched
        network: nn.Sequential = alexnet(weights=None).features[: LAYERS[-1] + 1]
    expected = network.state_dict()
    stored = {k.removeprefix("features."): v for k, v in read_tensors(path, HINT).items() if k.startswith("features.")}
    odd = sorted(k for k, v in expected.items() if k not in stored or stored[k].shape != v.shape)
    if odd:
        raise ConfigError(
            f"{path} must hold torchvision's AlexNet, got weights in which 'features.{odd[0]}' does not fit; "
            f"use {_release()}"
        )
    network.load_state_dict({k: stored[k] for k in expected}, assign=True)
    return network.eval().requires_grad_(False)


def _release() -> str:
    """Return the address that torchvision downloads these weights from."""
    from torchvision.models import AlexNet_Weights

    return str(AlexNet_Weights.IMAGENET1K_V1.url)


def _release_file(download: bool) -> Path:
    path = cache_root() / "lpips" / FILE
    return released_file(path, _release(), download, "lpips must have AlexNet's weights", sha256_prefix="7be5be79")
