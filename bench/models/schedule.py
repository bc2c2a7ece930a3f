"""Noise schedules from diffusers scheduler configurations, and the schedulers for sampling."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from bench.core.errors import ConfigError

SAMPLERS = ("ddim", "ddpm", "dpmsolver++")
SPACINGS = ("model", "logsnr")
# Keys of a model's configuration that decide the noise schedule; its other keys belong to particular schedulers.
SCHEDULE_KEYS = (
    *("num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas"),
    *("rescale_betas_zero_snr", "timestep_spacing", "steps_offset", "set_alpha_to_one"),
    *("clip_sample", "clip_sample_range"),
    *("thresholding", "dynamic_thresholding_ratio", "sample_max_value"),
    "variance_type",
)


# Range of the steps of "logsnr", as log(a / (1 - a)): below it a sample shows nothing of the image, above it
# differences
# are below eight bits. A model's range may be narrower.
LOG_SNR = (-8.0, 6.0)


def log_snr_timesteps(alphas_cumprod: Tensor, steps: int) -> list[int]:
    """Return the last timestep, then timesteps evenly spaced in log(a_t / (1 - a_t)), decreasing.

    Features shared by many pixels, such as the tone of a face, are visible at far higher noise than single pixels, and
    are decided in a few of the steps that are evenly spaced in t. A deterministic step holds D fixed and so draws
    samples towards the mean: with too few steps, rare values of such features become rarer. Source: Lu et al. 2022,
    arXiv 2206.00927, section 3.4, on uniform log-SNR.

    Args:
        alphas_cumprod: [T], a_t; only the last may be 0.
        steps: S, 1 to T.
    """
    a = alphas_cumprod.double()
    log_snr = (a / (1 - a)).log()
    low, high = max(LOG_SNR[0], float(log_snr[-1])), min(LOG_SNR[1], float(log_snr[0]))
    targets = torch.linspace(low, high, steps, dtype=torch.float64)
    timesteps = [len(a) - 1]
    for i, value in enumerate(targets[1:], start=1):
        nearest = int((log_snr - value).abs().argmin())
        timesteps.append(max(min(nearest, timesteps[-1] - 1), steps - 1 - i))  # distinct, with room for later ones
    return timesteps


def make_scheduler(sampler: str, config: Mapping[str, object], steps: int, spacing: str = "model") -> Any:
    """Return a diffusers scheduler whose `step` takes the denoiser's output D = E[x_0 | x_t].

    Args:
        sampler: one of SAMPLERS.
        config: the model's scheduler configuration.
        steps: number of sampling steps, 1 to the number of training timesteps.
        spacing: "model" for the configuration's `timestep_spacing`, or "logsnr" (`log_snr_timesteps`).

    Raises:
        ConfigError: an unknown sampler or spacing, a number of steps out of range, or a configuration without a
            noise schedule.
    """
    if sampler not in SAMPLERS:
        raise ConfigError(f"sampler must be one of {', '.join(SAMPLERS)}, got {sampler!r}")
    if spacing not in SPACINGS:
        raise ConfigError(f"spacing must be one of {', '.join(SPACINGS)}, got {spacing!r}")
    for key in ("num_train_timesteps", "beta_schedule"):  # a flow-matching scheduler has the first only
        if key not in config:
            raise ConfigError(f"the model's scheduler configuration must hold {key}; save it with DDIMScheduler")
    limit = config["num_train_timesteps"]
    if not isinstance(limit, int):
        raise TypeError(f"num_train_timesteps must be a whole number, got {limit!r}")
    if not 1 <= steps <= limit:
        raise ConfigError(f"steps must be 1 to {limit}, the model's training timesteps, got {steps}")
    scheduler = _scheduler(sampler, {k: config[k] for k in SCHEDULE_KEYS if k in config})
    if spacing == "model":
        scheduler.set_timesteps(steps)
    else:
        timesteps = log_snr_timesteps(scheduler.alphas_cumprod, steps)
        scheduler.visit(timesteps) if sampler == "ddim" else scheduler.set_timesteps(timesteps=timesteps)
    return scheduler


def _scheduler(sampler: str, keys: dict[str, object]) -> Any:
    """Return a scheduler with the keys that its class accepts."""
    from diffusers import DDPMScheduler, DPMSolverMultistepScheduler

    from bench.models.ddim import DDIM

    keys["prediction_type"] = "sample"
    if sampler != "ddpm" or not str(keys.get("variance_type")).startswith("fixed"):  # a learnt variance is ignored
        keys.pop("variance_type", None)
    if sampler == "dpmsolver++":
        for key in ("clip_sample", "clip_sample_range", "set_alpha_to_one"):
            keys.pop(key, None)
        return DPMSolverMultistepScheduler(**keys, algorithm_type="dpmsolver++")
    if sampler == "ddpm":
        keys.pop("set_alpha_to_one", None)
        return DDPMScheduler(**keys)
    return DDIM(**keys)


def alphas_cumprod(config: Mapping[str, object]) -> Tensor:
    """Return a_t as float64 [T], rescaled to zero terminal SNR if the configuration says so."""
    scheduler = make_scheduler("ddim", config, 1)
    a: Tensor = scheduler.alphas_cumprod.to(torch.float64)
    return a
