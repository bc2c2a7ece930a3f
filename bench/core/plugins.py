"""Find methods, evaluators, extractors and data formats: the stem of a plugin's file is its public name.

The bench's plugins are the files of three folders; other packages add theirs by entry points.
"""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Callable, Iterable
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from bench.core.errors import ConfigError, UnknownName

ROOT = Path(__file__).parents[2]
Kind = Literal["method", "evaluator", "data format"]  # an evaluator's module may hold an extractor too
Member = Literal["Method", "Evaluator", "Extractor", "Format"]  # the class that a module defines
GROUPS: dict[Kind, str] = {
    "method": "fairdiff_bench.methods",
    "evaluator": "fairdiff_bench.evaluators",
    "data format": "fairdiff_bench.data",
}
FOLDERS: dict[Kind, str] = {"method": "methods", "evaluator": "evaluators", "data format": "bench/data/formats"}


def names(kind: Kind) -> list[str]:
    """Return the public names of a kind, without importing any plugin."""
    return sorted(_files(kind) | _installed(kind, entry_points).keys())


# Cached: a grid asks for every cell, and the plugins do not change while a process runs.
@functools.cache
def _files(kind: Kind) -> frozenset[str]:
    return frozenset(p.stem for p in (ROOT / FOLDERS[kind]).glob("*.py")) - {"base", "__init__"}


@functools.cache
def _installed(kind: Kind, find: Callable[..., Iterable[EntryPoint]]) -> dict[str, EntryPoint]:
    """Return the entry points of a kind by name; `find` is part of the cache's key, so that a test can replace it."""
    return {e.name: e for e in reversed(list(find(group=GROUPS[kind])))}  # the first of two with the same name


def load(kind: Kind, name: str, member: Member) -> Any:
    """Return the class `member` of the plugin `name`.

    Raises:
        UnknownName: no plugin of this name, or its module does not define the class.
        ConfigError: a plugin of another package cannot be imported.
    """
    module = module_of(kind, name)
    if not hasattr(module, member):
        raise UnknownName(member.lower(), name, with_member(kind, member))
    return getattr(module, member)


def with_member(kind: Kind, member: Member) -> list[str]:
    """Return the names of plugins that define the class `member`, and of all from other packages; imports none."""

    def defines_member(path: Path) -> bool:
        return not path.is_file() or f"\nclass {member}" in path.read_text(encoding="utf-8")

    return [name for name in names(kind) if defines_member(ROOT / FOLDERS[kind] / f"{name}.py")]


def module_of(kind: Kind, name: str) -> ModuleType:
    """Return the module of a plug-in; raises as `load`."""
    entry = _installed(kind, entry_points).get(name)
    if entry is not None:
        try:
            loaded: ModuleType = entry.load()
        except ImportError as error:
            raise ConfigError(f"{kind} {name!r} of package {entry.value} cannot be imported: {error}") from error
        return loaded
    if name not in _files(kind):
        raise UnknownName(kind, name, names(kind))
    full = f"{FOLDERS[kind].replace('/', '.')}.{name}"
    return sys.modules.get(full) or importlib.import_module(full)
