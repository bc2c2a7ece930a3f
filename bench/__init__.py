"""The benchmark's Python interface: `import bench` loads no torch; every name is imported when it is first used."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.api import load_suite, open_run, plan, run

__all__ = ["load_suite", "open_run", "plan", "run"]


def __getattr__(name: str) -> object:
    """Import a public name when it is first used."""
    if name in __all__:
        return getattr(importlib.import_module("bench.api"), name)
    raise AttributeError(f"module 'bench' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
