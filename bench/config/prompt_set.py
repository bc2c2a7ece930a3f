"""Prompt sets of text-to-image suites: templates, subjects, and phrases that ask for a class; a data file."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator, model_validator

from bench.assets import asset_folder
from bench.core.attributes import Attribute
from bench.core.errors import UnknownName
from bench.core.yaml_models import Strict, read_yaml

SHIPPED = asset_folder("prompt_sets")

# A name stands in scopes of tables, "eyeglasses at librarian"; words stand in a prompt, with one space between them.
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_ .'-]*$", max_length=60)]
Words = Annotated[str, Field(pattern=r"^\S+( \S+)*$", max_length=500)]


class PromptSet(Strict):
    """Prompts of a text-to-image model: every template with every subject.

    Attributes:
        templates: prompts with one `{}`, where a subject goes.
        subjects: the name of each, as tables have it, to what a prompt says of it.
        phrases: attribute to (class to the words that follow a prompt where that class is asked for).
    """

    templates: Annotated[tuple[Words, ...], Field(min_length=1)]
    subjects: Annotated[dict[Name, Words], Field(min_length=1)]
    phrases: dict[str, dict[str, Words]] = Field(default_factory=dict)

    @field_validator("templates")
    @classmethod
    def _one_place(cls, templates: tuple[str, ...]) -> tuple[str, ...]:
        for template in templates:
            if template.count("{}") != 1:
                raise ValueError(f"a template must have one {{}}, where the subject goes, got {template!r}")
        return templates

    @field_validator("phrases")
    @classmethod
    def _phrases_differ(cls, phrases: dict[str, dict[str, str]]) -> dict[str, dict[str, str]]:
        for attribute, classes in phrases.items():
            twice = _twice(list(classes.values()))
            if twice is not None:
                raise ValueError(f"{twice!r} stands for two classes of {attribute}; keep it in one")
        return phrases

    @model_validator(mode="after")
    def _prompts_differ(self) -> PromptSet:
        twice = _twice([prompts["none"] for prompts in self.prompts.values()])
        if twice is not None:
            raise ValueError(f"two prompts read {twice!r}; keep one subject or template of them")
        return self

    @property
    def prompts(self) -> dict[str, dict[str, str]]:
        """Return the name of each prompt with the text of every condition of the model; "none" is the prompt itself.

        With one template a prompt has its subject's name, with several "subject (number of the template)".
        """
        texts = {}
        for subject, words in self.subjects.items():
            for i, template in enumerate(self.templates, start=1):
                name = subject if len(self.templates) == 1 else f"{subject} ({i})"
                texts[name] = self._conditions(template.replace("{}", words))
        return texts

    def _conditions(self, prompt: str) -> dict[str, str]:
        conditions = {
            f"{attribute}={name}": f"{prompt} {words}"
            for attribute, classes in self.phrases.items()
            for name, words in classes.items()
        }
        return {"none": prompt, **conditions}


def _twice(texts: list[str]) -> str | None:
    return next((text for text, times in Counter(texts).items() if times > 1), None)


def list_prompt_sets() -> list[str]:
    """Return the names of the shipped prompt sets."""
    return sorted(path.stem for path in SHIPPED.glob("*.yaml"))


def read_prompt_set(name: str) -> PromptSet:
    """Read a prompt set, given the name of a shipped one or a YAML file.

    Raises:
        UnknownName: no shipped prompt set of this name.
        ConfigError: the file is missing, is no YAML, or a key is unknown or has a value that cannot be.
    """
    if name.endswith((".yaml", ".yml")):
        return read_yaml(Path(name).expanduser(), PromptSet)
    if name not in list_prompt_sets():
        raise UnknownName("prompt set", name, [*list_prompt_sets(), "FILE.yaml"])
    return read_yaml(SHIPPED / f"{name}.yaml", PromptSet)


def check_phrases(prompt_set: PromptSet, attributes: tuple[Attribute, ...]) -> None:
    """Refuse a phrase for a class that its attribute does not have; attributes without a classifier are not checked.

    Raises:
        UnknownName: there is one.
    """
    for attribute in attributes:
        for name in prompt_set.phrases.get(attribute.name, {}):
            if name not in attribute.classes:
                raise UnknownName(f"class of {attribute.name} in the prompt set's phrases", name, attribute.classes)
