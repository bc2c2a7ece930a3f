"""A run: plan the cells, sample and judge what is missing, write the tables and the pictures."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.errors import ConfigError, Incompatible
from bench.executors.cluster import Cluster
from bench.files import file_digest, is_kept, write_bytes, write_json
from bench.fingerprint import fingerprint
from bench.long_lived import kept, many_made
from bench.progress import bar, console
from bench.suite import Suite

URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")  # as a path has it: of "s3://bucket" one slash is left
FINISHED = "finished.json"  # beside the tables: what they rest on, so that a rerun can tell that nothing changed


@dataclass(frozen=True)
class Options:
    """How to run, as opposed to what.

    Attributes:
        out: folder of the tables (in a folder named after the suite) and of the store.
        workers: processes; every core unless given, one on an accelerator.
        device: a torch device.
        compute_batch: largest number of rows the network runs on at once; see `bench.plan.plan` for the default.
        only: cells to keep, see `bench.suite.cells`.
        cluster: the Ray cluster to run on; None for processes of this machine.
        ranks: processes that each guidance batch is spread over, in the place of `workers`.
        job_seconds: a job that takes longer costs its worker, here or on a cluster; None waits for ever.
        bucket: URL of the bucket that the store becomes a copy of; None leaves it what it is.
    """

    out: Path
    workers: int | None = None
    device: str = "cpu"
    compute_batch: int | None = None
    only: dict[str, set[str]] = field(default_factory=dict)
    cluster: Cluster | None = None
    ranks: int | None = None
    job_seconds: float | None = None
    bucket: str | None = None

    def __post_init__(self) -> None:
        """Refuse a URL, which would become a folder of that name."""
        check_folder(self.out)


def check_folder(out: Path) -> None:
    """Refuse a URL in the place of a folder.

    Raises:
        ConfigError: it is one.
    """
    if URL.match(str(out)):
        raise ConfigError(
            f"--out must be a folder of this machine, got {out}; name a bucket that machines share with --bucket, "
            "and it gets what the store has"
        )


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
        if same and all(is_kept(options.out / entry) for entry in record["entries"]):
            console.print(f"nothing to do: {folder} is finished and unchanged")
            return Outcome(folder, [tuple(p) for p in record["problems"]])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        pass
    return None


def _run(suite: Suite, options: Options, folder: Path) -> Outcome:
    from bench.jobs import Job
    from bench.report.tables import last_line
    from bench.store import Store

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
    from bench.memory_estimate import memory_warning

    processes = 1 if options.ranks else options.workers or 1
    said = None if options.cluster else memory_warning(suite, work, options.device, processes)
    if said:
        console.print(said, markup=False, soft_wrap=True)


def _execute(jobs: list[Any], options: Options, ended: Callable[[Any], None]) -> None:
    if options.cluster:
        from bench.executors import ray

        ray.run_jobs(jobs, options.cluster, ended, options.job_seconds)
    elif options.ranks:
        from bench.executors import ranks

        ranks.run_jobs(jobs, options.ranks, options.device, ended)
    else:
        from bench.executors import local

        workers = options.workers or (1 if options.device != "cpu" else os.cpu_count() or 1)
        local.run_jobs(jobs, workers, ended, options.job_seconds)


def prepare(suite: Suite, options: Options) -> tuple[list[Any], int]:
    """Check everything that the suite names, before the first sample.

    Returns:
        The work of every cell with what all share, and the side of the images.
    """
    works, size, sets = checked(suite, options)
    for data in sets:
        assert len(data.images) == len(data)  # drawn here, on every core, and not by each worker for itself
    return works, size


def checked(suite: Suite, options: Options) -> tuple[list[Any], int, list[Any]]:
    """As `prepare`, without drawing a face, and with the image sets that the run will look at."""
    import torch

    from bench.cell import counted_model, data_set, extractor, guide
    from bench.data import say_left_out
    from bench.given_statistics import given_statistics
    from bench.plan import Context, Judge, classifiers, joined_key, learnt_from, needs, plan
    from bench.prompts import read_prompts
    from bench.sampling import Sampler
    from bench.suite import built_methods, cells

    _check_device(options.device)
    _check_ranks(options)
    if options.compute_batch is not None and options.compute_batch < 1:
        raise ConfigError(f"--compute-batch must be at least 1, got {options.compute_batch}")
    needed = needs(suite.metrics)
    downstream = suite.downstream.sets if suite.downstream and "downstream" in needed else {}
    for name in (*suite.references, *downstream, *learnt_from(suite).values()):
        suite.source(name)  # refuses a name that no set has
    judges, features, missing = _seers(suite)
    judge = extractor(judges[0])
    for name in classifiers(suite):
        if not hasattr(guide(name), "logits"):
            raise ConfigError(f"a method's classifier must be differentiable, with `logits`, got {name}")
    for seer in judges:  # refused here, before models are loaded and references drawn
        cells(suite, extractor(seer).attributes, options.only)
    prompts = read_prompts(suite, options.device, extractor(judges[0]).attributes)
    fields = prompts[0].fields if prompts else suite.model.settings
    model: Any = counted_model(suite.model.name, options.device, fields)
    size = model.image_size
    Sampler(**suite.sampler.model_dump()).timesteps(model)  # refuses more steps than the model has
    blank = torch.zeros(1, 3, size, size, dtype=torch.uint8)
    seen = {seer: extractor(seer).extract(blank) for seer in (*judges, *features)}  # refuses what it cannot see
    widths = {s: (extractor(s), seen[s]["features"].shape[1]) for s in features if "features" in seen[s]}
    data_set.cache_clear()
    references = {name: data_set(suite.source(name), n, size) for name, n in suite.references.items()}
    learnt = [data_set(suite.source(name), n, size) for name, n in downstream.items()]
    if len({data.attributes for data in learnt}) > 1:
        raise ConfigError(
            f"the sets of downstream must have the same attributes, got others in {', '.join(downstream)}"
        )
    places = {place: data_set(suite.source(name), None, size) for place, name in learnt_from(suite).items()}
    say_left_out([*references.values(), *learnt, *places.values()])
    context = Context(
        model_digest=joined_key([p.model_digest for p in prompts]) if prompts else model.digest,
        data_digests={place: data.digest for place, data in places.items()},
        classifier_digests={name: guide(name).digest for name in classifiers(suite)},
        judges=tuple(Judge(s.title, extractor(s).digest, dict(extractor(s).confusion)) for s in judges),
        feature_digests=tuple(extractor(s).digest for s in features),
        reference_digests=tuple(d.digest for d in references.values()),
        statistics=given_statistics(suite, widths),
        downstream_digests=tuple(d.digest for d in learnt),
        prompts=prompts,
    )
    store = options.out / "store"
    seers = (judges, features, missing)
    works = plan(suite, judge.attributes, context, store, options.device, options.compute_batch, seers, options.only)
    methods = built_methods(suite)
    asked = dict.fromkeys(w.cell.attributes for w in works if "labelled" in methods[w.cell.title].traits.needs)
    labelled = [places["labelled"]] if asked else []
    for attributes in asked:
        labelled[0].places(attributes)  # refuses a task about what the set does not know
    return [(w, context) for w in works], size, [*references.values(), *learnt, *labelled]


def _seers(suite: Suite) -> tuple[tuple[Any, ...], tuple[Any, ...], tuple[tuple[str, str], ...]]:
    """The judges and the feature extractors that can be made here, and title and reason of those that cannot."""
    from bench.cell import extractor

    missing: dict[str, str] = {}
    for seer in (*suite.judges[1:], *(choice.seer for choice in suite.features)):
        try:
            extractor(seer)
        except Incompatible as error:
            missing[seer.title] = str(error)
            console.print(f"skipped: {seer.title}: {error}", markup=False, soft_wrap=True)
    judges = tuple(seer for seer in suite.judges if seer.title not in missing)
    for seer in judges:
        if not hasattr(extractor(seer), "attributes"):
            raise ConfigError(f"a judge must be a classifier of attributes, got {seer.name}")
    features = tuple(choice.seer for choice in suite.features if choice.seer.title not in missing)
    return judges, features, tuple(missing.items())


def _check_device(device: str) -> None:
    import torch

    try:
        torch.zeros(1, device=device).item()  # read back: "meta" has no values
    except (RuntimeError, AssertionError, ImportError) as error:
        first = str(error).strip().splitlines()[0].split(". ")[0]
        raise ConfigError(f"device {device!r} cannot be used here: {first}; try --device cpu") from error


def _check_ranks(options: Options) -> None:
    import torch

    if options.ranks is None or torch.device(options.device).type != "cuda":
        return
    if options.device != "cuda" or options.ranks > torch.cuda.device_count():
        raise ConfigError(
            f"--ranks takes one GPU each, the first ones: with {options.ranks} ranks give --device cuda on a machine "
            f"of as many GPUs, got --device {options.device} and {torch.cuda.device_count()} GPUs"
        )


@many_made()
def make_jobs(
    suite: Suite, works: list[Any], size: int, options: Options
) -> tuple[list[Any], list[Any], dict[int, Any]]:
    """Jobs for the references, for fits and shards, and for the evaluation of each cell by its place in `works`.

    Cells that share their samples, such as vanilla on several tasks, share their jobs.
    """
    from bench import cell
    from bench.jobs import Job
    from bench.plan import scores_key
    from bench.suite import built_methods

    store = options.out / "store"
    features, downstream = works[0][0].features, works[0][0].downstream
    sets = dict.fromkeys((*suite.references.items(), *(downstream.sets.items() if downstream else ())))
    reference_jobs = [
        Job(cell.extract_reference, (store, suite.source(name), n, size, features, block), rows=block[1] - block[0])
        for name, n in sets
        for block in cell.reference_blocks(n)
    ]
    # One job that waits for all of them: a grid's evaluations would else name a thousand blocks each.
    reference_jobs += [Job(cell.referred, (), after=tuple(reference_jobs))] if reference_jobs else []
    sampled: dict[str, list[Any]] = {}
    fits, shards, methods = [], [], built_methods(suite)
    every = (each for cell_work, _ in works for each in (cell_work, cell_work.twin) if each)
    for work in (part for each in every for part in each.parts):
        if work.sample_key not in sampled:
            traits = methods[work.cell.title].traits
            weight = work.n * (traits.calls + 2 * traits.backward)  # a backward pass takes about two forward ones
            # Fits on the labelled images rest on one predictor: a worker makes it and goes on with the others of its
            # model, while the rest of the workers do what need not wait for it.
            learns = f"labelled {work.model_fields}" if "labelled" in traits.needs else work.sample_key
            fit = Job(cell.fit, (work,), group=learns, weight=weight)
            fits.append(fit)
            sampled[work.sample_key] = [
                Job(cell.sample_shard, (work, i, s), (fit,), s, work.sample_key, weight, together=True)
                for i, s in work.shards()
            ]
            shards += sampled[work.sample_key]
    evaluations = {
        i: Job(
            cell.evaluate,
            (work, suite.metrics, dict(suite.references), size, scores_key(work, context, suite.metrics)),
            after=(
                *(job for each in (work, work.twin) if each for part in each.parts for job in sampled[part.sample_key]),
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
    from bench.plots.curves import write_curves
    from bench.plots.finished import Finished
    from bench.plots.sheets import write_grids
    from bench.report.tables import CellResult, last_line, write_tables

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
