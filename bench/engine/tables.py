"""The tables: results.csv (one row a cell and score), leaderboard.csv (one row a method and task), costs.csv."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bench.config.suite import Suite
from bench.core.attributes import product
from bench.core.csv_text import _fields, _inert, _joined, to_csv
from bench.core.gc_pause import many_made
from bench.core.provenance import bench_version, commit
from bench.core.schema import PROMPTS
from bench.engine.cell_result import CellResult
from bench.engine.leaderboard import last_line, leaderboard
from bench.engine.work import PROTOCOL, Classifier, Context, Work
from bench.storage.files import write_bytes, write_pieces

SCORE = ("metric", "scope", "value", "ci_low", "ci_high", "noise_floor", "n", "status", "reason")  # what rows differ in

SAMPLER = ("name", "steps", "eta", "spacing", "precision")


@many_made()
def write_tables(suite: Suite, folder: Path, results: Sequence[CellResult]) -> list[Path]:
    """Write the CSVs; seconds are in costs.csv alone, so the others come out the same on every run.

    A suite with prompts has prompts.csv beside them, one row a cell and prompt: its text, and the key of its samples.
    """
    write_pieces(folder / "results.csv", (line.encode() for line in _result_lines(suite, results)))
    write_bytes(folder / "leaderboard.csv", to_csv(leaderboard(results)).encode())
    write_bytes(folder / "costs.csv", to_csv([_cost_row(r) for r in results if r.cost]).encode())
    names = ["results.csv", "leaderboard.csv", "costs.csv"]
    if suite.prompts is not None:
        prompts = [{**_cell_columns(r.work), **row} for r in results for row in prompt_rows(r.work, r.context)]
        write_bytes(folder / PROMPTS, to_csv(prompts).encode())
        names.append(PROMPTS)
    return [folder / name for name in names]


def _cell_columns(work: Work) -> dict[str, Any]:
    cell = work.cell
    return {
        "attributes": "+".join(a.name for a in cell.attributes),
        "target": "/".join(f"{share:.6g}" for share in cell.target),
        "method": cell.title,
        "seed": cell.seed,
    }


def result_rows(suite: Suite, results: Sequence[CellResult]) -> list[dict[str, str]]:
    """The rows of results.csv, as they are written: one a score, or one a cell without any."""
    return list(csv.DictReader(_result_lines(suite, results)))


def _result_lines(suite: Suite, results: Sequence[CellResult]) -> Iterator[str]:
    """The lines of results.csv, its columns first. What the lines of a run, a method or a cell share is made once."""
    run = {"suite": suite.suite, "model": suite.model.title}
    build = {"protocol": PROTOCOL, "bench_version": bench_version(), "commit": commit()}
    build |= {"prompts": suite.prompts} if suite.prompts is not None else {}
    start, end = _joined(run.values()), _joined(build.values())
    methods: dict[str, str] = {}  # by title
    classifiers: dict[tuple[Any, ...], dict[str, str]] = {}  # by title, of the cells that are classified alike
    for place, r in enumerate(results):
        work, cell, columns = r.work, r.work.cell, _cell_columns(r.work)
        if not place:
            by_cell = ("nfe_per_image", "backward_per_image", "method_file", "fields", "model_sha256", "sample_key")
            names = [*run, *columns, *SCORE, "n_asked", "guidance_batch", "sampler", *SAMPLER[1:], *by_cell, *build]
            yield (
                _joined([*names, "classifier", "guided_by_classifier", "classifier_confusion", "classifier_sha256"])
                + "\n"
            )
        if cell.title not in methods:
            methods[cell.title] = _joined([cell.method, json.dumps(cell.fields, sort_keys=True)])
        alike = columns["attributes"], work.guided_by_classifier
        if alike not in classifiers:
            classifiers[alike] = {
                classifier.title: _joined(_classifier_columns(classifier, work)) for classifier in r.context.classifiers
            }
        before = f"{start},{_joined(columns.values())}"
        sampler = (work.sampler[name] for name in SAMPLER)
        sampled = _joined([work.n, suite.guidance_batch, *sampler, r.cost.get("nfe"), r.cost.get("backward")])
        after = f"{sampled},{methods[cell.title]},{_joined([r.context.model_digest, work.sample_key])},{end}"
        nothing = {
            "metric": "",
            "scope": "",
            "status": r.status,
            "reason": r.reason,
            "classifier": work.classifier.title,
        }
        for score in r.scores or [nothing]:
            texts = (score["metric"], score["scope"], score["status"], last_line(score["reason"]))
            metric, scope, *said = map(_inert, texts)
            own = _fields([metric, scope, *map(score.get, SCORE[2:7]), *said])
            yield f"{before},{own},{after},{classifiers[alike][score['classifier']]}\n"


def _classifier_columns(classifier: Classifier, work: Work) -> list[Any]:
    confusion = {a.name: classifier.confusion.get(a.name) for a in work.cell.attributes}
    return [classifier.title, work.guided_by_classifier, json.dumps(confusion), classifier.digest]


def _cost_row(r: CellResult) -> dict[str, Any]:
    cell = r.work.cell
    return {
        "attributes": product(cell.attributes).name,
        "task": cell.task,
        "method": cell.title,
        "seed": cell.seed,
        "nfe_per_image": r.cost["nfe"],
        "backward_per_image": r.cost["backward"],
        "seconds_per_image": round(r.cost["seconds"], 5),
        "fit_nfe": r.cost["fit_nfe"],
        "fit_backward": r.cost["fit_backward"],
        "fit_seconds": round(r.cost["fit_seconds"], 2),
        "device": r.work.device,
    }


def prompt_rows(work: Work, context: Context) -> Iterator[dict[str, Any]]:
    """The prompts of a cell: their texts, and everything of them that decides their samples."""
    for part, prompt in zip(work.prompted, context.prompts, strict=True):
        yield {
            "prompt": part.prompt,
            "text": part.text,
            "n": part.n,
            "model_sha256": prompt.model_digest,
            "sample_key": part.sample_key,
        }
