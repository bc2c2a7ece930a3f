"""A run: plan the cells, sample and classifier what is missing, write the tables and the pictures."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.config.suite import Suite
from bench.core.digest import file_digest
from bench.core.errors import ConfigError
from bench.core.gc_pause import kept, many_made
from bench.core.progress import bar, console
from bench.engine.fingerprint import fingerprint
from bench.engine.options import Options
from bench.engine.preflight import prepare
from bench.storage.files import has_arrays, write_bytes, write_json

FINISHED = "finished.json"  # beside the tables: what they rest on, so that a rerun can tell that nothing changed


@dataclass(frozen=True)
class Outcome:
    """How a run ended: the folder of its tables, and the cells that failed or were skipped, with reasons."""

    folder: Path
    problems: list[tuple[str, str, str]]  # (status, cell, reason)

    @property
    def failed(self) -> bool:
        """Whether a cell failed."""
        return any(status == "failed" for status, _, _ in self.problems)


def run(suite: Suite, options: Options) -> Outcome:
    """Run a suite, or what is missing of it.

    Raises:
        ConfigError: something in the suite or the options cannot be run; nothing is written.
    """
    folder = options.out / suite.suite
    finished = _nothing_to_do(suite, options, folder)
    if finished is not None:
        return finished
    with bar():
        return _run(suite, options, folder)


def _check_writable(folder: Path) -> None:
    probe = folder / ".writable"
    write_json(probe, {})
    probe.unlink(missing_ok=True)


def _nothing_to_do(suite: Suite, options: Options, folder: Path) -> Outcome | None:
    """The outcome of a finished run whose inputs, tables and store entries are all as it left them."""
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


def _run(suite: Suite, options: Options, folder: Path) -> Outcome:
    from bench.engine.jobs import Job
    from bench.engine.leaderboard import last_line
    from bench.storage.store import Store

    works, size = prepare(suite, options)
    _warn_of_memory(suite, options, works[0][0])
    _check_writable(folder)
    _check_writable(options.out / "store")
    if options.bucket is not None:
        Store(options.out / "store").join(options.bucket)
    reference_jobs, cell_jobs, evaluations = make_jobs(suite, works, size, options)
    total = sum(job.rows for job in (*reference_jobs, *cell_jobs))
    with bar() as progress:
        line = progress.add_task(f"images of suite {suite.suite}", total=total)

        def ended(job: Job) -> None:
            progress.advance(line, job.rows)

        with kept():
            _execute([*cell_jobs, *reference_jobs, *evaluations.values()], options, ended)
        progress.remove_task(line)
    broken = next((job for job in reference_jobs if job.status != "ok"), None)
    if broken:
        raise ConfigError(f"the reference images could not be read: {last_line(broken.reason)}")
    return _write(suite, options, folder, works, evaluations)


def _warn_of_memory(suite: Suite, options: Options, work: Any) -> None:
    from bench.estimate.memory import memory_warning

    processes = 1 if options.processes else options.workers or 1
    said = None if options.cluster else memory_warning(suite, work, options.device, processes)
    if said:
        console.print(said, markup=False, soft_wrap=True)


def _execute(jobs: list[Any], options: Options, ended: Callable[[Any], None]) -> None:
    if options.cluster:
        from bench.engine.executors import ray

        ray.run_jobs(jobs, options.cluster, ended, options.job_seconds)
    elif options.processes:
        from bench.engine.executors import distributed

        distributed.run_jobs(jobs, options.processes, options.device, ended)
    else:
        from bench.engine.executors import local

        local.run_jobs(jobs, options.local_workers, ended, options.job_seconds)


@many_made()
def make_jobs(
    suite: Suite, works: list[Any], size: int, options: Options
) -> tuple[list[Any], list[Any], dict[int, Any]]:
    """Jobs for the references, for fits and shards, and for the evaluation of each cell by its place in `works`.

    Cells that share their samples, such as vanilla on several tasks, share their jobs.
    """
    from bench.config.build import built_methods
    from bench.engine import scoring, worker
    from bench.engine.jobs import Job
    from bench.engine.work import scores_key

    store = options.out / "store"
    features, downstream = works[0][0].features, works[0][0].downstream
    sets = dict.fromkeys((*suite.references.items(), *(downstream.sets.items() if downstream else ())))
    reference_jobs = [
        Job(worker.extract_reference, (store, suite.source(name), n, size, features, block), rows=block[1] - block[0])
        for name, n in sets
        for block in worker.reference_blocks(n)
    ]
    # One job that waits for all of them: a grid's evaluations would else name a thousand blocks each.
    reference_jobs += [Job(worker.referred, (), after=tuple(reference_jobs))] if reference_jobs else []
    sampled: dict[str, list[Any]] = {}
    fits, shards, methods = [], [], built_methods(suite)
    every = (each for cell_work, _ in works for each in (cell_work, cell_work.paired_baseline) if each)
    for work in (part for each in every for part in each.parts):
        if work.sample_key not in sampled:
            traits = methods[work.cell.title].traits
            weight = work.n * (traits.calls + 2 * traits.backward)  # a backward pass takes about two forward ones
            # Fits on the labelled images rest on one predictor: a worker makes it and goes on with the others of its
            # model, while the rest of the workers do what need not wait for it.
            learns = f"labelled {work.model_fields}" if "labelled" in traits.needs else work.sample_key
            fit = Job(worker.fit, (work,), group=learns, weight=weight)
            fits.append(fit)
            sampled[work.sample_key] = [
                Job(worker.sample_shard, (work, i, s), (fit,), s, work.sample_key, weight, together=True)
                for i, s in work.shards()
            ]
            shards += sampled[work.sample_key]
    evaluations = {
        i: Job(
            scoring.evaluate,
            (work, suite.metrics, dict(suite.references), size, scores_key(work, context, suite.metrics)),
            after=(
                *(
                    job
                    for each in (work, work.paired_baseline)
                    if each
                    for part in each.parts
                    for job in sampled[part.sample_key]
                ),
                *reference_jobs[-1:],
            ),
        )
        for i, (work, context) in enumerate(works)
    }
    return reference_jobs, [*fits, *shards], evaluations


def _write(
    suite: Suite,
    options: Options,
    folder: Path,
    works: list[Any],
    evaluations: dict[int, Any],
) -> Outcome:
    from bench.engine.cell_result import CellResult
    from bench.engine.leaderboard import last_line
    from bench.engine.tables import write_tables
    from bench.report.plots.curves import write_curves
    from bench.report.plots.finished import Finished
    from bench.report.plots.sheets import write_grids

    results = []
    for i, (work, context) in enumerate(works):
        job = evaluations[i]
        results.append(CellResult.of(work, context, job.status, job.reason, job.result or []))
    problems = [(r.status, r.name, last_line(r.reason)) for r in results if r.status != "ok"]
    files = write_tables(suite, folder, results)
    finished = Finished.open(folder)  # the pictures are drawn from the tables, as `plot` draws them later
    files += write_grids(finished, folder / "grids")
    files += write_curves(finished, folder / "curves")
    log = folder / "failures.log"
    log.unlink(missing_ok=True)
    if problems:
        text = "\n\n".join(f"{r.status}: {r.name}\n{r.reason}" for r in results if r.status != "ok") + "\n"
        write_bytes(log, text.encode())
    # What failed is tried again, and so is what was skipped for want of weights: they may be there by then.
    if not works[0][0].missing and not any(status == "failed" for status, _, _ in problems):
        entries = sorted(
            {str(entry.relative_to(options.out)) for r in results if r.status == "ok" for entry in r.entries()}
        )
        record = {
            "fingerprint": fingerprint(suite, options.only),
            "files": {str(f.relative_to(folder)): file_digest(f) for f in files},
            "entries": entries,
            "problems": problems,
        }
        write_json(folder / FINISHED, record)
    return Outcome(folder, problems)
