"""The suites of a sweep: vanilla and a method at many settings, one suite for each sampler and guidance batch."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from bench.config.build import build_method
from bench.config.suite import MethodChoice, Suite, TaskChoice
from bench.core.attributes import target_name
from bench.core.errors import ConfigError, UnknownName
from bench.core.plugins import names
from bench.core.yaml_models import describe
from bench.report.tradeoff.points import quality_of
from bench.sweeps.axes import Range, Values

VANILLA = MethodChoice(name="vanilla")
Settings = dict[str, Any]


@dataclass(frozen=True)
class Protocol:
    """What all points of one suite share.

    Attributes:
        suite: the suite with vanilla alone.
        settings: the values of the axes that make it differ from the sweep's other suites, by name.
    """

    suite: Suite
    settings: Settings


@dataclass(frozen=True)
class Variant:
    """A method with its fields set.

    Attributes:
        choice: as a suite lists it.
        settings: the values that the sweep set, by field.
    """

    choice: MethodChoice
    settings: Settings


def choose_tasks(base: Suite, asked: Sequence[str]) -> Suite:
    """The base with the tasks asked for alone, each by its attributes or its full name; all where none is.

    Raises:
        UnknownName: the base has no such task.
    """
    answers = [(task, _names(task)) for task in base.tasks]
    offered = set().union(*(named for _, named in answers))
    for name in asked:
        if name not in offered:
            raise UnknownName(f"task of suite {base.suite}", name, offered)
    kept = tuple(task for task, named in answers if not asked or named & set(asked))
    return base.model_copy(update={"tasks": kept})


def _names(task: TaskChoice) -> set[str]:
    attributes = "+".join(task.attributes)
    return {attributes, f"{attributes} {task.target if task.target == 'uniform' else target_name(task.target)}"}


def choose_method(base: Suite, name: str) -> MethodChoice:
    """A method as the base lists it, by its title there, or any by its name, with the defaults of its fields.

    Raises:
        UnknownName: no such method.
    """
    for choice in base.methods:
        if choice.title == name:
            return choice
    if name not in names("method"):
        raise UnknownName("method", name, {*names("method"), *(choice.title for choice in base.methods)})
    return MethodChoice(name=name)


def protocols(base: Suite, name: str, seed: int, axes: Sequence[Values]) -> list[Protocol]:
    """One suite, of vanilla alone, for each combination of sampler settings and guidance batch.

    They differ in what all rows of one table must share, so that each stays a suite whose methods are compared on
    equal terms.

    Args:
        base: gives everything else.
        name: of the sweep; of the only suite, or what their names begin with.
        seed: of the noise and the fits.
        axes: keys of a suite's sampler, or "guidance_batch".

    Raises:
        ConfigError: a value that a suite refuses, or a base that measures no fairness or no quality.
    """
    quality_of(base)
    varied = {axis.name for axis in axes if len(axis.values) > 1}
    found = []
    for values in itertools.product(*(axis.values for axis in axes)):
        settings = {axis.name: value for axis, value in zip(axes, values, strict=True)}
        parts = [f"{key}-{re.sub(r'[^A-Za-z0-9_.-]', '', str(settings[key]))}" for key in settings if key in varied]
        found.append(Protocol(_suite(base, "-".join([name, *parts]), seed, settings), settings))
    return found


def _suite(base: Suite, name: str, seed: int, settings: Settings) -> Suite:
    tree = tree_of(base)
    changed = {key: value for key, value in settings.items() if key != "guidance_batch"}
    tree |= {"suite": name, "seeds": [seed], "sampler": {**tree.get("sampler", {}), **changed}}
    tree["methods"] = [{"name": VANILLA.name}]
    if "guidance_batch" in settings:
        tree["guidance_batch"] = settings["guidance_batch"]
    return _validated(tree)


def tree_of(suite: Suite) -> dict[str, Any]:
    """A suite as its file would have it: what was given, without what validation filled in."""
    return suite.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude={"data": {"__all__": {"label"}}})


def _validated(tree: dict[str, Any]) -> Suite:
    try:
        return Suite.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(describe(error, Suite, "the sweep's suite")) from error


def variants(choice: MethodChoice, axes: Sequence[Values], more: Settings | None = None) -> list[Variant]:
    """The method at every combination of values, in order.

    Args:
        choice: the method, with the fields that stay.
        axes: its fields to set; one with a single value is set and not named in the titles.
        more: further fields and their values, named in the titles.

    Raises:
        UnknownName: no such field.
        ConfigError: a value of the wrong type or out of range.
    """
    varied = {axis.name for axis in axes if len(axis.values) > 1} | set(more or {})
    found = []
    for values in itertools.product(*(axis.values for axis in axes)):
        settings = {axis.name: value for axis, value in zip(axes, values, strict=True)} | (more or {})
        build_method(choice.name, {**choice.fields, **settings})
        title = ", ".join(f"{key} {settings[key]}" for key in settings if key in varied) or choice.label
        fields = {"name": choice.name, "with": {**choice.fields, **settings}, "label": title}
        found.append(Variant(MethodChoice.model_validate(fields), settings))
    return found


def with_variants(suite: Suite, found: Sequence[Variant]) -> Suite:
    """The suite with these beside vanilla; vanilla itself is not listed twice.

    Raises:
        ConfigError: two of them have one title.
    """
    listed = [VANILLA, *(v.choice for v in found if v.choice.name != VANILLA.name)]
    methods = [choice.model_dump(mode="json", by_alias=True, exclude_defaults=True) for choice in listed]
    return _validated({**tree_of(suite), "methods": methods})


def settings_of(protocol: Protocol, found: Sequence[Variant]) -> Mapping[str, Settings]:
    """What the sweep set, by the title of each method; of vanilla, what it shares with the others."""
    shared = protocol.settings
    return {VANILLA.title: shared} | {v.choice.title: {**v.settings, **shared} for v in found}


def check_varied(axes: Sequence[Values | Range]) -> None:
    """Refuse a sweep of one point.

    Raises:
        ConfigError: no axis has a range or more than one value.
    """
    if not any(isinstance(axis, Range) or len(axis.values) > 1 for axis in axes):
        raise ConfigError(
            "nothing to vary: give a field several values, as in --set strength=50,100; for one setting, `run` a suite"
        )
