"""Distances of class shares from a target distribution, and their noise floor over several seeds."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy.special import rel_entr

from bench.core.intervals import LEVEL
from bench.core.schema import SHARE

Floats = npt.NDArray[np.float64]
N_DRAWS = 20_000
SEED = 7


def l2(p: Floats, r: Floats) -> Floats:
    """Return ||r - p||_2 over the last axis (Choi et al. 2020, arXiv 1910.12008), in [0, sqrt(2)]."""
    return np.asarray(np.sqrt(((r - p) ** 2).sum(axis=-1)))


def l1(p: Floats, r: Floats) -> Floats:
    """Return ||r - p||_1 over the last axis, in [0, 2]."""
    return np.asarray(np.abs(r - p).sum(axis=-1))


def kl(p: Floats, r: Floats) -> Floats:
    """Return sum_k p_k log(p_k / r_k) over the last axis, in nats; 0 log 0 is 0, and p_k > 0 = r_k gives infinity."""
    return np.asarray(rel_entr(p, r).sum(axis=-1))


# Metrics whose noise floor follows from the target and the numbers of samples. That of fd_l2_soft is an upper bound:
# the probabilities of an uncertain classifier vary less than labels do.
DISTANCES: dict[str, Callable[[Floats, Floats], Floats]] = {
    "fd_l2_hard": l2,
    "fd_l1": l1,
    "kl": kl,
    "fd_l2_soft": l2,
    "fd_l2_prompt_mean": l2,
}


@functools.lru_cache(maxsize=4096)
def mean_noise_floor(
    metric: str, target: tuple[float, ...], sizes: tuple[tuple[int, ...], ...], k: int | None = None
) -> float | None:
    """Return the 95th percentile of a metric's mean over seeds for a sampler that matches the target exactly.

    Args:
        metric: name as in results.csv.
        target: the target distribution of the metric's scope.
        sizes: of each seed, the numbers of samples of its prompts (one number in a suite without prompts), each >= 1.
        k: the class of a share; None for other metrics.

    Returns:
        The percentile of 20,000 simulated runs; None for a metric whose distribution needs more than this.
    """
    if metric not in DISTANCES and (metric != SHARE or k is None):
        return None
    rng, r = np.random.default_rng(SEED), np.array(target)
    mean = np.zeros(N_DRAWS)
    for of_seed in sizes:
        for n in of_seed:
            shares = rng.multinomial(n, r, size=N_DRAWS) / n
            mean += (shares[:, k] if k is not None else DISTANCES[metric](shares, r)) / len(of_seed) / len(sizes)
    return float(np.quantile(mean, LEVEL))
