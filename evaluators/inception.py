"""The Inception features of the FID, resized and weighted as clean-fid has them."""

from __future__ import annotations

import warnings
from pathlib import Path
from platform import system
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bench.core.digest import digest_of, file_digest
from bench.core.errors import ConfigError, Incompatible

FILE = "inception-2015-12-05.pt"
PUBLISHED = "f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4"  # SHA-256 of that file
DOWNLOADS = Path("./" if system() == "Windows" else "/tmp")  # where clean-fid puts it, and looks for it
FETCH = "python -c \"from cleanfid.downloads_helper import check_download_inception as get; get('{}')\""
SIZE = 299  # the side in pixels that clean-fid resizes to
BATCH = 32


class Extractor:
    """Globally pooled Inception-v3 features, [n, 2048]: a Frechet distance of them is the FID that clean-fid gives.

    Source: Parmar et al. 2022, arXiv 2104.11222; clean-fid's "clean" mode. Images are resized by clean-fid's own
    function (PIL's bicubic filter a channel, in float, not quantised). The network is the TorchScript archive that
    NVIDIA translated from the one of Heusel et al. 2017 (arXiv 1706.08500), as clean-fid calls it: without its own
    resize, on (pixel - 128) / 128.

    Nothing is downloaded. A TorchScript archive is a program, and loading it runs it: only the published file is
    loaded, unless a field says that another one is to be trusted.

    Attributes:
        name: the public name.
        digest: hash of the weights and of the resize.
    """

    name = "inception"

    def __init__(self, weights: str | None = None, sha256: str = PUBLISHED) -> None:
        """Load the network.

        Args:
            weights: the archive; unless given, the one that clean-fid has downloaded here.
            sha256: of the archive, 64 hexadecimal digits. Give that of another one only if you trust it as you
                trust a program.

        Raises:
            Incompatible: no weights were given, and clean-fid has downloaded none.
            ConfigError: the weights given are not there, not of this hash, or no such network.
        """
        path = _find(weights)
        found = file_digest(path)
        if found != str(sha256).lower():
            raise ConfigError(
                f"{path} must have the SHA-256 {sha256}, got {found}; loading it runs it as a program, so fetch {FILE} "
                "again, or, if you trust this one, give its hash as `sha256`"
            )
        self._layers = _load(path)
        self.digest = digest_of({"name": self.name, "weights": found, "resize": f"clean-fid's clean mode, {SIZE}"})

    def extract(self, images: Tensor) -> dict[str, npt.NDArray[np.floating]]:
        """Features of images.

        Args:
            images: uint8 [n, 3, h, w].

        Returns:
            {"features": float32 [n, 2048]}; row i depends on image i alone.

        Raises:
            ConfigError: the images are of another type or shape.
        """
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
            raise ConfigError(f"images must be uint8 [n, 3, h, w], got {images.dtype} {list(images.shape)}")
        if not len(images):
            return {"features": self._run(np.zeros((1, 8, 8, 3), np.uint8))[:0]}
        pictures = images.permute(0, 2, 3, 1).cpu().numpy()
        starts = range(0, len(pictures), BATCH)
        return {"features": np.concatenate([self._run(pictures[start : start + BATCH]) for start in starts])}

    def _run(self, pictures: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        from cleanfid.resize import build_resizer

        resize = build_resizer("clean")
        x = torch.from_numpy(np.stack([resize(picture) for picture in pictures])).permute(0, 3, 1, 2)
        with torch.inference_mode():
            found: npt.NDArray[np.float32] = self._layers((x - 128) / 128).flatten(1).numpy()
        return found


def _find(weights: str | None) -> Path:
    if weights is not None:
        path = Path(str(weights)).expanduser()
        if not path.is_file():
            raise ConfigError(f"no file {path}; give the {FILE} that clean-fid downloads as `weights`")
        return path
    path = DOWNLOADS / FILE
    if not path.is_file():
        raise Incompatible(
            f"inception must have its weights, got no file {path}; run {FETCH.format(DOWNLOADS)}, or give a copy of "
            f"{FILE} as `weights`"
        )
    return path


def _load(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            # torch would have it exported anew, but the published weights are of this form.
            warnings.filterwarnings("ignore", "`torch.jit.load` is deprecated", FutureWarning)
            network: Any = torch.jit.load(str(path), map_location="cpu").eval()
        return network.layers
    except (RuntimeError, ValueError, AttributeError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ConfigError(f"{path} must be a TorchScript archive with `layers`, as {FILE}; got: {first}") from error
