"""Noise schedules from diffusers scheduler configurations, and the schedulers for sampling."""

from __future__ import annotations

import itertools
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

# A start within this part of the schedule's end is noise enough. Ten steps of "leading" spacing start 98 timesteps
# before the last of 1000, at sqrt(a) = 0.118 on Stable Diffusion's schedule (0.068 at its last timestep), and 20, 30 or
# 50 steps of any sampler start later. One stride alone would refuse those that do not divide the schedule, although
# 30 steps start at sqrt(a) = 0.087.
START = 10

# Range of the steps of "logsnr", as log(a / (1 - a)): below it a sample shows nothing of the image, above it
# differences are below eight bits. A model's range may be narrower.
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
        ConfigError: an unknown sampler or spacing, a number of steps out of range, a configuration without a noise
            schedule, or a number of steps for which the model's spacing repeats a timestep, leaves the table, or
            starts before the last timestep by more than a stride and more than a tenth of the schedule.
    """
    if sampler not in SAMPLERS:
        raise ConfigError(f"sampler must be one of {', '.join(SAMPLERS)}, got {sampler!r}")
    if spacing not in SPACINGS:
        raise ConfigError(f"spacing must be one of {', '.join(SPACINGS)}, got {spacing!r}")
    limit = _check_schedule(config)
    if not 1 <= steps <= limit:
        raise ConfigError(f"steps must be 1 to {limit}, the model's training timesteps, got {steps}")
    scheduler = _scheduler(sampler, config)
    if spacing == "logsnr":
        timesteps = log_snr_timesteps(scheduler.alphas_cumprod, steps)
        scheduler.visit(timesteps) if sampler == "ddim" else scheduler.set_timesteps(timesteps=timesteps)
        return scheduler
    scheduler.set_timesteps(steps)
    problem = _problem(scheduler.timesteps.tolist(), limit, limit // START)
    if problem:
        chosen = scheduler.config.timestep_spacing
        raise ConfigError(
            f"{sampler} with {steps} steps under the model's spacing {chosen!r} {problem}; take "
            f"{_good_counts(scheduler, steps, limit)} steps, or spacing: logsnr"
        )
    return scheduler


def _check_schedule(config: Mapping[str, object]) -> int:
    """Return the number of training timesteps of a configuration."""
    for key in ("num_train_timesteps", "beta_schedule"):  # a flow-matching scheduler has the first only
        if key not in config:
            raise ConfigError(f"the model's scheduler configuration must hold {key}; save it with DDIMScheduler")
    limit = config["num_train_timesteps"]
    if not isinstance(limit, int):
        raise TypeError(f"num_train_timesteps must be a whole number, got {limit!r}")
    return limit


def _problem(timesteps: list[int], limit: int, slack: int = 0) -> str:
    """Return what is wrong with the timesteps that a scheduler visits, in decreasing order, "" if nothing is.

    Args:
        timesteps: of the scheduler.
        limit: number of training timesteps.
        slack: distance of the first timestep from the last one that is accepted in any case, in timesteps.
    """
    first, last = timesteps[0], timesteps[-1]
    if first >= limit or last < 0:
        return f"visits timestep {first if first >= limit else last}, and the model's are 0 to {limit - 1}"
    repeated = next((t for t, following in itertools.pairwise(timesteps) if t <= following), None)
    if repeated is not None:
        return f"visits timestep {repeated} more than once"
    stride = max((t - following for t, following in itertools.pairwise(timesteps)), default=limit)
    if limit - 1 - first > max(stride, slack):
        return (
            f"starts at timestep {first}, more than one stride ({stride}) and more than a tenth of the schedule before "
            f"the model's last, {limit - 1}; samples start as noise alone, which the model does not expect there"
        )
    return ""


def _good_counts(scheduler: Any, steps: int, limit: int) -> str:
    """Return the nearest numbers of steps that start within one stride, below and above `steps`: "49 or 62"."""

    def good(count: int) -> bool:
        scheduler.set_timesteps(count)
        return not _problem(scheduler.timesteps.tolist(), limit)

    below = next((count for count in range(steps - 1, 0, -1) if good(count)), None)
    above = next((count for count in range(steps + 1, limit + 1) if good(count)), None)
    return " or ".join(str(count) for count in (below, above) if count is not None)


def _scheduler(sampler: str, config: Mapping[str, object]) -> Any:
    """Return a scheduler with the keys of the configuration that its class accepts."""
    from diffusers import DDPMScheduler, DPMSolverMultistepScheduler

    from bench.models.ddim import DDIM

    keys: dict[str, Any] = {key: config[key] for key in SCHEDULE_KEYS if key in config}
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
    _check_schedule(config)
    a: Tensor = _scheduler("ddim", config).alphas_cumprod.to(torch.float64)
    return a
