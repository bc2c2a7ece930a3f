"""Phrases for the classes of attributes, and the sentences they are put into: a data file."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Protocol

from pydantic import Field, field_validator

from bench.core.attributes import Attribute
from bench.core.errors import ConfigError, UnknownName
from bench.core.yaml_models import Strict, read_yaml

SHIPPED = Path(str(files("bench"))) / "assets" / "prompts"

Phrases = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1)]


class Prompts(Strict):
    """Templates, and phrases by attribute and class.

    Attributes:
        templates: sentences with one `{}`, where a phrase goes.
        attributes: attribute name to (class name to its phrases), in the order of the attributes and of their labels.
    """

    templates: Annotated[tuple[str, ...], Field(min_length=1)]
    attributes: Annotated[dict[str, dict[str, Phrases]], Field(min_length=1)]

    @field_validator("templates")
    @classmethod
    def _one_place(cls, templates: tuple[str, ...]) -> tuple[str, ...]:
        for template in templates:
            if template.count("{}") != 1:
                raise ValueError(f"a template must have one {{}}, where the phrase goes, got {template!r}")
        return templates

    @field_validator("attributes")
    @classmethod
    def _classes_differ(cls, phrases: dict[str, dict[str, Phrases]]) -> dict[str, dict[str, Phrases]]:
        for name, classes in phrases.items():
            if len(classes) < 2:
                raise ValueError(f"{name} must have two classes or more, got {len(classes)}")
            said = [phrase for group in classes.values() for phrase in set(group)]
            for phrase in said:
                if said.count(phrase) > 1:
                    raise ValueError(f"{phrase!r} stands for two classes of {name}; keep it in one")
        return phrases

    @property
    def asked(self) -> tuple[Attribute, ...]:
        """The attributes and their classes, in the file's order."""
        return tuple(Attribute(name, tuple(classes)) for name, classes in self.attributes.items())

    def sentences(self, attribute: str, name: str) -> list[str]:
        """Every template with every phrase of a class."""
        return [t.replace("{}", phrase) for t in self.templates for phrase in self.attributes[attribute][name]]

    def as_json(self) -> dict[str, Any]:
        """What decides the sentences and their order, for a hash; a mapping's order would be lost in one."""
        listed = [[name, [[c, list(p)] for c, p in classes.items()]] for name, classes in self.attributes.items()]
        return {"templates": list(self.templates), "attributes": listed}


def read_prompts(name: str) -> Prompts:
    """The prompts of a shipped name, or of a YAML file.

    Raises:
        UnknownName: no shipped prompts of this name.
        ConfigError: the file is missing, is no YAML, or a key is unknown or has a value that cannot be.
    """
    name = str(name)  # a suite may hold a number, which is then no known name
    if name.endswith((".yaml", ".yml")):
        return read_yaml(Path(name).expanduser(), Prompts)
    known = [path.stem for path in SHIPPED.glob("*.yaml")]
    if name not in known:
        raise UnknownName("prompts", name, [*known, "FILE.yaml"])
    return read_yaml(SHIPPED / f"{name}.yaml", Prompts)


class Phrased(Protocol):
    """Phrases, of captions or of questions."""

    @property
    def asked(self) -> tuple[Attribute, ...]:
        """The attributes and classes that there are phrases for, in order."""
        ...


def check_covers(prompts: Phrased, attributes: tuple[Attribute, ...], what: str) -> None:
    """Refuse prompts that are not about these attributes, in this order.

    Raises:
        ConfigError: an attribute or a class is missing, is one too many, or stands elsewhere.
    """
    if prompts.asked != attributes:
        wanted, got = ({a.name: list(a.classes) for a in found} for found in (attributes, prompts.asked))
        raise ConfigError(f"{what} must have phrases for {wanted}, in this order, got {got}")
