"""THE sampling loop: one, for every method and every model."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bench.core.errors import Incompatible, NotFinite
from bench.core.seeds import derive_seed
from bench.core.specs import SamplerSpec
from bench.models.bf16 import cast_weights
from bench.models.schedule import make_scheduler
from bench.protocols.method import Batch, Guided, GuidedDenoiser
from bench.protocols.model import DiffusionModel


@dataclass(frozen=True)
class Sampler(SamplerSpec):
    """A sampler with the schedule of a model; its fields are those of `SamplerSpec`."""

    @classmethod
    def of(cls, spec: SamplerSpec) -> Sampler:
        """Return the sampler of a spec."""
        return cls(spec.name, spec.steps, spec.eta, spec.precision, spec.spacing)

    def timesteps(self, model: DiffusionModel) -> tuple[int, ...]:
        """Return the training timesteps that sampling visits, in order."""
        scheduler = make_scheduler(self.name, model.scheduler_config, self.steps, self.spacing)
        return tuple(int(t) for t in scheduler.timesteps)


def generators(seed: int, index: Tensor, candidate: int = 0) -> list[torch.Generator]:
    """Return one generator per sample, on the CPU: the noise depends on (seed, sample number, candidate) alone."""
    further = (candidate,) if candidate else ()
    return [torch.Generator().manual_seed(derive_seed("noise", seed, int(i), *further, bits=63)) for i in index]


def draw_noise(sources: list[torch.Generator], model: DiffusionModel) -> Tensor:
    """Standard normal [n, *shape], row i from source i, in the model's dtype and on its device."""
    rows = [torch.randn(model.shape, generator=g) for g in sources]
    return torch.stack(rows).to(model.device, model.dtype)


def draw_batch(
    model: DiffusionModel,
    guided: Guided,
    sampler: Sampler,
    batch: Batch,
    seed: int,
    on_step: Callable[[], None] | None = None,
) -> Tensor:
    """Draw one guidance batch of a method: every candidate, of which it selects the samples that are kept.

    Args:
        model: as in `sample_batch`.
        guided: what the method built.
        sampler: as in `sample_batch`, and so are the others.
        batch: of the samples that are kept.
        seed: of the noise.
        on_step: called after each step of each candidate.

    Returns:
        x_0 [n, *shape], in the model's dtype.

    Raises:
        NotFinite: as `sample_batch`, and so is Incompatible.
    """
    pool = [
        sample_batch(model, guided.denoise, sampler, batch, seed, guided.repeats, on_step, candidate)
        for candidate in range(guided.candidates)
    ]
    if guided.select is None:
        return pool[0]
    rows = guided.select(torch.stack(pool))
    return torch.cat(pool)[torch.from_numpy(rows).to(pool[0].device)]


def sample_batch(
    model: DiffusionModel,
    denoise: GuidedDenoiser,
    sampler: Sampler,
    batch: Batch,
    seed: int,
    repeats: int = 1,
    on_step: Callable[[], None] | None = None,
    candidate: int = 0,
) -> Tensor:
    """Draw one guidance batch.

    Args:
        model: gives the noise schedule and the shape.
        denoise: the guided denoiser, D(x, t) for the whole batch.
        sampler: scheduler, steps, eta and precision.
        batch: the numbers of the samples, their conditions, and the largest compute batch.
        seed: of the noise.
        repeats: how often each step is taken; in between, its result is noised back to the step's noise level.
        on_step: called after each step.
        candidate: number of the candidate, which has noise of its own.

    Returns:
        x_0 [n, *shape], in the model's dtype.

    Raises:
        NotFinite: the denoiser returned NaN or infinity, or a step did; the step and the samples are named.
        Incompatible: steps are to be repeated under a sampler that remembers earlier steps.
    """
    if repeats > 1 and sampler.name == "dpmsolver++":
        raise Incompatible("dpmsolver++ remembers earlier steps, so none can be repeated; use ddim or ddpm")
    scheduler = make_scheduler(sampler.name, model.scheduler_config, sampler.steps, sampler.spacing)
    sources = generators(seed, batch.index, candidate)
    x = draw_noise(sources, model)
    options: dict[str, Any] = {"generator": sources}
    if sampler.name == "ddim":
        options["eta"] = sampler.eta
    bf16 = sampler.precision == "bf16"
    autocast = torch.autocast(model.device.type, torch.bfloat16, enabled=bf16)
    with torch.no_grad(), cast_weights(getattr(model, "network", None) if bf16 else None):
        for t in scheduler.timesteps:
            for again in reversed(range(repeats)):
                with autocast:
                    denoised = denoise(x, int(t), batch).to(x.dtype)
                _check_finite(denoised, "the denoiser", int(t), batch.index)
                x = scheduler.step(denoised, t, x, **options).prev_sample
                if again:
                    x = renoise(x, signal_ratio(scheduler, int(t)), draw_noise(sources, model))
            if on_step is not None:
                on_step()
    _check_finite(x, f"the step of {sampler.name}", int(scheduler.timesteps[-1]), batch.index)
    return x


def signal_ratio(scheduler: Any, t: int) -> float:
    """a_t / a_s, s being the timestep that the scheduler's step from t leads to: the share that noising back keeps."""
    a, s = scheduler.alphas_cumprod, int(scheduler.previous_timestep(t))
    end = float(getattr(scheduler, "final_alpha_cumprod", 1.0))  # DDPM ends at 1
    return float(a[t]) / (float(a[s]) if s >= 0 else end)


def renoise(x: Tensor, signal: float, eps: Tensor) -> Tensor:
    """x_t = sqrt(a_t / a_s) x_s + sqrt(1 - a_t / a_s) eps: the forward transition from s back to t > s."""
    return math.sqrt(signal) * x + math.sqrt(1 - signal) * eps


def _check_finite(values: Tensor, source: str, t: int, index: Tensor) -> None:
    if torch.isfinite(values).all():
        return
    bad = index[~torch.isfinite(values).flatten(1).all(1).cpu()].tolist()
    shown = ", ".join(map(str, bad[:5])) + (", ..." if len(bad) > 5 else "")
    raise NotFinite(f"{source} returned NaN or infinity at timestep {t} for {len(bad)} samples ({shown})")
