"""Diffusion models behind one protocol, found by name; nothing here imports torch until a model is loaded."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from bench.assets import asset_folder, list_assets
from bench.errors import ConfigError, UnknownName
from bench.hub import fetch

if TYPE_CHECKING:
    from bench.models.unet import PixelUNet


def list_models() -> dict[str, str]:
    """Names of the shipped models, with what each is; `path:DIR` and `hub:ID` name any other."""
    return list_assets("score_model")


def model_folder(name: str) -> Path:
    """The local folder of a model's weights; a hub model is fetched, its safetensors and JSON files only.

    Args:
        name: a shipped model's name, `path:DIR`, or `hub:OWNER/NAME[@REVISION]`.

    Raises:
        UnknownName: no shipped model of this name.
        ConfigError: the folder is missing, or the hub cannot be reached.
    """
    kind, _, rest = name.partition(":")
    if kind == "path":
        folder = Path(os.path.expanduser(rest))
        if not folder.is_dir():
            raise ConfigError(f"no folder {folder}; give one saved by diffusers' save_pretrained")
        return folder
    if kind == "hub":
        return fetch(rest, ["*.safetensors", "*.json"])
    if name not in list_models():
        raise UnknownName("model", name, [*list_models(), "path:DIR", "hub:ID"])
    return asset_folder(name)


def load_model(name: str, device: str = "cpu") -> PixelUNet:
    """Load a model by name; see `model_folder`."""
    from bench.models.unet import load_unet

    return load_unet(model_folder(name), device, name)
