"""Image features of DINOv2, as FD-DINOv2 uses them, from weights in timm's format."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from bench.core.digest import digest_of, file_digest
from bench.core.errors import ConfigError, Incompatible, UnknownName
from bench.core.json_text import read_object
from bench.storage.hub import FileChoice, fetch
from evaluators.pretrained.images import check_images
from evaluators.pretrained.weights import first_line

if TYPE_CHECKING:
    from PIL.Image import Image
    from timm.models.vision_transformer import VisionTransformer

CONFIG, WEIGHTS = READ = "config.json", "model.safetensors"  # their names on the hub
SIZE = 224  # side in pixels of the network's input; the networks were trained at 518
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]  # of ImageNet
OFFSET = 0.1  # added by the released networks without register tokens to the side of the grid that they resample to
BATCH = 16
HINT = f"give a folder with {CONFIG} and {WEIGHTS}, as timm's models have them on the hub"


class Extractor:
    """The class token of a DINOv2 network after its last norm, float32 [n, d]; its Frechet distance is FD-DINOv2.

    Source: Stein et al. 2023, arXiv 2306.04675, with ViT-L/14 of Oquab et al. 2023, arXiv 2304.07193. As in the
    released dgm-eval: PIL's bicubic resize to 224 x 224 (aspect ratio ignored, quantised), ImageNet's mean and standard
    deviation. The position embedding of a 37 x 37 grid is resampled to 16 x 16 as in DINOv2's released code; timm's
    differs.

    Attributes:
        name: the public name.
        hub_files: patterns of the files of a hub's repository that are read.
        digest: hash of the weights, the configuration and the image transform.
    """

    name = "dinov2"
    hub_files = READ

    def __init__(self, model: str = "vit_large_patch14_dinov2.lvd142m") -> None:
        """Load the network. Only `hub:` downloads anything.

        Args:
            model: timm's name of a DINOv2 network whose weights are in the hub's cache on this machine;
                `hub:OWNER/NAME[@REVISION]`, downloaded if needed; or `path:DIR`, a folder with the same two files.

        Raises:
            UnknownName: no such network.
            ConfigError: the folder is missing or incomplete, or its weights do not fit.
            Incompatible: the weights are not on this machine, or cannot be downloaded from here.
        """
        folder = _folder(str(model))
        config = read_object(folder / CONFIG, HINT)
        self._network = _load(folder / WEIGHTS, config)
        transform = [SIZE, MEAN, STD, "PIL bicubic, quantised; position embedding as released"]
        architecture = [config.get("architecture"), config.get("model_args")]
        self.digest = digest_of([self.name, file_digest(folder / WEIGHTS), architecture, transform])

    def extract(self, images: Tensor) -> dict[str, npt.NDArray[np.floating]]:
        """Return features of images.

        Args:
            images: uint8 [n, 3, h, w].

        Returns:
            {"features": float32 [n, d]}; row i depends on image i alone.

        Raises:
            ConfigError: the images are of another type or shape.
        """
        from PIL import Image

        check_images(images)
        pictures = images.permute(0, 2, 3, 1).cpu().numpy()
        rows = [np.empty((0, self._network.num_features), np.float32)]
        with torch.inference_mode():
            for start in range(0, len(pictures), BATCH):
                x = [transformed(Image.fromarray(picture)) for picture in pictures[start : start + BATCH]]
                rows.append(self._network(torch.stack(x)).numpy())
        return {"features": np.concatenate(rows)}


def transformed(picture: Image) -> Tensor:
    """Return the network's input for an RGB picture, float32 [3, 224, 224]."""
    from PIL.Image import Resampling

    resized = torch.from_numpy(np.array(picture.resize((SIZE, SIZE), Resampling.BICUBIC)))
    return ((resized / 255 - torch.tensor(MEAN)) / torch.tensor(STD)).permute(2, 0, 1)


def resampled(embedding: Tensor, side: int, registers: bool) -> Tensor:
    """Resample a position embedding to a grid of another side, as DINOv2's released code does.

    Source: the release's `interpolate_pos_encoding`. Without register tokens it scales the grid of side M by
    (side + 0.1) / M, bicubic without antialiasing; with them, to `side` exactly, with antialiasing.

    Args:
        embedding: float [1, p + M^2, d]; the first p <= 1 positions are outside the grid and unchanged.
        side: side of the new grid.
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
    kind, _, address = model.partition(":")
    if kind == "path":
        folder = Path(address).expanduser()
        if not folder.is_dir():
            raise ConfigError(f"no folder {folder}; {HINT}")
        return folder
    if kind == "hub":
        return fetch(address, FileChoice(READ))
    from huggingface_hub import try_to_load_from_cache
    from timm import list_models

    networks = list_models("*dinov2*", pretrained=True)
    if model not in networks:
        raise UnknownName("DINOv2 network", model, [*networks, "path:DIR", "hub:OWNER/NAME"])
    cached = [try_to_load_from_cache(f"timm/{model}", name) for name in (CONFIG, WEIGHTS)]
    if not all(isinstance(path, str) for path in cached):
        raise Incompatible(
            f"dinov2 must have the weights of {model}, got none in the hub's cache on this machine; set "
            f"`model: hub:timm/{model}` to download them, or `model: path:DIR` with copies of {CONFIG} and {WEIGHTS}"
        )
    return Path(str(cached[0])).parent


def _load(path: Path, config: dict[str, Any]) -> VisionTransformer:
    from safetensors import SafetensorError
    from safetensors.torch import load_file
    from timm import create_model, list_models

    name, arguments = str(config.get("architecture")), config.get("model_args") or {}
    if name not in list_models("*dinov2*"):
        raise UnknownName(f"DINOv2 architecture of {path.parent / CONFIG}", name, list_models("*dinov2*"))
    if not path.is_file():
        raise ConfigError(f"no file {path}; {HINT}")
    try:
        options = {**arguments, "img_size": SIZE, "num_classes": 0}
        with torch.random.fork_rng(devices=[]):  # the initial weights must not advance torch's global generator
            network = cast("VisionTransformer", create_model(name, pretrained=False, **options))
        stored = load_file(path)
        side = network.patch_embed.grid_size[0]
        stored["pos_embed"] = resampled(stored["pos_embed"].float(), side, registers="reg_token" in stored)
        network.load_state_dict(stored)
    except (SafetensorError, RuntimeError, ValueError, TypeError, KeyError) as error:
        raise ConfigError(
            f"{path} must hold the weights of {name}: {first_line(error)}; copy both files again"
        ) from error
    return network.float().eval().requires_grad_(False)
