"""The noise schedule of a diffusers scheduler configuration, and the schedulers that sampling may use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from bench.errors import ConfigError

SAMPLERS = ("ddim", "ddpm", "dpmsolver++")
# What of a model's configuration decides the noise schedule; the rest belongs to one scheduler class or another.
_SCHEDULE_KEYS = (
    *("num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas"),
    *("rescale_betas_zero_snr", "timestep_spacing", "steps_offset", "set_alpha_to_one"),
    *("clip_sample", "clip_sample_range"),
)


def make_scheduler(sampler: str, config: Mapping[str, Any], steps: int) -> Any:
    """A diffusers scheduler that takes the denoiser's own output, D = E[x_0 | x_t].

    Args:
        sampler: one of SAMPLERS.
        config: the model's scheduler configuration.
        steps: number of sampling steps, 1 to the number of training timesteps.

    Raises:
        ConfigError: an unknown sampler, a number of steps out of range, or a configuration without a noise schedule.
    """
    from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler

    if sampler not in SAMPLERS:
        raise ConfigError(f"sampler must be one of {', '.join(SAMPLERS)}, got {sampler!r}")
    for key in ("num_train_timesteps", "beta_schedule"):  # a flow-matching scheduler, say, has the one only
        if key not in config:
            raise ConfigError(f"the model's scheduler configuration must hold {key}; save it with DDIMScheduler")
    limit = config["num_train_timesteps"]
    if not 1 <= steps <= limit:
        raise ConfigError(f"steps must be 1 to {limit}, the model's training timesteps, got {steps}")
    kept = {k: config[k] for k in _SCHEDULE_KEYS if k in config}
    kept["prediction_type"] = "sample"
    if sampler == "dpmsolver++":
        for key in ("clip_sample", "clip_sample_range", "set_alpha_to_one"):
            kept.pop(key, None)
        scheduler: Any = DPMSolverMultistepScheduler(**kept, algorithm_type="dpmsolver++")
    elif sampler == "ddpm":
        kept.pop("set_alpha_to_one", None)
        scheduler = DDPMScheduler(**kept)
    else:
        scheduler = DDIMScheduler(**kept)
    scheduler.set_timesteps(steps)
    return scheduler


def alphas_cumprod(config: Mapping[str, Any]) -> Tensor:
    """a_t as float64 [T], zero terminal SNR included."""
    scheduler = make_scheduler("ddim", config, 1)
    a: Tensor = scheduler.alphas_cumprod.to(torch.float64)
    return a
