"""The forecast of a run, without sampling or writing: its cells, those in the store, and the cost of the others."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.config.build import build_method, built_settings
from bench.config.suite import Suite
from bench.core.attributes import product
from bench.core.errors import ConfigError
from bench.core.plugins import ROOT
from bench.core.specs import ExtractorSpec
from bench.core.units import GIB
from bench.engine.options import Options
from bench.estimate.costs import (
    Expected,
    Measured,
    Pace,
    entry_bytes,
    expected,
    fit_seconds,
    nearest,
    rescaled,
    seconds,
    wall_hours,
)
from bench.estimate.skips import why_skipped
from bench.results.tables import read_records
from bench.storage.files import has_arrays

if TYPE_CHECKING:
    from bench.engine.cell_job import CellJob
    from bench.engine.preflight import RunPlan
    from bench.engine.resources import Resources
    from bench.estimate.memory import MemoryEstimate

COSTS = ("task", "method", "device", "nfe_per_image", "seconds_per_image", "fit_seconds")  # columns that are read
LONG_ENOUGH = 0.5  # seconds of a timed call: beyond that, more rows make it no more precise


@dataclass(frozen=True)
class Row:
    """A cell, and what is left to do of it.

    Attributes:
        task: attributes and target.
        method: its name in the tables.
        seed: of the cell.
        stored: images that the store has.
        left: images to draw.
        work: of the network, for what is left.
        seconds: for what is left, on one worker.
        source: where its seconds were measured.
        shared: True if another cell has the same samples.
        skipped: why it will not run, if that is known beforehand; its work is then 0.
    """

    task: str
    method: str
    seed: int
    stored: int
    left: int
    work: Expected
    seconds: float
    source: str
    shared: bool
    skipped: str = ""


@dataclass(frozen=True)
class Forecast:
    """The cells and the cost of a run that has not begun.

    Attributes:
        rows: one per cell, in the suite's order, and one per paired baseline that is not a cell.
        workers: number of workers that share the sampling.
        fit_seconds: upper bound on the fits before sampling.
        training_seconds: of the networks that methods train, unless they are shipped or cached.
        unmeasured: methods whose fit, if there is one, no run has measured.
        image_bytes: of an image in the store, features included.
        store_bytes: that the run would add to the store.
        longest: seconds of its longest guidance batch.
        memory: of the model on its device.
        compute_batch: largest number of rows that it runs on at once.
        targets: by task, the target's share of each class, in label order.
    """

    rows: tuple[Row, ...]
    workers: int
    fit_seconds: float
    training_seconds: float
    unmeasured: tuple[str, ...]
    image_bytes: float
    store_bytes: int
    longest: float
    memory: MemoryEstimate
    compute_batch: int
    targets: Mapping[str, Mapping[str, float]]

    @property
    def seconds(self) -> float:
        """Seconds of sampling on one worker."""
        return sum(row.seconds for row in self.rows)

    @property
    def hours(self) -> float:
        """Hours of sampling on all workers."""
        return wall_hours(self.seconds, self.longest, self.workers)

    @property
    def gib(self) -> float:
        """GiB that the run would add to the store."""
        return self.store_bytes / GIB


def forecast_run(suite: Suite, options: Options) -> Forecast:
    """Plan a run as `bench.engine.runner.run` does, and predict its cost by `bench.estimate.costs`.

    Raises:
        ConfigError: something in the suite or the options cannot be run.
    """
    from bench.engine.preflight import preflight
    from bench.engine.worker import fit_record
    from bench.estimate.memory import estimate_of

    plan = preflight(suite, options)
    clock = _Clock(plan)
    rows: list[Row] = []
    fits: dict[str, list[list[Measured]]] = {"sampling": [], "training": []}
    unmeasured: list[str] = []
    longest, planned = 0.0, set[str]()
    reasons = {job.sample_key: why_skipped(plan.resources, job) for job in _every(plan)}
    for job in _every(plan):
        cell = job.cell
        if reason := reasons[job.sample_key]:
            rows.append(Row(cell.task, cell.title, cell.seed, 0, 0, Expected(0, 0), 0.0, "", False, reason))
            continue
        shared = job.sample_key in planned
        planned.add(job.sample_key)
        stored = sum(n for folder, n in _shards(job) if has_arrays(folder, verify=False))
        left = 0 if shared else job.n - stored
        expected_work, near, spent, source = _work(plan.resources, job, left), list[Measured](), 0.0, ""
        if left:
            near, source = clock.measured(job)
            spent = seconds(expected_work, near, None if near else clock.pace)
            longest = max(longest, spent / left * min(left, job.sampling.guidance_batch))
        if left and not all(has_arrays(fit_record(part), verify=False) for part in job.parts):
            traits = build_method(cell.method, cell.fields).traits
            if near:
                fits[traits.stage].append(near)
            elif traits.needs - {"target", "classifier"}:  # which are given, not learnt
                unmeasured.append(cell.title)
        rows.append(Row(cell.task, cell.title, cell.seed, stored, left, expected_work, spent, source, shared))
    added, an_image = _bytes(plan, reasons)
    workers = options.cluster.workers if options.cluster else options.processes or options.local_workers
    return Forecast(
        tuple(rows),
        workers,
        fit_seconds(fits["sampling"]),
        fit_seconds(fits["training"]),
        tuple(dict.fromkeys(unmeasured)),
        an_image,
        added,
        longest,
        estimate_of(plan),
        plan.jobs[0].sampling.compute_batch,
        {c.task: dict(zip(product(c.attributes).classes, c.target, strict=True)) for c in (j.cell for j in plan.jobs)},
    )


def _every(plan: RunPlan) -> Iterator[CellJob]:
    """Yield the jobs of the cells, and after them the paired baselines that are no cells."""
    yield from plan.jobs
    cells = {job.sample_key for job in plan.jobs}
    baselines = {job.paired_baseline.sample_key: job.paired_baseline for job in plan.jobs if job.paired_baseline}
    yield from (baseline for key, baseline in baselines.items() if key not in cells)


def _shards(job: CellJob) -> Iterator[tuple[Path, int]]:
    """Yield folder and number of samples of every shard."""
    return zip(job.folders, (n for part in job.parts for _, n in part.shards()), strict=True)


def _work(resources: Resources, job: CellJob, images: int) -> Expected:
    from bench.sampling.loop import Sampler

    model = resources.model(job.parts[0].sampling.model, job.sampling.device)
    visited = Sampler.of(job.sampling.sampler).timesteps(model)
    method = build_method(job.cell.method, job.cell.fields)
    guided_steps = sum(float(model.alphas_cumprod[t]) > 0 for t in visited)
    traits = method.traits
    repeats = int(getattr(method, "repeats", 1))
    return expected(images, len(visited), guided_steps, repeats, traits.calls, traits.backward)


def _bytes(plan: RunPlan, reasons: Mapping[str, str]) -> tuple[int, float]:
    """Return the bytes that a run would add to the store (skipped cells left out), and those of one image."""
    import torch

    from bench.engine.resources import reference_blocks, reference_source
    from bench.storage.store import Store

    size, scoring, resources = plan.image_size, plan.scoring, plan.resources
    blank = torch.zeros(1, 3, size, size, dtype=torch.uint8)
    rows = {spec: _row_bytes(resources.extractor(spec).extract(blank)) for spec in scoring.extractors}
    samples = {"images": 3 * size * size, "assigned_class": 8}
    store, added = Store(plan.options.store), 0

    def missing(spec: ExtractorSpec, source: Path) -> bool:
        folder = store.features(spec.name, resources.extractor(spec).digest, source)
        return not has_arrays(folder, verify=False)

    for job in {job.sample_key: job for job in _every(plan) if not reasons[job.sample_key]}.values():
        for folder, n in _shards(job):
            added += 0 if has_arrays(folder, verify=False) else entry_bytes(samples, n)
            added += sum(entry_bytes(row, n) for spec, row in rows.items() if missing(spec, folder))
    for images in map(resources.images, scoring.reference_sets):
        for start, stop in reference_blocks(len(images)):
            source = reference_source(store, images.digest, start, stop)
            for spec in (spec for spec in scoring.features if "features" in rows[spec]):
                added += entry_bytes(rows[spec], stop - start) if missing(spec, source) else 0
    whole = plan.jobs[0].sampling.guidance_batch
    an_image = sum(entry_bytes(row, whole) for row in (samples, *rows.values())) / whole
    return added, an_image


def _row_bytes(arrays: dict[str, Any]) -> dict[str, int]:
    return {name: int(a.dtype.itemsize * math.prod(a.shape[1:])) for name, a in arrays.items()}


class _Clock:
    """Measured seconds: finished runs of the same model below `out`, the committed ones, and the model itself now."""

    def __init__(self, plan: RunPlan) -> None:
        self._plan = plan
        suite, out, digest, job = plan.suite.suite, plan.options.out, plan.context.model_digest, plan.jobs[0].parts[0]
        self._here = measured_runs(suite, out, digest, job)
        committed = ROOT / "leaderboards"
        elsewhere = committed.resolve() != out.resolve()
        self._committed = measured_runs(suite, committed, digest, job) if elsewhere else []

    @functools.cached_property
    def pace(self) -> Pace:
        """Seconds of the model on this machine, timed when they are first needed."""
        backward = any(m.traits.backward for m in built_settings(self._plan.suite))
        return _pace(self._plan.resources, self._plan.jobs[0].parts[0], backward)

    def measured(self, job: CellJob) -> tuple[list[Measured], str]:
        """Return the measurements that are closest to a cell, possibly none, and the source of its seconds."""
        names = (job.cell.method, job.cell.title, job.cell.task)
        if here := nearest(self._here, *names):
            return here, here[0].source
        if near := nearest(self._committed, *names):
            return rescaled(near, self._committed, self.pace), f"{near[0].source}, at the pace of this machine now"
        return [], self.pace.source


def measured_runs(suite: str, root: Path, model_digest: str, job: CellJob) -> list[Measured]:
    """Return the measurements of finished runs of the same model, precision and kind of device, this suite's first.

    A folder whose tables cannot be read is ignored: it decides no result.
    """
    rows: list[Measured] = []
    folders = (path.parent for path in sorted(root.glob("*/costs.csv")))
    for folder in sorted(folders, key=lambda f: f.name != suite):
        try:
            rows += _measured(folder, model_digest, job)
        except ConfigError:
            continue
    return rows


def _measured(folder: Path, model_digest: str, job: CellJob) -> list[Measured]:
    files = {}
    for row in read_records(folder / "results.csv", ("method", "method_file", "model_sha256", "precision")):
        if (row["model_sha256"], row["precision"]) != (model_digest, job.sampling.sampler.precision):
            return []
        files[row["method"]] = row["method_file"]
    rows = []
    for row in read_records(folder / "costs.csv", COSTS):
        title, calls = row["method"], row.required("nfe_per_image")
        if title in files and calls > 0 and row["device"].split(":")[0] == job.sampling.device.split(":")[0]:
            numbers = (calls, row.required("seconds_per_image"), row.required("fit_seconds"))
            rows.append(Measured(_shown(folder), files[title], title, row["task"], *numbers))
    return rows


def _shown(folder: Path) -> str:
    return str(folder.relative_to(ROOT)) if folder.is_relative_to(ROOT) else str(folder)


def _pace(resources: Resources, job: CellJob, backward: bool) -> Pace:
    """Time the model with a few calls on noise, on one thread as a worker has it."""
    import torch

    from bench.models.bf16 import cast_weights
    from bench.protocols.method import timestep
    from bench.sampling.timing import now_on

    model = resources.model(job.sampling.model, job.sampling.device)
    t = len(model.alphas_cumprod) // 2
    bf16 = job.sampling.sampler.precision == "bf16"

    def call(rows: int, gradient: bool = False) -> float:
        x = torch.randn(rows, *model.shape, generator=torch.Generator().manual_seed(0)).to(model.device, model.dtype)
        start = now_on(model.device)
        with torch.set_grad_enabled(gradient), torch.autocast(model.device.type, torch.bfloat16, enabled=bf16):
            out = model.denoise(
                x.requires_grad_(gradient), timestep(t, rows, x.device), timestep(0, rows, x.device), None
            )
        if gradient:
            torch.autograd.grad(out.float().sum(), x)
        return now_on(model.device) - start

    with _one_thread(), cast_weights(getattr(model, "network", None) if bf16 else None):
        rows = 1
        call(rows)
        while rows < job.sampling.compute_batch and call(rows) < LONG_ENOUGH:
            rows = min(2 * rows, job.sampling.compute_batch)
        forward = sorted(call(rows) for _ in range(3))[1]
        both = sorted(call(rows, gradient=True) for _ in range(3))[1] if backward else forward
    return Pace(forward / rows, max(both - forward, 0.0) / rows, f"timed now, {rows} rows")


@contextmanager
def _one_thread() -> Iterator[None]:
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
