"""Read folders saved by diffusers' save_pretrained: index, components, weights and noise schedule.

Weights are read from safetensors only, and no code of a model is run.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from bench.core.digest import digest_of, file_digest
from bench.core.errors import ConfigError
from bench.core.json_text import read_object
from bench.models import HALF as HALF
from bench.models import INDEX, component_files, family_of, weight_candidates
from bench.models import SCHEDULE as SCHEDULE
from bench.models import WEIGHTS as WEIGHTS
from bench.models.folder_cache import cached_by_folder
from bench.models.schedule import SCHEDULE_KEYS, alphas_cumprod

Precision = Literal["fp32", "bf16", "fp16"]
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
PICKLES = (".bin", ".ckpt", ".pt", ".pth")
SAVED = "give a folder saved by diffusers' save_pretrained"
# Schedulers whose noise schedule is x_t = sqrt(a_t) x_0 + sqrt(1 - a_t) eps with a_t from betas; the suite chooses the
# sampler, so their other settings are ignored.
SCHEDULERS = (
    *("DDIMScheduler", "DDPMScheduler", "PNDMScheduler", "LMSDiscreteScheduler", "EulerDiscreteScheduler"),
    *("EulerAncestralDiscreteScheduler", "HeunDiscreteScheduler", "DPMSolverMultistepScheduler"),
    *("DPMSolverSinglestepScheduler", "UniPCMultistepScheduler", "DEISMultistepScheduler"),
)
UNBOUNDED = ("lambda_min_clipped",)  # settings of a sampler for which diffusers writes -Infinity


def component(folder: Path, name: str) -> Path:
    """Return the folder of a pipeline's component, which is the pipeline's for the oldest pipelines.

    Raises:
        ConfigError: no such folder.
    """
    if (folder / name).is_dir():
        return folder / name
    at_root = {"scheduler": SCHEDULE, "unet": "config.json"}.get(name)
    if at_root is not None and (folder / at_root).is_file():
        return folder
    raise ConfigError(f"no folder {folder / name}, which {INDEX} names; copy the pipeline again with all its folders")


def read_config(path: Path, classes: tuple[str, ...]) -> dict[str, Any]:
    """Return the configuration of a network.

    Raises:
        ConfigError: the file cannot be read, or is of another class.
    """
    config = read_object(path, SAVED)
    name = config.get("_class_name")
    if name not in classes:
        article = "an" if classes[0][0] in "AEIO" else "a"
        raise ConfigError(
            f"{path} must describe {article} {' or '.join(classes)}, got {name!r}; "
            f"give a folder saved by {classes[0]}.save_pretrained"
        )
    return config


def read_schedule(path: Path) -> dict[str, object]:
    """Return the configuration of a scheduler, completed with the defaults of its class.

    `clip_sample` is false for a class without it, such as those for latents.

    Raises:
        ConfigError: the file cannot be read, the scheduler has no schedule of betas, or its values are invalid.
    """
    import diffusers

    config = read_object(path, SAVED, UNBOUNDED)
    name = config.get("_class_name", "DDIMScheduler")
    if name not in SCHEDULERS:
        raise ConfigError(
            f"{path}: scheduler {name} is not supported; known: {', '.join(SCHEDULERS)}; "
            "save the noise schedule of the model as one of them"
        )
    parameters = inspect.signature(getattr(diffusers, name).__init__).parameters
    defaults = {
        key: parameters[key].default
        for key in (*SCHEDULE_KEYS, "prediction_type")
        if key in parameters and key not in ("num_train_timesteps", "beta_schedule")  # required in the file
    }
    config = {"clip_sample": False, **defaults, **config}
    try:
        alphas_cumprod(config)
    except (TypeError, ValueError, NotImplementedError) as error:
        raise ConfigError(f"{path} does not describe a noise schedule: {error}") from error
    return config


def weight_files(folder: Path, name: str = WEIGHTS) -> list[Path]:
    """Return the weight files of a network: one file, or those of an index; in half precision if there are no others.

    Raises:
        ConfigError: there are none, or a file of the index is missing.
    """
    for whole, index in weight_candidates(name):
        if (folder / whole).is_file():
            return [folder / whole]
        if (folder / index).is_file():
            return _indexed_files(folder, folder / index)
    raise _no_weights(folder / name)


def _indexed_files(folder: Path, index: Path) -> list[Path]:
    weight_map = read_object(index, SAVED).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise ConfigError(f"{index} must hold a weight_map, got {weight_map!r:.40}; copy it again from where it came")
    files = [folder / Path(name).name for name in sorted({str(name) for name in weight_map.values()})]
    for file in files:
        if not file.is_file():
            raise _no_weights(file)
    return files


def _no_weights(file: Path) -> ConfigError:
    """Return the error for weights that are missing; it says how to convert those that are there instead."""
    where = f"no weights at {file}; only safetensors are read"
    others = sorted(path.name for path in file.parent.glob("*") if path.suffix in (".safetensors", *PICKLES))
    stem = file.stem.split("-")[0]
    variants = [name for name in others if name.startswith(stem + ".") and name.endswith(".safetensors")]
    network = _class_in(file.parent)
    if variants and file.name not in others:
        variant = variants[0].removeprefix(stem + ".").split(".")[0].split("-")[0]
        return ConfigError(
            f"{where}, without a variant or as {HALF}, and only the variant {variant} is there ({variants[0]}); save "
            f"it without one: {network}.from_pretrained({str(file.parent)!r}, variant={variant!r}).save_pretrained(...)"
        )
    pickles = [name for name in others if name.endswith(PICKLES)]
    if pickles and not variants:
        return ConfigError(
            f"{where}, and only a pickle is there ({pickles[0]}), which can run code; if you trust it, convert it so: "
            f"{network}.from_pretrained({str(file.parent)!r}, use_safetensors=False).save_pretrained(...)"
        )
    return ConfigError(f"{where}: save with safe_serialization=True")


def _class_in(folder: Path) -> str:
    """Return the library and class of a network by its config.json."""
    config = read_object(folder / "config.json", SAVED) if (folder / "config.json").is_file() else {}
    architectures = config.get("architectures")
    if isinstance(architectures, list) and architectures:
        return f"transformers.{architectures[0]}"
    return f"diffusers.{config.get('_class_name', 'ModelMixin')}"


def variant_of(files: list[Path]) -> str | None:
    """Return the argument `variant` of `from_pretrained` for these files of `weight_files`."""
    return HALF if f".{HALF}" in files[0].name else None


def load_network(folder: Path, name: str, device: str, precision: Precision = "fp32") -> nn.Module:
    """Load a network of diffusers in evaluation mode, without gradients of weights.

    Args:
        folder: holds config.json and the weights.
        name: of the class in diffusers.
        device: a torch device.
        precision: of the loaded weights; those of the file are converted.

    Raises:
        ConfigError: weights are missing, damaged, or of another architecture than the configuration, or the device has
            no room for them.
    """
    network = _read_network(folder, name, precision)
    try:
        moved: nn.Module = network.eval().requires_grad_(False).to(device, DTYPES[precision])
    except torch.cuda.OutOfMemoryError as error:
        gib = sum(p.numel() for p in network.parameters()) * DTYPES[precision].itemsize / 2**30
        raise ConfigError(
            f"{device} has no room for the {gib:.1f} GiB of {weight_files(folder)[0]}; give the model another dtype, "
            "or offload"
        ) from error
    return moved


def _read_network(folder: Path, name: str, precision: Precision) -> nn.Module:
    import diffusers
    from diffusers.utils import logging
    from safetensors import SafetensorError

    files = weight_files(folder)
    cls: Any = getattr(diffusers, name)
    logging.set_verbosity_error()  # a mismatch is reported below, in one sentence
    try:
        _check_shapes(cls, folder, files)
        network, report = cls.from_pretrained(
            folder,
            use_safetensors=True,
            torch_dtype=DTYPES[precision],
            output_loading_info=True,
            variant=variant_of(files),
        )
        odd = sorted({*report["missing_keys"], *report["unexpected_keys"]})
        if odd:
            raise _other_architecture(files[0], odd[0])
    except ConfigError:
        raise
    except (SafetensorError, OSError) as error:
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ConfigError(f"cannot read {files[0]}: {first}; it is damaged or cut short: copy it again") from error
    except (RuntimeError, ValueError, TypeError, AttributeError, LookupError, ArithmeticError, NameError) as error:
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ConfigError(f"{files[0]} does not fit its config.json: {first}") from error
    loaded: nn.Module = network
    return loaded


def _check_shapes(cls: Any, folder: Path, files: list[Path]) -> None:
    """Refuse a configuration with more weights than the files hold, before memory for them is allocated."""
    from safetensors import safe_open

    stored = dict[str, list[int]]()
    for file in files:
        with safe_open(file, "pt") as f:
            stored |= {key: f.get_slice(key).get_shape() for key in f.keys()}  # noqa: SIM118 (it is no dict)
    with torch.device("meta"):
        state = cls.from_config(cls.load_config(folder)).state_dict()
    expected = {key: list(value.shape) for key, value in state.items()}
    if _numbers(expected) <= _numbers(stored):
        return
    for key in sorted(expected.keys() & stored.keys()):
        if expected[key] != stored[key]:
            raise ConfigError(
                f"{files[0]} does not fit its config.json: {key} must be {expected[key]}, got {stored[key]}"
            )
    raise _other_architecture(files[0], min(expected.keys() - stored.keys()))


def _other_architecture(weights: Path, key: str) -> ConfigError:
    return ConfigError(f"{weights} is of another architecture than its config.json: {key!r} is only in one")


def _numbers(shapes: Mapping[str, Sequence[int]]) -> int:
    return sum(math.prod(shape) for shape in shapes.values())


def pipeline_digest(folder: Path, settings: Mapping[str, object]) -> str:
    """Return the hash of every file of a pipeline that its family reads, and of the settings that decide results."""
    return digest_of([_file_digests(folder), dict(settings)])


@cached_by_folder(size=4)
def _file_digests(folder: Path) -> list[list[str]]:
    family = family_of(folder)
    assert family is not None, "only a pipeline's folder gets here"
    index = read_object(folder / INDEX, SAVED)
    folders = [component(folder, name) for name in family.components if index.get(name) != [None, None]]
    files = [file for subfolder in folders for file in sorted(component_files(subfolder))]
    return [[str(file.relative_to(folder)), file_digest(file)] for file in files]
