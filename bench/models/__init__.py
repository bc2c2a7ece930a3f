"""Diffusion models behind one protocol, found by name; nothing here imports torch until a model is loaded."""

from __future__ import annotations

import dataclasses
import importlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.assets import asset_folder, list_assets
from bench.core.errors import ConfigError, UnknownName
from bench.core.json_text import read_object
from bench.core.yaml_models import fill
from bench.storage.hub import fetch

if TYPE_CHECKING:
    from bench.protocols.model import DiffusionModel

INDEX = "model_index.json"  # of a pipeline saved by diffusers
# Of a component's folder: configurations, vocabularies and weights; not half precision's second copies.
READ = ("*.json", "*.txt", "*model.safetensors", "*model-*-of-*.safetensors")
# Of a component that has no other weights.
READ_HALF = ("*model.fp16.safetensors", "*model.fp16-*-of-*.safetensors", "*model-*-of-*.fp16.safetensors")


@dataclass(frozen=True)
class Family:
    """How the pipelines of a family are read.

    Attributes:
        module: of bench.models; its `Model` is a frozen dataclass of the family's fields whose `load` gives a model.
        components: the folders of a pipeline that are read; others, a safety checker's say, are left alone.
    """

    module: str
    components: tuple[str, ...]


PIPELINES = {
    "DDPMPipeline": Family("unet", ("unet", "scheduler")),
    "DDIMPipeline": Family("unet", ("unet", "scheduler")),
    "LDMPipeline": Family("latent_unet", ("unet", "vqvae", "scheduler")),
    "DiTPipeline": Family("dit", ("transformer", "vae", "scheduler")),
    "IFPipeline": Family("pixel_text", ("unet", "scheduler", "tokenizer", "text_encoder")),
    "StableDiffusionPipeline": Family("stable_diffusion", ("unet", "vae", "scheduler", "tokenizer", "text_encoder")),
    "StableDiffusionXLPipeline": Family(
        "stable_diffusion_xl",
        ("unet", "vae", "scheduler", "tokenizer", "text_encoder", "tokenizer_2", "text_encoder_2"),
    ),
    "StableDiffusion3Pipeline": Family(
        "stable_diffusion_3",
        (
            *("transformer", "vae", "scheduler", "tokenizer", "text_encoder"),
            *("tokenizer_2", "text_encoder_2", "tokenizer_3", "text_encoder_3"),
        ),
    ),
    "FluxPipeline": Family(
        "flux",
        ("transformer", "vae", "scheduler", "tokenizer", "text_encoder", "tokenizer_2", "text_encoder_2"),
    ),
}


def list_models() -> dict[str, str]:
    """Names of the shipped models, with what each is; `path:DIR` and `hub:ID` name any other."""
    return {**list_assets("score_model"), **list_assets("text_to_image")}


def model_folder(name: str) -> Path:
    """The local folder of a model; of a hub model only what is read is fetched: safetensors, JSON, vocabularies.

    Args:
        name: a shipped model's name, `path:DIR`, or `hub:OWNER/NAME[@REVISION]`.

    Raises:
        UnknownName: no shipped model of this name, or a pipeline of a class that is not known.
        ConfigError: the folder is missing, or the hub cannot be reached.
    """
    kind, _, rest = name.partition(":")
    if kind == "path":
        folder = Path(os.path.expanduser(rest))
        if not folder.is_dir():
            raise ConfigError(f"no folder {folder}; give one saved by diffusers' save_pretrained")
        return folder
    if kind == "hub":
        found = family_of(fetch(rest, [INDEX]))
        if found is None:
            return fetch(rest, ["*.safetensors", "*.json"])
        wanted = [INDEX, *_wanted(found)]
        half = _half_wanted(found, folder := fetch(rest, wanted))
        return fetch(rest, [*wanted, *half]) if half else folder
    if name not in list_models():
        raise UnknownName("model", name, [*list_models(), "path:DIR", "hub:ID"])
    return asset_folder(name)


def _wanted(family: Family) -> list[str]:
    """Patterns of the files of a pipeline that are read."""
    root = ["config.json", "scheduler_config.json", "diffusion_pytorch_model.safetensors"]  # of the first pipelines
    return [*root, *(f"{part}/{kind}" for part in family.components for kind in READ)]


def _half_wanted(family: Family, folder: Path) -> list[str]:
    """Patterns of weights in half precision, of the parts of a pipeline that came without any."""
    whole = {part: folder / part for part in family.components if (folder / part / "config.json").is_file()}
    lacking = [f"{part}/{kind}" for part, place in whole.items() if not _weights(place) for kind in READ_HALF]
    first = (folder / "config.json").is_file() and not _weights(folder)
    return [*lacking, *(READ_HALF if first else ())]


def _weights(folder: Path) -> list[Path]:
    return list(folder.glob("*.safetensors"))


def files_read(folder: Path) -> set[Path]:
    """The files of a component that are read: with weights in half precision where there are no others."""
    found = {file for kind in READ for file in folder.glob(kind)}
    if not any(file.suffix == ".safetensors" for file in found):
        found |= {file for kind in READ_HALF for file in folder.glob(kind)}
    return found


def family_of(folder: Path) -> Family | None:
    """The family of a pipeline's folder; None where it holds a network alone.

    Raises:
        ConfigError: its index cannot be read.
        UnknownName: no family reads its class.
    """
    if not (folder / INDEX).is_file():
        return None
    name = str(read_object(folder / INDEX, "").get("_class_name"))
    if name not in PIPELINES:
        raise UnknownName("pipeline", name, PIPELINES)
    return PIPELINES[name]


def model_class(folder: Path) -> type[Any]:
    """The frozen dataclass of the fields of a folder's family.

    Raises:
        ConfigError: as `family_of`.
    """
    family = family_of(folder)
    found: type[Any] = importlib.import_module(f"bench.models.{family.module if family else 'unet'}").Model
    return found


def takes_prompts(name: str) -> bool:
    """Whether a model is asked in words: it then has a field `prompts`. Raises as `model_folder` and `family_of`."""
    return "prompts" in {field.name for field in dataclasses.fields(model_class(model_folder(name)))}


def load_model(name: str, device: str = "cpu", fields: Mapping[str, Any] | None = None) -> DiffusionModel:
    """Load a model by name.

    Args:
        name: as `model_folder` takes it.
        device: a torch device.
        fields: of the model's family, what differs from their defaults.

    Raises:
        UnknownName: as `model_folder`, or the family has no such field.
        ConfigError: as `model_folder`, or the model cannot be read.
    """
    folder = model_folder(name)
    made = fill(model_class(folder), fields or {}, "model", name)
    model: DiffusionModel = made.load(folder, device, name)
    return model
