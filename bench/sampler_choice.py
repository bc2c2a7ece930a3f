"""The sampler of a suite."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from bench.yaml import Strict


class SamplerChoice(Strict):
    """As `bench.sampling.Sampler`."""

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
