"""Methods, evaluators, extractors and formats of data, found by their place: the file's stem is the public name."""

from __future__ import annotations

import functools
import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from bench.core.errors import ConfigError, UnknownName

ROOT = Path(__file__).parents[2]
GROUPS = {
    "method": "fairdiff_bench.methods",
    "evaluator": "fairdiff_bench.evaluators",
    "data format": "fairdiff_bench.data",
}
FOLDERS = {"method": "methods", "evaluator": "evaluators", "data format": "bench/data/formats"}


def names(kind: str) -> list[str]:
    """Public names of a kind ("method", "data format", or "evaluator" for metrics and extractors), importing none."""
    return sorted(_own(kind) | _installed(kind, entry_points).keys())


# A grid asks for every cell, and what there is does not change while a process runs.
@functools.cache
def _own(kind: str) -> frozenset[str]:
    return frozenset(p.stem for p in (ROOT / FOLDERS[kind]).glob("*.py")) - {"base", "__init__"}


@functools.cache
def _installed(kind: str, find: Callable[..., Any]) -> dict[str, EntryPoint]:
    """By name; `find` is part of the question, so that a test that puts another in its place is answered by it."""
    return {e.name: e for e in reversed(list(find(group=GROUPS[kind])))}  # of two of one name, the first


def load(kind: str, name: str, member: str) -> Any:
    """The class `member` of the module of a public name.

    Raises:
        UnknownName: nothing of that name, or nothing there with such a class.
    """
    module = _module(kind, name)
    if not hasattr(module, member):
        raise UnknownName(member.lower(), name, with_member(kind, member))
    return getattr(module, member)


def with_member(kind: str, member: str) -> list[str]:
    """Names whose source defines the class `member`, without importing any of the project's own."""
    found = []
    for name in names(kind):
        path = ROOT / FOLDERS[kind] / f"{name}.py"
        if not path.is_file() or f"\nclass {member}" in path.read_text(encoding="utf-8"):
            found.append(name)
    return found


def _module(kind: str, name: str) -> ModuleType:
    entry = _installed(kind, entry_points).get(name)
    if entry is not None:
        try:
            loaded: ModuleType = entry.load()
        except ImportError as error:
            raise ConfigError(f"{kind} {name!r} of package {entry.value} cannot be imported: {error}") from error
        return loaded
    if name not in _own(kind):
        raise UnknownName(kind, name, names(kind))
    full = f"{FOLDERS[kind].replace('/', '.')}.{name}"
    return sys.modules.get(full) or importlib.import_module(full)


def source_digest(kind: str, name: str) -> str:
    """Hash of the source that decides what a method or evaluator computes.

    It covers the module and, from there on, every module of methods/ and evaluators/ that its names come from, save
    the protocols: a change touches the cells of those that use what changed.
    """
    return _source_digest(_module(kind, name))


@functools.cache
def _source_digest(start: ModuleType) -> str:
    todo, seen = [start], {start.__name__: start}
    while todo:
        for value in vars(todo.pop()).values():
            origin = getattr(value, "__module__", None)
            if not isinstance(origin, str) or origin in seen or origin.split(".")[0] not in FOLDERS.values():
                continue
            seen[origin] = sys.modules[origin]
            todo.append(seen[origin])
    total = hashlib.sha256()
    for module_name in sorted(seen):
        file = seen[module_name].__file__
        if file and not module_name.endswith(".base"):
            total.update(Path(file).read_bytes())
    return total.hexdigest()
