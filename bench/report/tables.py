"""The tables: results.csv (one row a cell and score), leaderboard.csv (one row a method and task), costs.csv."""

from __future__ import annotations

import csv
import functools
import itertools
import json
import math
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from bench.attributes import product
from bench.cell import fit_record, judged_labels
from bench.files import write_bytes, write_pieces
from bench.headline import BY_PROMPT, POOLED, PROMPTS, headline_of
from bench.long_lived import many_made
from bench.plan import PROTOCOL, Context, Judge, Work
from bench.report.prompts import prompt_rows
from bench.report.same import p_by_prompt, p_pooled
from bench.store import Store
from bench.suite import Suite

OF_JOINT = ("fd_l2_soft", "fd_l2_corrected")  # of the leaderboard, beside the headline
SCORE = ("metric", "scope", "value", "ci_low", "ci_high", "null_bound", "n", "status", "reason")  # what rows differ in
SAMPLER = ("name", "steps", "eta", "spacing", "precision")


@dataclass(frozen=True)
class CellResult:
    """A cell and what came of it.

    Attributes:
        work: the cell's work.
        context: what all cells of the run share.
        status: "ok", "skipped" or "failed".
        reason: why there are no scores.
        scores: as `bench.cell.evaluate` returns them.
        cost: of the fit (seconds, rows) and of sampling; empty where the cell has no samples.
    """

    work: Work
    context: Context
    status: str
    reason: str
    scores: list[dict[str, Any]]
    cost: dict[str, float]

    @classmethod
    def of(cls, work: Work, context: Context, status: str, reason: str, scores: list[dict[str, Any]]) -> CellResult:
        """The result of an evaluated cell, with its costs read from the store."""
        cost = _cost(work) if status == "ok" else {}
        return cls(work, context, status, reason, scores, cost)

    @property
    def name(self) -> str:
        """Task, method and seed."""
        return f"{self.work.cell.task}, {self.work.cell.title}, seed {self.work.cell.seed}"

    @property
    def headline(self) -> str:
        """The metric that the leaderboard is ordered by."""
        return headline_of(prompts=bool(self.work.prompted))

    @property
    def scope(self) -> str:
        """The scope of the headline score: the joint of the task's attributes."""
        return product(self.work.cell.attributes).name

    def score(self, metric: str, scope: str, judge: str | None = None) -> dict[str, Any] | None:
        """The score of a metric over a scope by a judge (the first unless named), if it has a value."""
        wanted = (metric, scope, judge or self.work.judge.title, "ok")
        return next((s for s in self.scores if (s["metric"], s["scope"], s["judge"], s["status"]) == wanted), None)

    def judge_accuracy(self) -> float | None:
        """Held-out accuracy of the judge, balanced over classes, of its worst attribute of the task, if measured."""
        measured = self.context.judges[0].confusion
        if any(a.name not in measured for a in self.work.cell.attributes):
            return None
        tables = [np.array(measured[a.name], dtype=np.float64) for a in self.work.cell.attributes]
        return min(float((table.diagonal() / table.sum(1)).mean()) for table in tables)

    def entries(self) -> list[Path]:
        """The store's folders that this result rests on."""
        return list(dict.fromkeys(folder for work in (self.work, self.work.twin) if work for folder in work.folders))


def _cost(work: Work) -> dict[str, float]:
    store = Store(work.store)
    fits = [store.note(fit_record(part)) for part in work.parts]
    notes = [store.note(folder) for folder in work.folders]
    return {
        "nfe": sum(n["forward_rows"] for n in notes) / work.n,
        "backward": sum(n["backward_rows"] for n in notes) / work.n,
        "seconds": sum(n["seconds"] for n in notes) / work.n,
        "fit_nfe": sum(fit["forward_rows"] for fit in fits),
        "fit_seconds": sum(fit["seconds"] for fit in fits),
        "fit_backward": sum(fit["backward_rows"] for fit in fits),
    }


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


def to_csv(rows: Sequence[dict[str, Any]]) -> str:
    """Rows as CSV, blank where a row lacks a key; floats in the shortest form that reads back to the same number."""
    if not rows:
        return ""
    columns = list(dict.fromkeys(k for row in rows for k in row))
    lines = (_joined(map(row.get, columns)) for row in rows)
    return "".join(f"{line}\n" for line in itertools.chain([_fields(columns)], lines))


class _Echo:
    """A file that gives back what is written to it."""

    def write(self, text: str) -> str:
        return text


_csv = csv.writer(_Echo(), lineterminator="\n")


def _fields(values: Iterable[Any]) -> str:
    """Numbers and inert texts as a line of a CSV, or as a part of one, without the line's end."""
    return str(_csv.writerow(values))[:-1]


def _joined(values: Iterable[Any]) -> str:
    """As `_fields`, of any texts."""
    return _fields(map(_cell, values))


def _cell(value: Any) -> str:
    return "" if value is None else float.__repr__(value) if isinstance(value, float) else _inert(str(value))


@functools.lru_cache(maxsize=2**16)  # most texts of a table stand in many rows
def _inert(text: str) -> str:
    """A spreadsheet computes what begins so, spaces before it or not; an apostrophe makes it a text."""
    return "'" + text if text.lstrip().startswith(("=", "+", "-", "@")) and not _is_number(text) else text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def result_rows(suite: Suite, results: Sequence[CellResult]) -> list[dict[str, str]]:
    """The rows of results.csv, as they are written: one a score, or one a cell without any."""
    return list(csv.DictReader(_result_lines(suite, results)))


def _result_lines(suite: Suite, results: Sequence[CellResult]) -> Iterator[str]:
    """The lines of results.csv, its columns first. What the lines of a run, a method or a cell share is made once."""
    run = {"suite": suite.suite, "model": suite.model.title}
    build = {"protocol": PROTOCOL, "bench_version": _version(), "commit": commit()}
    build |= {"prompts": suite.prompts} if suite.prompts is not None else {}
    start, end = _joined(run.values()), _joined(build.values())
    methods: dict[str, str] = {}  # by title
    judges: dict[tuple[Any, ...], dict[str, str]] = {}  # by title, of the cells that are judged alike
    for place, r in enumerate(results):
        work, cell, columns = r.work, r.work.cell, _cell_columns(r.work)
        if not place:
            by_cell = ("nfe_per_image", "backward_per_image", "method_file", "fields", "model_sha256", "sample_key")
            names = [*run, *columns, *SCORE, "n_asked", "guidance_batch", "sampler", *SAMPLER[1:], *by_cell, *build]
            yield _joined([*names, "judge", "guided_by_judge", "judge_confusion", "judge_sha256"]) + "\n"
        if cell.title not in methods:
            methods[cell.title] = _joined([cell.method, json.dumps(cell.fields, sort_keys=True)])
        alike = columns["attributes"], work.guided_by_judge
        if alike not in judges:
            judges[alike] = {judge.title: _joined(_judge_columns(judge, work)) for judge in r.context.judges}
        before = f"{start},{_joined(columns.values())}"
        sampler = (work.sampler[name] for name in SAMPLER)
        sampled = _joined([work.n, suite.guidance_batch, *sampler, r.cost.get("nfe"), r.cost.get("backward")])
        after = f"{sampled},{methods[cell.title]},{_joined([r.context.model_digest, work.sample_key])},{end}"
        nothing = {"metric": "", "scope": "", "status": r.status, "reason": r.reason, "judge": work.judge.title}
        for score in r.scores or [nothing]:
            texts = (score["metric"], score["scope"], score["status"], last_line(score["reason"]))
            metric, scope, *said = map(_inert, texts)
            own = _fields([metric, scope, *map(score.get, SCORE[2:7]), *said])
            yield f"{before},{own},{after},{judges[alike][score['judge']]}\n"


def _judge_columns(judge: Judge, work: Work) -> list[Any]:
    confusion = {a.name: judge.confusion.get(a.name) for a in work.cell.attributes}
    return [judge.title, work.guided_by_judge, json.dumps(confusion), judge.digest]


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


def leaderboard(results: Sequence[CellResult]) -> list[dict[str, Any]]:
    """One row a method and task, best headline first within a task; failed and skipped ones last, with the reason.

    With several seeds, value and interval are the mean over seeds and Student's t of it; with one, the cell's own.
    """
    tasks: dict[str, dict[str, list[CellResult]]] = {}
    for r in results:
        tasks.setdefault(r.work.cell.task, {}).setdefault(r.work.cell.title, []).append(r)
    rows = []
    for task, methods in tasks.items():
        of_task = [r for of_method in methods.values() for r in of_method]
        lines = [_line(task, title, of_method) for title, of_method in methods.items()]
        headline = of_task[0].headline
        lines.sort(key=lambda row: (row["status"] != "ok", _rank(row, headline)))
        ties = tied_with_best(lines, of_task)
        rows += [{**row, "tied_best": title_tied} for row, title_tied in zip(lines, ties, strict=True)]
    return rows


def _rank(row: dict[str, Any], headline: str) -> float:
    """The headline of a row that has one; what is undefined comes last of those that ran."""
    return math.inf if row[headline] is None else float(row[headline])


def _line(task: str, title: str, results: list[CellResult]) -> dict[str, Any]:
    good = [r for r in results if r.status == "ok"]
    bad = [r for r in results if r.status != "ok"]
    first = results[0]
    row: dict[str, Any] = {"task": task, "method": title}
    headline = first.headline
    for metric in dict.fromkeys((headline, *(BY_PROMPT if first.work.prompted else ()), POOLED, *OF_JOINT)):
        row |= _average(metric, metric, first.scope, good)
    for judge in first.work.judges[1:]:
        row |= _average(f"{headline} by {judge.title}", headline, first.scope, good, judge.title)
    found = sorted({(s["metric"], s["scope"]) for r in good for s in r.scores})
    for metric, scope in found:
        if metric.startswith("frechet_"):
            row |= _average(f"{metric} to {scope}", metric, scope, good)
        elif (
            metric.startswith(("epsilon_", "detection_rate_"))
            or (metric, scope) == ("abstained_share", first.scope)
            or (metric.startswith("clip_score_") and scope == "all")
        ):
            row |= _average(metric, metric, scope, good)
    null = good[0].score(headline, first.scope) if good else None
    return row | {
        "fd_null_bound": null["null_bound"] if null else None,
        "judge_accuracy": first.judge_accuracy(),
        "guided_by_judge": first.work.guided_by_judge,
        "nfe_per_image": float(np.mean([r.cost["nfe"] for r in good])) if good else None,
        "backward_per_image": float(np.mean([r.cost["backward"] for r in good])) if good else None,
        "n": first.work.n,
        **({"prompts": len(first.work.prompted)} if first.work.prompted else {}),
        "seeds": len(good),
        "status": bad[0].status if bad else "ok",
        "reason": last_line(bad[0].reason) if bad else "",
    }


def last_line(reason: str) -> str:
    """The sentence of a reason; of a defect's traceback, the exception. The whole of it is in failures.log."""
    stripped = reason.strip()
    return stripped.splitlines()[-1] if stripped else ""


def _average(
    column: str, metric: str, scope: str, results: list[CellResult], judge: str | None = None
) -> dict[str, Any]:
    found = [s for r in results if (s := r.score(metric, scope, judge))]
    keys = (column, f"{column}_low", f"{column}_high")
    if not found:
        return dict.fromkeys(keys)
    if len(found) == 1:
        return dict(zip(keys, (found[0]["value"], found[0]["ci_low"], found[0]["ci_high"]), strict=True))
    from bench.stats import t_quantile

    values = np.array([s["value"] for s in found])
    half = float(t_quantile(len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5)
    mean = float(values.mean())
    return dict(zip(keys, (mean, max(0.0, mean - half), mean + half), strict=True))


def tied_with_best(lines: list[dict[str, Any]], results: list[CellResult]) -> list[str]:
    """Say "yes" where the headline's difference from the best row of the task is not significant, else "no".

    Paired bootstrap over the samples: sample i of every method began from the same noise, so both methods are
    redrawn with the same sample numbers (per seed, and per prompt where there are several). Differences are tested at
    5 % with Holm's correction over the methods of the task. The best row itself is "best".
    """
    from bench.stats import holm

    good = [line for line in lines if line["status"] == "ok"]
    if not good:
        return [""] * len(lines)
    target = np.array(results[0].work.cell.target)
    labels = {line["method"]: _labels([r for r in results if r.work.cell.title == line["method"]]) for line in good}
    best = labels[good[0]["method"]]
    rng = np.random.default_rng(0)
    p_same = p_by_prompt if results[0].work.prompted else p_pooled
    p = [p_same(best, labels[line["method"]], target, rng) for line in good[1:]]
    verdicts = iter(["best", *("no" if rejected else "yes" for rejected in holm(p, 0.05))])
    return [next(verdicts) if line["status"] == "ok" else "" for line in lines]


def _labels(results: list[CellResult]) -> list[np.ndarray]:
    """Judged classes of the joint, int64 [n], -1 for none, of every seed, and of every prompt of it, in order."""
    ordered = sorted(results, key=lambda r: r.work.cell.seed)
    return [judged_labels(part) for r in ordered for part in r.work.parts]


def _version() -> str:
    try:
        return version("fairdiff-bench")
    except PackageNotFoundError:
        return "source"


def commit() -> str:
    """The commit of the source tree, "+" where it has changes; empty where it is no git checkout."""
    here = Path(__file__).parent
    try:
        head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, check=True)
        dirty = subprocess.run(
            ["git", "status", "--porcelain", "--", "*.py", "*.yaml", "*.safetensors"],
            cwd=here,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return head.stdout.strip() + ("+" if dirty.stdout.strip() else "")
