"""A guidance batch drawn by several processes, played in one."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import torch

from bench.plugin_checks.outcome import require
from bench.protocols.method import Batch, GuidedDenoiser


class Waiting(Exception):
    """A process waits for the sums of the others."""


class Sums:
    """The sums of one process: those that are known are answered in order, the next stops the process."""

    def __init__(self, totals: Sequence[torch.Tensor]) -> None:
        self._known = iter(totals)
        self.pending: torch.Tensor | None = None

    def __call__(self, sums: torch.Tensor) -> torch.Tensor:
        """Return the sums over all processes.

        Raises:
            Waiting: they are not known yet.
        """
        for total in self._known:
            return total
        self.pending = sums
        raise Waiting


def spread(denoise: GuidedDenoiser, x: torch.Tensor, t: int, batch: Batch, parts: Sequence[slice]) -> torch.Tensor:
    """Return D [n, *shape] of a guidance batch whose parts are drawn by processes.

    Each process begins again until all sums that it needs are known.

    Args:
        denoise: the guided denoiser.
        x: [n, *shape], the noised samples.
        t: training timestep.
        batch: the guidance batch.
        parts: the rows of each process, together all rows in order.

    Raises:
        Complaint: one process asks for a sum that another never adds to.
    """
    totals: list[torch.Tensor] = []
    while True:
        sums = [Sums(totals) for _ in parts]
        results = []
        for rows, total in zip(parts, sums, strict=True):
            share = Batch(batch.index[rows], batch.condition[rows], batch.micro, len(batch.index), total)
            with suppress(Waiting):
                results.append(denoise(x[rows], t, share))
        pending = [total.pending for total in sums if total.pending is not None]
        if not pending:
            return torch.cat(results)
        require(
            len(pending) == len(parts), "every process must call batch.total equally often, got one that waits alone"
        )
        totals.append(torch.stack(pending).sum(0))
