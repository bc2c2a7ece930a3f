"""Jobs for the tests of ranks, which each rank of a group calls alike; in one process they do the same alone."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.core.errors import NotFinite
from bench.core.plugins import load
from bench.protocols.method import Batch, Task
from bench.sampling.distributed import ProcessGroup, joined
from bench.sampling.loop import Sampler, sample_batch
from tests.support.mixtures import GROUP, Posterior, labelled, pictures

STEPS = Sampler("ddim", 10)
TARGET = np.array([0.5, 0.5])
FEW = {"labels_per_class": 40}  # a quick fit
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "h-space, chi-square": ("class_gap_guidance", {"strength": 5.0, **FEW}),
    "h-space, kl": ("distribution_guidance", {"loss": "kl", **FEW}),
    "images, through the network": ("universal_guidance", {"loss": "chi_square", "strength": 0.3}),
    "images, backward": ("universal_guidance", {"loss": "kl", "through": "noise", "backward_steps": 2}),
    "assigned_classes": ("sample_guidance", FEW),
    "fraction": ("closed_loop_editing", FEW),
}


def drawn(
    _: object, titles: list[str], batches: list[Tensor], micro: int, fields: dict[str, Any]
) -> dict[str, np.ndarray]:
    """Samples of some of the METHODS by title, in guidance batches of these numbers, each spread over all ranks."""
    model, ranks = pictures(), ProcessGroup.here()
    task = Task(model, (GROUP,), TARGET, STEPS.timesteps(model), labelled(model), lambda _: Posterior(model))
    found = {}
    for title in titles:
        name, own = METHODS[title]
        guided = load("method", name, "Method")(**{**own, **fields}).build(task, 0)
        parts = []
        for index in batches:
            batch = ranks.part(Batch(index, torch.zeros_like(index), micro))
            x = sample_batch(model, guided.denoise, STEPS, batch, 0, guided.repeats)
            parts.append(ranks.gather(x, len(index)))
        found[title] = torch.cat(parts).numpy()
    return found


def discrepancy(_: object, size: int) -> float:
    """FD of 256 samples drawn in guidance batches of `size`, each over all ranks, by the mixture's exact posterior."""
    from bench.protocols.evaluator import Reference, Sample
    from evaluators.fairness_discrepancy import Evaluator

    fields = {"temperature": 1.0, "labels_per_class": 100}
    x = torch.from_numpy(
        drawn(None, ["h-space, chi-square"], list(torch.arange(256).split(size)), size, fields).popitem()[1]
    )
    if not ProcessGroup.here().first:
        return float("nan")  # one of them is enough
    p = pictures().posterior(x, torch.zeros(len(x), dtype=torch.long)).numpy()
    scores = Evaluator().evaluate(Sample({"group": p}, {}, np.full(len(x), -1)), Reference((GROUP,), TARGET))
    return float(next(s.value for s in scores if s.value is not None))


def sums(_: object, trouble: Callable[[], None] | None, at: int) -> float:
    """Ten sums over the group, with trouble on rank `at` before the sixth."""
    ranks, found = ProcessGroup.here(), torch.ones(1)
    for i in range(10):
        if i == 5 and ranks.rank == at and trouble is not None:
            trouble()
        found = ranks.total(found)
    return float(found)


def die() -> None:
    """As when memory runs out."""
    os.kill(os.getpid(), signal.SIGKILL)


def stop() -> None:
    """Live on without ever answering."""
    os.kill(os.getpid(), signal.SIGSTOP)


def diverge() -> None:
    """Fail as a denoiser does."""
    raise NotFinite("the denoiser returned NaN")


if __name__ == "__main__":  # started by torchrun, or alone
    with joined("cpu") if "RANK" in os.environ else nullcontext():
        found = discrepancy(None, int(sys.argv[1]))
        if ProcessGroup.here().first:
            print(f"{ProcessGroup.here().count} ranks, guidance batch {sys.argv[1]}: FD {found:.6f}")  # noqa: T201
