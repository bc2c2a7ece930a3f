"""The tables: results.csv (one row per cell and score), leaderboard.csv (one row per method and task), costs.csv."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from bench.config.suite import Suite
from bench.core.attributes import product
from bench.core.csv_text import csv_fields, csv_line, escape, to_csv
from bench.core.design import BY_BATCH, INDEPENDENT
from bench.core.gc_pause import gc_paused
from bench.core.provenance import bench_version, commit
from bench.core.schema import PROMPTS
from bench.core.specs import Fields
from bench.engine.cell_job import CellJob
from bench.engine.cell_result import CellCost, CellResult
from bench.engine.context import ClassifierRecord
from bench.engine.keys import PROTOCOL
from bench.engine.leaderboard import last_line, leaderboard
from bench.engine.plugin_record import plugins_of, plugins_text
from bench.engine.resources import Resources
from bench.engine.scoring import CellScore
from bench.results.read import target_text
from bench.storage.files import write_bytes, write_pieces

SCORE = ("metric", "scope", "value", "ci_low", "ci_high", "noise_floor", "n", "status", "reason")  # what rows differ in

SAMPLER = ("name", "steps", "eta", "spacing", "precision")


def write_tables(suite: Suite, folder: Path, results: Sequence[CellResult], resources: Resources) -> list[Path]:
    """Write the CSVs; seconds are in costs.csv alone, so the others come out the same on every run.

    Each has the columns `task` and `method`, by which they can be merged; all but leaderboard.csv have `seed` too.

    A suite with prompts has prompts.csv beside them, one row per cell and prompt: its text, and the key of its samples.
    """
    with gc_paused():
        write_pieces(folder / "results.csv", (line.encode() for line in _result_lines(suite, results)))
        write_bytes(folder / "leaderboard.csv", to_csv(leaderboard(results, resources)).encode())
        write_bytes(folder / "costs.csv", to_csv([_cost_row(r, r.cost) for r in results if r.cost]).encode())
        names = ["results.csv", "leaderboard.csv", "costs.csv"]
        if suite.prompts is not None:
            prompts = [{**_cell_columns(r.job), **row} for r in results for row in prompt_rows(r.job)]
            write_bytes(folder / PROMPTS, to_csv(prompts).encode())
            names.append(PROMPTS)
        return [folder / name for name in names]


def _cell_columns(job: CellJob) -> dict[str, str | int]:
    cell = job.cell
    return {
        "task": cell.task,
        "attributes": "+".join(a.name for a in cell.attributes),
        "target": target_text(cell.target),
        "method": cell.title,
        "seed": cell.seed,
    }


def result_rows(suite: Suite, results: Sequence[CellResult]) -> list[dict[str, str]]:
    """Return the rows of results.csv as they are written: one per score, or one per cell without any."""
    return list(csv.DictReader(_result_lines(suite, results)))


def _result_lines(suite: Suite, results: Sequence[CellResult]) -> Iterator[str]:
    """Yield the lines of results.csv, its columns first; the texts that lines share are formatted once."""
    run = {"suite": suite.suite, "model": suite.model.title}
    build: dict[str, str | int] = {"protocol": PROTOCOL, "bench_version": bench_version(), "commit": commit()}
    build |= {"prompts": suite.prompts} if suite.prompts is not None else {}
    plugins = plugins_of(suite)
    build |= {"plugins": plugins_text(plugins)} if plugins else {}
    if results:
        yield _header([*run, *_cell_columns(results[0].job)], build)
    start, end = csv_line(run.values()), csv_line(build.values())
    sampler = vars(suite.sampler.spec)
    methods: dict[tuple[str, Fields], str] = {}  # by title and fields, which tuning may choose by task
    classifiers: dict[tuple[object, ...], dict[str, str]] = {}  # by title, of the cells that are classified alike
    for r in results:
        job, cell, columns = r.job, r.job.cell, _cell_columns(r.job)
        if (cell.title, cell.fields) not in methods:
            methods[cell.title, cell.fields] = csv_line([cell.method, cell.fields.text])
        alike = columns["attributes"], job.guided_by_classifier
        if alike not in classifiers:
            classifiers[alike] = {c.title: csv_line(_classifier_columns(c, job)) for c in r.context.classifiers}
        before = f"{start},{csv_line(columns.values())}"
        cost = (None, None) if r.cost is None else (r.cost.nfe, r.cost.backward)
        sampled = csv_line([suite.guidance_batch, *(sampler[name] for name in SAMPLER), *cost])
        after = (
            f"{sampled},{methods[cell.title, cell.fields]},{csv_line([r.context.model_digest, job.sample_key])},{end}"
        )
        for score in r.scores or (_no_score(r),):
            numbers = f"{job.n},{score.design}"
            yield f"{before},{_score_columns(score)},{numbers},{after},{classifiers[alike][score.classifier]}\n"


def _header(first: Sequence[str], build: Iterable[str]) -> str:
    by_cell = ("nfe_per_image", "backward_per_image", "method_file", "fields", "model_sha256", "sample_key")
    names = [*first, *SCORE, "n_asked", "design", "guidance_batch", "sampler", *SAMPLER[1:], *by_cell, *build]
    return csv_line([*names, "classifier", "guided_by_classifier", "classifier_confusion", "classifier_sha256"]) + "\n"


def _no_score(r: CellResult) -> CellScore:
    """Return the line of a cell without scores: its status and reason."""
    title, design = r.job.scoring.classifier.title, BY_BATCH if r.job.couples_batch else INDEPENDENT
    return CellScore("", "", None, status=r.status, reason=r.reason, classifier=title, design=design)


def _score_columns(score: CellScore) -> str:
    texts = (score.metric, score.scope, score.status, last_line(score.reason))
    metric, scope, status, reason = map(escape, texts)
    n = score.n if score.metric or score.n else None  # a cell that did not run has no number of samples
    numbers = (score.value, score.ci_low, score.ci_high, score.noise_floor, n)
    return csv_fields([metric, scope, *numbers, status, reason])


def _classifier_columns(classifier: ClassifierRecord, job: CellJob) -> list[str | bool]:
    confusion = {a.name: classifier.confusion.get(a.name) for a in job.cell.attributes}
    return [classifier.title, job.guided_by_classifier, json.dumps(confusion), classifier.digest]


def _cost_row(r: CellResult, cost: CellCost) -> dict[str, str | float]:
    cell = r.job.cell
    return {
        "attributes": product(cell.attributes).name,
        "task": cell.task,
        "method": cell.title,
        "seed": cell.seed,
        "nfe_per_image": cost.nfe,
        "backward_per_image": cost.backward,
        "seconds_per_image": round(cost.seconds, 5),
        "fit_nfe": cost.fit_nfe,
        "fit_backward": cost.fit_backward,
        "fit_seconds": round(cost.fit_seconds, 2),
        "device": r.job.sampling.device,
    }


def prompt_rows(job: CellJob) -> Iterator[dict[str, str | int]]:
    """Yield the prompts of a cell: their texts, and everything of them that decides their samples."""
    for prompt_job in job.prompt_jobs:
        if prompt_job.prompt is not None:
            yield {
                "prompt": prompt_job.prompt.name,
                "text": prompt_job.prompt.text,
                "n": prompt_job.n,
                "model_sha256": prompt_job.prompt.model_digest,
                "sample_key": prompt_job.sample_key,
            }
