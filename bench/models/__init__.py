"""Diffusion models by name, behind one protocol (`bench.protocols.model`); torch is imported by `load_model` only."""

from __future__ import annotations

import dataclasses
import importlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from bench.assets import asset_folder, list_assets
from bench.core.errors import ConfigError, UnknownName
from bench.core.json_text import read_object
from bench.core.yaml_models import fill
from bench.storage.hub import fetch

if TYPE_CHECKING:
    from bench.protocols.model import DiffusionModel

INDEX = "model_index.json"  # of a pipeline saved by diffusers
# Files of a component that are read: configurations, vocabularies and weights, without copies in half precision.
READ = ("*.json", "*.txt", "*model.safetensors", "*model-*-of-*.safetensors")
# Weights of a component that has them in half precision only.
READ_HALF = ("*model.fp16.safetensors", "*model.fp16-*-of-*.safetensors", "*model-*-of-*.fp16.safetensors")


@dataclass(frozen=True)
class Family:
    """A family of pipelines.

    Attributes:
        module: of bench.models; its `Model` is a `ModelFields`.
        components: the folders of a pipeline that are read; others, such as the safety checker's, are ignored.
    """

    module: str
    components: tuple[str, ...]


class ModelFields(Protocol):
    """The fields of a family that a suite sets with `with`: a frozen dataclass that loads a model."""

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]

    def load(self, folder: Path, device: str, name: str) -> DiffusionModel:
        """Load the model of a pipeline's folder.

        Raises:
            Incompatible: an optional package is not installed.
            ConfigError: a component is missing, damaged, or does not fit the others.
        """
        ...


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
    """Return the names of the shipped models with a description; `path:DIR` and `hub:ID` name any other."""
    return {**list_assets("score_model"), **list_assets("text_to_image")}


def model_folder(name: str) -> Path:
    """Return the local folder of a model; for `hub:` names, download the files that are read and no others.

    Args:
        name: of a shipped model, `path:DIR`, or `hub:OWNER/NAME[@REVISION]`.

    Raises:
        UnknownName: no shipped model of this name, or a pipeline of an unknown class.
        ConfigError: the folder is missing, or the hub cannot be reached.
    """
    kind, _, address = name.partition(":")
    if kind == "path":
        folder = Path(os.path.expanduser(address))
        if not folder.is_dir():
            raise ConfigError(f"no folder {folder}; give one saved by diffusers' save_pretrained")
        return folder
    if kind == "hub":
        family = family_of(fetch(address, [INDEX]))
        if family is None:
            return fetch(address, ["*.safetensors", "*.json"])
        patterns = [INDEX, *_patterns(family)]
        half = _half_patterns(family, folder := fetch(address, patterns))
        return fetch(address, [*patterns, *half]) if half else folder
    if name not in list_models():
        raise UnknownName("model", name, [*list_models(), "path:DIR", "hub:ID"])
    return asset_folder(name)


def _patterns(family: Family) -> list[str]:
    """Return the patterns of the files of a pipeline that are read."""
    root = ["config.json", "scheduler_config.json", "diffusion_pytorch_model.safetensors"]  # of the oldest pipelines
    return [*root, *(f"{name}/{pattern}" for name in family.components for pattern in READ)]


def _half_patterns(family: Family, folder: Path) -> list[str]:
    """Return the patterns of weights in half precision, for the components without any other weights."""
    networks = [name for name in family.components if (folder / name / "config.json").is_file()]
    missing = [f"{name}/{pattern}" for name in networks if not _weights(folder / name) for pattern in READ_HALF]
    at_root = (folder / "config.json").is_file() and not _weights(folder)
    return [*missing, *(READ_HALF if at_root else ())]


def _weights(folder: Path) -> list[Path]:
    return list(folder.glob("*.safetensors"))


def component_files(folder: Path) -> set[Path]:
    """Return the files of a component that are read, with weights in half precision if there are no others."""
    files = {file for pattern in READ for file in folder.glob(pattern)}
    if not any(file.suffix == ".safetensors" for file in files):
        files |= {file for pattern in READ_HALF for file in folder.glob(pattern)}
    return files


def family_of(folder: Path) -> Family | None:
    """Return the family of a pipeline's folder, or None if the folder holds a single network.

    Raises:
        ConfigError: the index cannot be read.
        UnknownName: no family reads the class of the pipeline.
    """
    if not (folder / INDEX).is_file():
        return None
    name = str(read_object(folder / INDEX, "").get("_class_name"))
    if name not in PIPELINES:
        raise UnknownName("pipeline", name, PIPELINES)
    return PIPELINES[name]


def model_class(folder: Path) -> type[ModelFields]:
    """Return the dataclass of the fields of a folder's family.

    Raises:
        ConfigError: the index cannot be read.
        UnknownName: no family reads the class of the pipeline.
    """
    family = family_of(folder)
    fields: type[ModelFields] = importlib.import_module(f"bench.models.{family.module if family else 'unet'}").Model
    return fields


def takes_prompts(name: str) -> bool:
    """Return True if a model has a field `prompts`. Raises the errors of `model_folder` and `family_of`."""
    return "prompts" in {field.name for field in dataclasses.fields(model_class(model_folder(name)))}


def load_model(name: str, device: str = "cpu", fields: Mapping[str, object] | None = None) -> DiffusionModel:
    """Load a model by name.

    Args:
        name: of a shipped model, `path:DIR`, or `hub:OWNER/NAME[@REVISION]`.
        device: a torch device.
        fields: values of the family's fields that differ from their defaults.

    Raises:
        UnknownName: no shipped model of this name, or the family has no such field.
        ConfigError: the folder is missing, the hub cannot be reached, or the model cannot be read.
    """
    folder = model_folder(name)
    return fill(model_class(folder), fields or {}, "model", name).load(folder, device, name)
