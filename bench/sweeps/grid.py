"""The suites of a sweep: vanilla and a method at many settings, a suite per sampler and guidance batch."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from bench.config.build import build_method
from bench.config.suite import MethodChoice, Suite, TaskChoice
from bench.core.errors import ConfigError, UnknownName
from bench.core.plugins import names
from bench.core.yaml_models import describe
from bench.report.tradeoff.points import Setting, quality_of
from bench.sweeps.axes import Range, Values

VANILLA = MethodChoice(name="vanilla")
Settings = dict[str, Setting]


@dataclass(frozen=True)
class Protocol:
    """The settings that all points of a suite share.

    Attributes:
        suite: the suite with vanilla only.
        settings: the values of the axes in which it differs from the sweep's other suites, by name.
    """

    suite: Suite
    settings: Settings


@dataclass(frozen=True)
class Variant:
    """A method with values for its fields.

    Attributes:
        choice: the method as a suite lists it.
        settings: the values that the sweep set, by field.
    """

    choice: MethodChoice
    settings: Settings


def choose_tasks(base: Suite, chosen: Sequence[str]) -> Suite:
    """Return the base with the chosen tasks only, named by attributes or full name; with all tasks if none is chosen.

    Raises:
        UnknownName: the base has no such task.
    """
    answers = [(task, _names(task)) for task in base.tasks]
    offered = set().union(*(named for _, named in answers))
    for name in chosen:
        if name not in offered:
            raise UnknownName(f"task of suite {base.suite}", name, offered)
    tasks = tuple(task for task, named in answers if not chosen or named & set(chosen))
    return base.model_copy(update={"tasks": tasks})


def _names(task: TaskChoice) -> set[str]:
    return {"+".join(task.attributes), task.title}


def choose_method(base: Suite, name: str) -> MethodChoice:
    """Return a method as the base lists it, by its title there; or any method by its name, with default fields.

    Raises:
        UnknownName: no method has this title or name.
    """
    for choice in base.methods:
        if choice.title == name:
            return choice
    if name not in names("method"):
        raise UnknownName("method", name, {*names("method"), *(choice.title for choice in base.methods)})
    return MethodChoice(name=name)


def protocols(base: Suite, name: str, seed: int, axes: Sequence[Values]) -> list[Protocol]:
    """Return a suite, with vanilla only, for each combination of sampler settings and guidance batch.

    All rows of a table must share these settings, so each combination is a suite of its methods on equal terms.

    Args:
        base: the suite with all other settings.
        name: the sweep's name; also the name of a single suite, or the prefix of several suites' names.
        seed: of the noise and the fits.
        axes: keys of a suite's sampler, or "guidance_batch".

    Raises:
        ConfigError: a suite refuses a value, or the base measures no fairness or no quality.
    """
    quality_of(base)
    varied = {axis.name for axis in axes if len(axis.values) > 1}
    suites = []
    for values in itertools.product(*(axis.values for axis in axes)):
        settings = {axis.name: value for axis, value in zip(axes, values, strict=True)}
        suffixes = [f"{key}-{re.sub(r'[^A-Za-z0-9_.-]', '', str(settings[key]))}" for key in settings if key in varied]
        suites.append(Protocol(_suite(base, "-".join([name, *suffixes]), seed, settings), settings))
    return suites


def _suite(base: Suite, name: str, seed: int, settings: Settings) -> Suite:
    tree = tree_of(base)
    changed = {key: value for key, value in settings.items() if key != "guidance_batch"}
    tree |= {"suite": name, "seeds": [seed], "sampler": {**tree.get("sampler", {}), **changed}}
    tree["methods"] = [{"name": VANILLA.name}]
    tree.pop("tuning", None)  # of methods that the sweep does not run
    if "guidance_batch" in settings:
        tree["guidance_batch"] = settings["guidance_batch"]
    return validated(tree)


def tree_of(suite: Suite) -> dict[str, Any]:
    """Return a suite as its file would have it, without the defaults that validation fills in."""
    return suite.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude={"data": {"__all__": {"label"}}})


def validated(tree: dict[str, Any]) -> Suite:
    """Return a sweep's suite, given what its file would hold.

    Raises:
        ConfigError: a key or value is not valid.
    """
    try:
        return Suite.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(describe(error, Suite, "the sweep's suite")) from error


def variants(choice: MethodChoice, axes: Sequence[Values], further: Settings | None = None) -> list[Variant]:
    """Return the method at every combination of values, in order.

    Args:
        choice: the method, with the fields that stay.
        axes: the fields to set; a field with a single value is not named in the titles.
        further: further fields and their values, named in the titles.

    Raises:
        UnknownName: the method has no such field.
        ConfigError: a value has the wrong type or is out of range.
    """
    varied = {axis.name for axis in axes if len(axis.values) > 1} | set(further or {})
    built = []
    for values in itertools.product(*(axis.values for axis in axes)):
        settings = {axis.name: value for axis, value in zip(axes, values, strict=True)} | (further or {})
        build_method(choice.name, {**choice.fields, **settings})
        title = ", ".join(f"{key} {settings[key]}" for key in settings if key in varied) or choice.label
        fields = {"name": choice.name, "with": {**choice.fields, **settings}, "label": title}
        built.append(Variant(MethodChoice.model_validate(fields), settings))
    return built


def with_variants(suite: Suite, added: Sequence[Variant]) -> Suite:
    """Return the suite with variants beside vanilla, which is not listed twice.

    Raises:
        ConfigError: two variants have the same title.
    """
    listed = [VANILLA, *(v.choice for v in added if v.choice.name != VANILLA.name)]
    methods = [choice.model_dump(mode="json", by_alias=True, exclude_defaults=True) for choice in listed]
    return validated({**tree_of(suite), "methods": methods})


def settings_of(protocol: Protocol, added: Sequence[Variant]) -> Mapping[str, Settings]:
    """Return the values that the sweep set, by method title; vanilla has the shared ones only."""
    shared = protocol.settings
    return {VANILLA.title: shared} | {v.choice.title: {**v.settings, **shared} for v in added}


def check_varied(axes: Sequence[Values | Range]) -> None:
    """Refuse a sweep of one point.

    Raises:
        ConfigError: no axis has a range or several values.
    """
    if not any(isinstance(axis, Range) or len(axis.values) > 1 for axis in axes):
        raise ConfigError(
            "nothing to vary: a sweep needs several values of a field, as in --set strength=50,100; for one setting, "
            "`run` a suite"
        )
