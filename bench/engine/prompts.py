"""The prompts of a suite, each with the model that is asked in its words."""

from __future__ import annotations

import json
from dataclasses import dataclass

from bench.config.prompt_set import check_phrases, read_prompt_set
from bench.config.suite import Suite
from bench.core.attributes import Attribute
from bench.core.errors import ConfigError
from bench.core.seeds import derive_seed


@dataclass(frozen=True)
class Prompt:
    """A prompt of a set, as the model takes it.

    Attributes:
        name: as tables have it.
        fields: JSON of the model's fields, the prompt's texts among them.
        model_digest: hash of the model with these fields.
    """

    name: str
    fields: str
    model_digest: str

    @property
    def text(self) -> str:
        """What it says where no class is asked for."""
        return str(json.loads(self.fields)["prompts"]["none"])


def prompt_seed(seed: int, text: str) -> int:
    """The seed of a prompt's samples and fits: of one cell, no two prompts begin from the same noise.

    Else samples of different prompts would go together, and every interval over all of them be too narrow.
    """
    return derive_seed("prompt", seed, text, bits=48)


def read_prompts(suite: Suite, device: str, known: tuple[Attribute, ...]) -> tuple[Prompt, ...]:
    """The prompts of the suite's set; none where it names no set. Each is read by the model: what is too long is said.

    Args:
        suite: the suite.
        device: a torch device.
        known: the attributes that the classifier knows.

    Raises:
        UnknownName: no such prompt set, or a phrase for a class that an attribute has not.
        ConfigError: the set's file is damaged, the model takes no prompts, or cannot read one.
    """
    if suite.prompts is None:
        return ()
    from bench.engine.resources import counted_model
    from bench.models import takes_prompts

    said = read_prompt_set(suite.prompts)
    check_phrases(said, known)
    if not takes_prompts(suite.model.name):
        raise ConfigError(
            f"a suite with prompts must have a text-to-image model, got {suite.model.title}, which takes none; leave "
            "`prompts` out, or name another model"
        )
    found = []
    for name, texts in said.prompts.items():
        fields = json.dumps({**suite.model.fields, "prompts": texts}, sort_keys=True)
        found.append(Prompt(name, fields, counted_model(suite.model.name, device, fields).digest))
    return tuple(found)
