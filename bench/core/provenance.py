"""Versions of packages and the commit of the source tree."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PACKAGES = (
    "torch",
    "diffusers",
    "open_clip_torch",
    "transformers",
    "numpy",
    "dicebear-core",
    "dicebear-styles",
    "resvg-py",
)


def _version() -> str:
    try:
        return version("fairdiff-bench")
    except PackageNotFoundError:
        return "source"


def commit() -> str:
    """The commit of the source tree, "+" where it has changes; empty where it is no git checkout."""
    here = Path(__file__).parent
    try:
        head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, check=True)
        dirty = subprocess.run(
            ["git", "status", "--porcelain", "--", "*.py", "*.yaml", "*.safetensors"],
            cwd=here,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return head.stdout.strip() + ("+" if dirty.stdout.strip() else "")


def versions() -> dict[str, str]:
    """Versions of what decides the weights."""
    return {"python": platform.python_version(), **versions_of(_PACKAGES)}


def versions_of(packages: Sequence[str]) -> dict[str, str]:
    """Versions of packages; "absent" where one is not installed."""
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "absent"
    return found
