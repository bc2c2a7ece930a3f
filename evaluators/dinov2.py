"""Image features of DINOv2, the backbone of FD-DINOv2, from weights in timm's form."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from bench.core.digest import digest_of, file_digest
from bench.core.errors import ConfigError, Incompatible, UnknownName
from bench.storage.files import read_object
from bench.storage.hub import fetch

if TYPE_CHECKING:
    from PIL.Image import Image

CONFIG, WEIGHTS = "config.json", "model.safetensors"  # the names that timm gives them on the hub
SIZE = 224  # the side in pixels that images are resized to; the networks were trained at 518
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]  # of ImageNet
OFFSET = 0.1  # what the released networks without register tokens add to the side of the grid that they resample to
BATCH = 16
WHERE = f"give a folder with {CONFIG} and {WEIGHTS}, as timm's models have them on the hub"


class Extractor:
    """The class token of a DINOv2 network after its last norm, [n, d]; a Frechet distance of it is FD-DINOv2.

    Source: Stein et al. 2023, arXiv 2306.04675, with ViT-L/14 of Oquab et al. 2023, arXiv 2304.07193. As in the
    released dgm-eval: PIL's bicubic resize to 224 x 224 (aspect not kept, quantised), ImageNet's mean and standard
    deviation. The position embedding, of a 37 x 37 grid, is resampled to 16 x 16 as DINOv2's own code does; timm's
    differs.

    Attributes:
        name: the public name.
        digest: hash of the weights, the configuration and the image transform.
    """

    name = "dinov2"

    def __init__(self, model: str = "vit_large_patch14_dinov2.lvd142m") -> None:
        """Load the network. Nothing is downloaded but by `hub:`.

        Args:
            model: timm's name of a DINOv2 network, whose weights the hub's cache on this machine must hold;
                `hub:OWNER/NAME[@REVISION]`, fetched if need be; or `path:DIR`, a folder of the same two files.

        Raises:
            UnknownName: no such network.
            ConfigError: the folder is not there or not whole, or its weights do not fit.
            Incompatible: the weights are not on this machine, or cannot be fetched from here.
        """
        folder = _folder(str(model))
        config = read_object(folder / CONFIG, WHERE)
        self._network = _load(folder / WEIGHTS, config)
        transform = [SIZE, MEAN, STD, "PIL bicubic, quantised; position embedding as released"]
        architecture = [config.get("architecture"), config.get("model_args")]
        self.digest = digest_of([self.name, file_digest(folder / WEIGHTS), architecture, transform])

    def extract(self, images: Tensor) -> dict[str, npt.NDArray[np.floating]]:
        """Features of images.

        Args:
            images: uint8 [n, 3, h, w].

        Returns:
            {"features": float32 [n, d]}; row i depends on image i alone.

        Raises:
            ConfigError: the images are of another type or shape.
        """
        from PIL import Image

        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
            raise ConfigError(f"images must be uint8 [n, 3, h, w], got {images.dtype} {list(images.shape)}")
        pictures = images.permute(0, 2, 3, 1).cpu().numpy()
        rows = [np.empty((0, self._network.num_features), np.float32)]
        with torch.inference_mode():
            for start in range(0, len(pictures), BATCH):
                x = [transformed(Image.fromarray(picture)) for picture in pictures[start : start + BATCH]]
                rows.append(self._network(torch.stack(x)).numpy())
        return {"features": np.concatenate(rows)}


def transformed(picture: Image) -> Tensor:
    """An RGB picture as the network sees it, float32 [3, 224, 224]."""
    from PIL.Image import Resampling

    resized = torch.from_numpy(np.array(picture.resize((SIZE, SIZE), Resampling.BICUBIC)))
    return ((resized / 255 - torch.tensor(MEAN)) / torch.tensor(STD)).permute(2, 0, 1)


def resampled(embedding: Tensor, side: int, registers: bool) -> Tensor:
    """A position embedding on a grid of another side, as DINOv2's released code resamples it.

    Source: the release's `interpolate_pos_encoding`. Without register tokens it asks for (side + 0.1) / M of the grid
    of side M, bicubic without antialiasing; with them for `side` exactly, with antialiasing.

    Args:
        embedding: float [1, p + M^2, d]; the first p <= 1 positions are not of the grid and stay as they are.
        side: of the new grid.
        registers: whether the network has register tokens.

    Returns:
        float [1, p + side^2, d].
    """
    old = math.isqrt(embedding.shape[1])
    first = embedding.shape[1] - old * old
    if old == side:
        return embedding
    grid = embedding[:, first:].reshape(1, old, old, -1).permute(0, 3, 1, 2)
    if registers:
        grid = F.interpolate(grid, size=(side, side), mode="bicubic", antialias=True)
    else:
        grid = F.interpolate(grid, scale_factor=(side + OFFSET) / old, mode="bicubic")
    return torch.cat([embedding[:, :first], grid.permute(0, 2, 3, 1).reshape(1, side * side, -1)], dim=1)


def _folder(model: str) -> Path:
    kind, _, place = model.partition(":")
    if kind == "path":
        folder = Path(place).expanduser()
        if not folder.is_dir():
            raise ConfigError(f"no folder {folder}; {WHERE}")
        return folder
    if kind == "hub":
        return fetch(place, [CONFIG, WEIGHTS])
    from huggingface_hub import try_to_load_from_cache
    from timm import list_models

    known = list_models("*dinov2*", pretrained=True)
    if model not in known:
        raise UnknownName("DINOv2 network", model, [*known, "path:DIR", "hub:OWNER/NAME"])
    found = [try_to_load_from_cache(f"timm/{model}", name) for name in (CONFIG, WEIGHTS)]
    if not all(isinstance(path, str) for path in found):
        raise Incompatible(
            f"dinov2 must have the weights of {model}, got none in the hub's cache on this machine; say "
            f"`model: hub:timm/{model}` to fetch them, or `model: path:DIR` with a copy of its {CONFIG} and {WEIGHTS}"
        )
    return Path(str(found[0])).parent


def _load(path: Path, config: dict[str, Any]) -> Any:
    from safetensors import SafetensorError
    from safetensors.torch import load_file
    from timm import create_model, list_models

    name, arguments = str(config.get("architecture")), config.get("model_args") or {}
    if name not in list_models("*dinov2*"):
        raise UnknownName(f"DINOv2 architecture of {path.parent / CONFIG}", name, list_models("*dinov2*"))
    if not path.is_file():
        raise ConfigError(f"no file {path}; {WHERE}")
    try:
        network: Any = create_model(name, pretrained=False, **{**arguments, "img_size": SIZE, "num_classes": 0})
        stored = load_file(path)
        side = network.patch_embed.grid_size[0]
        stored["pos_embed"] = resampled(stored["pos_embed"].float(), side, registers="reg_token" in stored)
        network.load_state_dict(stored)
    except (SafetensorError, RuntimeError, ValueError, TypeError, KeyError) as error:
        raise ConfigError(f"{path} must hold the weights of {name}: {_first(error)}; copy both files again") from error
    return network.float().eval().requires_grad_(False)


def _first(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
