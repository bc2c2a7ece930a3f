"""Training recipes: validated YAML files, one model per kind of network that can be trained."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PositiveInt, SerializerFunctionWrapHandler, model_serializer, model_validator

from bench.config.data_source import DataSource
from bench.config.shipped_sets import SETS
from bench.core.attributes import Attribute, check_distribution
from bench.core.errors import ConfigError
from bench.core.yaml_models import Strict, read_yaml
from bench.training.loop import Budget
from evaluators.contrastive.prompts import Prompts

Record = dict[str, object]  # of a training, JSON-able
Options = dict[str, Any]  # keyword arguments for a class of another package, as a YAML file has them


class DataChoice(DataSource):
    """The images to train on, declared as in a suite."""

    size: int = Field(32, ge=8, le=1024)

    @model_validator(mode="after")
    def _labelled(self) -> DataChoice:
        if self.name not in SETS and not self.attributes:
            raise ValueError(f"{self.name}: images to train on must have labels; give their `attributes`")
        return self

    @model_serializer(mode="wrap")
    def _without_unset_fields(self, dump: SerializerFunctionWrapHandler) -> Record:
        """Dump only the fields that are set, so that records of older trainings stay comparable."""
        fields: Record = dump(self)
        shown = {"name", "n", "size", *self.model_fields_set}
        return {key: value for key, value in fields.items() if key in shown}


class Training(Strict):
    """The settings of `bench.training.loop.Budget`, and the batch.

    `steps` is one number or several: one-cycle schedules that run one after another, each from the averaged weights of
    the previous one.
    """

    steps: PositiveInt | Annotated[tuple[PositiveInt, ...], Field(min_length=1)]
    batch: int = Field(64, ge=1)
    peak_lr: float = Field(4e-4, gt=0)
    ema: float = Field(0.999, ge=0, lt=1)
    flips: bool = True
    seed: int = Field(0, ge=0)
    checkpoint_minutes: float = Field(3.0, gt=0)

    def budgets(self) -> list[Budget]:
        """Return the budget of each cycle; cycle k draws from `seed + k`."""
        cycles = self.steps if isinstance(self.steps, tuple) else (self.steps,)
        return [
            Budget(steps, self.peak_lr, self.ema, self.seed + k, self.checkpoint_minutes)
            for k, steps in enumerate(cycles)
        ]


class ScoreModelRecipe(Strict):
    """A class-conditional diffusers U-Net on a labelled set, with a label for "no condition"."""

    kind: Literal["score_model"]
    data: DataChoice
    training: Training
    unconditional_frac: float = Field(0.5, ge=0, le=1)  # share of rows without a condition
    block: int = Field(1, ge=1, le=8)  # side, in pixels, of the blocks that the network works on (space to depth)
    unet: Options  # keyword arguments of diffusers.UNet2DModel
    scheduler: Options  # keyword arguments of diffusers.DDIMScheduler


class ClassifierRecipe(Strict):
    """A convolutional attribute classifier with one head per attribute."""

    kind: Literal["classifier"]
    network: Literal["cnn", "resnet"] = "cnn"
    data: DataChoice
    heldout: DataChoice
    training: Training
    widths: tuple[int, ...] = Field((32, 64, 128, 128), min_length=1)
    shift: int = Field(2, ge=0, le=8)  # largest random shift in pixels

    @model_serializer(mode="wrap")
    def _without_default_network(self, dump: SerializerFunctionWrapHandler) -> Record:
        """Leave the default network out, so that records of older trainings stay comparable."""
        fields: Record = dump(self)
        if fields["network"] == "cnn":
            del fields["network"]
        return fields


class ClipArchitecture(Strict):
    """An image-text model in open_clip's terms; the image size and the vocabulary come from the data."""

    embed_dim: int = Field(48, ge=1)
    vision_cfg: Options  # keyword arguments of open_clip.model.CLIPVisionCfg
    text_cfg: Options  # keyword arguments of open_clip.model.CLIPTextCfg


class ClipRecipe(Strict):
    """A contrastive image-text model on images with captions made from their labels."""

    kind: Literal["clip"]
    data: DataChoice
    heldout: DataChoice
    training: Training
    model: ClipArchitecture
    captions: Prompts  # the words that it learns
    prompts: str  # for the zero-shot classes of the held-out images: a shipped name, or a file
    stated_frac: float = Field(0.5, ge=0, le=1)  # share of attributes that a caption states beyond the first one
    shift: int = Field(2, ge=0, le=8)  # largest random shift in pixels


class Subjects(Strict):
    """Captions that name a subject, and the class shares of each subject's images.

    Attributes:
        template: with one `{}`, for the subject and the attributes stated after it.
        nobody: stands there in captions that name no subject.
        named_frac: share of captions that name a subject.
        stated_frac: share of captions that state an attribute; each further attribute has this probability too.
        phrases: attribute to (class to the words that state it), in the order of the data's attributes and classes.
        shares: subject to (attribute to the share of each class among the images of this subject). Attributes are
            independent given the subject; a caption without a subject is of any subject, each equally often.
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
    """A text-conditional diffusers U-Net in pixel space, trained together with its text tower."""

    kind: Literal["text_to_image"]
    data: DataChoice
    training: Training
    captions: Subjects
    unconditional_frac: float = Field(0.1, ge=0, le=1)  # share of captions left empty, for classifier-free guidance
    text: str  # the shipped image-text model whose text tower it starts from
    start: str | None = None  # the shipped score model whose tensors it starts from, where names and shapes fit
    unet: Options  # keyword arguments of diffusers.UNet2DConditionModel
    scheduler: Options  # keyword arguments of diffusers.DDPMScheduler


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
