"""A grid of 100,000 cells that nothing samples: what planning, resuming, tables and page take, in seconds and memory.

    python -m tests.benchmarks.grid [--cells 100000] [--only plan,resume,leaderboard,read,page]

Every stage runs in a process of its own and imports what its command imports, which counts to its peak of resident
memory and not to its time. A stage's time is its own: what it starts from (the tables: a planned and evaluated grid;
the page: results.csv that has been read) is made before the clock starts, and its memory counts.
"""

from __future__ import annotations

import argparse
import importlib
import multiprocessing
import os
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

METHODS = 10  # of a task; its seeds are 10 too
GOAL_S, GOAL_GIB = 10.0, 1.0


def suite_of(cells: int) -> Any:
    """A suite of so many cells: targets of one attribute, ten methods each, ten seeds."""
    from bench.config.suite import Suite

    tasks = -(-cells // (METHODS * 10))
    shares = [(k + 1) / (tasks + 2) for k in range(tasks)]
    return Suite.model_validate(
        {
            "suite": "grid",
            "model": "avatars-unet",
            "n": 100,
            "guidance_batch": 100,
            "seeds": list(range(10)),
            "tasks": [{"attributes": ["eyeglasses"], "target": [s, 1 - s]} for s in shares],
            "methods": [
                {"name": "class_gap_guidance", "label": f"method {k}", "with": {"strength": 1.0 + k}}
                for k in range(METHODS)
            ],
            "labelled": "avatars-labelled",
            "features": [],
            "metrics": ["fairness_discrepancy"],
        }
    )


def planned(cells: int, out: Path) -> Any:
    """The plan of the grid, as `preflight` returns it, without loading a network."""
    from bench.config.data_source import DataSource, ImageSetSpec
    from bench.core.attributes import Attribute
    from bench.core.specs import ExtractorSpec
    from bench.engine.cell_job import SamplingSpec, ScoringSpec
    from bench.engine.context import ClassifierRecord, RunContext
    from bench.engine.options import Options
    from bench.engine.plan import Shared, plan
    from bench.engine.preflight import RunPlan
    from bench.engine.resources import Resources

    suite, options = suite_of(cells), Options(out)
    spec = ExtractorSpec.plain("attribute_cnn")
    confusion = {"eyeglasses": [[99, 1], [1, 99]]}
    record = ClassifierRecord("attribute_cnn", "j" * 64, confusion)
    context = RunContext("m" * 64, {"labelled": "d" * 64}, {}, (record,))
    learning = {"labelled": ImageSetSpec(DataSource.model_validate({"name": "avatars-labelled"}), None, 32)}
    sampling = SamplingSpec(suite.model.spec, suite.sampler.spec, learning, 100, 100, "cpu")
    shared = Shared(sampling, ScoringSpec(suite.metrics, (spec,), ()), options.store, suite.n, context)
    jobs = plan(suite, (Attribute("eyeglasses", ("absent", "present")),), shared, None)
    return RunPlan(suite, options, context, jobs, 32, (), Resources())


def plan_grid(cells: int, out: Path) -> Iterator[None]:
    """The cells with their keys, and every job."""
    yield
    from bench.engine.job_graph import job_graph

    plan = planned(cells, out)
    print(f"  {len(plan.jobs):,} cells, {len(job_graph(plan).in_order):,} jobs")


def resume(cells: int, out: Path) -> Iterator[None]:
    """Planning, and every job of a grid of which the store has everything: what a driver hands out, one at a time."""
    yield
    from bench.core.gc_pause import gc_frozen
    from bench.engine.executors.queue import Queue
    from bench.engine.job_graph import job_graph

    queue, last = Queue(job_graph(planned(cells, out)).in_order, lambda _: None), ""
    with gc_frozen():
        while queue.open:
            job = queue.take(last)
            assert job is not None
            last, job.status = job.group, "ok"
            queue.end(job)


def scores_of() -> tuple[Any, ...]:
    """The scores of the fairness evaluator for a cell beside the ranking metric."""
    from bench.engine.scoring import CellScore

    shares = [("share_hard", f"eyeglasses={c}") for c in ("absent", "present")]
    names = [("fd_l2_soft", "eyeglasses"), ("fd_l1", "eyeglasses"), *shares]
    return tuple(CellScore(metric, scope, 0.5, n=100, classifier="attribute_cnn") for metric, scope in names)


def leaderboard(cells: int, out: Path) -> Iterator[None]:
    """The three tables of finished results; the predicted classes, which the test of ties reads, come from no store."""
    from bench.engine import leaderboard as ranking
    from bench.engine import tables
    from bench.engine.cell_result import CellCost, CellResult
    from bench.engine.scoring import CellScore

    plan, others = planned(cells, out), scores_of()
    cost = CellCost(nfe=50.0, backward=0.0, seconds=0.2, fit_nfe=1.0, fit_seconds=2.0, fit_backward=0.0)
    results = []
    for job in plan.jobs:
        first, second = job.cell.target
        distance = ((0.5 - first) ** 2 + (0.5 - second) ** 2) ** 0.5
        ranked = CellScore(
            "fd_l2_hard", "eyeglasses", distance, 0.0, 1.0, n=100, noise_floor=0.1, classifier="attribute_cnn"
        )
        results.append(CellResult(job, plan.context, "ok", "", (ranked, *others), cost))
    ranking.tied_with_best = lambda lines, *_: ["best", *["no"] * (len(lines) - 1)]
    yield
    tables.write_tables(plan.suite, out / "grid", results, plan.resources)


def read(cells: int, out: Path) -> Iterator[None]:
    """results.csv read and checked."""
    yield
    from bench.results.run import Run

    run = Run.open(out / "grid")
    print(f"  {len(run.rows):,} rows, {(out / 'grid/results.csv').stat().st_size / 2**20:.0f} MiB")


def page(cells: int, out: Path) -> Iterator[None]:
    """All that the page embeds: leaderboard, tasks, methods, every line's record."""
    from bench.report.page import document
    from bench.results.run import Run

    run = Run.open(out / "grid")
    yield
    text = document.embedded(document.data(run))
    print(f"  {len(text) / 2**20:.0f} MiB of JSON")


# Each runs to its yield before the clock starts; the modules are what its command has loaded by then.
STAGES: dict[str, tuple[Callable[[int, Path], Iterator[None]], tuple[str, ...]]] = {
    "plan": (plan_grid, ("bench.engine.runner", "bench.engine.worker")),
    "resume": (resume, ("bench.engine.runner", "bench.engine.worker", "bench.engine.executors.queue")),
    "leaderboard": (leaderboard, ("bench.engine.runner", "bench.engine.worker", "bench.engine.tables")),
    "read": (read, ("bench.results.run",)),
    "page": (page, ("bench.report.page.document",)),
}


def _measure(stage: str, cells: int, out: Path, pipe: Any) -> None:
    measured, modules = STAGES[stage]
    for module in modules:
        importlib.import_module(module)
    before = resource.getrusage(resource.RUSAGE_SELF)
    running = measured(cells, out)
    next(running)
    start, ready = time.perf_counter(), time.process_time()
    next(running, None)
    wall, cpu, after = (
        time.perf_counter() - start,
        time.process_time() - ready,
        resource.getrusage(resource.RUSAGE_SELF),
    )
    pipe.send((wall, cpu, before.ru_maxrss, after.ru_maxrss))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, default=100_000)
    parser.add_argument("--only", default=",".join(STAGES))
    parser.add_argument("--out", type=Path, default=None)
    chosen = parser.parse_args()
    out = chosen.out or Path(tempfile.mkdtemp(prefix="grid-"))
    os.environ["OMP_NUM_THREADS"] = "1"
    context = multiprocessing.get_context("spawn")
    for stage in chosen.only.split(","):
        ours, theirs = context.Pipe()
        process = context.Process(target=_measure, args=(stage, chosen.cells, out, theirs))
        process.start()
        process.join()
        if process.exitcode:
            raise SystemExit(f"{stage} ended with {process.exitcode}")
        wall, cpu, before, after = ours.recv()
        print(f"{stage}: {wall:.1f} s, {cpu:.1f} s of CPU, peak {after / 2**20:.2f} GiB (imports {before / 2**20:.2f})")


if __name__ == "__main__":
    main()
