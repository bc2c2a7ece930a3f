"""LPIPS: images as points whose squared distance is the learned perceptual distance."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from pickle import UnpicklingError
from urllib.error import URLError

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from bench.core.digest import digest_of, file_digest
from bench.core.errors import ConfigError, Incompatible
from bench.storage.files import cache_root

FILE = "alexnet-owt-7be5be79.pth"
LAYERS = (1, 4, 7, 9, 11)  # of torchvision's AlexNet.features: its five rectified convolutions
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # ImageNet's mean and deviation, of images in [-1, 1]
SMALLEST = 32  # side in pixels: below, AlexNet's third convolution sees nothing
BATCH = 64


class Extractor:
    """The embedding phi with ||phi(x) - phi(y)||^2 = LPIPS(x, y), by AlexNet and the heads of version 0.1.

    Source: Zhang et al. 2018, arXiv 1801.03924, Eq. 1: the sum over layers l of the mean over places (h, w) of
    sum_c w_lc (y_lhwc - y'_lhwc)^2, the activations y of length 1 over the channels. As every w_lc is >= 0, that is the
    squared distance of the points sqrt(w_lc / (H_l W_l)) y_lhwc: each image is looked at once, like any other. The
    package lpips holds the heads w; AlexNet's own weights are torchvision's, a download.

    Images are scaled to `side` first, 64 pixels unless given, the size of the patches that the heads were fitted on.
    Channels whose weight is 0 are left out; a point has half precision.

    Attributes:
        name: the public name.
        side: in pixels.
        digest: hash of the weights, the heads and the side.
    """

    name = "lpips"

    def __init__(self, weights: Path | str | None = None, download: bool = False, side: int = 64) -> None:
        """Load the network.

        Args:
            weights: torchvision's file of AlexNet's weights on ImageNet. Unless given, that in the cache folder.
            download: fetch that file where it is not there yet.
            side: pixels that images are scaled to, >= 32.

        Raises:
            Incompatible: the weights, or the package lpips, are not at hand.
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
        """{"perceptual": float16 [n, d]} of uint8 images [n, 3, h, w]; row i depends on image i alone.

        Raises:
            ConfigError: the images are of another type or shape.
        """
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
            raise ConfigError(f"images must be uint8 [n, 3, h, w], got {images.dtype} {list(images.shape)}")
        found = [self.embed(part).half().numpy() for part in images.split(BATCH)]
        return {"perceptual": np.concatenate(found)}

    @torch.inference_mode()
    def embed(self, images: Tensor) -> Tensor:
        """The points float32 [n, d] of uint8 images [n, 3, h, w]."""
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
    """The heads of AlexNet, version 0.1, in the package lpips.

    Raises:
        Incompatible: the package is not installed.
    """
    try:
        return Path(str(distribution("lpips").locate_file("lpips/weights/v0.1/alex.pth")))
    except PackageNotFoundError:
        raise Incompatible("lpips must have the package of its heads; install it: pip install lpips") from None


def read_heads(path: Path) -> list[Tensor]:
    """The weight >= 0 of every channel, float32 [1, C, 1, 1], of each of LAYERS.

    Raises:
        ConfigError: the file is damaged or of another network.
    """
    stored = _read(path)
    heads = [stored.get(f"lin{i}.model.1.weight") for i in range(len(LAYERS))]
    found = [w for w in heads if w is not None and w.ndim == 4 and bool((w >= 0).all())]
    if [w.shape[1] for w in found] != [64, 192, 384, 256, 256]:
        raise ConfigError(f"{path} must hold the heads of AlexNet, got others; install the package lpips anew")
    return found


def load_alexnet(path: Path) -> nn.Sequential:
    """The convolutions of torchvision's AlexNet up to the last of LAYERS, with the weights of a file, frozen.

    Raises:
        ConfigError: the file is missing, damaged, or of another network.
    """
    from torchvision.models import alexnet

    with torch.device("meta"):  # no weights are drawn first, so the global generator stays as it is
        network: nn.Sequential = alexnet(weights=None).features[: LAYERS[-1] + 1]
    wanted = network.state_dict()
    stored = {k.removeprefix("features."): v for k, v in _read(path).items() if k.startswith("features.")}
    odd = sorted(k for k, v in wanted.items() if k not in stored or stored[k].shape != v.shape)
    if odd:
        raise ConfigError(
            f"{path} must hold torchvision's AlexNet, got weights in which 'features.{odd[0]}' does not fit; "
            f"use {_release()}"
        )
    network.load_state_dict({k: stored[k] for k in wanted}, assign=True)
    return network.eval().requires_grad_(False)


def _release() -> str:
    """Where torchvision has these weights from."""
    from torchvision.models import AlexNet_Weights

    return str(AlexNet_Weights.IMAGENET1K_V1.url)


def _release_file(download: bool) -> Path:
    path = cache_root() / "lpips" / FILE
    if path.is_file():
        return path
    if not download:
        raise Incompatible(
            f"lpips must have AlexNet's weights, got no file {path}; put {_release()} there, give its place as "
            "`weights`, or set `download: true`"
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(_release(), str(path), hash_prefix="7be5be79", progress=False)
    except (URLError, OSError, RuntimeError) as error:  # the last where the hash is another one
        raise Incompatible(
            f"{_release()} cannot be downloaded: {error}; fetch it elsewhere and put it at {path}"
        ) from error
    return path


def _read(path: Path) -> dict[str, Tensor]:
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise ConfigError(f"no weights at {path}; give the place of {FILE}") from None
    except (OSError, RuntimeError, EOFError, UnpicklingError) as error:
        first = str(error).strip().splitlines()[:1]
        raise ConfigError(f"cannot read {path}: {' '.join(first)}; it is damaged or no file of weights") from error
    if not isinstance(stored, dict) or not all(isinstance(v, Tensor) for v in stored.values()):
        raise ConfigError(f"{path} must hold named tensors, got {type(stored).__name__}; give a state dict")
    return stored
