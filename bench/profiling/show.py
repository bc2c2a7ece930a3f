"""A profile on the terminal: one line per method, device, batch and number of steps."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bench.profiling.profile import Profile
from bench.profiling.rows import WHOLE, Row

PER_STEP = ("unet", "unet_backward", "guidance", "scheduler")
PER_BATCH = ("noise", "decode", "extract")


def show(profiled: Profile, console: Console) -> None:
    """Print the tables, and notes on missing measurements."""
    rows = profiled.rows
    for table in (_sampling(rows), _by_stage(rows), _once(rows)):
        if table.row_count:
            console.print(table)
    notes = list(profiled.notes)
    if profiled.unclassified:
        names = ", ".join(dict.fromkeys(profiled.unclassified))
        notes.append(f"evaluate is measured only for cells that have been run; run the suite first for: {names}")
    for note in notes:
        console.print(note, markup=False, highlight=False, soft_wrap=True)


def _sampling(rows: Sequence[Row]) -> Table:
    heads = ("images/s", "x vanilla's time", "NFE", "backward", "GFLOP/image", "peak MiB")
    table = _table("sampling, from noise to images", (*heads, "unaccounted", "clock overhead"))
    for r in rows:
        if r.stage == WHOLE:
            table.add_row(
                *_setting(r),
                f"{r.images_per_second:.3g}",
                _number(r.ratio_to_vanilla, ".2f"),
                *(f"{r.nfe_per_image:g}", f"{r.backward_per_image:g}"),
                f"{(r.flops or 0) / (r.batch or 1) / 1e9:.3g}",
                _number(r.peak_device_mib or r.peak_rss_mib, ",.0f"),
                _number(r.unaccounted, ".2%"),
                _number(r.clock_cost, "+.1%"),
            )
    table.caption = (
        "Medians; one thread on a CPU. NFE and backward: network function evaluations and backward passes per image. "
        "peak: memory of the accelerator, else of the process. unaccounted: share of the time in none of the stages. "
        "clock overhead: extra time of a batch while its stages are timed."
    )
    return table


def _by_stage(rows: Sequence[Row]) -> Table:
    title = "milliseconds per step (unet to scheduler) and per batch (noise to extract)"
    table = _table(title, [stage.replace("_", " ") for stage in (*PER_STEP, *PER_BATCH)])
    stages = {(r.method, r.setting, r.stage): r for r in rows}
    for whole in (r for r in rows if r.stage == WHOLE):
        of_setting = [stages.get((whole.method, whole.setting, stage)) for stage in (*PER_STEP, *PER_BATCH)]
        shown = ["-" if r is None else f"{_figure(1000 * r.seconds)} ± {_figure(_half_iqr(r))}" for r in of_setting]
        table.add_row(*_setting(whole), *shown)
    table.caption = "medians ± half the interquartile range"
    return table


def _once(rows: Sequence[Row]) -> Table:
    table = Table(title="seconds per method (build) and per cell (evaluate)")
    for head in ("method", "device", "steps", "stage", "seconds", "measured"):
        table.add_column(head, justify="right" if head == "seconds" else "left")
    for r in rows:
        if r.stage in ("build", "evaluate"):
            measured = f"{r.measured} x" if r.measured else "at its fit; cached since"
            table.add_row(escape(r.method), r.device, str(r.steps), r.stage, f"{r.seconds:.3g}", measured)
    return table


def _table(title: str, heads: Sequence[str]) -> Table:
    table = Table(title=title)
    table.add_column("method", no_wrap=True)
    for head in ("device", "batch", "steps", *heads):
        table.add_column(head, justify="right")
    return table


def _setting(row: Row) -> tuple[str, ...]:
    return escape(row.method), row.device, str(row.batch), str(row.steps)


def _half_iqr(row: Row) -> float:
    assert row.seconds_q1 is not None
    assert row.seconds_q3 is not None
    return 500 * (row.seconds_q3 - row.seconds_q1)


def _figure(value: float) -> str:
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
