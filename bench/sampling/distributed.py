"""One guidance batch over several ranks: each draws some of its rows, and sums over the batch are all-reduced.

ProcessGroup are the processes of a torch.distributed group, as `run --ranks N` or torchrun start them. A method is
handed a `Batch` of its rank's rows whose `total` adds up over the group, so that the whole batch meets the target and
not each
rank's part of it; noise and assigned classes go by sample number and need nothing. What is exchanged is the K sums of
each sum over the batch, and at the end the images.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor, distributed

from bench.core.errors import BenchError, Incompatible
from bench.protocols.method import Batch, Traits

SECONDS = 300.0  # that a rank waits for the others; they do the same work, so they are apart by moments


class ProcessLost(BenchError):
    """Another rank of the group died, or did not answer in time."""


@contextmanager
def joined(
    device: str, seconds: float = SECONDS, where: str = "env://", rank: int = -1, count: int = -1
) -> Iterator[None]:
    """Belong to the group of ranks for as long as this lasts.

    Args:
        device: a torch device; with "cuda" the ranks talk by NCCL and each takes the GPU of its number on its machine,
            else by gloo.
        seconds: that a rank waits for the others before `ProcessLost`, > 0.
        where: the ranks meet, as of `torch.distributed.init_process_group`; by default as torchrun tells them.
        rank: of this process, 0 to count - 1; as torchrun tells unless given.
        count: of ranks; likewise.

    Raises:
        ProcessLost: the others did not come in time.
    """
    cuda = torch.device(device).type == "cuda"
    with _waiting(f"before the first sum, {seconds:g} seconds at most"):
        distributed.init_process_group(
            "nccl" if cuda else "gloo", where, timedelta(seconds=seconds), world_size=count, rank=rank
        )
    try:
        if cuda:
            torch.cuda.set_device(distributed.get_node_local_rank(distributed.get_rank()))
        yield
    finally:
        distributed.destroy_process_group()


@dataclass(frozen=True)
class ProcessGroup:
    """The group of ranks that this process belongs to, or this process alone.

    Attributes:
        rank: of this process, 0 to count - 1.
        count: of ranks.
    """

    rank: int = 0
    count: int = 1

    @classmethod
    def here(cls) -> ProcessGroup:
        """The group of this process."""
        if not distributed.is_available() or not distributed.is_initialized():
            return cls()
        return cls(distributed.get_rank(), distributed.get_world_size())

    @property
    def first(self) -> bool:
        """Return whether this is the rank that writes."""
        return self.rank == 0

    def part(self, batch: Batch) -> Batch:
        """Return the rows of a guidance batch that this rank draws; a batch smaller than the group is drawn by each."""
        if not self._spread(len(batch.index)):
            return batch
        index, condition = (rows.tensor_split(self.count)[self.rank] for rows in (batch.index, batch.condition))
        return dataclasses.replace(batch, index=index, condition=condition, size=len(batch.index), total=self.total)

    def check(self, name: str, traits: Traits) -> None:
        """Refuse a method whose guidance batch cannot be spread.

        Raises:
            Incompatible: it couples its batch otherwise than by means over it.
        """
        if self.count > 1 and traits.couples_batch and not traits.couples_by_mean:
            raise Incompatible(
                f"method {name} couples its guidance batch otherwise than by `Batch.mean`, so {self.count} ranks would "
                "each steer their part for itself; run it without --ranks"
            )

    def total(self, sums: Tensor) -> Tensor:
        """Return the sum over ranks of a tensor of the same shape on each rank, computed in double precision.

        Raises:
            ProcessLost: a rank died or did not answer in time.
        """
        total = sums.to(self._device(), torch.float64, copy=True)
        with _waiting("at a sum over the guidance batch"):
            distributed.all_reduce(total)
            return total.to(sums)

    def gather(self, rows: Tensor, n: int) -> Tensor:
        """All n rows of a guidance batch from the rows that each rank drew, in order, on every rank.

        Raises:
            ProcessLost: a rank died or did not answer in time.
        """
        if not self._spread(n):
            return rows
        sizes = [len(part) for part in torch.arange(n).tensor_split(self.count)]
        padded = rows.new_zeros(max(sizes), *rows.shape[1:], device=self._device())  # alike in shape on each
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in sizes]
        with _waiting("for the others' rows"):
            distributed.all_gather(parts, padded)
            return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)]).to(rows.device)

    def agreed(self, value: bool) -> bool:
        """The first rank's value, on every rank.

        Raises:
            ProcessLost: a rank died or did not answer in time.
        """
        if self.count == 1:
            return value
        return bool(self.total(torch.tensor(float(value and self.first))))

    def _spread(self, n: int) -> bool:
        return 1 < self.count <= n

    def _device(self) -> torch.device:
        """Return the device that the group's backend reads tensors from: NCCL on the GPU, gloo in memory."""
        return torch.device("cuda" if distributed.get_backend() == "nccl" else "cpu")


@contextmanager
def _waiting(where: str) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # of any backend; torch has no narrower class that all of them raise
        first = str(error).strip().splitlines()[0].split(". ")[0]
        raise ProcessLost(
            f"a rank died or did not answer, and this one waited in vain {where} ({first}); run the same command "
            "again to go on from here"
        ) from error
