"""The real images of the downstream test, as a suite names them."""

from __future__ import annotations

from pydantic import Field, model_validator

from bench.yaml import Strict


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
    n: int = Field(default=2000, ge=2)

    @model_validator(mode="after")
    def _tested_on_others(self) -> DownstreamChoice:
        if self.heldout in (self.biased, self.balanced):
            raise ValueError(f"heldout must be a set that nothing learns from, got {self.heldout!r}; name another")
        return self

    @property
    def sets(self) -> dict[str, int]:
        """Name to number of images, each set once."""
        return dict.fromkeys((self.biased, self.balanced, self.heldout), self.n)
