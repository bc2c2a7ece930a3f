"""docs/suite-keys.md, made from the models of a suite file: `python -m docs.make_suite_keys`."""

from __future__ import annotations

import inspect
import json
import re
import types
from collections.abc import Iterator
from typing import Literal, Union, get_args, get_origin

from pydantic import AliasChoices, BaseModel
from pydantic.fields import FieldInfo

from bench.config.data_source import AttributeChoice
from bench.config.suite import MethodChoice, Suite
from bench.core.plugins import ROOT

PAGE = ROOT / "docs" / "suite-keys.md"
HEAD = """# Every key of a suite

Made by `python -m docs.make_suite_keys` from the models that read a suite file; a test says that it is up to date.
[suites.md](suites.md) shows how to write one. A key is required where no default is given.
"""
NAMES = {str: "text", int: "whole number", float: "number", bool: "true or false", type(None): "null"}
BOUNDS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
RECORDED = {MethodChoice: {"chosen"}}  # keys that run.json records, and that no one writes
PARENTS = {AttributeChoice: "data.NAME.attributes.ATTRIBUTE"}  # of which the file gives a mapping by name


def page() -> str:
    """Return the whole of docs/suite-keys.md."""
    return "\n".join([HEAD, *(_section(place, model) for model, place in _models().items())])


def _models() -> dict[type[BaseModel], str]:
    """Return the models of a suite file, each with the keys that lead to it."""
    places: dict[type[BaseModel], str] = {Suite: ""}
    queue: list[type[BaseModel]] = [Suite]
    while queue:
        model = queue.pop(0)
        for name, field in model.model_fields.items():
            for inner in _inside(field.annotation):
                key = f"{places[model]}.{_key(name, field)}".strip(".")
                place = PARENTS.get(inner, f"{key}.NAME" if get_origin(field.annotation) is dict else key)
                if inner not in places:
                    places[inner] = place
                    queue.append(inner)
    return places


def _inside(annotation: object) -> Iterator[type[BaseModel]]:
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _inside(argument)


def _section(place: str, model: type[BaseModel]) -> str:
    documented = inspect.cleandoc(model.__doc__ or "").split("\n\n")
    meanings = _meanings(model)
    rows = [
        f"| {_names(name, field)} | {_kind(field)} | {_default(field)} | {meanings[name]} |"
        for name, field in model.model_fields.items()
        if name not in RECORDED.get(model, ())
    ]
    title = f"## `{place}`" if place else "## The file"
    first = " ".join(documented[0].split())
    return "\n".join(
        [title, "", first, "", "| key | value | default | meaning |", "| --- | --- | --- | --- |", *rows, ""]
    )


def _meanings(model: type[BaseModel]) -> dict[str, str]:
    """Return the text of every entry below "Attributes:" in the docstrings of a model and of those it extends."""
    texts: dict[str, str] = {}
    for documented in reversed(model.__mro__):
        _, _, entries = inspect.cleandoc(documented.__doc__ or "").partition("Attributes:\n")
        for entry in re.split(r"\n(?=    \S)", entries.split("\n\n")[0]):
            name, colon, text = " ".join(entry.split()).partition(": ")
            if colon:
                texts[name] = text.replace("|", "\\|")
    return texts


def _key(name: str, field: FieldInfo) -> str:
    return field.alias if isinstance(field.alias, str) else name


def _names(name: str, field: FieldInfo) -> str:
    aliases = field.validation_alias
    short = [str(a) for a in aliases.choices if a != name] if isinstance(aliases, AliasChoices) else []
    return f"`{_key(name, field)}`" + "".join(f" (short: `{alias}`)" for alias in short)


def _kind(field: FieldInfo) -> str:
    bounds = [f"{sign} {getattr(m, key):,}" for m in field.metadata for key, sign in BOUNDS.items() if hasattr(m, key)]
    return ", ".join([_type(field.annotation), *bounds])


def _type(annotation: object) -> str:
    origin, arguments = get_origin(annotation), [a for a in get_args(annotation) if a is not Ellipsis]
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(_type(a) for a in arguments if a is not type(None)))
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in arguments)
    if origin is tuple:
        return f"list of {_plural(_type(arguments[0]))}"
    if origin is dict:
        return f"mapping of names to {_plural(_type(arguments[1]))}"
    if arguments:  # Annotated
        return _type(arguments[0])
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        place = _models()[annotation]
        return f"[{place}](#{re.sub(r'[^a-z_]', '', place.lower())})"
    return NAMES.get(annotation, "any value")  # type: ignore[call-overload, no-any-return]


def _plural(kind: str) -> str:
    return f"{kind}s" if kind in ("text", "number", "whole number") else kind


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return ""
    value = field.get_default(call_default_factory=True)
    if value is None or value in ({}, ()):
        return "none"
    if isinstance(value, BaseModel) and not hasattr(value, "name"):
        return "the keys' defaults"
    plain = [_plain(v) for v in value] if isinstance(value, tuple) else _plain(value)
    return f"`{json.dumps(plain)}`".replace('"', "")


def _plain(value: object) -> object:
    """Return a value as a file would have it; a model whose fields have their defaults is its name."""
    return getattr(value, "name", value)


def write() -> None:
    """Write docs/suite-keys.md."""
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    write()
