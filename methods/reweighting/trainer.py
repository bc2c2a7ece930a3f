"""One training of one network with the shared training loop, and its cost."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from bench.protocols.cache import Checkpoint
from bench.protocols.counting import Counts
from bench.protocols.method import Cost
from bench.training.loop import Budget, Loss, train


class Trainer:
    """Trains networks, and counts the rows that go forward and backward through all networks that are `counted`."""

    def __init__(self) -> None:
        self.counts = Counts()

    def counted(self, network: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
        """Return the network as a function of (x, t) that counts its rows."""

        def count_backward(gradient: Tensor) -> None:
            self.counts.backward_rows += len(gradient)

        def call(x: Tensor, t: Tensor) -> Tensor:
            out: Tensor = network(x, t)
            self.counts.forward_rows += len(x)
            if out.requires_grad:
                out.register_hook(count_backward)
            return out

        return call

    def train(
        self, network: nn.Module, loss: Loss, budget: Budget, checkpoint: Checkpoint, label: str
    ) -> tuple[list[float], Cost]:
        """Train a network in place, or resume from the checkpoint, and freeze it.

        Args:
            network: holds the parameters that are trained. Its mode stays as it is: a model's copy is in evaluation
                mode, since dropout would draw from the global generator, and a resumed training would not repeat an
                unbroken one.
            loss: the loss of one step.
            budget: number of steps and learning rate.
            checkpoint: of an unfinished training.
            label: shown beside the progress.

        Returns:
            The loss of every step, and the cost of all steps. For a training that was interrupted, the cost is that
            of the steps run now, scaled up to the number of all steps.
        """
        before, n_steps, start = dataclasses.astuple(self.counts), 0, time.perf_counter()

        def counted_loss(g: torch.Generator) -> Tensor:
            nonlocal n_steps
            n_steps += 1
            return loss(g)

        with torch.enable_grad():
            losses = train(network, counted_loss, budget, checkpoint, label)
            if not n_steps:  # the checkpoint holds every step: one more, which changes nothing, measures their cost
                counted_loss(torch.Generator().manual_seed(budget.seed)).backward()
        seconds = time.perf_counter() - start
        network.eval().requires_grad_(False)
        forward, backward = (now - then for now, then in zip(dataclasses.astuple(self.counts), before, strict=True))
        scale = budget.steps / n_steps
        return losses, Cost(seconds * scale, forward * scale, backward * scale)
