"""Attribute switching: condition on one class until a transition point tau, and on another class from there on.

Source: Choi et al. 2024, arXiv 2401.03140, as released in uzn36/AttributeSwitching at commit 166fac8.

1. Every sample gets a start class, equally many samples per class (`methods.targeting.assigned_classes`), and a partner
   class (`partners`).
2. It is conditioned on the start class while t >= tau, and on the partner class while t < tau.
3. tau minimises the mean of || sum_{t >= tau} d_t - sum_{t < tau} d_t ||, with d_t the weighted difference of the two
   classes' noise predictions (`imbalance`, `search`, `minimum`).

The aim is that a sample does not reveal its start class. The method aims at no distribution of classes, so it does not
depend on the task's target. The release (main.py, tau_searching.ipynb) differs in four points: its norm is over the
batch and not over the pixels of a sample; it plots the curve, and that tau is its minimum is a reading of this project;
it draws the start class at random, not equally often; its CelebA notebook switches at t <= tau, its Stable Diffusion
one at t < tau, as here. Its search takes one batch of 256 over 1,000 steps (cells 19 and 21) and clamps D to [-1, 1]
at every step (main.py:38-45): `minibatch: 256, minibatches: 1, search_steps: 1000, clamp: true`.

The result of the search in a case with a known answer. Let both classes be Gaussians of covariance v I with means m_0
and m_1, c_t = a_t v + 1 - a_t, and rho(t) = sqrt(a_t v / c_t), the correlation of x_0 and x_t within a class. Along
the probability flow (x_t - sqrt(a_t) m_s) / sqrt(c_t) is constant, so two trajectories from one x_T give

    d_t = -beta_t sqrt((1 - a_t) / c_t) rho(T) (m_0 - m_1) / sqrt(v):

The direction and the sign are the same at every t, and tau* halves the sum of beta_t sqrt((1 - a_t) / c_t). By the same
argument, the sample that switches from 0 to 1 less the one from 1 to 0, of one noise, is

    (2 rho(tau) - 1 - rho(T)) (m_0 - m_1),

so the two switched distributions are equal where rho(tau) = (1 + rho(T)) / 2, which is another point. At tau* they
still differ, unless rho(T) has one particular value (sqrt(5) - 2 for v much above 1). Below that value, as with most
noise schedules, tau* is too early in sampling: the samples keep more of the class that they end under. Where a_T = 0,
d_t is 0 throughout: the search cannot see classes that differ by their means alone. The same holds for DDIM steps of
any size and for any covariance that the classes share, with a product over the steps in place of rho(tau). On other
data tau* may miss to either side; the metric epsilon-fairness measures by how much.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import time
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bench.core.attributes import Attribute, product
from bench.core.errors import ConfigError, Incompatible
from bench.core.seeds import derive_seed
from bench.protocols.cache import Arrays, Note
from bench.protocols.method import Batch, Cost, Curves, Guided, SearchSpace, Task, Traits, micro_batches, timestep
from bench.protocols.model import DiffusionModel, broadcast, ddim_step, noise_of
from bench.protocols.progress import Progress, silent
from methods.targeting.assigned_classes import assign_classes
from methods.targeting.class_conditions import class_conditions

FORMAT = "attribute switching 1"  # part of the cache's key: raise it when the search changes
CHUNK = 16  # rows whose noise predictions are held for all steps at once
ROUNDING = 1e3  # a curve within so many rounding errors of 0 is 0

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


def step_betas(timesteps: tuple[int, ...], alphas_cumprod: Tensor) -> Tensor:
    """Return the weight of each sampling step: the sum of beta_s over the training timesteps s that the step covers.

    The criterion sums over all training timesteps. A step from t to the next visited t' holds the noise prediction
    fixed over t' < s <= t, so its term is the sum of their beta_s = 1 - a_s / a_(s-1). That is finite at a_T = 0
    (beta_T = 1), where -log(a_t / a_t') would not be.

    Args:
        timesteps: falling; S of them.
        alphas_cumprod: [T], a_t; 0 is allowed for the last.

    Returns:
        float64 [S].
    """
    a = alphas_cumprod.double().cpu()
    beta = 1 - a / torch.cat([a.new_ones(1), a[:-1]])
    below = torch.cat([a.new_zeros(1), beta.cumsum(0)])  # sum of beta_s over s < t, for t in 0 to T
    return below[[t + 1 for t in timesteps]] - below[[t + 1 for t in (*timesteps[1:], -1)]]


def switch_points(timesteps: tuple[int, ...], n_train: int) -> Tensor:
    """Return the tau with which the first j of S steps use the start class, for j in 0 to S.

    It is (t' + 1) / T for the timestep t' of the first step after the switch: the border between the training
    timesteps that the steps before the switch cover and those that the steps after it cover.

    Returns:
        float64 [S + 1], falling to 0.

    >>> switch_points((999, 499), 1000).tolist()
    [1.0, 0.5, 0.0]
    """
    return torch.tensor([t + 1 for t in (*timesteps, -1)], dtype=torch.float64) / n_train


def imbalance(d: Tensor) -> Tensor:
    """Return || A(tau) - B(tau) || of every sample, with A = sum_{t >= tau} d_t and B = sum_{t < tau} d_t.

    Args:
        d: [S, n, D], d_t = beta_t (eps(x_t^{s0}, t, s0) - eps(x_t^{s1}, t, s1)), in the order of sampling.

    Returns:
        [S + 1, n], for the `switch_points`; the norm is over the D numbers of a sample.
    """
    before = torch.cat([torch.zeros_like(d[:1]), d.cumsum(0)])  # A; B is the sum over all steps minus A
    norms: Tensor = torch.linalg.vector_norm(2 * before - before[-1], dim=2)
    return norms


def noise_trajectory(
    model: DiffusionModel, x: Tensor, condition: int, timesteps: tuple[int, ...], clamp: bool = False
) -> Tensor:
    """Return eps(x_t, t, condition) [S, n, D] along the deterministic DDIM trajectory from x_T = x [n, *shape].

    With `clamp` every prediction D is clamped to [-1, 1] before its step, and the noise prediction stays as it is.
    """
    conditions = torch.full((len(x),), condition, dtype=torch.int64, device=x.device)
    a, trajectory = model.alphas_cumprod, []
    for t, following in itertools.zip_longest(timesteps, timesteps[1:]):
        denoised = model.denoise(x, timestep(t, len(x), x.device), conditions)
        eps = noise_of(x, denoised, a[[t]])
        trajectory.append(eps.flatten(1))
        if following is None:
            break
        if clamp:
            a_s = broadcast(a[[following]], x)
            x = a_s.sqrt() * denoised.clamp(-1, 1) + (1 - a_s).sqrt() * eps
        else:
            x = ddim_step(x, denoised, a[t], a[following])
    return torch.stack(trajectory)


def search(
    model: DiffusionModel,
    conditions: list[int],
    timesteps: tuple[int, ...],
    sizes: tuple[int, int],
    seed: int,
    progress: Progress = silent,
    clamp: bool = False,
) -> Floats:
    """Return the curve of every pair of classes: the mean of || A(tau) - B(tau) || over a mini-batch.

    A pair and the reversed pair have the same curve, since d_t only changes its sign.

    Args:
        model: conditional.
        conditions: of the K classes, as indices into the model's.
        timesteps: of the trajectories, falling.
        sizes: samples of a mini-batch, and number of mini-batches.
        seed: of the noise, with the number of the mini-batch.
        progress: wraps the loop over the mini-batches.
        clamp: clamp every prediction D to [-1, 1].

    Returns:
        float64 [mini-batches, K (K - 1) / 2, S + 1], pairs in the order of `itertools.combinations`.
    """
    betas = step_betas(timesteps, model.alphas_cumprod)[:, None, None]
    curves = []
    with torch.no_grad():
        for number in progress(range(sizes[1]), "searching for the transition point"):
            x = _noise(model, sizes[0], seed, number)
            norms = []
            for piece in micro_batches(len(x), CHUNK):
                eps = [noise_trajectory(model, x[piece], c, timesteps, clamp) for c in conditions]
                pairs = [
                    imbalance(betas.to(eps_0) * (eps_0 - eps_1)) for eps_0, eps_1 in itertools.combinations(eps, 2)
                ]
                norms.append(torch.stack(pairs).double().cpu())
            curves.append(torch.cat(norms, dim=2).mean(2))
    return torch.stack(curves).numpy()


def minimum(taus: Floats, curves: Floats) -> Note:
    """Return tau*, the minimum of the mean curve, with its spread over mini-batches, and the curve; JSON-able.

    Args:
        taus: [S + 1], the `switch_points`.
        curves: [mini-batches, S + 1], of one pair.
    """
    curve, minima = curves.mean(0), taus[curves.argmin(1)]
    return {
        "tau": float(taus[curve.argmin()]),
        "tau_std": float(minima.std()),
        "tau_min": float(minima.min()),
        "tau_max": float(minima.max()),
        "curve": [float(f"{value:.6g}") for value in curve],
    }


def search_curves(notes: Note) -> tuple[Curves, ...]:
    """Return the curves of the notes, one line for a pair and its reverse; none where tau is set by hand."""
    if "pairs" not in notes:
        return ()
    unordered = {frozenset((p["from"], p["to"])): p for p in reversed(notes["pairs"])}
    lines = {f"{p['from']}, {p['to']}": p for p in reversed(unordered.values())}
    return (
        Curves(
            "Search for the transition point",
            "tau, as a fraction of the training timesteps",
            "mean of || A(tau) - B(tau) ||",
            notes["taus"],
            {name: p["curve"] for name, p in lines.items()},
            {name: p["tau"] for name, p in lines.items()},
        ),
    )


def _noise(model: DiffusionModel, n: int, seed: int, number: int) -> Tensor:
    g = torch.Generator().manual_seed(derive_seed("attribute_switching", seed, number))
    return torch.randn(n, *model.shape, generator=g).to(model.device, model.dtype)


def partners(start: Ints, n_groups: int, pairs: str, seed: int, index: Ints) -> Ints:
    """Return the class that each sample ends under, int64 [n]: the next one, or any other class, by (seed, i)."""
    if pairs == "cyclic":
        return (start + 1) % n_groups
    draws = (derive_seed("attribute_switching pair", seed, i, bits=64) for i in index.tolist())
    ahead = [draw % (n_groups - 1) for draw in draws]
    return (start + 1 + np.array(ahead, dtype=np.int64)) % n_groups


@dataclass(frozen=True)
class Method:
    """A sample is conditioned on its start class while t >= tau, and on its partner class while t < tau.

    Choi et al. 2024, arXiv 2401.03140; the file's docstring lists the steps and the differences. The assigned class of
    a sample is its start class.

    Attributes:
        tau: the transition point, as a fraction of the training timesteps, in [0, 1]; 0 never switches and is the base
            model conditioned on the start class, 1 conditions on the partner class throughout. None: searched in
            `build`, for every pair.
        pairs: for more than two classes: "cyclic" switches class k to k + 1, "random" to any other, by (seed, i).
        minibatch: number of samples in a mini-batch of the search.
        minibatches: number of mini-batches; the mean of their curves is searched and the spread is noted.
        search_steps: number of evenly spaced steps of the search's trajectories; None takes the steps of sampling.
        clamp: clamp every prediction D to [-1, 1], in the search and in sampling. In sampling, the sampler then derives
            its noise from the clamped D, where the release keeps the network's.
    """

    traits: ClassVar[Traits] = Traits(
        paper="Choi et al. 2024, arXiv 2401.03140",
        stage="sampling",
        needs=frozenset({"conditions"}),
        neutral={"tau": 0.0},
    )
    search_space: ClassVar[SearchSpace] = {"tau": [None, 0.5, 0.6, 0.7, 0.8, 0.9]}
    tau: float | None = None
    pairs: Literal["cyclic", "random"] = "cyclic"
    minibatch: int = 32
    minibatches: int = 3
    search_steps: int | None = None
    clamp: bool = False

    def __post_init__(self) -> None:
        """Check the ranges of the fields."""
        if self.tau is not None and not 0 <= self.tau <= 1:
            raise ConfigError(f"tau must be a fraction of the training timesteps, 0 to 1, got {self.tau}")
        if self.pairs not in ("cyclic", "random"):
            raise ConfigError(f"pairs must be cyclic or random, got {self.pairs!r}")
        for name, value in (("minibatch", self.minibatch), ("minibatches", self.minibatches)):
            if value < 1:
                raise ConfigError(f"{name} must be at least 1, got {value}")
        if self.search_steps is not None and self.search_steps < 2:
            raise ConfigError(f"search_steps must be at least 2, got {self.search_steps}")

    def build(self, task: Task, seed: int) -> Guided:
        """Search tau for every ordered pair, from cached curves where there are any, unless the field sets it.

        Raises:
            Incompatible: the model lacks a condition, or a search sees no difference between two classes.
        """
        model, groups = task.model, product(task.attributes)
        n, conditions = groups.n_classes, class_conditions(task.model, groups)
        notes: Note
        if self.tau is not None:
            taus, notes, cost = np.full((n, n), self.tau), {"tau": self.tau}, Cost()
        else:
            curves, cost = self._curves(task, conditions, seed)
            taus, notes = self._minima(task, groups, curves)
        switch = np.rint(taus * len(model.alphas_cumprod)).astype(np.int64)  # so that t >= tau is exact on the grid
        condition_of = np.array(conditions, dtype=np.int64)

        def starts(index: Ints) -> Ints:
            return assign_classes(np.full(n, 1 / n), seed, index)

        def denoise(x: Tensor, t: int, batch: Batch) -> Tensor:
            index = batch.index.cpu().numpy()
            start = starts(index)
            partner = partners(start, n, self.pairs, seed, index)
            group = np.where(t >= switch[start, partner], start, partner)
            condition = torch.from_numpy(condition_of[group]).to(x.device)
            rows = [
                model.denoise(x[piece], timestep(t, len(x[piece]), x.device), condition[piece])
                for piece in micro_batches(len(x), batch.micro)
            ]
            denoised = torch.cat(rows)
            return denoised.clamp(-1, 1) if self.clamp else denoised

        return Guided(denoise, assigned_classes=starts, cost=cost, notes=notes, curves=search_curves(notes))

    def _searched(self, task: Task) -> tuple[int, ...]:
        """Return the timesteps of the search, falling."""
        if self.search_steps is None:
            return task.timesteps
        last = len(task.model.alphas_cumprod) - 1
        evenly = np.rint(np.linspace(last, 0, min(self.search_steps, last + 1)))
        return tuple(int(t) for t in evenly)

    def _curves(self, task: Task, conditions: list[int], seed: int) -> tuple[Floats, Cost]:
        """Return the curves of `search`, from the cache or computed now, and their cost."""
        model, sizes = task.model, (self.minibatch, self.minibatches)
        timesteps = self._searched(task)

        def run_search() -> tuple[Arrays, Note]:
            start = time.perf_counter()
            curves = search(model, conditions, timesteps, sizes, seed, task.progress, self.clamp)
            rows = self.minibatch * self.minibatches * len(conditions) * len(timesteps)
            return {"curves": curves}, {"cost": dataclasses.asdict(Cost(time.perf_counter() - start, rows))}

        names = [model.conditions[c] for c in conditions]
        key = [FORMAT, model.digest, timesteps, sizes, seed, names, *(["clamped"] if self.clamp else [])]
        arrays, note = task.cache.get("attribute-switching", key, run_search)
        return np.array(arrays["curves"]), Cost(**note["cost"])

    def _minima(self, task: Task, groups: Attribute, curves: Floats) -> tuple[Floats, Note]:
        """Return tau [K, K] of every ordered pair that a sample can take (0 elsewhere), and the notes on those pairs.

        Raises:
            Incompatible: a curve is 0 within rounding, so that it has no minimum.
        """
        model, n = task.model, groups.n_classes
        timesteps = self._searched(task)
        grid = switch_points(timesteps, len(model.alphas_cumprod)).numpy()
        scale = float(step_betas(timesteps, model.alphas_cumprod).sum()) * math.sqrt(math.prod(model.shape))
        unordered = list(itertools.combinations(range(n), 2))
        taus = np.zeros((n, n))
        pairs: list[Note] = []
        for start, partner in itertools.permutations(range(n), 2):
            if self.pairs == "cyclic" and partner != (start + 1) % n:
                continue
            pair_curves = curves[:, unordered.index((min(start, partner), max(start, partner)))]
            names = [f"{groups.name}={groups.classes[k]}" for k in (start, partner)]
            if pair_curves.max() <= ROUNDING * torch.finfo(model.dtype).eps * scale:
                raise Incompatible(
                    f"the search for tau sees no difference between {names[0]} and {names[1]}: from the same noise, "
                    "both give the same noise predictions throughout; give tau"
                )
            pairs.append({"from": names[0], "to": names[1], **minimum(grid, pair_curves)})
            taus[start, partner] = pairs[-1]["tau"]
        return taus, {"taus": grid.tolist(), "minibatches": self.minibatches, "pairs": pairs}
