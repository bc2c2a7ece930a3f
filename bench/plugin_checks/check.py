"""All checks of a plug-in by its public name."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from bench.core.errors import ConfigError, Incompatible, UnknownName
from bench.core.plugins import Kind, Member, broken, load, names, package_of, with_member
from bench.models import list_models
from bench.plugin_checks import evaluators, extractors, methods, models
from bench.plugin_checks.outcome import Outcome, run_check
from bench.plugin_checks.worlds import WORLDS

S = TypeVar("S")
ROLES: dict[str, tuple[Kind, Member]] = {
    "method": ("method", "Method"),
    "evaluator": ("evaluator", "Evaluator"),
    "extractor": ("evaluator", "Extractor"),
}
MODEL = "model"


@dataclass(frozen=True)
class Checked:
    """A plug-in in one role, and the outcomes of its checks.

    Attributes:
        name: public name.
        role: "method", "evaluator", "extractor" or "model".
        package: the installed package that offers it, with its version; empty for the bench's own and for a model.
        outcomes: one per check, in order, made while it is iterated.
    """

    name: str
    role: str
    package: str
    outcomes: Iterator[Outcome]


def check_plugin(name: str, role: str | None = None, fields: Mapping[str, object] | None = None) -> Iterator[Checked]:
    """Check a plug-in in every role that it has: the contract tests, as they run on those of the bench.

    Args:
        name: of a method, evaluator, extractor or shipped model, or `path:DIR` or `hub:ID` of a model.
        role: "method", "evaluator", "extractor" or "model", if it is to be checked in this role only.
        fields: values of the fields of a method, extractor or model that differ from their defaults.

    Raises:
        UnknownName: no plug-in of this name, or no such role.
        ConfigError: fields for an evaluator, which has none.
    """
    if role is not None and role not in (*ROLES, MODEL):
        raise UnknownName("kind of plug-in", role, [*ROLES, MODEL])
    roles = [role] if role else _roles(name)
    if not roles:
        raise UnknownName(
            "plug-in", name, {*names("method"), *names("evaluator"), *list_models(), "path:DIR", "hub:ID"}
        )
    if fields and roles == ["evaluator"]:
        raise ConfigError(f"evaluator {name} has no fields, got {', '.join(fields)}; leave --set out")
    return (_checked(name, one, dict(fields or {})) for one in roles)


def _roles(name: str) -> list[str]:
    """Return the roles of a name; both of an evaluator's module where it cannot be imported."""
    if name in list_models() or name.partition(":")[0] in ("path", "hub"):
        return [MODEL]
    roles = [role for role, (kind, member) in ROLES.items() if name in with_member(kind, member)]
    return roles or [role for role in ("method", "evaluator") if name in broken(ROLES[role][0])]


def _checked(name: str, role: str, fields: Mapping[str, object]) -> Checked:
    if role == MODEL:
        return Checked(name, role, "", _run_all(models.Loaded(name, fields), models.CHECKS, "", "loads", _load_model))
    kind, member = ROLES[role]
    package = package_of(kind, name)
    loads = run_check("loads", "", partial(load, kind, name, member))
    rest = _of_role(name, role, fields) if loads.state == "ok" else iter(())
    return Checked(name, role, str(package or ""), _chain(loads, rest))


def _chain(first: Outcome, later: Iterator[Outcome]) -> Iterator[Outcome]:
    yield first
    yield from later


def _of_role(name: str, role: str, fields: Mapping[str, object]) -> Iterator[Outcome]:
    if role == "method":
        return _method(name, fields)
    if role == "evaluator":
        return _run_all(evaluators.Metric(name), evaluators.CHECKS, "")
    return _run_all(extractors.Network(name, fields), extractors.CHECKS, "", "can be built", _build)


def _method(name: str, fields: Mapping[str, object]) -> Iterator[Outcome]:
    yield run_check("search space", "", partial(methods.check_search_space, name))
    with tempfile.TemporaryDirectory() as folder:
        subjects = [methods.Subject(name, w, make(Path(folder) / w), fields) for w, make in WORLDS.items()]
        applies = run_check("applies to a task", "", partial(methods.check_applies, subjects))
        yield applies
        for subject in subjects if applies.state == "ok" else ():
            yield from _run_all(subject, methods.CHECKS, subject.world)


def _run_all(
    subject: S,
    checks: Mapping[str, Callable[[S], None]],
    where: str,
    first: str = "",
    make: Callable[[S], object] | None = None,
) -> Iterator[Outcome]:
    """Yield the outcome of every check, or of the first step alone where it fails."""
    if make is not None:
        made = run_check(first, where, partial(_needed, make, subject))
        yield made
        if made.state != "ok":
            return
    for check, function in checks.items():
        yield run_check(check, where, partial(function, subject))


def _needed(make: Callable[[S], object], subject: S) -> None:
    """Do the step without which nothing can be checked, so that what is not available here is a failure.

    Raises:
        ConfigError: something is not available here.
    """
    try:
        make(subject)
    except Incompatible as error:
        raise ConfigError(f"{error}; nothing was checked, give other fields with --set") from error


def _load_model(loaded: models.Loaded) -> object:
    return loaded.model


def _build(network: extractors.Network) -> object:
    return network.extractor
