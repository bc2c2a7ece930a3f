"""The training loop: AdamW with a one-cycle rate, averaged weights, checkpoints, exact resumption and progress."""

from __future__ import annotations

import io
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pickle import UnpicklingError

import torch
from torch import Tensor, nn

from bench.core.errors import ConfigError
from bench.core.progress import bar, console
from bench.protocols.cache import Checkpoint

Loss = Callable[[torch.Generator], Tensor]  # draws its own batch from the generator; returns a scalar


@dataclass(frozen=True)
class Budget:
    """Number of steps and learning rate of a training.

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


def train(module: nn.Module, loss: Loss, budget: Budget, checkpoint: Checkpoint, label: str) -> list[float]:
    """Train `module` in place and leave the averaged weights in it.

    Args:
        module: the network that `loss` runs; all its parameters are trained.
        loss: the loss of one step.
        budget: see `Budget`.
        checkpoint: resumed from where something was written, and written to; the caller removes it.
        label: shown beside the progress bar.

    Returns:
        The loss of every step, in order.

    Raises:
        ConfigError: the checkpoint is damaged or of another architecture, or the loss stopped being finite.
    """
    params = list(module.parameters())
    optimizer = torch.optim.AdamW(params, lr=budget.peak_lr, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, budget.peak_lr, total_steps=budget.steps + 1)
    average = [p.detach().clone() for p in params]
    losses = _resume(checkpoint, module, optimizer, schedule, average)
    if losses:
        console.print(f"resumed {label} at step {len(losses):,} of {budget.steps:,}")
    saved = time.monotonic()
    with bar() as progress:
        line = progress.add_task(label, total=budget.steps, completed=len(losses))
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
                    f"the loss of {label} is {losses[-1]} at step {step:,}; lower peak_lr or check the data"
                )
            recent = sum(losses[-100:]) / len(losses[-100:])
            progress.update(line, advance=1, description=f"{label}, loss {recent:.4f}")
            if time.monotonic() - saved > 60 * budget.checkpoint_minutes:
                _save(checkpoint, module, optimizer, schedule, average, losses)
                saved = time.monotonic()
                if not console.is_terminal:
                    console.print(f"{label}: step {step + 1:,} of {budget.steps:,}, loss {recent:.4f}")
        progress.remove_task(line)
    _save(checkpoint, module, optimizer, schedule, average, losses)  # the work after training may be interrupted too
    with torch.no_grad():
        for p, mean in zip(params, average, strict=True):
            p.copy_(mean)
    return losses


def _save(
    checkpoint: Checkpoint,
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    average: list[Tensor],
    losses: list[float],
) -> None:
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
    checkpoint.write(buffer.getvalue())


def _resume(
    checkpoint: Checkpoint,
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    average: list[Tensor],
) -> list[float]:
    """Load an unfinished training, and return its losses; none where there is no such training.

    Raises:
        ConfigError: the checkpoint is damaged or of another architecture.
    """
    try:
        data = checkpoint.read()
        if data is None:
            return []
        state = torch.load(io.BytesIO(data), weights_only=True)
        module.load_state_dict(state["module"])
        optimizer.load_state_dict(state["optimizer"])
        schedule.last_epoch = state["schedule"]
        for mean, stored in zip(average, state["average"], strict=True):
            mean.copy_(stored)
        losses: list[float] = state["losses"]
        return losses
    except (RuntimeError, LookupError, TypeError, ValueError, EOFError, OSError, UnpicklingError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ConfigError(f"cannot resume from {checkpoint}: {first}; delete it to start again") from error


def summary(losses: list[float]) -> dict[str, float | int]:
    """Return the record of a finished training: number of steps, mean loss of the first and the last hundred."""
    head, tail = losses[:100], losses[-100:]
    return {
        "steps": len(losses),
        "first_loss": round(sum(head) / len(head), 6),
        "final_loss": round(sum(tail) / len(tail), 6),
    }
