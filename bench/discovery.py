"""Methods, evaluators, extractors and layouts of data, found by their place: the file's stem is the public name."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from bench.errors import ConfigError, UnknownName

ROOT = Path(__file__).parent.parent
GROUPS = {
    "method": "fairdiff_bench.methods",
    "evaluator": "fairdiff_bench.evaluators",
    "data layout": "fairdiff_bench.data",
}
FOLDERS = {"method": "methods", "evaluator": "evaluators", "data layout": "bench/data/layouts"}


def names(kind: str) -> list[str]:
    """Public names of a kind ("method", "data layout", or "evaluator" for metrics and extractors), importing none."""
    files = (p.stem for p in (ROOT / FOLDERS[kind]).glob("*.py"))
    found = {stem for stem in files if stem not in ("base", "__init__")}
    return sorted(found | {e.name for e in entry_points(group=GROUPS[kind])})


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
    if name not in names(kind):
        raise UnknownName(kind, name, names(kind))
    for entry in entry_points(group=GROUPS[kind]):
        if entry.name == name:
            try:
                loaded: ModuleType = entry.load()
            except ImportError as error:
                raise ConfigError(f"{kind} {name!r} of package {entry.value} cannot be imported: {error}") from error
            return loaded
    return importlib.import_module(f"{FOLDERS[kind].replace('/', '.')}.{name}")


def source_digest(kind: str, name: str) -> str:
    """Hash of the source that decides what a method or evaluator computes.

    It covers the module and, from there on, every module of methods/ and evaluators/ that its names come from, save
    the protocols: a change touches the cells of those that use what changed.
    """
    start = _module(kind, name)
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
