"""The model of a suite: its name, with fields of its family where they differ from the defaults."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

from bench.config.limits import MOST_IMAGES
from bench.core.errors import ConfigError, UnknownName
from bench.core.plugins import Kind, Member, check_exists
from bench.core.specs import ExtractorSpec, Fields, ModelSpec, SamplerSpec
from bench.core.yaml_models import JsonFields, Strict


class ModelChoice(Strict):
    """A model; a name alone takes the defaults of its fields.

    Attributes:
        name: a shipped model, `path:DIR` or `hub:OWNER/NAME@REVISION`.
        fields: of the model's family (docs/models.md).
        label: what the tables call it; its name unless given.
    """

    name: str
    fields: JsonFields = Field(default_factory=dict, alias="with")
    label: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _by_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @model_serializer(mode="wrap")
    def _as_given(self, handler: SerializerFunctionWrapHandler) -> Any:
        return handler(self) if self.fields or self.label else self.name

    @property
    def title(self) -> str:
        """Return the model's name in the leaderboard."""
        return self.label or self.name

    @property
    def spec(self) -> ModelSpec:
        """The model as a run uses it."""
        return ModelSpec(self.name, Fields(self.fields))


def check_name(kind: Kind, name: str, member: Member, called: str) -> str:
    """Return the name of a plug-in that can be used.

    Raises:
        ValueError: it cannot, and why; or there is none, and the nearest names are offered.
    """
    try:
        check_exists(kind, name, member, called)
    except ConfigError as error:
        raise ValueError(str(error)) from error
    return name


class ExtractorChoice(Strict):
    """An extractor of features or an attribute classifier; a name alone takes the defaults of its fields.

    Attributes:
        name: as `list evaluators` has it.
        fields: its arguments.
        label: what the columns call it; its name, and then the model that `with` names, unless given.
    """

    name: str
    fields: JsonFields = Field(default_factory=dict, alias="with")
    label: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _by_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @field_validator("name")
    @classmethod
    def _exists(cls, name: str) -> str:
        return check_name("evaluator", name, "Extractor", "extractor")

    @property
    def spec(self) -> ExtractorSpec:
        """The extractor as a run uses it."""
        return ExtractorSpec(self.name, Fields(self.fields), self.label or self._backbone)

    @property
    def _backbone(self) -> str:
        model = self.fields.get("model")
        if not isinstance(model, str) or not model:
            return self.name
        kind, _, location = model.partition(":")
        short = Path(location.partition("@")[0]).name if kind in ("path", "hub") else model
        return f"{self.name}_{re.sub(r'[^A-Za-z0-9._-]+', '-', short)}"


class StatisticsChoice(Strict):
    """Mean and covariance of features, published as a file.

    Attributes:
        file: a .npz as clean-fid or pytorch-fid writes it, or the command `statistics`.
        features: title of the extractor that they are of.
    """

    file: str
    features: str


def check_choices(files: Mapping[str, StatisticsChoice], references: Collection[str], titles: list[str]) -> None:
    """Check that names are free and features are there.

    Args:
        files: the files of a suite, by the names that tables give them.
        references: names of the suite's reference sets.
        titles: of the suite's feature extractors.

    Raises:
        ValueError: a name that a reference set has, or features that the suite does not name.
    """
    for name, choice in files.items():
        if name in references:
            raise ValueError(f"{name!r} is a reference set already; give the file another name")
        if choice.features not in titles:
            raise ValueError(str(UnknownName("features", choice.features, titles)))


class SamplerChoice(Strict):
    """The sampler of every method.

    Attributes:
        name: of the update rule.
        steps: sampling steps, at most the model's training timesteps.
        eta: noise of ddim, from 0 (none) to 1 (as ddpm); for ddim alone.
        precision: bf16 runs the network under autocast; the sampler's own arithmetic is fp32.
        spacing: of the timesteps: "model", as its configuration says, or "logsnr", even in log-SNR.
    """

    name: Literal["ddim", "ddpm", "dpmsolver++"] = "ddim"
    steps: int = Field(default=50, ge=1)
    eta: float = Field(default=0.0, ge=0, le=1)
    precision: Literal["fp32", "bf16"] = "fp32"
    spacing: Literal["model", "logsnr"] = "model"

    @field_validator("eta")
    @classmethod
    def _only_ddim_has_it(cls, eta: float, info: ValidationInfo) -> float:
        if eta and info.data.get("name", "ddim") != "ddim":
            raise ValueError(f"eta is a setting of ddim, got {eta} for {info.data['name']}; leave it out")
        return eta

    @property
    def spec(self) -> SamplerSpec:
        """The sampler as a run uses it."""
        return SamplerSpec(self.name, self.steps, self.eta, self.precision, self.spacing)


class DownstreamChoice(Strict):
    """Names of labelled image sets: what a classifier of attributes learns from, and what it is tested on.

    Attributes:
        biased: what it learns from, alone and together with a method's samples.
        balanced: what it learns from in their place, for a ceiling.
        heldout: what it is tested on.
        n: images of each.
    """

    biased: str
    balanced: str
    heldout: str
    n: int = Field(default=2000, ge=2, le=MOST_IMAGES)

    @model_validator(mode="after")
    def _tested_on_others(self) -> DownstreamChoice:
        if self.heldout in (self.biased, self.balanced):
            raise ValueError(f"heldout must be a set that nothing learns from, got {self.heldout!r}; name another")
        return self

    @property
    def sets(self) -> dict[str, int]:
        """Name to number of images, each set once."""
        return dict.fromkeys((self.biased, self.balanced, self.heldout), self.n)
