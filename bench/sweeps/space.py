"""The search space that a method declares beside its fields, as the axes of a search."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence

from bench.config.build import build_method
from bench.config.suite import MethodChoice
from bench.core.errors import ConfigError, UnknownName
from bench.core.plugins import load
from bench.report.tradeoff.points import Setting
from bench.sweeps.axes import Axis, Range, Values, axes_of
from bench.sweeps.grid import Settings
from bench.sweeps.search import dimensions


def space_of(choice: MethodChoice) -> list[Axis]:
    """Return the axes that tuning searches: the method's search space without the fields that the suite sets.

    Raises:
        UnknownName: the space names no field of the method.
        ConfigError: values are missing, or the method refuses one of them.
    """
    method = load("method", choice.name, "Method")
    declared: Mapping[str, str | Sequence[Setting]] = getattr(method, "search_space", {})
    where = f"in the search space of method {choice.name}"
    existing = [field.name for field in dataclasses.fields(method)]
    for name in declared:
        if name not in existing:
            raise UnknownName(f"field {where}", name, existing)
    axes = axes_of(f"{where},", {name: values for name, values in declared.items() if name not in choice.fields})
    dimensions(choice, axes, f"{where},")
    for axis in axes:
        for value in axis.values if isinstance(axis, Values) else ():
            build_method(choice.name, {**choice.fields, axis.name: value})
    return axes


def first_setting(choice: MethodChoice, axes: Sequence[Axis]) -> Settings:
    """Return the defaults of the searched fields, as the first trial takes them.

    Raises:
        ConfigError: a default is outside the search space.
    """
    default = build_method(choice.name, choice.fields)
    return {axis.name: _inside(choice, axis, getattr(default, axis.name)) for axis in axes}


def _inside(choice: MethodChoice, axis: Axis, default: object) -> Setting:
    if isinstance(axis, Range):
        if isinstance(default, int | float) and axis.low <= default <= axis.high:
            return default
    else:
        for value in axis.values:
            if getattr(build_method(choice.name, {**choice.fields, axis.name: value}), axis.name) == default:
                return value
    space = str(axis) if isinstance(axis, Range) else json.dumps(axis.values)
    raise ConfigError(
        f"the search space of method {choice.name} must hold the default of {axis.name}, {default!r:.60}, got {space}; "
        "add it, or widen the range"
    )


def check_budget(choice: MethodChoice, axes: Sequence[Axis], trials: int) -> None:
    """Refuse fewer trials than a field has listed values, or than the two ends of a range.

    Raises:
        ConfigError: the budget is smaller.
    """
    for axis in axes:
        least = 2 if isinstance(axis, Range) else len(axis.values)
        if trials < least:
            raise ConfigError(
                f"tuning.trials must be at least {least}, the smallest grid of field {axis.name} in the search space "
                f"of method {choice.name}, got {trials}; raise it, or set the field under `with`"
            )
