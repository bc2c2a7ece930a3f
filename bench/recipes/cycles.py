"""Several trainings of one network, one after another, with a checkpoint file per training."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from bench.storage.fits import FileCheckpoint
from bench.training.loop import Budget, Loss, train


def train_cycles(module: nn.Module, loss: Loss, budgets: list[Budget], checkpoint: Path, label: str) -> list[float]:
    """Train `module` with one budget after another, each from the averaged weights of the previous one.

    Args:
        module: the network that `loss` runs; all its parameters are trained.
        loss: the loss of one step.
        budgets: one per cycle, at least one.
        checkpoint: file of the first cycle; the file of cycle k has "-k" in its name. The caller removes them.
        label: shown beside the progress bar.

    Returns:
        The loss of every step of every cycle, in order.

    Raises:
        ConfigError: a checkpoint is damaged or of another architecture, or the loss stopped being finite.
    """
    files = [checkpoint.with_stem(f"{checkpoint.stem}-{k}" if k else checkpoint.stem) for k in range(len(budgets))]
    cycles = [train(module, loss, b, FileCheckpoint(file), label) for b, file in zip(budgets, files, strict=True)]
    return [value for losses in cycles for value in losses]
