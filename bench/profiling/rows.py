"""The rows of profile.csv: one per method, device, batch, number of steps and stage."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.storage.files import write_bytes

WHOLE = "sampling"  # a batch from noise to images, measured without the stage clock


@dataclass(frozen=True)
class Row:
    """The cost of a stage.

    Attributes:
        method: the method's title.
        device: a torch device.
        batch: samples guided and computed together; None where the stage does not depend on it.
        steps: sampling steps; None likewise.
        stage: "build", "noise", "unet", "unet_backward", "guidance", "scheduler", "decode", `WHOLE`, "extract" or
            "evaluate".
        per: the unit of `seconds` and `flops`: "method", "step", "batch" or "cell".
        seconds: median.
        seconds_q1: first quartile.
        seconds_q3: third quartile.
        measured: number of measurements; 0 for a cached fit, whose seconds were measured when it was made.
        flops: floating-point operations of one batch, as `FlopCounter` counts them; None for "extract".
        ratio_to_vanilla: seconds divided by vanilla's of the same stage, device, batch and steps.
        images_per_second: of `WHOLE` only.
        nfe_per_image: network function evaluations, as in results.csv; of `WHOLE` only.
        backward_per_image: backward passes through the network; of `WHOLE` only.
        peak_rss_mib: the process's peak memory in MiB while `WHOLE` was measured.
        peak_device_mib: the accelerator's peak memory, likewise.
        unaccounted: fraction of a clocked pass that is in none of its stages (median).
        clock_cost: relative extra time of a clocked pass over the same batch without a clock (median). Synchronising
            the device at every change of stage costs time, and on a busy machine passes differ anyway.
    """

    method: str
    device: str
    batch: int | None
    steps: int | None
    stage: str
    per: str
    seconds: float
    seconds_q1: float | None = None
    seconds_q3: float | None = None
    measured: int = 1
    flops: int | None = None
    ratio_to_vanilla: float | None = None
    images_per_second: float | None = None
    nfe_per_image: float | None = None
    backward_per_image: float | None = None
    peak_rss_mib: float | None = None
    peak_device_mib: float | None = None
    unaccounted: float | None = None
    clock_cost: float | None = None

    @property
    def setting(self) -> tuple[str, int | None, int | None]:
        """Device, batch and steps, which two methods must share to be compared."""
        return self.device, self.batch, self.steps


def summary(seconds: Sequence[float]) -> dict[str, float | int]:
    """Return median, quartiles and number of measurements, as fields of a row."""
    q1, median, q3 = np.quantile(np.asarray(seconds, dtype=np.float64), (0.25, 0.5, 0.75)).tolist()
    return {"seconds": median, "seconds_q1": q1, "seconds_q3": q3, "measured": len(seconds)}


def with_ratios(rows: Sequence[Row], vanilla: str | None) -> list[Row]:
    """Return the rows with their ratios to the method with this title."""
    base = {(r.setting, r.stage): r.seconds for r in rows if r.method == vanilla}
    return [
        dataclasses.replace(r, ratio_to_vanilla=r.seconds / vanilla_seconds)
        if (vanilla_seconds := base.get((r.setting, r.stage))) and r.stage != "build"
        else r
        for r in rows
    ]


def write(path: Path, rows: Sequence[Row]) -> None:
    """Write profile.csv."""
    from bench.core.csv_text import to_csv

    write_bytes(path, to_csv([dataclasses.asdict(r) for r in rows]).encode())
