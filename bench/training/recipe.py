"""Training recipes: YAML files, validated; the kinds of things that can be trained."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PositiveInt, SerializerFunctionWrapHandler, model_serializer, model_validator

from bench.config.data_source import DataSource
from bench.core.attributes import Attribute, check_distribution
from bench.core.errors import ConfigError
from bench.core.yaml_models import Strict, read_yaml
from bench.training.loop import Budget
from evaluators.contrastive.prompts import Prompts


class DataChoice(DataSource):
    """Which images to train on: a declaration of one form with a suite's."""

    size: int = Field(32, ge=8, le=1024)

    @model_serializer(mode="wrap")
    def _as_before_there_were_files(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without what a shipped set does not have: records of trainings that are older stay comparable."""
        found: dict[str, Any] = dump(self)
        shown = {"name", "n", "size", *self.model_fields_set}
        return {key: value for key, value in found.items() if key in shown}


class Training(Strict):
    """The optimiser's settings, as `bench.training.loop.Budget`, and the batch.

    `steps` is a number, or several: one-cycle schedules that run one after another, each from the averaged weights of
    the one before it.
    """

    steps: PositiveInt | Annotated[tuple[PositiveInt, ...], Field(min_length=1)]
    batch: int = Field(64, ge=1)
    peak_lr: float = Field(4e-4, gt=0)
    ema: float = Field(0.999, ge=0, lt=1)
    flips: bool = True
    seed: int = Field(0, ge=0)
    checkpoint_minutes: float = Field(3.0, gt=0)

    def budgets(self) -> list[Budget]:
        """The part that the loop needs, one a cycle; cycle k draws from the seed k places on."""
        cycles = self.steps if isinstance(self.steps, tuple) else (self.steps,)
        return [
            Budget(steps, self.peak_lr, self.ema, self.seed + k, self.checkpoint_minutes)
            for k, steps in enumerate(cycles)
        ]


class ScoreModelRecipe(Strict):
    """A diffusers U-Net on a labelled set, class-conditional with a "nothing asked" label."""

    kind: Literal["score_model"]
    data: DataChoice
    training: Training
    unconditional_frac: float = Field(0.5, ge=0, le=1)  # rows that see "none"
    block: int = Field(1, ge=1, le=8)  # pixels a side of the blocks the network works on (space to depth)
    unet: dict[str, Any]  # keyword arguments of diffusers.UNet2DModel
    scheduler: dict[str, Any]  # keyword arguments of diffusers.DDIMScheduler


class ClassifierRecipe(Strict):
    """A convolutional attribute classifier, one head an attribute."""

    kind: Literal["classifier"]
    network: Literal["cnn", "resnet"] = "cnn"
    data: DataChoice
    heldout: DataChoice
    training: Training
    widths: tuple[int, ...] = Field((32, 64, 128, 128), min_length=1)
    shift: int = Field(2, ge=0, le=8)  # largest random shift in pixels

    @model_serializer(mode="wrap")
    def _as_before_there_were_two(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without the default network: records of trainings that are older than the choice stay comparable."""
        found: dict[str, Any] = dump(self)
        if found["network"] == "cnn":
            del found["network"]
        return found


class ClipArchitecture(Strict):
    """An image-text model in open_clip's terms; the image size and the vocabulary come from the data."""

    embed_dim: int = Field(48, ge=1)
    vision_cfg: dict[str, Any]  # keyword arguments of open_clip.model.CLIPVisionCfg
    text_cfg: dict[str, Any]  # keyword arguments of open_clip.model.CLIPTextCfg


class ClipRecipe(Strict):
    """A contrastive image-text model on images with captions made from their labels."""

    kind: Literal["clip"]
    data: DataChoice
    heldout: DataChoice
    training: Training
    model: ClipArchitecture
    captions: Prompts  # the words that it learns
    prompts: str  # what it is asked on the held-out images: a shipped name, or a file
    stated_frac: float = Field(0.5, ge=0, le=1)  # attributes that a caption states beside the one it always does
    shift: int = Field(2, ge=0, le=8)  # largest random shift in pixels


class Subjects(Strict):
    """Captions that name somebody, and what that tells of them.

    Attributes:
        template: with one `{}`, where the subject goes, and what is stated of it after it.
        nobody: what stands there in captions that name no subject.
        named_frac: captions that name a subject.
        stated_frac: captions that state something; each other attribute then with this probability too.
        phrases: attribute to (class to the words that state it), in the order of the data's attributes and classes.
        shares: subject to (attribute to the share of each class among those of this subject). Attributes are
            independent for one subject; without one, a caption is of any subject, each equally often.
    """

    template: str = Field(pattern=r"^[^{}]*\{\}[^{}]*$")
    nobody: str = Field(min_length=1)
    named_frac: float = Field(0.7, ge=0, le=1)
    stated_frac: float = Field(0.4, ge=0, le=1)
    phrases: dict[str, dict[str, str]] = Field(min_length=1)
    shares: dict[str, dict[str, tuple[float, ...]]] = Field(min_length=1)

    @model_validator(mode="after")
    def _shares_are_of_the_classes(self) -> Subjects:
        for subject, shares in self.shares.items():
            if list(shares) != list(self.phrases):
                raise ValueError(
                    f"{subject!r} must have shares of {list(self.phrases)}, in this order, got {list(shares)}"
                )
            for name, classes in self.phrases.items():
                try:
                    check_distribution(shares[name], len(classes), f"the shares of {name} of {subject!r}")
                except ConfigError as error:
                    raise ValueError(str(error)) from error
        return self

    @property
    def described(self) -> tuple[Attribute, ...]:
        """The attributes and their classes, in the recipe's order."""
        return tuple(Attribute(name, tuple(classes)) for name, classes in self.phrases.items())


class TextToImageRecipe(Strict):
    """A text-conditional diffusers U-Net in pixel space, with a text tower that is trained on with it."""

    kind: Literal["text_to_image"]
    data: DataChoice
    training: Training
    captions: Subjects
    unconditional_frac: float = Field(0.1, ge=0, le=1)  # captions that are left empty, for classifier-free guidance
    text: str  # the shipped image-text model whose text tower it starts from
    start: str | None = None  # the shipped score model whose tensors it starts from, where names and shapes fit
    unet: dict[str, Any]  # keyword arguments of diffusers.UNet2DConditionModel
    scheduler: dict[str, Any]  # keyword arguments of diffusers.DDPMScheduler


AnyRecipe = ScoreModelRecipe | ClassifierRecipe | ClipRecipe | TextToImageRecipe


class Recipe(Strict):
    """A recipe file."""

    recipe: Annotated[AnyRecipe, Field(discriminator="kind")]


def read_recipe(path: Path) -> AnyRecipe:
    """Read and validate a recipe.

    Raises:
        ConfigError: the file is missing, is no YAML, or a key is unknown or out of range (its line is named).
    """
    return read_yaml(path, Recipe).recipe
