"""Data files of prompts: phrases for the classes of attributes, and templates of sentences."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Annotated, Protocol

from pydantic import Field, field_validator

from bench.core.attributes import Attribute
from bench.core.errors import ConfigError, UnknownName
from bench.core.yaml_models import Strict, read_yaml

SHIPPED = Path(str(files("bench"))) / "assets" / "prompts"

Phrases = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1)]


class Prompts(Strict):
    """Templates of sentences, and phrases by attribute and class.

    Attributes:
        templates: sentences with one `{}` for a phrase.
        attributes: attribute name to (class name to its phrases), in the order of the attributes and of their labels.
    """

    templates: Annotated[tuple[str, ...], Field(min_length=1)]
    attributes: Annotated[dict[str, dict[str, Phrases]], Field(min_length=1)]

    @field_validator("templates")
    @classmethod
    def _one_placeholder(cls, templates: tuple[str, ...]) -> tuple[str, ...]:
        for template in templates:
            if template.count("{}") != 1:
                raise ValueError(f"a template must have one {{}} for the phrase, got {template!r}")
        return templates

    @field_validator("attributes")
    @classmethod
    def _classes_differ(cls, phrases: dict[str, dict[str, Phrases]]) -> dict[str, dict[str, Phrases]]:
        for name, classes in phrases.items():
            if len(classes) < 2:
                raise ValueError(f"{name} must have two classes or more, got {len(classes)}")
            listed = [phrase for group in classes.values() for phrase in set(group)]
            for phrase in listed:
                if listed.count(phrase) > 1:
                    raise ValueError(f"{phrase!r} stands for two classes of {name}; keep it in one")
        return phrases

    @property
    def described(self) -> tuple[Attribute, ...]:
        """The attributes and their classes, in the file's order."""
        return tuple(Attribute(name, tuple(classes)) for name, classes in self.attributes.items())

    def sentences(self, attribute: str, name: str) -> list[str]:
        """Return every template with every phrase of a class."""
        return [t.replace("{}", phrase) for t in self.templates for phrase in self.attributes[attribute][name]]

    def as_json(self) -> dict[str, object]:
        """Return the templates and phrases as lists, for a hash: a hash of mappings would ignore their order."""
        listed = [[name, [[c, list(p)] for c, p in classes.items()]] for name, classes in self.attributes.items()]
        return {"templates": list(self.templates), "attributes": listed}


def read_prompts(name: str) -> Prompts:
    """Read shipped prompts by name, or a YAML file.

    Raises:
        UnknownName: no shipped prompts of this name.
        ConfigError: the file is missing or not YAML, or a key is unknown or has an invalid value.
    """
    name = str(name)  # a suite may hold a number, which is an unknown name
    if name.endswith((".yaml", ".yml")):
        return read_yaml(Path(name).expanduser(), Prompts)
    shipped = [path.stem for path in SHIPPED.glob("*.yaml")]
    if name not in shipped:
        raise UnknownName("prompts", name, [*shipped, "FILE.yaml"])
    return read_yaml(SHIPPED / f"{name}.yaml", Prompts)


class Phrased(Protocol):
    """Anything with phrases for attributes: prompts, or the words of captions."""

    @property
    def described(self) -> tuple[Attribute, ...]:
        """The attributes and classes with phrases, in order."""
        ...


def check_covers(prompts: Phrased, attributes: tuple[Attribute, ...], what: str) -> None:
    """Refuse prompts that do not describe exactly these attributes, in this order.

    Raises:
        ConfigError: an attribute or a class is missing, unexpected, or in another position.
    """
    if prompts.described != attributes:
        expected, got = ({a.name: list(a.classes) for a in listed} for listed in (attributes, prompts.described))
        raise ConfigError(f"{what} must have phrases for {expected}, in this order, got {got}")
