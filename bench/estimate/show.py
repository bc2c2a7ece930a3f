"""The forecast of a run, on the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bench.core.progress import console as terminal
from bench.core.units import GIB, MIB

if TYPE_CHECKING:
    from bench.engine.preflight import RunPlan
    from bench.estimate.forecast import Forecast, Row

HEADS = ("task", "method", "seed", "stored", "to draw", "calls", "backward", "hours", "seconds measured by")


def show_forecast(suite: str, forecast: Forecast, console: Console) -> None:
    """Print one line per cell, and the sums."""
    table = Table(title=f"suite {suite}: what a run would do")
    for head in HEADS:
        table.add_column(head, justify="left" if head in (*HEADS[:2], HEADS[-1]) else "right")
    for row in forecast.rows:
        table.add_row(*map(escape, _line(row)))
    console.print(table)
    for task, shares in forecast.targets.items():
        classes = ", ".join(f"{name} {share:g}" for name, share in shares.items())
        console.print(f"target of {task}: {classes}", markup=False, highlight=False, soft_wrap=True)
    for line in _sums(forecast):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _line(row: Row) -> tuple[str, ...]:
    start = (row.task, row.method, str(row.seed), f"{row.stored:,}")
    if row.skipped:
        return (*start[:3], "", "", "", "", "", f"skipped: {row.skipped}")
    if row.shared:
        return (*start, "0", "", "", "", "same samples as a cell above")
    numbers = (f"{row.left:,}", f"{row.work.calls:,.0f}", f"{row.work.backward:,.0f}", f"{row.seconds / 3600:.3g}")
    return (*start, *numbers, row.source)


def _sums(forecast: Forecast) -> list[str]:
    skipped = sum(bool(row.skipped) for row in forecast.rows)
    rows, workers = [row for row in forecast.rows if not row.skipped], forecast.workers
    calls, backward = sum(r.work.calls for r in rows), sum(r.work.backward for r in rows)
    lines = [
        f"cells: {len(rows)}, finished {sum(not r.left and not r.shared for r in rows)}, sharing another's samples "
        f"{sum(r.shared for r in rows)}{f'; skipped {skipped}' if skipped else ''}",
        f"to do: {sum(r.left for r in rows):,} images, {calls:,.0f} denoiser calls, {backward:,.0f} backward passes",
        f"hours: {forecast.hours:.3g} of sampling on {workers} worker{'s' if workers > 1 else ''} "
        f"({forecast.seconds / 3600:.3g} on one)",
    ]
    if forecast.fit_seconds:
        lines.append(f"hours: at most {forecast.fit_seconds / 3600:.3g} of fits on one worker")
    if forecast.training_seconds:
        lines.append(
            f"hours: {forecast.training_seconds / 3600:.3g} of training on one worker, none where the weights are "
            "shipped or cached"
        )
    if forecast.unmeasured:
        lines.append(f"not known: the fits of {', '.join(forecast.unmeasured)}")
    lines += [
        _memory(forecast),
        f"GiB: {forecast.gib:.3g} in the store ({forecast.image_bytes / 1024:.1f} KiB per image, features included)",
        "not included: classifiers and features, metrics, references that are not drawn yet",
    ]
    return lines


def _memory(forecast: Forecast) -> str:
    memory, rows = forecast.memory, forecast.compute_batch
    passes = "a call and its backward pass" if memory.gradient else "a call"
    decoding = f", {memory.image / MIB:.3g} MiB per decoded image" if memory.image else ""
    return (
        f"memory: about {memory.peak(rows) / GIB:.3g} GiB per worker for the model at a compute batch of {rows} "
        f"({memory.weights / MIB:.3g} MiB of weights, {memory.row / MIB:.3g} MiB per row in {passes}{decoding})"
    )


def warn_of_memory(plan: RunPlan) -> None:
    """Warn before a run on GPUs of this machine whose memory will run short.

    Raises:
        ConfigError: not even one image fits.
    """
    from bench.estimate.memory import memory_warning  # which loads torch

    warning = None if plan.options.cluster else memory_warning(plan)
    if warning:
        terminal.print(warning, markup=False, soft_wrap=True)
