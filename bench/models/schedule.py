"""The noise schedule of a diffusers scheduler configuration, and the schedulers that sampling may use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from bench.core.errors import ConfigError

SAMPLERS = ("ddim", "ddpm", "dpmsolver++")
SPACINGS = ("model", "logsnr")
# What of a model's configuration decides the noise schedule; the rest belongs to one scheduler class or another.
SCHEDULE_KEYS = (
    *("num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas"),
    *("rescale_betas_zero_snr", "timestep_spacing", "steps_offset", "set_alpha_to_one"),
    *("clip_sample", "clip_sample_range"),
    *("thresholding", "dynamic_thresholding_ratio", "sample_max_value"),
    "variance_type",
)


# Where the steps of "logsnr" begin and end, as log(a / (1 - a)): below it a sample of an image shows nothing of the
# image, above it nothing but detail that eight bits do not hold. A model's own range may be narrower.
LOG_SNR = (-8.0, 6.0)


def log_snr_timesteps(alphas_cumprod: Tensor, steps: int) -> list[int]:
    """The last timestep, then timesteps evenly spaced in log(a_t / (1 - a_t)), falling.

    What many pixels share, such as the tone of a face, shows through far more noise than a single pixel does, and is
    decided in a few evenly spaced steps. A deterministic step holds D fixed and so draws samples towards the mean:
    rare values of what is decided in too few steps become rarer. Source: Lu et al. 2022, arXiv 2206.00927, section
    3.4, on uniform log-SNR.

    Args:
        alphas_cumprod: [T], a_t; only the last may be 0.
        steps: S, 1 to T.
    """
    a = alphas_cumprod.double()
    log_snr = (a / (1 - a)).log()
    low, high = max(LOG_SNR[0], float(log_snr[-1])), min(LOG_SNR[1], float(log_snr[0]))
    wanted = torch.linspace(low, high, steps, dtype=torch.float64)
    found = [len(a) - 1]
    for i, value in enumerate(wanted[1:], start=1):
        nearest = int((log_snr - value).abs().argmin())
        found.append(max(min(nearest, found[-1] - 1), steps - 1 - i))  # all different, with room for the rest
    return found


def make_scheduler(sampler: str, config: Mapping[str, Any], steps: int, spacing: str = "model") -> Any:
    """A diffusers scheduler that takes the denoiser's own output, D = E[x_0 | x_t].

    Args:
        sampler: one of SAMPLERS.
        config: the model's scheduler configuration.
        steps: number of sampling steps, 1 to the number of training timesteps.
        spacing: "model", as the configuration's `timestep_spacing` says, or "logsnr" (`log_snr_timesteps`).

    Raises:
        ConfigError: an unknown sampler or spacing, a number of steps out of range, or a configuration without a
            noise schedule.
    """
    if sampler not in SAMPLERS:
        raise ConfigError(f"sampler must be one of {', '.join(SAMPLERS)}, got {sampler!r}")
    if spacing not in SPACINGS:
        raise ConfigError(f"spacing must be one of {', '.join(SPACINGS)}, got {spacing!r}")
    for key in ("num_train_timesteps", "beta_schedule"):  # a flow-matching scheduler, say, has the one only
        if key not in config:
            raise ConfigError(f"the model's scheduler configuration must hold {key}; save it with DDIMScheduler")
    limit = config["num_train_timesteps"]
    if not 1 <= steps <= limit:
        raise ConfigError(f"steps must be 1 to {limit}, the model's training timesteps, got {steps}")
    scheduler = _scheduler(sampler, {k: config[k] for k in SCHEDULE_KEYS if k in config})
    if spacing == "model":
        scheduler.set_timesteps(steps)
    else:
        timesteps = log_snr_timesteps(scheduler.alphas_cumprod, steps)
        scheduler.visit(timesteps) if sampler == "ddim" else scheduler.set_timesteps(timesteps=timesteps)
    return scheduler


def _scheduler(sampler: str, kept: dict[str, Any]) -> Any:
    """A scheduler of those keys of a configuration that its class knows."""
    from diffusers import DDPMScheduler, DPMSolverMultistepScheduler

    from bench.models.ddim import DDIM

    kept["prediction_type"] = "sample"
    if sampler != "ddpm" or not str(kept.get("variance_type")).startswith("fixed"):  # a learnt one is left out
        kept.pop("variance_type", None)
    if sampler == "dpmsolver++":
        for key in ("clip_sample", "clip_sample_range", "set_alpha_to_one"):
            kept.pop(key, None)
        return DPMSolverMultistepScheduler(**kept, algorithm_type="dpmsolver++")
    if sampler == "ddpm":
        kept.pop("set_alpha_to_one", None)
        return DDPMScheduler(**kept)
    return DDIM(**kept)


def alphas_cumprod(config: Mapping[str, Any]) -> Tensor:
    """a_t as float64 [T], zero terminal SNR included."""
    scheduler = make_scheduler("ddim", config, 1)
    a: Tensor = scheduler.alphas_cumprod.to(torch.float64)
    return a
