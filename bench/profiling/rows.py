"""The rows of profile.csv: one a method, device, batch, number of steps and stage."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.storage.files import write_bytes

WHOLE = "sampling"  # a batch from noise to images, measured without a stage's clock


@dataclass(frozen=True)
class Row:
    """A stage's cost.

    Attributes:
        method: the method's title.
        device: a torch device.
        batch: samples steered and computed together; None where the stage does not depend on it.
        steps: sampling steps; None likewise.
        stage: "build", "noise", "unet", "unet_backward", "guidance", "scheduler", "decode", `WHOLE`, "extract" or
            "evaluate".
        per: what `seconds` and `flops` are of: "method", "step", "batch" or "cell".
        seconds: median.
        seconds_q1: first quartile.
        seconds_q3: third quartile.
        measured: number of measurements; 0 for a fit that was kept, whose seconds are those when it was made.
        flops: floating-point operations as `FlopCounter` counts them, of one batch; not of "extract".
        ratio_to_vanilla: seconds over those of vanilla's same stage on the same device, batch and steps.
        images_per_second: of `WHOLE`.
        nfe_per_image: denoiser calls, as in results.csv; of `WHOLE`.
        backward_per_image: backward passes through the network, likewise.
        peak_rss_mib: the process's high-water mark in MiB while `WHOLE` was measured.
        peak_device_mib: the accelerator's.
        unaccounted: the part of a pass under the clock, timed as a whole, that its stages do not add up to (median).
        clock_cost: how much longer that pass took than the same batch without a clock, as a part (median); waiting for
            the device at every change of stage costs time, and on a busy machine two passes differ by themselves.
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
        """What two methods must share to be compared: device, batch and steps."""
        return self.device, self.batch, self.steps


def summary(seconds: Sequence[float]) -> dict[str, float | int]:
    """Median, quartiles and number of some measurements, as a row's fields."""
    q1, median, q3 = np.quantile(np.asarray(seconds, dtype=np.float64), (0.25, 0.5, 0.75)).tolist()
    return {"seconds": median, "seconds_q1": q1, "seconds_q3": q3, "measured": len(seconds)}


def with_ratios(rows: Sequence[Row], vanilla: str | None) -> list[Row]:
    """The rows with their ratios to the method of that title."""
    base = {(r.setting, r.stage): r.seconds for r in rows if r.method == vanilla}
    return [
        dataclasses.replace(r, ratio_to_vanilla=r.seconds / own)
        if (own := base.get((r.setting, r.stage))) and r.stage != "build"
        else r
        for r in rows
    ]


def write(path: Path, rows: Sequence[Row]) -> None:
    """Write profile.csv."""
    from bench.core.csv_text import to_csv

    write_bytes(path, to_csv([dataclasses.asdict(r) for r in rows]).encode())
