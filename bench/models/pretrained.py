"""What diffusers' save_pretrained leaves: a pipeline's index, its components, their weights, its noise schedule.

Weights are safetensors alone, and no code that comes with a model is run.
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
from bench.models import INDEX, family_of, files_read
from bench.models.kept import once
from bench.models.schedule import SCHEDULE_KEYS, alphas_cumprod

WEIGHTS = "diffusion_pytorch_model.safetensors"
HALF_WEIGHTS = "diffusion_pytorch_model.fp16.safetensors"
HALF = "fp16"  # the variant of a repository that holds no other weights
SCHEDULE = "scheduler_config.json"
Precision = Literal["fp32", "bf16", "fp16"]
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
SAVED = "give a folder saved by diffusers' save_pretrained"
# Schedulers whose noise schedule is x_t = sqrt(a_t) x_0 + sqrt(1 - a_t) eps with a_t from betas; what else they say is
# how they step, which is the suite's to choose.
SCHEDULERS = (
    *("DDIMScheduler", "DDPMScheduler", "PNDMScheduler", "LMSDiscreteScheduler", "EulerDiscreteScheduler"),
    *("EulerAncestralDiscreteScheduler", "HeunDiscreteScheduler", "DPMSolverMultistepScheduler"),
    *("DPMSolverSinglestepScheduler", "UniPCMultistepScheduler", "DEISMultistepScheduler"),
)


def component(folder: Path, name: str) -> Path:
    """The folder of a pipeline's component: its own, or the pipeline's where that has no folders (as the first ones).

    Raises:
        ConfigError: there is none.
    """
    if (folder / name).is_dir():
        return folder / name
    at_root = SCHEDULE if name == "scheduler" else WEIGHTS if name == "unet" else None
    if at_root and ((folder / at_root).is_file() or (name == "unet" and (folder / HALF_WEIGHTS).is_file())):
        return folder
    raise ConfigError(f"no folder {folder / name}, which {INDEX} names; copy the pipeline again with all its folders")


def read_config(path: Path, classes: tuple[str, ...]) -> dict[str, Any]:
    """The configuration of a network.

    Raises:
        ConfigError: it cannot be read, or is of another class.
    """
    config = read_object(path, SAVED)
    found = config.get("_class_name")
    if found not in classes:
        article = "an" if classes[0][0] in "AEIO" else "a"
        raise ConfigError(
            f"{path} must describe {article} {' or '.join(classes)}, got {found!r}; "
            f"give a folder saved by {classes[0]}.save_pretrained"
        )
    return config


def read_schedule(path: Path) -> dict[str, Any]:
    """The configuration of a scheduler, with the defaults of its own class where the file leaves something out.

    A class that never clips, as those for latents, is not made to: `clip_sample` is then false.

    Raises:
        ConfigError: it cannot be read, its scheduler has no noise schedule of betas, or the schedule cannot be made.
    """
    import diffusers

    config = read_object(path, SAVED)
    name = config.get("_class_name", "DDIMScheduler")
    if name not in SCHEDULERS:
        raise ConfigError(
            f"{path}: scheduler {name} is not supported; known: {', '.join(SCHEDULERS)}; "
            "save the noise schedule of the model as one of them"
        )
    parameters = inspect.signature(getattr(diffusers, name).__init__).parameters
    own = {
        key: parameters[key].default
        for key in (*SCHEDULE_KEYS, "prediction_type")
        if key in parameters and key not in ("num_train_timesteps", "beta_schedule")  # these must be said
    }
    config = {"clip_sample": False, **own, **config}
    try:
        alphas_cumprod(config)
    except (TypeError, ValueError, NotImplementedError) as error:
        raise ConfigError(f"{path} does not describe a noise schedule: {error}") from error
    return config


def weight_files(folder: Path, name: str = WEIGHTS) -> list[Path]:
    """The safetensors of a network: one file, or the parts that an index names; half precision's where no others are.

    Raises:
        ConfigError: there are none, or a part is missing.
    """
    stem, _, kind = name.rpartition(".")
    for whole, index in (
        (folder / name, folder / f"{name}.index.json"),
        (folder / f"{stem}.{HALF}.{kind}", folder / f"{name}.index.{HALF}.json"),
    ):
        if whole.is_file():
            return [whole]
        if index.is_file():
            return _parts(folder, index)
    raise _no_weights(folder / name)


def _parts(folder: Path, index: Path) -> list[Path]:
    parts = read_object(index, SAVED).get("weight_map")
    if not isinstance(parts, dict) or not parts:
        raise ConfigError(f"{index} must hold a weight_map, got {parts!r:.40}; copy it again from where it came")
    files = [folder / Path(str(part)).name for part in sorted({str(part) for part in parts.values()})]
    for file in files:
        if not file.is_file():
            raise _no_weights(file)
    return files


def _no_weights(file: Path) -> ConfigError:
    return ConfigError(f"no weights at {file}; only safetensors are read: save with safe_serialization=True")


def variant_of(files: list[Path]) -> str | None:
    """What `from_pretrained` must be told to read these files of `weight_files`."""
    return HALF if f".{HALF}" in files[0].name else None


def load_network(folder: Path, name: str, device: str, precision: Precision = "fp32") -> nn.Module:
    """A network of diffusers in evaluation mode, without gradients of weights.

    Args:
        folder: holds config.json and the weights.
        name: the class, of diffusers.
        device: a torch device.
        precision: of its weights, whatever the file holds.

    Raises:
        ConfigError: weights are missing, damaged, or of another architecture than the configuration.
    """
    import diffusers
    from diffusers.utils import logging
    from safetensors import SafetensorError, safe_open

    files = weight_files(folder)
    weights, made, held = files[0], getattr(diffusers, name), dict[str, list[int]]()
    logging.set_verbosity_error()  # a mismatch is said below, in one sentence
    try:
        for file in files:
            with safe_open(file, "pt") as f:
                held |= {key: f.get_slice(key).get_shape() for key in f.keys()}  # noqa: SIM118 (it is no dict)
        with torch.device("meta"):
            wanted = {key: list(v.shape) for key, v in made.from_config(made.load_config(folder)).state_dict().items()}
        if _numbers(wanted) > _numbers(held):  # refused before memory is asked for
            for key in sorted(wanted.keys() & held.keys()):
                if wanted[key] != held[key]:
                    raise ConfigError(
                        f"{weights} does not fit its config.json: {key} must be {wanted[key]}, got {held[key]}"
                    )
            odd = sorted(wanted.keys() - held.keys())
            raise ConfigError(f"{weights} is of another architecture than its config.json: {odd[0]!r} is only in one")
        network, report = made.from_pretrained(
            folder,
            use_safetensors=True,
            torch_dtype=DTYPES[precision],
            output_loading_info=True,
            variant=variant_of(files),
        )
        odd = sorted({*report["missing_keys"], *report["unexpected_keys"]})
        if odd:
            raise ConfigError(f"{weights} is of another architecture than its config.json: {odd[0]!r} is only in one")
    except ConfigError:
        raise
    except (SafetensorError, OSError) as error:
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ConfigError(f"cannot read {weights}: {first}; it is damaged or cut short: copy it again") from error
    except (RuntimeError, ValueError, TypeError, AttributeError, LookupError, ArithmeticError, NameError) as error:
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ConfigError(f"{weights} does not fit its config.json: {first}") from error
    try:
        ready: nn.Module = network.eval().requires_grad_(False).to(device, DTYPES[precision])
    except torch.cuda.OutOfMemoryError as error:
        gib = sum(p.numel() for p in network.parameters()) * DTYPES[precision].itemsize / 2**30
        raise ConfigError(
            f"{device} has no room for the {gib:.1f} GiB of {weights}; give the model another dtype, or offload"
        ) from error
    return ready


def _numbers(shapes: Mapping[str, Sequence[int]]) -> int:
    return sum(math.prod(shape) for shape in shapes.values())


def pipeline_digest(folder: Path, settings: Mapping[str, Any]) -> str:
    """Hash of every file of a pipeline that its family reads, and of the settings that decide results."""
    return digest_of([_file_digests(folder), dict(settings)])


@once(most=4)
def _file_digests(folder: Path) -> list[list[str]]:
    family = family_of(folder)
    assert family is not None, "only a pipeline's folder gets here"
    index = read_object(folder / INDEX, SAVED)
    parts = [component(folder, part) for part in family.components if index.get(part) != [None, None]]
    files = [file for part in parts for file in sorted(files_read(part))]
    return [[str(file.relative_to(folder)), file_digest(file)] for file in files]
