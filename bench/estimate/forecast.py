"""What a run would do, without sampling or writing: its cells, what is stored of them, and what the rest will cost."""

from __future__ import annotations

import csv
import functools
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.config.build import build_method, built_methods
from bench.config.suite import Suite
from bench.core.plugins import ROOT
from bench.engine.options import Options
from bench.engine.preflight import checked
from bench.estimate.costs import (
    GIB,
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
from bench.storage.files import has_arrays

if TYPE_CHECKING:
    from bench.engine.work import Work
    from bench.estimate.memory import MemoryEstimate

LONG_ENOUGH = 0.5  # seconds of a timed call: beyond, more rows tell no more


@dataclass(frozen=True)
class Row:
    """A cell and what is left of it.

    Attributes:
        task: attributes and target.
        method: what the tables call it.
        seed: of the cell.
        stored: images that the store has.
        left: images to draw.
        asked: of the network, for what is left.
        seconds: for what is left, on one worker.
        source: where its seconds were measured.
        shared: whether another cell's samples are this one's.
        skipped: why it will not run, where that is known beforehand; it then asks for nothing.
    """

    task: str
    method: str
    seed: int
    stored: int
    left: int
    asked: Expected
    seconds: float
    source: str
    shared: bool
    skipped: str = ""


@dataclass(frozen=True)
class Forecast:
    """What a run would do.

    Attributes:
        rows: one a cell, in the suite's order, and one a paired baseline that is not a cell.
        workers: that sampling is spread over.
        fit_seconds: of what methods learn before they sample, at most.
        training_seconds: of the networks that methods train, unless they are shipped or kept.
        unmeasured: methods whose learning, if there is any, nobody has measured.
        image_bytes: of an image in the store, with what every extractor makes of it.
        store_bytes: that the run would add.
        longest: seconds of its longest guidance batch.
        memory: of the model where it runs.
        compute_batch: largest number of rows that it runs on at once.
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

    @property
    def seconds(self) -> float:
        """Of sampling, on one worker."""
        return sum(row.seconds for row in self.rows)

    @property
    def hours(self) -> float:
        """Of sampling, on all workers."""
        return wall_hours(self.seconds, self.longest, self.workers)

    @property
    def gib(self) -> float:
        """That the run would add to the store."""
        return self.store_bytes / GIB


def foresee(suite: Suite, options: Options) -> Forecast:
    """Plan a run as `bench.engine.runner.run` does, and reckon it by `bench.estimate.costs`.

    Raises:
        ConfigError: something in the suite or the options cannot be run.
    """
    from bench.engine.worker import fit_record
    from bench.estimate.memory import estimate_of

    works, size, _ = checked(suite, options)
    clock = _Clock(suite, options.out, works[0][0].parts[0], works[0][1].model_digest)
    rows: list[Row] = []
    fits: dict[str, list[list[Measured]]] = {"sampling": [], "training": []}
    unmeasured: list[str] = []
    longest, seen = 0.0, set[str]()
    reasons = {work.sample_key: why_skipped(work) for work in _every(works)}
    for work in _every(works):
        cell = work.cell
        if reason := reasons[work.sample_key]:
            rows.append(Row(cell.task, cell.title, cell.seed, 0, 0, Expected(0, 0), 0.0, "", False, reason))
            continue
        shared = work.sample_key in seen
        seen.add(work.sample_key)
        stored = sum(n for folder, n in _shards(work) if has_arrays(folder, verify=False))
        left = 0 if shared else work.n - stored
        asked, near, spent, source = _asked(work, left), list[Measured](), 0.0, ""
        if left:
            near, source = clock.measured(work)
            spent = seconds(asked, near, None if near else clock.pace)
            longest = max(longest, spent / left * min(left, work.guidance_batch))
        if left and not all(has_arrays(fit_record(part), verify=False) for part in work.parts):
            traits = build_method(cell.method, cell.fields).traits
            if near:
                fits[traits.stage].append(near)
            elif traits.needs - {"target", "classifier"}:  # which are given, not learnt
                unmeasured.append(cell.title)
        rows.append(Row(cell.task, cell.title, cell.seed, stored, left, asked, spent, source, shared))
    added, an_image = _bytes(suite, works, size, reasons)
    workers = options.cluster.workers if options.cluster else options.processes or options.workers
    return Forecast(
        tuple(rows),
        workers or (1 if options.device != "cpu" else os.cpu_count() or 1),
        fit_seconds(fits["sampling"]),
        fit_seconds(fits["training"]),
        tuple(dict.fromkeys(unmeasured)),
        an_image,
        added,
        longest,
        estimate_of(suite, works[0][0]),
        works[0][0].compute_batch,
    )


def _every(works: Sequence[tuple[Work, Any]]) -> Iterator[Work]:
    """The cells, and after them the paired baselines that are no cells."""
    yield from (work for work, _ in works)
    cells = {work.sample_key for work, _ in works}
    paired_baselines = {
        work.paired_baseline.sample_key: work.paired_baseline for work, _ in works if work.paired_baseline
    }
    yield from (paired_baseline for key, paired_baseline in paired_baselines.items() if key not in cells)


def _shards(work: Work) -> Iterator[tuple[Path, int]]:
    """Folder and samples of every shard."""
    return zip(work.folders, (n for part in work.parts for _, n in part.shards()), strict=True)


def _asked(work: Work, images: int) -> Expected:
    from bench.engine.resources import counted_model
    from bench.sampling.loop import Sampler

    model: Any = counted_model(work.model, work.device, work.parts[0].model_fields)
    visited = Sampler(**work.sampler).timesteps(model)
    method = build_method(work.cell.method, work.cell.fields)
    seeing = sum(float(model.alphas_cumprod[t]) > 0 for t in visited)
    traits = method.traits
    repeats = int(getattr(method, "repeats", 1))
    return expected(images, len(visited), seeing, repeats, traits.calls, traits.backward)


def _bytes(suite: Suite, works: Sequence[tuple[Work, Any]], size: int, reasons: Mapping[str, str]) -> tuple[int, float]:
    """Bytes that a run would add to the store, without the cells that are skipped, and of one image there."""
    import torch

    from bench.engine.resources import data_set, extractor
    from bench.engine.worker import reference_blocks, reference_source
    from bench.storage.store import Store

    blank, first = torch.zeros(1, 3, size, size, dtype=torch.uint8), works[0][0]
    seen = {spec: _row_bytes(extractor(spec).extract(blank)) for spec in first.specs}
    samples = {"images": 3 * size * size, "assigned_class": 8}
    store, added = Store(first.store), 0
    for work in {work.sample_key: work for work in _every(works) if not reasons[work.sample_key]}.values():
        for folder, n in _shards(work):
            added += 0 if has_arrays(folder, verify=False) else entry_bytes(samples, n)
            for spec, one in seen.items():
                if not has_arrays(store.features(spec.name, extractor(spec).digest, folder), verify=False):
                    added += entry_bytes(one, n)
    sets = dict.fromkeys((*suite.references.items(), *(first.downstream.sets.items() if first.downstream else ())))
    for name, n in sets:
        digest = data_set(first.source(name), n, size).digest
        for start, stop in reference_blocks(n):
            source = reference_source(store, digest, start, stop)
            for spec in (spec for spec in first.features if "features" in seen[spec]):
                if not has_arrays(store.features(spec.name, extractor(spec).digest, source), verify=False):
                    added += entry_bytes(seen[spec], stop - start)
    whole = first.guidance_batch
    an_image = sum(entry_bytes(one, whole) for one in (samples, *seen.values())) / whole
    return added, an_image


def _row_bytes(arrays: dict[str, Any]) -> dict[str, int]:
    return {name: int(a.dtype.itemsize * math.prod(a.shape[1:])) for name, a in arrays.items()}


class _Clock:
    """What is known of seconds: finished runs of the same model below `out`, the committed ones, the model now."""

    def __init__(self, suite: Suite, out: Path, work: Work, model_digest: str) -> None:
        self._suite, self._work = suite, work
        self._own = measured_runs(suite.suite, out, model_digest, work)
        committed = ROOT / "leaderboards"
        elsewhere = committed.resolve() != out.resolve()
        self._committed = measured_runs(suite.suite, committed, model_digest, work) if elsewhere else []

    @functools.cached_property
    def pace(self) -> Pace:
        """Of the model on this machine, timed when it is first needed."""
        return _pace(self._work, any(m.traits.backward for m in built_methods(self._suite).values()))

    def measured(self, work: Work) -> tuple[list[Measured], str]:
        """The measurements that tell most of a cell, none where there are none, and where seconds come from."""
        names = (work.cell.method, work.cell.title, work.cell.task)
        if own := nearest(self._own, *names):
            return own, own[0].source
        if near := nearest(self._committed, *names):
            return rescaled(near, self._committed, self.pace), f"{near[0].source}, at the pace of this machine now"
        return [], self.pace.source


def measured_runs(suite: str, place: Path, model_digest: str, work: Work) -> list[Measured]:
    """What finished runs of the same model, precision and kind of device measured: the suite of that name first.

    A folder whose tables cannot be read is passed over: it decides no result.
    """
    found: list[Measured] = []
    folders = (path.parent for path in sorted(place.glob("*/costs.csv")))
    for folder in sorted(folders, key=lambda f: f.name != suite):
        try:
            found += _measured(folder, model_digest, work)
        except (OSError, ValueError, KeyError, csv.Error):
            continue
    return found


def _measured(folder: Path, model_digest: str, work: Work) -> list[Measured]:
    files = {}
    for row in _table(folder / "results.csv"):
        if (row["model_sha256"], row["precision"]) != (model_digest, work.sampler["precision"]):
            return []
        files[row["method"].removeprefix("'")] = row["method_file"]
    rows = []
    for row in _table(folder / "costs.csv"):
        title, calls = row["method"].removeprefix("'"), float(row["nfe_per_image"])
        if title in files and calls > 0 and row["device"].split(":")[0] == work.device.split(":")[0]:
            numbers = (calls, float(row["seconds_per_image"]), float(row["fit_seconds"]))
            rows.append(Measured(_shown(folder), files[title], title, row["task"], *numbers))
    return rows


def _shown(folder: Path) -> str:
    return str(folder.relative_to(ROOT)) if folder.is_relative_to(ROOT) else str(folder)


def _table(path: Path) -> Iterator[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as f:
        yield from csv.DictReader(f, strict=True)


def _pace(work: Work, backward: bool) -> Pace:
    """Seconds of the model, from a few calls on noise, on one thread as a worker has it."""
    import torch

    from bench.engine.resources import counted_model
    from bench.protocols.method import timestep
    from bench.sampling.timing import now_on

    model: Any = counted_model(work.model, work.device, work.model_fields)
    t = len(model.alphas_cumprod) // 2

    def call(rows: int, gradient: bool = False) -> float:
        x = torch.randn(rows, *model.shape, generator=torch.Generator().manual_seed(0)).to(model.device, model.dtype)
        start = now_on(model.device)
        bf16 = work.sampler["precision"] == "bf16"
        with torch.set_grad_enabled(gradient), torch.autocast(model.device.type, torch.bfloat16, enabled=bf16):
            out = model.denoise(
                x.requires_grad_(gradient), timestep(t, rows, x.device), timestep(0, rows, x.device), None
            )
        if gradient:
            torch.autograd.grad(out.float().sum(), x)
        return now_on(model.device) - start

    with _one_thread():
        rows = 1
        call(rows)
        while rows < work.compute_batch and call(rows) < LONG_ENOUGH:
            rows = min(2 * rows, work.compute_batch)
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
