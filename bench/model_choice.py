"""The model of a suite: its name, with fields of its family where they differ from the defaults."""

from __future__ import annotations

import json
from typing import Any

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from bench.yaml import JsonFields, Strict


class ModelChoice(Strict):
    """A model; a name alone takes the defaults of its fields."""

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
        """What the leaderboard calls it."""
        return self.label or self.name

    @property
    def settings(self) -> str:
        """JSON of the fields: it can be hashed, and travels between processes."""
        return json.dumps(self.fields, sort_keys=True)
