"""DDIM over any decreasing timesteps; diffusers' scheduler supports one stride only."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from diffusers import DDIMScheduler
from torch import Tensor

Base: Any = DDIMScheduler  # it sets attributes dynamically, which no type checker follows


class DDIM(Base):  # type: ignore[misc]
    """Deterministic (eta 0) to ancestral (eta 1) steps to the next visited timestep, from the denoiser's own output.

    Source: Song et al. 2020, arXiv 2010.02502, Eqs. 12 and 16. On evenly spaced timesteps it is `DDIMScheduler`.
    """

    def visit(self, timesteps: list[int]) -> None:
        """Set the timesteps to visit, in decreasing order."""
        self.timesteps = torch.tensor(timesteps, dtype=torch.int64)
        self.num_inference_steps = len(timesteps)

    def previous_timestep(self, t: int) -> int:
        """Return the timestep after the step from t, -1 after the last."""
        i = int((self.timesteps == t).nonzero()[0])
        return int(self.timesteps[i + 1]) if i + 1 < len(self.timesteps) else -1

    def step(
        self, denoised: Tensor, t: int, x: Tensor, eta: float = 0.0, generator: list[torch.Generator] | None = None
    ) -> SimpleNamespace:
        """Return the sample after the step from t.

        Args:
            denoised: D [n, *shape].
            t: the timestep of x.
            x: x_t [n, *shape].
            eta: 0 to 1, the share of DDPM's noise.
            generator: one per row; required if eta > 0.

        Returns:
            An object with `prev_sample`, shaped as x.
        """
        s = self.previous_timestep(int(t))
        a_t = float(self.alphas_cumprod[t])
        a_s = float(self.alphas_cumprod[s] if s >= 0 else self.final_alpha_cumprod)
        eps = (x - a_t**0.5 * denoised) / (1 - a_t) ** 0.5
        if self.config.thresholding:
            denoised = self._threshold_sample(denoised)
        elif self.config.clip_sample:
            denoised = denoised.clamp(-self.config.clip_sample_range, self.config.clip_sample_range)
        sigma = eta * ((1 - a_s) / (1 - a_t) * (1 - a_t / a_s)) ** 0.5  # Eq. 16
        following = a_s**0.5 * denoised + max(1 - a_s - sigma**2, 0.0) ** 0.5 * eps  # Eq. 12
        if eta > 0:
            assert generator is not None, "noise comes from the samples' own generators"
            noise = torch.stack([torch.randn(x.shape[1:], generator=g, dtype=x.dtype) for g in generator])
            following = following + sigma * noise.to(x.device)
        return SimpleNamespace(prev_sample=following)
