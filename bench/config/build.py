"""Build methods and extractors from their names and fields."""

from __future__ import annotations

import inspect
import json
from typing import Any

from bench.config.components import ExtractorSpec
from bench.config.suite import Suite
from bench.core.errors import ConfigError, UnknownName
from bench.core.plugins import load
from bench.core.yaml_models import fill


def build_method(name: str, fields: dict[str, Any]) -> Any:
    """A method with checked fields.

    Raises:
        UnknownName: no such method, or no such field.
        ConfigError: a field of the wrong type or out of range.
    """
    return fill(load("method", name, "Method"), fields, "method", name)


def built_methods(suite: Suite) -> dict[str, Any]:
    """Every method of a suite, by its title; raises as `build_method`."""
    return {m.title: build_method(m.name, m.fields) for m in suite.methods}


def build_extractor(spec: ExtractorSpec) -> Any:
    """An extractor with its fields.

    Raises:
        UnknownName: no such extractor, or no such field.
        ConfigError: a field that it refuses.
        Incompatible: what it needs is not at hand.
    """
    extractor = load("evaluator", spec.name, "Extractor")
    fields = json.loads(spec.fields)
    known = list(inspect.signature(extractor).parameters)
    for key in fields:
        if key not in known:
            raise UnknownName(f"field of extractor {spec.name}", key, known or ["none"])
    try:
        return extractor(**fields)
    except (TypeError, ValueError) as error:  # a value of another type; what is out of range says so itself
        raise ConfigError(f"extractor {spec.name} cannot be made with {fields}: {error}") from error
