"""The one training loop: one-cycle AdamW with EMA, checkpoints, exact resumption, progress with an ETA."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError

import torch
from torch import Tensor, nn

from bench.core.errors import ConfigError
from bench.core.progress import bar, console
from bench.storage.files import write_bytes

Loss = Callable[[torch.Generator], Tensor]  # draws its own batch from the generator; returns a scalar


@dataclass(frozen=True)
class Budget:
    """How long and how fast to train.

    Attributes:
        steps: optimiser steps, >= 1.
        peak_lr: the one-cycle schedule's highest learning rate.
        ema: decay of the averaged weights, in [0, 1); 0 keeps the last weights.
        seed: of every random draw; step k draws from (seed, k) alone, so a resumed run repeats an unbroken one.
        checkpoint_minutes: time between checkpoints.
    """

    steps: int
    peak_lr: float
    ema: float
    seed: int
    checkpoint_minutes: float


def train(module: nn.Module, loss: Loss, budget: Budget, checkpoint: Path, what: str) -> list[float]:
    """Train `module` in place and leave the averaged weights in it.

    Args:
        module: what `loss` runs; its parameters are trained.
        loss: the loss of one step.
        budget: see `Budget`.
        checkpoint: the file to resume from, if it exists, and to write to; removed by the caller when done.
        what: shown beside the progress bar.

    Returns:
        The loss of every step, in order.

    Raises:
        ConfigError: the checkpoint is damaged or of another architecture, or the loss stopped being finite.
    """
    params = list(module.parameters())
    optimizer = torch.optim.AdamW(params, lr=budget.peak_lr, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, budget.peak_lr, total_steps=budget.steps + 1)
    average = [p.detach().clone() for p in params]
    losses: list[float] = []
    if checkpoint.is_file():
        losses = _resume(checkpoint, module, optimizer, schedule, average)
        console.print(f"resumed {what} at step {len(losses):,} of {budget.steps:,}")
    saved = time.monotonic()
    with bar() as progress:
        line = progress.add_task(what, total=budget.steps, completed=len(losses))
        for step in range(len(losses), budget.steps):
            value = loss(torch.Generator().manual_seed(budget.seed * 1_000_003 + step))
            optimizer.zero_grad(set_to_none=True)
            value.backward()
            nn.utils.clip_grad_norm_(params, 1.0)
            optimizer.step()
            schedule.step()
            decay = min(budget.ema, (1 + step) / (10 + step))  # the average forgets the random start quickly
            torch._foreach_lerp_(average, [p.detach() for p in params], 1 - decay)
            losses.append(value.item())
            if not math.isfinite(losses[-1]):
                raise ConfigError(
                    f"the loss of {what} is {losses[-1]} at step {step:,}; lower peak_lr or check the data"
                )
            recent = sum(losses[-100:]) / len(losses[-100:])
            progress.update(line, advance=1, description=f"{what}, loss {recent:.4f}")
            if time.monotonic() - saved > 60 * budget.checkpoint_minutes:
                _save(checkpoint, module, optimizer, schedule, average, losses)
                saved = time.monotonic()
                if not console.is_terminal:
                    console.print(f"{what}: step {step + 1:,} of {budget.steps:,}, loss {recent:.4f}")
        progress.remove_task(line)
    _save(checkpoint, module, optimizer, schedule, average, losses)  # whatever comes next may be killed too
    with torch.no_grad():
        for p, mean in zip(params, average, strict=True):
            p.copy_(mean)
    return losses


def train_cycles(module: nn.Module, loss: Loss, budgets: list[Budget], checkpoint: Path, what: str) -> list[float]:
    """Train `module` with one budget after another, each from the averaged weights of the one before it.

    Args:
        module: as in `train`.
        loss: as in `train`.
        budgets: one a cycle, at least one.
        checkpoint: of the first cycle; cycle k's has "-k" in its name. All are left for the caller to remove.
        what: shown beside the progress bar.

    Returns:
        The loss of every step of every cycle, in order.

    Raises:
        ConfigError: as in `train`.
    """
    files = [checkpoint.with_stem(f"{checkpoint.stem}-{k}" if k else checkpoint.stem) for k in range(len(budgets))]
    cycles = [train(module, loss, b, file, what) for b, file in zip(budgets, files, strict=True)]
    return [value for losses in cycles for value in losses]


def _save(
    path: Path,
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    average: list[Tensor],
    losses: list[float],
) -> None:
    import io

    buffer = io.BytesIO()
    torch.save(
        {
            "module": module.state_dict(),
            "optimizer": optimizer.state_dict(),
            "schedule": schedule.last_epoch,
            "average": average,
            "losses": losses,
        },
        buffer,
    )
    write_bytes(path, buffer.getvalue())


def _resume(
    path: Path,
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    average: list[Tensor],
) -> list[float]:
    try:
        state = torch.load(path, weights_only=True)
        module.load_state_dict(state["module"])
        optimizer.load_state_dict(state["optimizer"])
        schedule.last_epoch = state["schedule"]
        for mine, stored in zip(average, state["average"], strict=True):
            mine.copy_(stored)
        losses: list[float] = state["losses"]
        return losses
    except (RuntimeError, LookupError, TypeError, ValueError, EOFError, OSError, UnpicklingError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ConfigError(f"cannot resume from {path}: {first}; delete it to start again") from error


def summary(losses: list[float]) -> dict[str, float | int]:
    """What to record of a finished run: its steps, and the mean loss of its first and last hundred."""
    head, tail = losses[:100], losses[-100:]
    return {
        "steps": len(losses),
        "first_loss": round(sum(head) / len(head), 6),
        "final_loss": round(sum(tail) / len(tail), 6),
    }
