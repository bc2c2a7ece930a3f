"""One training of one network with THE training loop, and what it cost."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from bench.models.counting import Counts
from bench.protocols.method import Cost
from bench.training.loop import Budget, Loss, train


class Trainer:
    """Trains networks, and counts the rows that go forward and back through all that are `counted`."""

    def __init__(self) -> None:
        self.counts = Counts()

    def counted(self, network: nn.Module) -> Callable[[Tensor, Tensor], Tensor]:
        """The network as a function of (x, t), on the tally."""

        def count_backward(gradient: Tensor) -> None:
            self.counts.backward_rows += len(gradient)

        def run(x: Tensor, t: Tensor) -> Tensor:
            out: Tensor = network(x, t)
            self.counts.forward_rows += len(x)
            if out.requires_grad:
                out.register_hook(count_backward)
            return out

        return run

    def train(
        self, network: nn.Module, loss: Loss, budget: Budget, checkpoint: Path, what: str
    ) -> tuple[list[float], Cost]:
        """Train in place, or go on from the checkpoint, and freeze.

        Returns:
            The loss of every step, and the cost of all steps. Of a training that was interrupted, it is the cost of
            the steps run now times the share of all steps that they are.
        """
        before, ran, start = dataclasses.astuple(self.counts), 0, time.perf_counter()

        def tallied(g: torch.Generator) -> Tensor:
            nonlocal ran
            ran += 1
            return loss(g)

        with torch.enable_grad():
            losses = train(network.train(), tallied, budget, checkpoint, what)
            if not ran:  # the checkpoint held every step: one more, which changes nothing, tells what they cost
                tallied(torch.Generator().manual_seed(budget.seed)).backward()
        seconds = time.perf_counter() - start
        network.eval().requires_grad_(False)
        forward, backward = (now - then for now, then in zip(dataclasses.astuple(self.counts), before, strict=True))
        whole = budget.steps / ran
        return losses, Cost(seconds * whole, forward * whole, backward * whole)
