"""Diffusion models by name, behind one protocol (`bench.protocols.model`); torch is imported by `load_model` only."""

from __future__ import annotations

import dataclasses
import importlib
import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from bench.assets import asset_folder, list_assets
from bench.core.errors import ConfigError, UnknownName
from bench.core.json_text import read_object
from bench.core.yaml_models import fill
from bench.storage.hub import FileChoice, Listing, fetch, unread_weights

if TYPE_CHECKING:
    from bench.protocols.model import DiffusionModel

INDEX = "model_index.json"  # of a pipeline saved by diffusers
# Files of a component that are read: configurations, vocabularies and weights, without copies in half precision.
READ = ("*.json", "*.txt", "*.model", "*model.safetensors", "*model-*-of-?????.safetensors")
# Weights of a component that has them in half precision only.
READ_HALF = ("*model.fp16.safetensors", "*model.fp16-*-of-*.safetensors", "*model-*-of-*.fp16.safetensors")
CONDITIONS = "conditions.json"  # beside the weights: the names of the class labels, "none" first
SCHEDULE = "scheduler_config.json"
HALF = "fp16"  # the variant that is read if a repository has no other weights
WEIGHTS, TEXT_WEIGHTS = "diffusion_pytorch_model.safetensors", "model.safetensors"  # of diffusers and transformers


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
        return fetch(address, MODEL_FILES)
    if name not in list_models():
        raise UnknownName("model", name, [*list_models(), "path:DIR", "hub:ID"])
    return asset_folder(name)


def _files_read(listing: Listing) -> list[str]:
    """Return the files of a repository that loading a model reads: of a pipeline, or of a single network.

    Raises:
        UnknownName: a pipeline of an unknown class.
        ConfigError: a component of the pipeline is missing, or has no weights in safetensors.
    """
    index = read_object(listing.folder / INDEX, "") if INDEX in listing.sizes else {}
    family = family_of(listing.folder) or PIPELINES["DDPMPipeline"]
    names = [name for name in (INDEX, CONDITIONS) if name in listing.sizes]
    for component in family.components:
        if index.get(component) != [None, None]:
            names += _component_names(listing, component)
    return list(dict.fromkeys(names))


def _component_names(listing: Listing, component: str) -> list[str]:
    """Return the files of a component that are read: in its folder, or at the root in the oldest pipelines."""
    in_folder = [name for name in listing.sizes if PurePosixPath(name).parent == PurePosixPath(component)]
    at_root = {"unet": ["config.json"], "scheduler": [SCHEDULE]}.get(component, [])
    if not in_folder and not any(name in listing.sizes for name in at_root):
        raise ConfigError(
            f"{listing.repository} must hold {component}/, which its pipeline reads, got no such folder; take another "
            "repository, or give path:DIR"
        )
    files = in_folder or [name for name in listing.sizes if "/" not in name]
    small = [n for n in in_folder if any(PurePosixPath(n).match(p) for p in READ if not p.endswith(".safetensors"))]
    small = small or [name for name in at_root if name in listing.sizes]
    if component.startswith(("scheduler", "tokenizer")):
        return small
    weights = TEXT_WEIGHTS if component.startswith("text_encoder") else WEIGHTS
    stored = _weight_names(files, weights)
    if not stored:
        where = f"{component}/{weights}" if in_folder else weights
        raise ConfigError(
            f"{listing.repository} must hold {where}, whole, in shards or as {HALF}, {unread_weights(files)}"
        )
    return [*small, *stored]


def _weight_names(files: Collection[str], weights: str) -> list[str]:
    """Return the weights among the files of a component: whole, else in shards, else those in half precision."""
    stem, _, kind = weights.rpartition(".")
    number = r"-\d+-of-\d+"
    shards = (rf"{stem}{number}\.{kind}", rf"{stem}(\.{HALF}{number}|{number}\.{HALF})\.{kind}")
    for (whole, index), shard in zip(weight_candidates(weights), shards, strict=True):
        by_name = {PurePosixPath(name).name: name for name in files}
        if whole in by_name:
            return [by_name[whole]]
        parts = [by_name[name] for name in sorted(by_name) if re.fullmatch(shard, name)]
        if index in by_name and parts:
            return [by_name[index], *parts]
    return []


def weight_candidates(weights: str) -> tuple[tuple[str, str], tuple[str, str]]:
    """Return the names under which weights are looked for, in order: each whole, and the index of its shards."""
    stem, _, kind = weights.rpartition(".")
    return (weights, f"{weights}.index.json"), (f"{stem}.{HALF}.{kind}", f"{weights}.index.{HALF}.json")


MODEL_FILES = FileChoice(READ, _files_read)


def component_files(folder: Path) -> set[Path]:
    """Return the files of a component that are read, with weights in half precision if there are no others."""
    files = {file for pattern in READ for file in folder.glob(pattern)}
    if not any(file.suffix == ".safetensors" for file in files):
        files |= {file for pattern in READ_HALF for file in folder.glob(pattern)}
    return files


def family_of(folder: Path) -> Family | None:
    """Return the family of a pipeline's folder, or None if the folder holds a single network.

    Raises:
        ConfigError: the index cannot be read, or the folder holds a checkpoint in one file.
        UnknownName: no family reads the class of the pipeline.
    """
    if not (folder / INDEX).is_file():
        _refuse_single_file(folder)
        return None
    name = str(read_object(folder / INDEX, "").get("_class_name"))
    if name not in PIPELINES:
        raise UnknownName("pipeline", name, PIPELINES)
    return PIPELINES[name]


def _refuse_single_file(folder: Path) -> None:
    """Refuse a folder with a checkpoint in one file, as other programs save a whole pipeline.

    Raises:
        ConfigError: with the command that converts it.
    """
    files = sorted(file.name for kind in ("safetensors", "ckpt") for file in folder.glob(f"*.{kind}"))
    if any(name.startswith(WEIGHTS.split(".")[0]) for name in files):
        return  # a network whose config.json is missing, which is said when it is read
    if files and not (folder / "config.json").is_file():
        raise ConfigError(
            f"{folder} must be a folder saved by diffusers' save_pretrained, with {INDEX} or config.json, got "
            f"{files[0]}, a checkpoint in one file; convert it so: diffusers.StableDiffusionPipeline.from_single_file("
            f"{str(folder / files[0])!r}).save_pretrained(...), or StableDiffusionXLPipeline for XL"
        )


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
