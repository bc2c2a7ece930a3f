"""Networks and training budgets of the family: the same settings for every method of a table."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from bench.core.errors import ConfigError
from bench.protocols.method import SearchSpace
from bench.training.loop import Budget

BLOCK = 2  # side, in pixels, of the blocks that the networks for images work on (space to depth)
# The score network starts from the weights of the model that is debiased, or from random ones.
Init = Literal["model", "scratch"]
# Half and twice the default steps, and a third of the default rate.
FINE_TUNING_SPACE: SearchSpace = {
    "fine_tuning": [{"steps": 600}, {"steps": 300}, {"steps": 1200}, {"steps": 600, "peak_lr": 3e-5}]
}
GROUPS = 8  # of the U-Net's normalisation; it must divide every level's channels


@dataclass(frozen=True)
class Settings:
    """Networks and budgets. The defaults are for the embedded faces of 32 x 32 pixels.

    `steps`, `peak_lr` and `channels` are those of a score network that is trained from scratch, and `ema` is its too;
    `FineTuning` has those of one that starts from the model. Everything else holds for both.

    Attributes:
        steps: optimiser steps of the score network.
        discriminator_steps: optimiser steps of a discriminator.
        batch: rows per step; even, since half of a discriminator's batch is from either set.
        peak_lr: the score network's highest learning rate.
        discriminator_lr: a discriminator's highest learning rate.
        ema: decay of the averaged weights of a score network from scratch and of a discriminator, in [0, 1).
        flips: mirror half of the images; no effect on samples that are not images.
        channels: of each level of the score U-Net, multiples of 8.
        discriminator_channels: of each convolution of a discriminator of images.
        width: of the hidden layers of the perceptrons that replace both networks where samples are not images.
        seed: of the initial weights and of every draw. It does not depend on a cell's seed: all seeds of a suite sample
            from one trained network.
        checkpoint_minutes: time between checkpoints; does not affect the result.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}  # a suite's unknown key is an error

    steps: int = 4000
    discriminator_steps: int = 3000
    batch: int = 32
    peak_lr: float = 1e-3
    discriminator_lr: float = 1e-3
    ema: float = 0.998
    flips: bool = True
    channels: tuple[int, ...] = (32, 64, 80)
    discriminator_channels: tuple[int, ...] = (32, 64, 128)
    width: int = 64
    seed: int = 0
    checkpoint_minutes: float = 3.0

    def __post_init__(self) -> None:
        """Check the ranges of the fields."""
        for name in ("steps", "discriminator_steps", "width"):
            _check(name, getattr(self, name) >= 1, "at least 1", getattr(self, name))
        _check("batch", self.batch >= 2 and self.batch % 2 == 0, "even and at least 2", self.batch)
        for name in ("peak_lr", "discriminator_lr", "checkpoint_minutes"):
            _check(name, 0 < getattr(self, name) < math.inf, "> 0", getattr(self, name))
        _check("ema", 0 <= self.ema < 1, "in [0, 1)", self.ema)
        _check("seed", self.seed >= 0, "at least 0", self.seed)
        fits = bool(self.channels) and all(c > 0 and c % GROUPS == 0 for c in self.channels)
        _check("channels", fits, f"one multiple of {GROUPS} or more", list(self.channels))
        fits = bool(self.discriminator_channels) and min(self.discriminator_channels) > 0
        _check("discriminator_channels", fits, "one number > 0 or more", list(self.discriminator_channels))

    def is_image(self, shape: tuple[int, ...]) -> bool:
        """Return whether samples of this shape go to the networks for images: square, with a side that halves."""
        return len(shape) == 3 and shape[1] == shape[2] and shape[1] % (BLOCK * 2 ** (len(self.channels) - 1)) == 0

    def score_budget(self) -> Budget:
        """Return the training budget of the score network."""
        return Budget(self.steps, self.peak_lr, self.ema, self.seed, self.checkpoint_minutes)

    def discriminator_budget(self) -> Budget:
        """Return the training budget of a discriminator."""
        return Budget(self.discriminator_steps, self.discriminator_lr, self.ema, self.seed, self.checkpoint_minutes)

    def of_score(self) -> dict[str, object]:
        """Return the settings that determine a score network; JSON-able."""
        return self._without("discriminator_steps", "discriminator_lr", "discriminator_channels")

    def of_fine_tuning(self) -> dict[str, object]:
        """Return the settings that determine a score network that starts from the model; JSON-able."""
        return {"batch": self.batch, "flips": self.flips, "seed": self.seed}

    def of_discriminator(self) -> dict[str, object]:
        """Return the settings that determine a discriminator; JSON-able."""
        return self._without("steps", "peak_lr", "channels")

    def _without(self, *names: str) -> dict[str, object]:
        fields = dataclasses.asdict(self)
        return {k: v for k, v in fields.items() if k not in (*names, "checkpoint_minutes")}


@dataclass(frozen=True)
class FineTuning:
    """The training of a score network that starts from the model's own weights. The defaults are for embedded faces.

    Attributes:
        steps: optimiser steps.
        peak_lr: highest learning rate.
        ema: decay of the averaged weights, in [0, 1).
        rank: 0 trains every weight. r >= 1 trains a difference of rank r for every linear layer and convolution, and
            leaves the other weights as they are, for networks whose optimiser states would not fit into memory. Source:
            Hu et al. 2021, arXiv 2106.09685 (LoRA).
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}  # a suite's unknown key is an error

    steps: int = 600
    peak_lr: float = 1e-4
    ema: float = 0.99
    rank: int = 0

    def __post_init__(self) -> None:
        """Check the ranges of the fields."""
        _check("steps", self.steps >= 1, "at least 1", self.steps, "fine_tuning")
        _check("peak_lr", 0 < self.peak_lr < math.inf, "> 0", self.peak_lr, "fine_tuning")
        _check("ema", 0 <= self.ema < 1, "in [0, 1)", self.ema, "fine_tuning")
        _check("rank", self.rank >= 0, "at least 0", self.rank, "fine_tuning")

    def budget(self, settings: Settings) -> Budget:
        """Return the training budget, with the seed and the checkpoints of `settings`."""
        return Budget(self.steps, self.peak_lr, self.ema, settings.seed, settings.checkpoint_minutes)

    def recipe(self) -> dict[str, object]:
        """Return the fields, all of which determine the trained network; JSON-able."""
        return dataclasses.asdict(self)


def check_fraction(reference_frac: float) -> None:
    """Check the number of reference images, as a fraction of the biased training set.

    Raises:
        ConfigError: it is not in (0, 1].
    """
    if not 0 < reference_frac <= 1:
        raise ConfigError(f"reference_frac must be in (0, 1], got {reference_frac}")


def _check(name: str, fits: bool, constraint: str, value: object, field: str = "training") -> None:
    if not fits:
        raise ConfigError(f"{field}.{name} must be {constraint}, got {value}")


IMAGES = Settings()
VECTORS = Settings(steps=400, discriminator_steps=400, batch=128, peak_lr=5e-3, discriminator_lr=5e-3, ema=0.98)
