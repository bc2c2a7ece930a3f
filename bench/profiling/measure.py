"""Measure one method at one batch and number of steps: every stage after a warm-up, and a whole pass."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.config.build import build_method
from bench.core.errors import ConfigError
from bench.engine.cell_job import CellJob
from bench.engine.resources import Resources
from bench.engine.scoring import score
from bench.engine.worker import build_on
from bench.profiling.clock import Clock
from bench.profiling.flops import FlopCounter
from bench.profiling.memory import peak_device, peak_rss, reset_peaks
from bench.profiling.rows import WHOLE, Row, summary
from bench.profiling.timed import STEP_STAGES, Timed, sample_timed
from bench.protocols.counting import Counts
from bench.protocols.method import Batch, Guided
from bench.protocols.model import DiffusionModel
from bench.sampling.loop import Sampler, draw_batch
from bench.sampling.timing import now_on

TRACED_STEPS = 3  # of a Chrome trace: enough to show a step in a file that a browser can open


@dataclass(frozen=True)
class Built:
    """A method, built on a model with a clock.

    Attributes:
        resources: of this process.
        job: the cell's job.
        model: the model that the guided denoiser asks.
        guided: what `build` returned.
        network_only: whether the method trained a network that is its whole denoiser.
    """

    resources: Resources
    job: CellJob
    model: Timed
    guided: Guided
    network_only: bool

    @property
    def sampler(self) -> Sampler:
        """The suite's sampler."""
        return Sampler.of(self.job.sampling.sampler)

    def batch(self, size: int, number: int = 0) -> Batch:
        """Return guidance batch `number` of this size, computed at once."""
        index = torch.arange(number * size, (number + 1) * size)
        return Batch(index, torch.zeros(size, dtype=torch.int64, device=self.model.device), size)


def build(resources: Resources, job: CellJob, model: DiffusionModel) -> tuple[Built, Row]:
    """Build a method, and return it with the row of the time that took."""
    timed = Timed(model)
    plain: Any = timed
    network_only = build_method(job.cell.method, job.cell.fields).traits.stage == "training"
    start = time.perf_counter()
    guided = build_on(resources, job, plain)
    seconds = time.perf_counter() - start
    cached = guided.cost.seconds > seconds  # the cost of a cached fit is that of making it
    row = Row(
        *(job.cell.title, job.sampling.device, None, job.sampling.sampler.steps, "build", "method"),
        seconds=max(seconds, guided.cost.seconds),
        measured=int(not cached),
    )
    return Built(resources, job, timed, guided, network_only), row


def measure(built: Built, size: int, rounds: int) -> list[Row]:
    """Measure one batch size, and return its rows.

    The first pass warms up and counts the FLOPs. Every following round draws a new guidance batch twice, with and
    without a clock, in alternating order, so that a machine that slows down affects both equally.
    """
    device = built.model.device
    with FlopCounter() as counter:
        flops = Clock(device, counter.get_total_flops)
        _with_clock(built, built.batch(size), flops)
    clocks = [Clock(device) for _ in range(rounds)]
    plain: list[float] = []
    timed: list[float] = []
    built.model.counts = Counts()
    reset_peaks(device)
    for number, clock in enumerate(clocks):
        batch = built.batch(size, number)
        if number % 2:
            plain.append(_plainly(built, batch))
        start = now_on(device)
        images = _with_clock(built, batch, clock)
        timed.append(now_on(device) - start)
        if not number % 2:
            plain.append(_plainly(built, batch))
        _extract(built, images, clock)
    whole, drawn = summary(plain), 2 * rounds * size
    sampled = np.array([sum(s for stage, s in clock.seconds.items() if stage != "extract") for clock in clocks])
    measured = {
        "images_per_second": size / whole["seconds"],
        "nfe_per_image": built.model.counts.forward_rows / drawn,
        "backward_per_image": built.model.counts.backward_rows / drawn,
        "peak_rss_mib": peak_rss(),
        "peak_device_mib": peak_device(device),
        "unaccounted": float(np.median(1 - sampled / np.array(timed))),
        "clock_cost": float(np.median(np.array(timed) / np.array(plain) - 1)),
        "flops": sum(flops.flops.values()),
    }
    return [*_stages(built, size, clocks, flops), _row(built, size, WHOLE, "batch", **whole, **measured)]


def _row(built: Built, size: int | None, stage: str, per: str, **fields: Any) -> Row:
    sampling = built.job.sampling
    return Row(built.job.cell.title, sampling.device, size, sampling.sampler.steps, stage, per, **fields)


def _stages(built: Built, size: int, clocks: Sequence[Clock], flops: Clock) -> list[Row]:
    steps = [step for clock in clocks for step in clock.steps]
    rows = []
    for stage in ("noise", *STEP_STAGES, "decode", "extract"):
        if not any(clock.seconds[stage] for clock in clocks):
            continue  # no gradient, or no guidance
        per_step = stage in STEP_STAGES
        values = [step.get(stage, 0.0) for step in steps] if per_step else [clock.seconds[stage] for clock in clocks]
        operations = None if stage == "extract" else flops.flops[stage] // (len(flops.steps) if per_step else 1)
        rows.append(_row(built, size, stage, "step" if per_step else "batch", **summary(values), flops=operations))
    return rows


def _plainly(built: Built, batch: Batch) -> float:
    """Return the seconds of a batch drawn as in `bench.engine.worker`."""
    model: Any = built.model
    seed, guided, device = built.job.cell.seed, built.guided, built.model.device
    start = now_on(device)
    model.decode(draw_batch(model, guided, built.sampler, batch, seed)).cpu()
    return now_on(device) - start


def _with_clock(built: Built, batch: Batch, clock: Clock) -> Tensor:
    """The images of the same batch, drawn under the clock."""
    seed = built.job.cell.seed
    return sample_timed(built.model, built.guided, built.sampler, batch, seed, clock, built.network_only)


def _extract(built: Built, images: Tensor, clock: Clock) -> None:
    with clock.within("extract"):
        for spec in built.job.scoring.extractors:
            built.resources.extractor(spec).extract(images)


def evaluation(built: Built, rounds: int) -> Row | None:
    """Return the row of the suite's metrics on a cell that has been run; None where the store does not have it.

    Args:
        built: the method.
        rounds: number of measurements, after one that reads the reference.
    """

    def evaluate() -> float:
        start = time.perf_counter()
        score(built.resources, built.job)
        return time.perf_counter() - start

    try:
        evaluate()
    except ConfigError:
        return None
    return _row(built, None, "evaluate", "cell", **summary([evaluate() for _ in range(rounds)]))


def trace(built: Built, size: int, path: Path, write: Callable[[Path, bytes], None]) -> None:
    """Write a Chrome trace of the first steps of a guidance batch; a browser opens it (chrome://tracing, Perfetto)."""
    import tempfile

    from torch.profiler import ProfilerActivity, profile

    activities = [ProfilerActivity.CPU]
    if built.model.device.type == "cuda":
        activities.append(ProfilerActivity.CUDA)
    short = dataclasses.replace(built.sampler, steps=min(TRACED_STEPS, built.sampler.steps))
    plain: Any = built.model
    with profile(activities=activities) as profiler:
        draw_batch(plain, built.guided, short, built.batch(size), built.job.cell.seed)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(file))
        write(path, file.read_bytes())
