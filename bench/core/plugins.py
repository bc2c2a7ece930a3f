"""Find methods, evaluators, extractors and data formats: the stem of a plug-in's file is its public name.

The bench's plug-ins are the files of three folders. Other packages add theirs by entry points, each naming a module
that defines the class (`my_package.my_method`) or the class itself (`my_package.methods:Mirrored`). A plug-in that
cannot be used breaks nothing else: `broken` says what is wrong with it, `load` refuses it, and `loaded` leaves it out.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Iterable
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, NamedTuple

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
MEMBERS: dict[Kind, tuple[Member, ...]] = {
    "method": ("Method",),
    "evaluator": ("Evaluator", "Extractor"),
    "data format": ("Format",),
}
REQUIRED: dict[Member, tuple[str, ...]] = {  # of the class; an extractor sets `name` and `digest` when it is built
    "Method": ("traits", "build"),
    "Evaluator": ("card", "evaluate"),
    "Extractor": ("extract",),
    "Format": (),
}
IMPORTING = (__file__, importlib.__file__, "<frozen importlib._bootstrap>", "<frozen importlib._bootstrap_external>")


class Package(NamedTuple):
    """The installed package that offers a plug-in.

    Attributes:
        name: of the distribution.
        version: of the distribution.
    """

    name: str
    version: str

    def __str__(self) -> str:
        return f"{self.name} {self.version}".strip()


def names(kind: Kind) -> list[str]:
    """Return the public names of a kind, without importing any plug-in; those of broken packages are among them."""
    return sorted({*_shipped(kind), *_installed(kind, entry_points)})


# Cached: a grid asks for every cell, and the plug-ins do not change while a process runs.
@functools.cache
def _files(kind: Kind) -> dict[str, frozenset[Member]]:
    """Return the files of a kind's folder by stem, each with the classes that it defines; none is imported."""
    files = sorted((ROOT / FOLDERS[kind]).glob("*.py"))
    return {p.stem: _defined(kind, p) for p in files if p.stem not in ("base", "__init__")}


def _defined(kind: Kind, path: Path) -> frozenset[Member]:
    text = path.read_text(encoding="utf-8", errors="replace")
    return frozenset(member for member in MEMBERS[kind] if f"\nclass {member}" in f"\n{text}")


@functools.cache
def _shipped(kind: Kind) -> frozenset[str]:
    return frozenset(name for name, members in _files(kind).items() if members)


@functools.cache
def _installed(kind: Kind, find: Callable[..., Iterable[EntryPoint]]) -> dict[str, list[EntryPoint]]:
    """Return the entry points of a kind by name; `find` is part of the cache's key, so that a test can replace it."""
    entries: dict[str, list[EntryPoint]] = {}
    for entry in find(group=GROUPS[kind]):
        entries.setdefault(entry.name, []).append(entry)
    return entries


def load(kind: Kind, name: str, member: Member) -> Any:
    """Return the class `member` of the plug-in `name`.

    Raises:
        UnknownName: no plug-in of this name, or its module does not define the class.
        ConfigError: the plug-in cannot be used, and why: it cannot be imported, its class lacks a part, or two packages
            offer the name.
    """
    _check_name(kind, name)
    members = _members(kind, name)
    if member not in members:
        raise UnknownName(member.lower(), name, with_member(kind, member))
    return members[member]


def loaded(kind: Kind, member: Member) -> dict[str, Any]:
    """Return the class `member` of every plug-in that can be used, by name.

    A name of the bench is the bench's own class, also where a package offers that name and `load` refuses it: tables of
    finished runs are read with the cards of the bench.
    """
    classes = {}
    for name in names(kind):
        if name in _shipped(kind) and member not in _files(kind)[name]:
            continue  # not imported: those of extractors need torch, which tables start without
        try:
            if name not in _shipped(kind):
                _check_name(kind, name)
            members = _members(kind, name)
        except ConfigError:
            continue  # `broken` says why
        if member in members:
            classes[name] = members[member]
    return classes


def with_member(kind: Kind, member: Member) -> list[str]:
    """Return the names of the plug-ins that define the class `member`.

    Files of the bench are not imported. Modules of other packages are, since only they say what they define; those that
    cannot be imported are left out.
    """
    shipped = [name for name, members in _files(kind).items() if member in members]
    others = set(_installed(kind, entry_points)) - set(_shipped(kind))
    return sorted([*shipped, *(name for name in others if _offers(kind, name, member))])


def _offers(kind: Kind, name: str, member: Member) -> bool:
    try:
        return member in _members(kind, name)
    except ConfigError:
        return False


def check_exists(kind: Kind, name: str, member: Member, called: str) -> None:
    """Refuse a name that is no plug-in of the kind; only the plug-in itself is imported, and only if it is installed.

    Args:
        kind: of the plug-in.
        name: its public name.
        member: the class that it must define.
        called: the kind in messages, such as "metric".

    Raises:
        UnknownName: no plug-in of this name defines the class; the nearest names are offered.
        ConfigError: the plug-in cannot be used, and why.
    """
    _check_name(kind, name)
    if member in _files(kind).get(name, ()):
        return
    if name not in _installed(kind, entry_points) or member not in _members(kind, name):
        raise UnknownName(called, name, with_member(kind, member))


def broken(kind: Kind) -> dict[str, str]:
    """Return what is wrong with each plug-in that cannot be used, by name; empty if all can. All are imported."""
    reasons = {}
    for name in sorted({*_files(kind), *_installed(kind, entry_points)}):
        try:
            _check_name(kind, name)
            _members(kind, name)
        except ConfigError as error:
            reasons[name] = str(error)
    return reasons


def package_of(kind: Kind, name: str) -> Package | None:
    """Return the installed package that offers a plug-in; None for a file of the bench or an unknown name."""
    if name in _shipped(kind) or name not in _installed(kind, entry_points):
        return None
    return _package(_installed(kind, entry_points)[name][0])


def _package(entry: EntryPoint) -> Package:
    if entry.dist is None:
        return Package(entry.module.partition(".")[0], "")
    return Package(entry.dist.name, entry.dist.version)


def _check_name(kind: Kind, name: str) -> None:
    """Refuse a name that several plug-ins have, and a file that defines no plug-in.

    Raises:
        ConfigError: with what to do.
    """
    entries = _installed(kind, entry_points).get(name, [])
    packages = " and ".join(sorted(f"{_package(entry)} ({entry.value})" for entry in entries))
    if entries and name in _shipped(kind):
        raise ConfigError(
            f"{kind} {name!r} is a name of the bench, and the installed package {packages} offers it too; rename it "
            f"there, under the entry points {GROUPS[kind]!r}, or uninstall the package"
        )
    if len(entries) > 1:
        raise ConfigError(f"{kind} {name!r} is offered twice, by {packages}; uninstall one of them, or rename it")
    if name in _files(kind) and not entries and not _files(kind)[name]:
        classes = " or ".join(f"`class {member}`" for member in MEMBERS[kind])
        raise ConfigError(
            f"{FOLDERS[kind]}/{name}.py defines no {classes}, so it is no {kind}; define one, or move the file into a "
            f"folder of {FOLDERS[kind]}/ that has an __init__.py"
        )


def module_of(kind: Kind, name: str) -> ModuleType:
    """Return the module of a plug-in, that of the bench where it has the name.

    Raises:
        UnknownName: no plug-in of this name.
        ConfigError: it cannot be imported.
    """
    if name in _shipped(kind):
        return _imported(f"{FOLDERS[kind].replace('/', '.')}.{name}", f"{kind} {name!r}")
    entries = _installed(kind, entry_points).get(name)
    if not entries:
        raise UnknownName(kind, name, names(kind))
    return _imported(entries[0].module, f"{kind} {name!r} of package {_package(entries[0])}")


def _imported(name: str, called: str) -> ModuleType:
    if name in sys.modules:
        return sys.modules[name]
    top = name.partition(".")[0]
    if top in FOLDERS.values():
        check_own_folder(top)
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:  # a plug-in may raise anything when it is imported
        raise ConfigError(f"{called} cannot be imported from {name}: {_described(error)}") from error


def _described(error: BaseException) -> str:
    """Return an exception's kind, text, and the file and line that raised it."""
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__}: {error.msg} ({error.filename}, line {error.lineno})"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename not in IMPORTING]
    where = f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {' '.join(str(error).split()) or 'without a message'}{where}"


def _members(kind: Kind, name: str) -> dict[Member, Any]:
    """Return the classes that a plug-in offers, at least one.

    Raises:
        UnknownName: no plug-in of this name.
        ConfigError: it cannot be imported, offers no class, or one that lacks a part.
    """
    target: Any = module_of(kind, name)
    where, defines = f"{kind} {name!r}", target.__name__
    if name in _shipped(kind):
        members = {m: getattr(target, m) for m in MEMBERS[kind] if m in _files(kind)[name]}
    else:
        entry = _installed(kind, entry_points)[name][0]
        where, defines = f"{where} of package {_package(entry)}", entry.value
        for attribute in filter(None, (entry.attr or "").split(".")):
            if not hasattr(target, attribute):
                raise ConfigError(f"{where}: module {entry.module} has no {entry.attr}; correct the entry point")
            target = getattr(target, attribute)
        members = _offered(kind, target)
    if not members:
        classes = " or ".join(f"`class {member}`" for member in MEMBERS[kind])
        raise ConfigError(f"{where}: {defines} defines no {classes}; add one")
    for member, cls in members.items():
        _check_parts(where, member, cls)
    return members


def _offered(kind: Kind, target: object) -> dict[Member, Any]:
    """Return the classes of a kind that an entry point names: itself, or those of its module that are no protocols."""
    if not inspect.isclass(target):
        members = {member: getattr(target, member, None) for member in MEMBERS[kind]}
        return {m: cls for m, cls in members.items() if cls is not None and not getattr(cls, "_is_protocol", False)}
    fitting = [member for member in MEMBERS[kind] if all(_has(target, part) for part in REQUIRED[member])]
    return dict.fromkeys(fitting or MEMBERS[kind][:1], target)


def _check_parts(where: str, member: Member, cls: object) -> None:
    if not inspect.isclass(cls):
        raise ConfigError(f"{where}: {member} must be a class, got {cls!r:.60}; docs/bring-your-own.md has examples")
    lacks = [part for part in REQUIRED[member] if not _has(cls, part)]
    if lacks:
        raise ConfigError(
            f"{where}: class {cls.__name__} must have {' and '.join(REQUIRED[member])}, got none called "
            f"{' or '.join(lacks)}; docs/bring-your-own.md has examples"
        )
    if member == "Method" and not dataclasses.is_dataclass(cls):
        raise ConfigError(
            f"{where}: class {cls.__name__} must be a dataclass; put @dataclass(frozen=True) above it, its fields are "
            "the hyper-parameters"
        )
    if member == "Evaluator" and not dataclasses.is_dataclass(getattr(cls, "card", None)):
        raise ConfigError(f"{where}: its `card` must be a MetricCard, got {getattr(cls, 'card', None)!r:.60}")


def _has(cls: type, part: str) -> bool:
    return hasattr(cls, part) or part in getattr(cls, "__annotations__", {})


def check_own_folder(package: str) -> None:
    """Refuse a folder of the user's that Python finds in place of a package of the bench.

    Args:
        package: "methods" or "evaluators".

    Raises:
        ConfigError: Python finds another folder of the name.
    """
    spec = sys.modules[package].__spec__ if package in sys.modules else importlib.util.find_spec(package)
    origin = None if spec is None else spec.origin
    if origin is None or Path(origin).resolve() != (ROOT / package / "__init__.py").resolve():
        got = "no such package" if spec is None else Path(origin).parent if origin else "a folder without __init__.py"
        raise ConfigError(
            f"Python must find the bench's package {package!r} in {ROOT / package}, got {got}; rename that folder, or "
            "take the folder that holds it off PYTHONPATH (started as `python -m`, Python also looks in the current "
            "folder)"
        )
