"""The prompts of a suite, each with the model that takes its words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.config.prompt_set import check_phrases, read_prompt_set
from bench.config.suite import Suite
from bench.core.attributes import Attribute
from bench.core.errors import ConfigError
from bench.core.seeds import derive_seed
from bench.core.specs import Fields, ModelSpec

if TYPE_CHECKING:
    from bench.engine.resources import Resources


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt of a set, as the model takes it.

    Attributes:
        name: what the tables call it.
        text: its words where no class is asked for.
        model: the model with the prompt's texts among its fields.
        model_digest: hash of that model.
    """

    name: str
    text: str
    model: ModelSpec
    model_digest: str


def prompt_seed(seed: int, text: str) -> int:
    """Return the seed of a prompt's samples and fits: within a cell, no two prompts begin from the same noise.

    Otherwise samples of different prompts would be correlated, and every interval over all of them too narrow.
    """
    return derive_seed("prompt", seed, text, bits=48)


def read_prompts(
    suite: Suite, device: str, attributes: tuple[Attribute, ...], resources: Resources
) -> tuple[Prompt, ...]:
    """Return the prompts of the suite's set; none where it names no set. The model reads each, and refuses long ones.

    Args:
        suite: the suite.
        device: a torch device.
        attributes: those that the classifier knows.
        resources: loads the model.

    Raises:
        UnknownName: no such prompt set, or a phrase for a class that an attribute has not.
        ConfigError: the set's file is damaged, the model takes no prompts, or cannot read one.
    """
    if suite.prompts is None:
        return ()
    from bench.models import takes_prompts

    prompt_set = read_prompt_set(suite.prompts)
    check_phrases(prompt_set, attributes)
    if not takes_prompts(suite.model.name):
        raise ConfigError(
            f"a suite with prompts must have a text-to-image model, got {suite.model.title}, which takes none; leave "
            "`prompts` out, or name another model"
        )
    prompts = []
    for name, texts in prompt_set.prompts.items():
        model = ModelSpec(suite.model.name, Fields({**suite.model.fields, "prompts": texts}))
        prompts.append(Prompt(name, texts["none"], model, resources.model(model, device).digest))
    return tuple(prompts)
