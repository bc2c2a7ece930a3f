"""A run: check, sample and score what is missing, and write the tables."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, cast

from bench.config.suite import Suite
from bench.core.digest import file_digest
from bench.core.errors import ConfigError
from bench.core.gc_pause import gc_frozen
from bench.core.progress import bar, console
from bench.engine.fingerprint import fingerprint
from bench.engine.options import Options
from bench.results.run_record import NAME as RUN_RECORD
from bench.storage.files import has_arrays, write_bytes, write_json

if TYPE_CHECKING:  # a rerun with nothing to do loads no torch
    from bench.engine.cell_result import CellResult
    from bench.engine.jobs import Job
    from bench.engine.preflight import RunPlan
    from bench.engine.resources import Resources
    from bench.engine.scoring import CellScore
    from bench.protocols.evaluator import Status

FINISHED = "finished.json"  # beside the tables: what they rest on, so that a rerun can tell that nothing changed
FAILURES = "failures.log"


@dataclass(frozen=True)
class Outcome:
    """The end of a run.

    Attributes:
        folder: of its tables.
        problems: status, cell and reason of each cell that failed or was skipped; likewise of each metric that did in
            a cell with other scores, whose name follows the cell's.
    """

    folder: Path
    problems: Sequence[tuple[str, str, str]]

    @property
    def failed(self) -> bool:
        """Return whether a cell failed, or a metric of one."""
        return any(status == "failed" for status, _, _ in self.problems)


def run(
    suite: Suite,
    options: Options,
    draw: Callable[[Path], list[Path]] | None = None,
    before: Callable[[RunPlan], None] | None = None,
    resources: Resources | None = None,
) -> Outcome:
    """Run a suite, or what is missing of it: preflight, execute, write the tables, then the pictures.

    Args:
        suite: what to run.
        options: how to run it.
        draw: draws the pictures of a folder of tables, and returns their files; None draws none.
        before: called with the checked plan before anything is written or sampled.
        resources: of this process, where runs follow each other.

    Raises:
        ConfigError: something in the suite cannot be run here; nothing is written.
    """
    _check_tuned(suite, options)
    folder = options.out / suite.suite
    finished = unchanged(suite, options, folder)
    if finished is not None:
        return finished
    from bench.engine.preflight import preflight

    started = datetime.now(UTC)
    with bar():
        plan = preflight(suite, options, resources)
        plan.draw_images()
        if before is not None:
            before(plan)
        results = execute(plan)
        files = write_results(plan, results, folder, started)
        files += draw(folder) if draw is not None else []
        return finish(plan, results, folder, files)


def _check_tuned(suite: Suite, options: Options) -> None:
    """Refuse a tuned method whose setting nothing has chosen: it must not run with its defaults under that title."""
    chosen_titles = options.only.get("method")
    for method in suite.methods:
        if method.tuned and not method.chosen and (chosen_titles is None or method.title in chosen_titles):
            raise ConfigError(f"method {method.title!r} has no chosen setting; tune the suite first")


def unchanged(suite: Suite, options: Options, folder: Path) -> Outcome | None:
    """Return the outcome of a finished run whose inputs, tables and store entries are all as it left them."""
    try:
        record = json.loads((folder / FINISHED).read_text())
        same = record["fingerprint"] == fingerprint(suite, options.only) and all(
            file_digest(folder / name) == digest for name, digest in record["files"].items()
        )
        if same and all(has_arrays(options.out / entry) for entry in record["entries"]):
            console.print(f"nothing to do: {folder} is finished and unchanged")
            return Outcome(folder, [tuple(p) for p in record["problems"]])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        pass
    return None


def execute(plan: RunPlan) -> tuple[CellResult, ...]:
    """Sample and score what the store lacks of a run, and return the result of every cell, in the plan's order.

    Raises:
        ConfigError: the folders cannot be written, or the reference images cannot be read.
    """
    from bench.engine.cell_result import CellResult
    from bench.engine.job_graph import job_graph
    from bench.engine.leaderboard import last_line
    from bench.storage.store import Store

    options = plan.options
    _check_writable(options.out / plan.suite.suite)
    _check_writable(options.store)
    if options.bucket is not None:
        Store(options.store).join(options.bucket)
    graph = job_graph(plan)
    jobs = graph.in_order
    with bar() as progress:
        line = progress.add_task(f"images of suite {plan.suite.suite}", total=sum(job.rows for job in jobs))

        def ended(job: Job) -> None:
            progress.advance(line, job.rows)

        with gc_frozen():
            _run_jobs(jobs, plan, ended)
        progress.remove_task(line)
    broken = next((job for job in graph.references if job.status != "ok"), None)
    if broken:
        raise ConfigError(f"the reference images could not be read: {last_line(broken.reason)}")
    results = []
    for cell_job, job in zip(plan.jobs, graph.evaluations, strict=True):
        scores = cast("tuple[CellScore, ...]", job.result or ())
        status = cast("Status", job.status)  # every job has ended
        results.append(CellResult.of(cell_job, plan.context, status, job.reason, scores))
    return tuple(results)


def _check_writable(folder: Path) -> None:
    probe = folder / ".writable"
    write_json(probe, {})
    probe.unlink(missing_ok=True)


def _run_jobs(jobs: list[Job], plan: RunPlan, ended: Callable[[Job], None]) -> None:
    options, cluster = plan.options, plan.options.cluster
    if cluster is not None:
        from bench.engine.executors import ray

        ray.run_jobs(jobs, cluster, ended, options.job_seconds)
    elif options.processes:
        from bench.engine.executors import distributed

        distributed.run_jobs(jobs, options.processes, options.device, ended)
    else:
        from bench.engine.executors import local

        local.run_jobs(jobs, options.local_workers, ended, options.job_seconds, plan.resources)


def write_results(plan: RunPlan, results: Sequence[CellResult], folder: Path, started: datetime) -> list[Path]:
    """Write the tables, run.json, and the log of failures if there are any; return tables and run.json."""
    from bench.engine.record import run_record
    from bench.engine.tables import write_tables

    files = write_tables(plan.suite, folder, results, plan.resources)
    write_bytes(folder / RUN_RECORD, run_record(plan.suite, plan.options, started).to_json().encode())
    log = folder / FAILURES
    log.unlink(missing_ok=True)
    problems = [f"{status}: {name}\n{reason}" for r in results for status, name, reason in r.problems]
    if problems:
        write_bytes(log, ("\n\n".join(problems) + "\n").encode())
    return [*files, folder / RUN_RECORD]


def finish(plan: RunPlan, results: Sequence[CellResult], folder: Path, files: Sequence[Path]) -> Outcome:
    """Return the outcome of a run, and note what it rests on, so that a rerun can tell that nothing changed.

    A run is not finished where a cell or a metric failed, or was skipped for want of weights: they may be there by the
    next run.
    """
    from bench.engine.leaderboard import last_line

    problems = [(status, name, last_line(reason)) for r in results for status, name, reason in r.problems]
    if not plan.scoring.unavailable and not any(status == "failed" for status, _, _ in problems):
        entries = {
            str(entry.relative_to(plan.options.out)) for r in results if r.status == "ok" for entry in r.entries()
        }
        record = {
            "fingerprint": fingerprint(plan.suite, plan.options.only),
            "files": {str(f.relative_to(folder)): file_digest(f) for f in files},
            "entries": sorted(entries),
            "problems": problems,
        }
        write_json(folder / FINISHED, record)
    return Outcome(folder, problems)
