"""The Inception features of the FID, with clean-fid's resize and weights."""

from __future__ import annotations

import warnings
from pathlib import Path
from platform import system

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from bench.core.digest import digest_of, file_digest
from bench.core.errors import ConfigError, Incompatible
from evaluators.pretrained.images import check_images
from evaluators.pretrained.weights import first_line

FILE = "inception-2015-12-05.pt"
PUBLISHED = "f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4"  # SHA-256 of that file
DOWNLOADS = Path("./" if system() == "Windows" else "/tmp")  # the folder that clean-fid downloads it to
FETCH = "python -c \"from cleanfid.downloads_helper import check_download_inception as get; get('{}')\""
SIZE = 299  # side in pixels that clean-fid resizes to
BATCH = 32


class Extractor:
    """Globally pooled Inception-v3 features, float32 [n, 2048]; their Frechet distance is clean-fid's FID.

    Source: Parmar et al. 2022, arXiv 2104.11222; clean-fid's "clean" mode. Images are resized by clean-fid's own
    function (PIL's bicubic filter per channel, in float, not quantised). The network is the TorchScript archive that
    NVIDIA translated from that of Heusel et al. 2017 (arXiv 1706.08500), called as clean-fid does: without its built-in
    resize, on (pixel - 128) / 128.

    Nothing is downloaded. Loading a TorchScript archive runs it as a program, so only the published file is loaded,
    unless `sha256` names another one as trusted.

    Attributes:
        name: the public name.
        digest: hash of the weights and of the resize.
    """

    name = "inception"

    def __init__(self, weights: str | None = None, sha256: str = PUBLISHED) -> None:
        """Load the network.

        Args:
            weights: the archive; None takes the one that clean-fid has downloaded on this machine.
            sha256: hash of the archive, 64 hexadecimal digits. Give that of another archive only if you trust it as
                you trust a program.

        Raises:
            Incompatible: `weights` is None, and clean-fid has downloaded none.
            ConfigError: the file is missing, has another hash, or is another network.
        """
        path = _find(weights)
        digest = file_digest(path)
        if digest != str(sha256).lower():
            raise ConfigError(
                f"{path} must have the SHA-256 {sha256}, got {digest}; loading runs it as a program, so fetch {FILE} "
                "again, or, if you trust this one, give its hash as `sha256`"
            )
        self._layers = _load(path)
        self.digest = digest_of({"name": self.name, "weights": digest, "resize": f"clean-fid's clean mode, {SIZE}"})

    def extract(self, images: Tensor) -> dict[str, npt.NDArray[np.floating]]:
        """Return features of images.

        Args:
            images: uint8 [n, 3, h, w].

        Returns:
            {"features": float32 [n, 2048]}; row i depends on image i alone.

        Raises:
            ConfigError: the images are of another type or shape.
        """
        check_images(images)
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
            features: npt.NDArray[np.float32] = self._layers((x - 128) / 128).flatten(1).numpy()
        return features


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


def _load(path: Path) -> nn.Module:
    """Return the layers of the archive, images [n, 3, 299, 299] to features [n, 2048, 1, 1]."""
    try:
        with warnings.catch_warnings():
            # torch recommends a newer export format, but the published weights have this one.
            warnings.filterwarnings("ignore", "`torch.jit.load` is deprecated", FutureWarning)
            network = torch.jit.load(str(path), map_location="cpu").eval()
        layers: nn.Module = network.layers
        return layers
    except (RuntimeError, ValueError, AttributeError) as error:
        raise ConfigError(
            f"{path} must be a TorchScript archive with `layers`, as {FILE}; got: {first_line(error)}"
        ) from error
