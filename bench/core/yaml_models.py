"""Read safe YAML into frozen pydantic models; errors name the line, the key and the expected value."""

from __future__ import annotations

import dataclasses
import difflib
import json
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, TypeAdapter, ValidationError

from bench.core.errors import ConfigError, UnknownName


class Strict(BaseModel):
    """A frozen model that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _json_able(fields: dict[str, Any]) -> dict[str, Any]:
    try:
        json.dumps(fields, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:  # a date, keys of two kinds, NaN
        raise ValueError(f"must hold texts, finite numbers, lists and mappings of these, got {fields!s:.60}") from error
    return fields


JsonFields = Annotated[dict[str, Any], AfterValidator(_json_able)]  # recorded, and part of a hash

M = TypeVar("M", bound=BaseModel)
D = TypeVar("D")  # a frozen dataclass
MOST = 100_000  # limit of the values of a file with its aliases expanded, and of the characters of one text
DIGITS = 1000  # limit of the characters of one number; Python prints none of over 4,300 digits


def read_yaml(path: Path, model: type[M]) -> M:
    """Read a YAML file as `model`.

    Raises:
        ConfigError: unreadable, no YAML, or not of the model's form; one sentence with file, line and key.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(f"cannot read {path}: {reason}") from error
    try:
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        reason = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise ConfigError(f"{path}{where}: not valid YAML: {reason}") from error
    except ValueError as error:  # such as the date 2024-13-01
        raise ConfigError(f"{path}: not valid YAML: {error}") from error
    except RecursionError as error:
        raise ConfigError(f"{path}: not valid YAML: nested too deeply") from error
    if not isinstance(value, dict) or tree is None:
        raise ConfigError(f"{path}: must hold a mapping of keys to values, got {type(value).__name__}")
    _check_nodes(tree, path)
    repeated = _repeated_key(tree)
    if repeated is not None:
        raise ConfigError(f"{path}, line {repeated.start_mark.line + 1}: {repeated.value!r} is given twice; keep one")
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise ConfigError(describe(error, model, str(path), tree)) from error


_filled: dict[tuple[type[object], str], object] = {}  # instances are frozen; a grid has many cells, few methods


def yaml_fields(option: str, texts: Sequence[str]) -> dict[str, object]:
    """Return the values of fields that an option of the command line gives, each as FIELD=VALUE with VALUE in YAML.

    Raises:
        ConfigError: no FIELD=VALUE, no YAML, or a field given twice.

    >>> yaml_fields("--set", ["share=0.5", "training={steps: 3}"])
    {'share': 0.5, 'training': {'steps': 3}}
    """
    fields: dict[str, object] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not name or not equals or name in fields:
            raise ConfigError(f"{option} must be FIELD=VALUE, each field once, got {text!r:.80}")
        try:
            fields[name] = yaml.safe_load(value)
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise ConfigError(f"{option} {name}: its value must be YAML, got {value!r:.80}") from error
    return fields


def fill(cls: type[D], fields: Mapping[str, object], kind: str, name: str) -> D:
    """Return an instance of a dataclass with validated fields.

    Args:
        cls: the frozen dataclass; equal fields give the same instance.
        fields: values of the fields that differ from their defaults.
        kind: of plugin, for errors: "method".
        name: public name, for errors.

    Raises:
        UnknownName: no such field.
        ConfigError: a field of the wrong type or out of range.
    """
    key = cls, repr(fields)
    if key not in _filled:
        _filled[key] = _validated(cls, fields, kind, name)
    instance = _filled[key]
    assert isinstance(instance, cls), "the key holds the class"
    return instance


def _validated(cls: type[D], fields: Mapping[str, object], kind: str, name: str) -> D:
    existing = [f.name for f in dataclasses.fields(cls)] if dataclasses.is_dataclass(cls) else []
    for field in fields:
        if field not in existing:
            raise UnknownName(f"field of {kind} {name}", field, existing)
    try:
        return TypeAdapter(cls).validate_python(fields)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise ConfigError(f"{kind} {name}: {where}: {first['msg'].lower()}, got {first['input']!r:.80}") from error


def _check_nodes(tree: yaml.Node, path: Path) -> None:
    """Refuse values that no table can hold, and aliases that expand to more than `MOST` values.

    Raises:
        ConfigError: with the line.
    """
    sizes: dict[int, int] = {}  # of visited nodes: their number of values, aliases expanded
    above = set[int]()
    stack = [(tree, False)]
    while stack:
        node, last = stack.pop()
        if isinstance(node, yaml.ScalarNode):
            _check_scalar(node, path)
            sizes[id(node)] = 1
            continue
        children = [child for item in node.value for child in (item if isinstance(item, tuple) else (item,))]
        if last:
            above.remove(id(node))
            sizes[id(node)] = 1 + sum(sizes[id(child)] for child in children)
        elif id(node) not in sizes and id(node) not in above:
            above.add(id(node))
            stack += [(node, True), *((child, False) for child in children)]
        if (not last and any(id(child) in above for child in children)) or sizes.get(id(node), 0) > MOST:
            line = node.start_mark.line + 1
            raise ConfigError(f"{path}, line {line}: its aliases stand for more than {MOST:,} values; write it out")


def no_text(value: str) -> str | None:
    """Return the first control or surrogate character of a value, as "U+001B", or None; no table can hold one."""
    odd = (c for c in value if unicodedata.category(c) in ("Cc", "Cs") and c not in "\t\n")
    return next((f"U+{ord(c):04X}" for c in odd), None)


def _check_scalar(node: yaml.ScalarNode, path: Path) -> None:
    odd = no_text(node.value)
    most = DIGITS if node.tag.endswith((":int", ":float")) else MOST
    if odd or len(node.value) > most:
        what = f"hold {odd}" if odd else f"be longer than {most:,} characters"
        raise ConfigError(f"{path}, line {node.start_mark.line + 1}: a value must not {what}, got {node.value!r:.60}")


def _repeated_key(tree: yaml.Node | None) -> yaml.Node | None:
    """Return the first key that repeats one of its mapping; YAML itself would silently take the later value."""
    stack, visited = [tree], set[int]()
    while stack:
        node = stack.pop()
        if id(node) in visited:
            continue  # an alias
        visited.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            stack += node.value
        elif isinstance(node, yaml.MappingNode):
            names = [key.value for key, _ in node.value]
            for i, (key, value) in enumerate(node.value):
                if key.value in names[:i]:
                    return key  # type: ignore[no-any-return]
                stack.append(value)
    return None


def describe(error: ValidationError, model: type[BaseModel], source: str, tree: yaml.Node | None = None) -> str:
    """Return the first problem of a validation as one sentence."""
    problems = error.errors(include_url=False)
    # An unknown key first: a misspelt required key is missing too, and the spelling is the mistake to fix.
    first = next((p for p in problems if p["type"] == "extra_forbidden"), problems[0])
    key = ".".join(str(part) for part in first["loc"]) or "the file"
    line = line_of(tree, first["loc"]) if tree else None
    where = f"{source}, line {line}" if line else source
    if first["type"] == "extra_forbidden":
        wrong, beside = str(first["loc"][-1]), list(model.model_fields) if len(first["loc"]) == 1 else []
        near = [m for keys in (beside, _all_keys(model)) for m in difflib.get_close_matches(wrong, keys, 1, 0.5)]
        hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(sorted(_all_keys(model)))}"
        return f"{where}: unknown key {key!r}; {hint}"
    message = first["msg"].removeprefix("Value error, ")
    got = "" if first["type"] in ("missing", "value_error") else f", got {first['input']!r:.80}"
    return f"{where}: {key}: {message[0].lower()}{message[1:]}{got}"


def line_of(node: yaml.Node | None, loc: tuple[int | str, ...]) -> int | None:
    """Return the 1-based line of the deepest element of `loc` that is in the file."""
    line: int | None = None
    for step in loc:
        if isinstance(node, yaml.MappingNode):
            pair = next(((k, v) for k, v in node.value if k.value == str(step)), None)
            if pair is None:
                continue  # added by pydantic, such as the name of a union's member
            line, node = pair[0].start_mark.line + 1, pair[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
            node = node.value[step]
            line = node.start_mark.line + 1
    return line


def _all_keys(model: type[BaseModel]) -> set[str]:
    keys: set[str] = set()
    queue: list[object] = [model]
    while queue:
        current = queue.pop()
        if isinstance(current, type) and issubclass(current, BaseModel):
            for name, field in current.model_fields.items():
                if name not in keys:
                    keys.add(name)
                    queue.append(field.annotation)
        else:
            queue.extend(getattr(current, "__args__", ()))
    return keys
