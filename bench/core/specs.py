"""Frozen descriptions of what a run uses: they can be hashed, compared, and sent to another process."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from bench.core.errors import ConfigError


class Fields(Mapping[str, object]):
    """JSON-able fields by their names, frozen: equal fields are equal and hash alike, in whatever order they came.

    Args:
        values: the fields; tuples in them become lists, as in JSON.

    Example:
        >>> Fields({"b": (1, 2), "a": 0})
        Fields({"a": 0, "b": [1, 2]})
    """

    __slots__ = ("_text", "_values")

    def __init__(self, values: Mapping[str, object] | None = None) -> None:
        self._text = json.dumps(dict(values or {}), sort_keys=True)
        self._values: dict[str, object] = json.loads(self._text)

    def __getitem__(self, name: str) -> object:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __eq__(self, fields: object) -> bool:
        return isinstance(fields, Fields) and self._text == fields._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __repr__(self) -> str:
        return f"Fields({self._text})"

    @property
    def text(self) -> str:
        """The fields as JSON with sorted keys."""
        return self._text

    def replace(self, **changes: object) -> Fields:
        """Return the fields with some of them changed or added."""
        return Fields({**self._values, **changes})


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A diffusion model.

    Attributes:
        name: the public name, or the place of a checkpoint.
        fields: what differs from the defaults of its family.
    """

    name: str
    fields: Fields = Fields()


@dataclass(frozen=True, slots=True)
class ExtractorSpec:
    """An extractor of features or an attribute classifier.

    Attributes:
        name: the public name.
        fields: the arguments that differ from the defaults.
        title: what the tables call it.
    """

    name: str
    fields: Fields
    title: str

    @classmethod
    def plain(cls, name: str) -> ExtractorSpec:
        """Return the extractor of a name with the defaults of its fields."""
        return cls(name, Fields(), name)


@dataclass(frozen=True)
class SamplerSpec:
    """The sampler, the same for all methods of a table.

    Attributes:
        name: "ddim", "ddpm" or "dpmsolver++".
        steps: number of sampling steps, 1 to the model's training timesteps.
        eta: noise of DDIM, 0 (none) to 1 (as DDPM); only for "ddim".
        precision: "fp32", or "bf16": the network under autocast, the sampler's own arithmetic as in fp32.
        spacing: of the timesteps: "model", as its configuration says, or "logsnr", even in log-SNR.

    Raises:
        ConfigError: eta is out of range, or given for another sampler than ddim.
    """

    name: str = "ddim"
    steps: int = 50
    eta: float = 0.0
    precision: Literal["fp32", "bf16"] = "fp32"
    spacing: str = "model"

    def __post_init__(self) -> None:
        """Check what does not depend on the model."""
        if not 0 <= self.eta <= 1:
            raise ConfigError(f"eta must be 0 to 1, got {self.eta}")
        if self.eta and self.name != "ddim":
            raise ConfigError(f"eta is a setting of ddim, got eta {self.eta} for {self.name}; leave it out")
