"""Flow matching as a noise schedule of the denoiser protocol: the same samples on another scale.

A flow's sample is x' = (1 - s) x_0 + s eps, its network predicts eps - x_0, s falling from 1 to 0. Divided by
r = sqrt((1 - s)^2 + s^2) it is x_t = sqrt(a) x_0 + sqrt(1 - a) eps with a = (1 - s)^2 / r^2, so that

    s = sqrt(1 - a) / (sqrt(a) + sqrt(1 - a)),  r = 1 / (sqrt(a) + sqrt(1 - a)),  D = r x_t - s (eps - x_0).

A deterministic DDIM step between two noise levels is then exactly Euler's step of the flow's equation between their s.
Source: Lipman et al. 2023, arXiv 2210.02747 (the straight path); Esser et al. 2024, arXiv 2403.03206 (the shift).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, cast

import numpy as np
from torch import Tensor

from bench.core.errors import ConfigError
from bench.core.json_text import read_object
from bench.models.classifier_free import ClassifierFree
from bench.models.configs import transformer_config
from bench.models.latent import LatentModel
from bench.models.pretrained import SAVED
from bench.protocols.model import Bottleneck, broadcast

SCHEDULER = "FlowMatchEulerDiscreteScheduler"
PREDICTION = "flow_matching"
DYNAMIC = "use_dynamic_shifting"  # the shift depends on the image's size
# Settings that give another schedule of s.
OTHER_SCHEDULES = ("invert_sigmas", "use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas")


def read_flow_schedule(path: Path, tokens: int | None = None) -> dict[str, object]:
    """Return the configuration of a flow's scheduler in the form of a schedule with betas.

    Timestep t of T has s = shift u / (1 + (shift - 1) u) for u = (t + 1) / T; steps are spaced evenly in u, from 1.

    Args:
        path: of the scheduler's file.
        tokens: number of tokens of an image, for a shift that depends on it; None for a family without such a shift.

    Raises:
        ConfigError: it cannot be read, is of another scheduler, or has settings that are not supported.
    """
    config = read_object(path, SAVED)
    if config.get("_class_name") != SCHEDULER:
        raise ConfigError(f"{path}: scheduler {config.get('_class_name')} is not supported here; known: {SCHEDULER}")
    refused = OTHER_SCHEDULES if tokens else (DYNAMIC, *OTHER_SCHEDULES)
    set_ = [key for key in (*refused, "shift_terminal") if config.get(key)]
    if set_:
        raise ConfigError(f"{path}: {set_[0]} is not supported; set it to false, and `shift` to a number")
    n, shift = config.get("num_train_timesteps", 1000), config.get("shift", 1.0)
    if tokens and config.get(DYNAMIC):
        shift = dynamic_shift(config, tokens)
    if not isinstance(n, int) or n < 2 or not isinstance(shift, int | float) or shift <= 0:
        raise ConfigError(f"{path} must hold num_train_timesteps >= 2 and shift > 0, got {n!r} and {shift!r}")
    u = np.arange(1, n + 1) / n
    s = shift * u / (1 + (shift - 1) * u)
    a = (1 - s) ** 2 / ((1 - s) ** 2 + s**2)
    betas = 1 - a / np.concatenate([[1.0], a[:-1]])
    return {
        "num_train_timesteps": n,
        "beta_schedule": "linear",  # unused, since trained_betas are given
        "trained_betas": betas.tolist(),
        "prediction_type": PREDICTION,
        "timestep_spacing": "trailing",
        "clip_sample": False,
        "set_alpha_to_one": True,
    }


def dynamic_shift(config: Mapping[str, object], tokens: int) -> float:
    """Return the shift of an image of `tokens` tokens: exp(mu), or mu itself, with mu linear in the tokens.

    Source: the pipelines' rule, with their defaults; at a shift of e^mu their exp(mu) / (exp(mu) + 1 / u - 1) is
    shift u / (1 + (shift - 1) u).
    """
    low, high = _number(config, "base_image_seq_len", 256), _number(config, "max_image_seq_len", 4096)
    least, most = _number(config, "base_shift", 0.5), _number(config, "max_shift", 1.15)
    mu = float(least + (most - least) * (tokens - low) / (high - low))
    return mu if config.get("time_shift_type", "exponential") == "linear" else math.exp(mu)


def _number(config: Mapping[str, object], key: str, default: float) -> float:
    value = config.get(key, default)
    if not isinstance(value, int | float):
        raise ConfigError(f"{key} of the scheduler must be a number, got {value!r:.40}; copy its configuration again")
    return value


def flow_time(a: Tensor) -> Tensor:
    """Return s of a_t [n], both in [0, 1]."""
    return (1 - a).sqrt() / (a.sqrt() + (1 - a).sqrt())


def flow_scale(a: Tensor) -> Tensor:
    """Return r of a_t [n]: x_t times r is the flow's sample."""
    return 1 / (a.sqrt() + (1 - a).sqrt())


class TokenFlow(ClassifierFree, LatentModel):
    """A flow predicted by a transformer of text and image tokens; the bottleneck is a block's image tokens."""

    predictions: ClassVar[tuple[str, ...]] = (PREDICTION,)

    def set_embeddings(self, embeddings: tuple[Tensor, Tensor]) -> None:
        """Set the embeddings of the prompts [K + 1, tokens, width] and pooled [K + 1, d], on the network's device.

        Raises:
            ConfigError: the network reads embeddings of another width.
        """
        config = transformer_config(self.network)
        widths = (config.joint_attention_dim, config.pooled_projection_dim)
        encoded = (embeddings[0].shape[2], embeddings[1].shape[1])
        if widths != encoded:
            raise ConfigError(
                f"the transformer must read embeddings of the text encoders' widths {encoded}, got {widths}; take all "
                "from one pipeline"
            )
        self._prompts, self._pooled = (value.to(self.device, self._weights) for value in embeddings)

    def denoised_of(self, x: Tensor, t: Tensor, out: Tensor) -> Tensor:
        """Return D = r x - s (eps - x_0)."""
        a = self._a[t]
        return broadcast(flow_scale(a), x) * x - broadcast(flow_time(a), x) * out

    def apply_bottleneck(self, output: object, bottleneck: Bottleneck) -> object:
        """Return the block's output with `bottleneck` applied to the image tokens of the conditional rows."""
        text, image = cast(tuple[Tensor, Tensor], output)
        return text, super().apply_bottleneck(image, bottleneck)

    def bottleneck_of(self, output: object) -> Tensor:
        """Return the image tokens of the block's output."""
        _, image = cast(tuple[Tensor, Tensor], output)
        return image
