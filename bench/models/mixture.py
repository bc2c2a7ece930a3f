"""A Gaussian mixture whose denoiser, group posterior, scores and density ratios are exact at every noise level.

Every method is tested on it first: it takes milliseconds and the right answers are known. The groups stand for
attribute classes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bench.core.attributes import check_distribution
from bench.core.digest import digest_of
from bench.core.errors import ConfigError
from bench.models.schedule import alphas_cumprod
from bench.protocols.model import Bottleneck, decode_pixels, encode_pixels

SCHEDULER: Mapping[str, object] = {
    "num_train_timesteps": 1000,
    "beta_schedule": "squaredcos_cap_v2",
    "rescale_betas_zero_snr": True,
    "timestep_spacing": "trailing",
    "clip_sample": False,
    "set_alpha_to_one": True,
}


class GaussianMixture:
    """p(x_0) = sum_k w_k N(mu_k, S_k), so p(x_t) = sum_k w_k N(sqrt(a) mu_k, a S_k + (1 - a) I).

    Its bottleneck h [n, K] is the log of w_k N(x; ...), the unnormalised log posterior, so softmax(h) is
    p(k | x_t), the denoiser's decoder half is D = sum_k softmax(h)_k D_k, and adding log(q_k / w_k) to h gives
    exactly the denoiser of the mixture reweighted to q.

    Everything is float64. Conditions: "none", then one per group.
    """

    device = torch.device("cpu")
    dtype = torch.float64

    def __init__(
        self,
        weights: npt.ArrayLike,
        means: npt.ArrayLike,
        covariances: npt.ArrayLike,
        shape: tuple[int, ...] | None = None,
        scheduler_config: Mapping[str, object] = SCHEDULER,
    ) -> None:
        """Define the mixture.

        Args:
            weights: [K], >= 0, summing to 1.
            means: [K, d].
            covariances: [K, d, d], symmetric, positive definite.
            shape: of one sample, with product d; (d,) by default.
            scheduler_config: of a diffusers scheduler.

        Raises:
            ConfigError: the shapes do not agree, or a covariance is not positive definite.
        """
        mu = np.asarray(means, dtype=np.float64)
        cov = np.asarray(covariances, dtype=np.float64)
        if mu.ndim != 2 or cov.shape != (*mu.shape, mu.shape[1]):
            raise ConfigError(f"means [K, d] and covariances [K, d, d] must agree, got {mu.shape} and {cov.shape}")
        w = check_distribution(weights, len(mu), "the mixture's weights")
        if not np.allclose(cov, cov.transpose(0, 2, 1)) or (np.linalg.eigvalsh(cov) <= 0).any():
            raise ConfigError("the mixture's covariances must be symmetric and positive definite")
        self.weights, self.means, self.covariances = (torch.from_numpy(v) for v in (w, mu, cov))
        self.shape = shape or (mu.shape[1],)
        self.image_size = self.shape[-1]
        if math.prod(self.shape) != mu.shape[1]:
            raise ConfigError(f"shape {self.shape} must hold d = {mu.shape[1]} numbers")
        self.name = "gaussian_mixture"
        self.digest = digest_of([w.tolist(), mu.tolist(), cov.tolist(), list(self.shape), dict(scheduler_config)])
        self.conditions = ("none", *(f"group={k}" for k in range(len(w))))
        self.bottleneck_shape: tuple[int, ...] | None = (len(w),)
        self.scheduler_config = dict(scheduler_config)
        self.alphas_cumprod = alphas_cumprod(self.scheduler_config)

    def sample(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw exact samples x_0 [n, *shape] and their groups, int64 [n]."""
        group = torch.multinomial(self.weights, n, replacement=True, generator=generator)
        z = torch.randn(n, self.means.shape[1], generator=generator, dtype=self.dtype)
        root = torch.linalg.cholesky(self.covariances)[group]
        x = self.means[group] + (root @ z[:, :, None])[:, :, 0]
        return x.reshape(n, *self.shape), group

    def log_joint(self, x: Tensor, t: Tensor) -> Tensor:
        """Return log(w_k N(x_t; sqrt(a) mu_k, a S_k + (1-a) I)) as [n, K]; -inf where w_k = 0."""
        return self._per_group(x, t)[0]

    def log_density(self, x: Tensor, t: Tensor) -> Tensor:
        """Return log p(x_t) as [n]."""
        return self.log_joint(x, t).logsumexp(1)

    def posterior(self, x: Tensor, t: Tensor) -> Tensor:
        """Return p(k | x_t) as [n, K]."""
        return self.log_joint(x, t).softmax(1)

    def log_ratio(self, x: Tensor, t: Tensor, to: Tensor) -> Tensor:
        """Return log(q(x_t) / p(x_t)) as [n], q being this mixture reweighted to `to` [K].

        It equals log sum_k (q_k / w_k) p(k | x_t), for weights w_k > 0.
        """
        return (self.posterior(x, t) * (to / self.weights)).sum(1).log()

    def score(self, x: Tensor, t: Tensor, group: int | None = None) -> Tensor:
        """Return grad log p(x_t), or that of one group's density, [n, *shape]."""
        logits, _, precision_times = self._per_group(x, t)
        per_group = -precision_times  # grad log N_k = -C_k^-1 (x - sqrt(a) mu_k)
        if group is not None:
            return per_group[:, group].reshape(x.shape)
        return (logits.softmax(1)[:, :, None] * per_group).sum(1).reshape(x.shape)

    def denoise(self, x: Tensor, t: Tensor, condition: Tensor, bottleneck: Bottleneck | None = None) -> Tensor:
        """Return E[x_0 | x_t, c]: D_k = mu_k + sqrt(a) S_k C_k^-1 (x - sqrt(a) mu_k), mixed by softmax(h)."""
        h, denoised, _ = self._per_group(x, t)
        h = self._conditioned(h, condition)
        if bottleneck is not None:
            h = bottleneck(h)
        return (h.softmax(1)[:, :, None] * denoised).sum(1).reshape(x.shape)

    def encode_bottleneck(self, x: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        """Return h [n, K]: the unnormalised log posterior of the groups."""
        return self._conditioned(self._per_group(x, t)[0], condition)

    def encode(self, images: Tensor) -> Tensor:
        """Return uint8 images as samples in [-1, 1]; for a mixture over images, whose shape is (3, h, w)."""
        return encode_pixels(images).to(self.dtype)

    def decode(self, x: Tensor) -> Tensor:
        """Return samples in [-1, 1] as uint8 images."""
        return decode_pixels(x)

    def _conditioned(self, h: Tensor, condition: Tensor) -> Tensor:
        """Return h with a log weight of -1e9 for every group that the condition excludes."""
        groups = torch.arange(h.shape[1])
        excluded = (condition[:, None] != 0) & (condition[:, None] - 1 != groups)
        return torch.where(excluded, -1e9, h)

    def _per_group(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the log joint [n, K], D_k [n, K, d] and C_k^-1 (x - sqrt(a) mu_k) [n, K, d]."""
        if (t != t[0]).any():
            pieces = [self._per_group(x[i : i + 1], t[i : i + 1]) for i in range(len(x))]
            return tuple(torch.cat(p) for p in zip(*pieces, strict=True))  # type: ignore[return-value]
        a = self.alphas_cumprod[int(t[0])]
        d = self.means.shape[1]
        cov = a * self.covariances + (1 - a) * torch.eye(d, dtype=self.dtype)
        root = torch.linalg.cholesky(cov)
        diff = x.reshape(len(x), 1, d) - a.sqrt() * self.means
        solved = torch.cholesky_solve(diff.permute(1, 2, 0), root).permute(2, 0, 1)  # C_k^-1 diff
        log_det = 2 * root.diagonal(dim1=1, dim2=2).log().sum(1)
        log_n = -0.5 * ((diff * solved).sum(2) + log_det + d * math.log(2 * math.pi))
        denoised = self.means + a.sqrt() * torch.einsum("kde,nke->nkd", self.covariances, solved)
        return self.weights.log() + log_n, denoised, solved
