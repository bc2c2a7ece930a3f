"""Rows of the coverage table: every sampling-time method on the exact mixture, over repeated runs."""

from __future__ import annotations

import functools
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from bench.core.design import BLOCK, Design
from bench.core.distances import l2
from bench.core.plugins import load
from bench.models.mixture import GaussianMixture
from bench.protocols.evaluator import Reference, Sample, Score
from bench.protocols.method import Batch, Task
from bench.sampling.loop import Sampler, sample_batch
from bench.storage.fits import FitCache
from evaluators.fairness_discrepancy import Evaluator
from tests.support.coverage import Row
from tests.support.mixtures import GROUP, Posterior, labelled

Ints = npt.NDArray[np.int64]
STEPS = Sampler("ddim", 4)
TARGET = np.array([0.5, 0.5])
N, BATCH = 240, 20  # samples of a run, of a guidance batch
RUNS = 150  # runs in the pool that draws are taken from; the truth is that of all of them
# Groups 3.4 standard deviations apart: no method is right for every sample.
SPREAD = np.stack([0.025 * np.eye(12), 0.03 * np.eye(12)])
METHODS: dict[str, dict[str, object]] = {
    "vanilla": {},
    "sample_guidance": {},
    "distribution_guidance": {},
    "attribute_switching": {},
    "latent_editing": {"strength": 2.0},
    "universal_guidance": {"classifier": "exact", "loss": "assigned_class"},
    "universal_guidance, chi_square": {"classifier": "exact", "loss": "chi_square"},
    "universal_guidance, kl": {"classifier": "exact", "loss": "kl"},
}


def method_of(title: str) -> Any:
    """Return the method of a key of METHODS."""
    return load("method", title.partition(",")[0], "Method")(**METHODS[title])


@functools.cache
def pool(title: str, runs: int = RUNS) -> tuple[Ints, Ints]:
    """Return the groups that the exact classifier gives the samples of many runs, and their assigned classes.

    All runs are of one fit; run j has the sample numbers from j N on, whole blocks of assigned classes and batches.

    Returns:
        int64 [runs, N] each; assigned classes are -1 where there are none.
    """
    model = GaussianMixture((0.8, 0.2), np.stack([np.full(12, -0.08), np.full(12, 0.08)]), SPREAD, shape=(3, 2, 2))
    with TemporaryDirectory() as folder:
        task = Task(
            model,
            (GROUP,),
            TARGET,
            STEPS.timesteps(model),
            labelled(model),
            lambda _: Posterior(model),
            cache=FitCache(Path(folder)),
        )
        guided = method_of(title).build(task, 0)
        groups, size = [], BATCH if method_of(title).traits.couples_batch else 10 * N
        for start in range(0, runs * N, size):
            index = torch.arange(start, min(start + size, runs * N))
            batch = Batch(index, torch.zeros(len(index), dtype=torch.long), len(index))
            x = sample_batch(model, guided.denoise, STEPS, batch, 0, guided.repeats)
            groups.append(Posterior(model).logits(x)["group"].argmax(1).numpy())
    numbers = np.arange(runs * N)
    assigned = guided.assigned_classes(numbers) if guided.assigned_classes else np.full(runs * N, -1)
    return np.concatenate(groups).astype(np.int64).reshape(runs, N), assigned.astype(np.int64).reshape(runs, N)


def method_row(title: str, runs: int = RUNS) -> Row:
    """Return the row of the fairness discrepancy of a method; a draw is one of the runs."""

    def draw(n: int, rng: np.random.Generator) -> Score:
        groups, assigned = pool(title, runs)
        run = int(rng.integers(runs))
        design = Design.independent(n)
        if method_of(title).traits.couples_batch:
            design = Design(np.zeros(n, dtype=np.int64), np.arange(n) // BATCH)
        elif (assigned >= 0).any():
            design = Design(assigned[run] + 1, block=BLOCK)
        sample = Sample({GROUP.name: np.eye(2)[groups[run]]}, {}, np.full(n, -1), design=design)
        return Evaluator().evaluate(sample, Reference((GROUP,), TARGET))[0]

    def truth(n: int) -> float:
        share = pool(title, runs)[0].mean()
        return float(l2(np.array([1 - share, share]), TARGET))

    return Row("fd_l2_hard", f"mixture, {title}", draw, truth, sizes=(N,), draws=400)


ROWS: tuple[Row, ...] = tuple(method_row(title) for title in METHODS)
