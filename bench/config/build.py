"""Build methods and extractors from their names and fields."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from bench.config.suite import Suite
from bench.core.errors import ConfigError, UnknownName
from bench.core.plugins import load
from bench.core.specs import ExtractorSpec
from bench.core.yaml_models import fill


def build_method(name: str, fields: Mapping[str, object]) -> Any:
    """Return a method with checked fields.

    Raises:
        UnknownName: no such method, or no such field.
        ConfigError: a field of the wrong type or out of range.
    """
    return fill(load("method", name, "Method"), dict(fields), "method", name)


def built_methods(suite: Suite) -> dict[str, Any]:
    """Return every method of a suite by its title; raises as `build_method`."""
    return {m.title: build_method(m.name, m.fields) for m in suite.methods}


def built_settings(suite: Suite) -> list[Any]:
    """Return every method of a suite as listed, then with the fields that tuning chose; raises as `build_method`."""
    chosen = [build_method(m.name, m.fields_on(task)) for m in suite.methods for task in m.chosen]
    return [*built_methods(suite).values(), *chosen]


def build_extractor(spec: ExtractorSpec) -> Any:
    """Return an extractor with its fields.

    Raises:
        UnknownName: no such extractor, or no such field.
        ConfigError: a field that it refuses.
        Incompatible: what it needs is not available.
    """
    extractor = load("evaluator", spec.name, "Extractor")
    fields = dict(spec.fields)
    accepted = list(inspect.signature(extractor).parameters)
    for key in fields:
        if key not in accepted:
            raise UnknownName(f"field of extractor {spec.name}", key, accepted or ["none"])
    try:
        return extractor(**fields)
    except (TypeError, ValueError) as error:  # a value of another type; what is out of range says so itself
        raise ConfigError(f"extractor {spec.name} cannot be made with {fields}: {error}") from error
