"""Checks of a diffusion model: shapes, schedule, conditions, bottleneck, and that a row depends on itself alone."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping

import torch

from bench.models import load_model
from bench.plugin_checks.outcome import NotApplicable, global_generators_unused, require
from bench.protocols.method import Batch, timestep
from bench.protocols.model import DiffusionModel
from bench.sampling.loop import Sampler, sample_batch

N = 3
TOLERANCE = 1e-3  # of a network whose last bits differ with the number of rows


class Loaded:
    """A model under its name, with its fields.

    Attributes:
        name: as a suite names it.
        fields: values of the fields that differ from their defaults.
    """

    def __init__(self, name: str, fields: Mapping[str, object]) -> None:
        self.name, self.fields = name, dict(fields)

    @functools.cached_property
    def model(self) -> DiffusionModel:
        """The model, loaded once."""
        return load_model(self.name, fields=self.fields)

    def noise(self) -> torch.Tensor:
        """Return x [3, *shape], standard normal."""
        rows = torch.randn(N, *self.model.shape, generator=torch.Generator().manual_seed(0))
        return rows.to(self.model.device, self.model.dtype)

    def denoise(self, x: torch.Tensor, t: int, condition: int = 0) -> torch.Tensor:
        """Return D of x [n, *shape] under one condition."""
        conditions = torch.full((len(x),), condition, device=x.device)
        with torch.no_grad():
            return self.model.denoise(x, timestep(t, len(x), x.device), conditions)

    def steps(self) -> tuple[int, ...]:
        """Return the first, a middle and the last timestep of sampling."""
        steps = Sampler("ddim", 4).timesteps(self.model)
        return steps[0], steps[len(steps) // 2], steps[-1]


def check_schedule(loaded: Loaded) -> None:
    """Check the noise schedule and the names of the conditions."""
    model, a = loaded.model, loaded.model.alphas_cumprod
    require(bool(((a >= 0) & (a <= 1)).all()), "alphas_cumprod must be in [0, 1]")
    require(bool((a.diff() <= 0).all()), "alphas_cumprod must fall: timestep 0 has the least noise")
    require(model.conditions[0] == "none", f"the first condition must be 'none', got {model.conditions[0]!r}")
    require(len(set(model.conditions)) == len(model.conditions), "the names of the conditions must differ")


def check_denoiser(loaded: Loaded) -> None:
    """Check what the denoiser returns at every noise level and for every condition, and that it leaves x alone."""
    x = loaded.noise()
    before = x.clone()
    with global_generators_unused(f"model {loaded.name}"):
        for t in loaded.steps():
            for condition in range(min(len(loaded.model.conditions), 4)):
                out = loaded.denoise(x, t, condition)
                require(out.shape == x.shape, f"D has shape {list(out.shape)} at t = {t}, expected {list(x.shape)}")
                require(out.dtype == x.dtype, f"D is {out.dtype} at t = {t}, expected {x.dtype}")
                require(bool(torch.isfinite(out).all()), f"D is NaN or infinite at t = {t}")
    require(torch.equal(x, before), "denoise wrote into x; write into a copy")


def check_rows(loaded: Loaded) -> None:
    """Check that a row of D depends on its own x alone, and that the same x gives the same D."""
    x = loaded.noise()
    for t in loaded.steps():
        whole = loaded.denoise(x, t)
        require(torch.equal(loaded.denoise(x, t), whole), f"the same x must give the same D, got another at t = {t}")
        rows = torch.cat([loaded.denoise(x[i : i + 1], t) for i in range(N)])
        scale = max(1.0, float(whole.abs().max()))
        apart = float((rows - whole).abs().max())
        require(
            apart <= TOLERANCE * scale,
            f"a row of D must depend on its own x alone, but differs by {apart:.3g} at t = {t} where it is alone",
        )


def check_bottleneck(loaded: Loaded) -> None:
    """Check that the bottleneck is called once, that h unchanged changes nothing, and that it is what is encoded."""
    model, x, t = loaded.model, loaded.noise(), loaded.steps()[1]
    if model.bottleneck_shape is None:
        raise NotApplicable("the model has no bottleneck")
    seen: list[torch.Tensor] = []

    def watch(h: torch.Tensor) -> torch.Tensor:
        seen.append(h)
        return h

    times, conditions = timestep(t, N, x.device), torch.zeros(N, dtype=torch.long, device=x.device)
    with torch.no_grad():
        out = model.denoise(x, times, conditions, watch)
        encoded = model.encode_bottleneck(x, times, conditions)
    require(len(seen) == 1, f"the function of the bottleneck must be called once, got {len(seen)} calls")
    shape = [N, *model.bottleneck_shape]
    require(list(seen[0].shape) == shape, f"h has shape {list(seen[0].shape)}, expected {shape}")
    require(torch.allclose(out, loaded.denoise(x, t), atol=TOLERANCE), "h unchanged must give the D of the model")
    require(torch.allclose(encoded, seen[0], atol=TOLERANCE), "encode_bottleneck must return the h of denoise")


def check_images(loaded: Loaded) -> None:
    """Check encoding and decoding, and a sample of four steps."""
    model = loaded.model
    size = model.image_size
    gradient = torch.linspace(40, 215, size).to(torch.uint8).expand(1, 3, size, size).to(model.device)
    with torch.no_grad():
        x = model.encode(gradient)
        back = model.decode(x)
    require(
        list(x.shape[1:]) == list(model.shape),
        f"encode returned {list(x.shape[1:])} per image, not {list(model.shape)}",
    )
    require(back.dtype == torch.uint8, f"decode returned {back.dtype}, expected uint8")
    require(back.shape == gradient.shape, f"decode returned {list(back.shape)}, expected {list(gradient.shape)}")
    batch = Batch(torch.arange(2), torch.zeros(2, dtype=torch.long), 2)

    def denoise(x: torch.Tensor, t: int, batch: Batch) -> torch.Tensor:
        return model.denoise(x, timestep(t, len(x), x.device), batch.condition.to(x.device))

    images = model.decode(sample_batch(model, denoise, Sampler("ddim", 4), batch, 0))
    require(
        list(images.shape) == [2, 3, size, size],
        f"a sample decodes to {list(images.shape)}, not [2, 3, {size}, {size}]",
    )


CHECKS: dict[str, Callable[[Loaded], None]] = {
    "schedule and conditions": check_schedule,
    "denoiser": check_denoiser,
    "rows": check_rows,
    "bottleneck": check_bottleneck,
    "images": check_images,
}
