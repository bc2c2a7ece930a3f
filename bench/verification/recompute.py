"""A results file against the store beside it: the suite's cells, their arrays, and every number computed again."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from threadpoolctl import threadpool_limits

from bench.config.suite import Suite
from bench.core.csv_text import to_csv, unescape
from bench.core.errors import ConfigError
from bench.core.progress import track
from bench.engine.cell_job import CellJob
from bench.engine.cell_result import CellResult
from bench.engine.context import RunContext
from bench.engine.leaderboard import last_line, leaderboard
from bench.engine.preflight import RunPlan
from bench.engine.resources import Resources
from bench.engine.scoring import score
from bench.engine.tables import result_rows
from bench.protocols.evaluator import Status
from bench.results.read import COLUMNS, KEY
from bench.results.tables import Record, read_records
from bench.storage.files import read_arrays
from bench.storage.store import Store
from bench.verification.check import Check, classified
from bench.verification.table import CELL, name_of
from bench.verification.tolerance import near, near_cell, same

Row = Mapping[str, str]
Equal = Callable[[str, Row, Row], bool]  # column, the row computed again, the file's row
# Columns of one subject; a file of an earlier bench may lack some.
SETTINGS = (
    *("suite", "model", "task", "n_asked", "guidance_batch", "sampler", "steps", "eta", "spacing", "precision"),
    *("method_file", "fields"),
)
WEIGHTS = ("model_sha256", "classifier_sha256", "classifier_confusion", "guided_by_classifier")
CALLS = ("nfe_per_image", "backward_per_image")
HINT = "all are within the tolerances of another machine's arithmetic; if the store is from one, add --other-machine"
NUMBERS = ("value", "ci_low", "ci_high", "noise_floor", "n", "status", "reason")


@dataclass(frozen=True)
class Compared:
    """A cell of the suite beside its rows in the file.

    Attributes:
        job: the suite's, with the file's own sample key.
        context: what all cells share.
        rows: of the file, as text.
    """

    job: CellJob
    context: RunContext
    rows: tuple[Record, ...]

    @property
    def name(self) -> str:
        """The cell in a sentence."""
        return name_of([self.rows[0][c] for c in CELL])

    @property
    def scored(self) -> bool:
        """True where the cell ran; one that was skipped or failed has a single row, and nothing in the store."""
        return any(row["metric"] for row in self.rows)


def pair(path: Path, plan: RunPlan) -> tuple[list[Compared], Check]:
    """Return the suite's cells with their rows, and the check that file and suite have the same cells."""
    rows_of: dict[tuple[str, ...], list[Record]] = {}
    for row in read_records(path, COLUMNS):
        rows_of.setdefault(tuple(row[c] for c in CELL), []).append(row)
    cells, wrong = [], []
    for job in plan.jobs:
        (expected,) = _expected(plan.suite, CellResult(job, plan.context, "ok", "", (), None))
        key = tuple(expected[c] for c in CELL)
        rows = rows_of.pop(key, None)
        if rows is None:
            wrong.append(f"no row of {name_of(key)}, which the suite has")
        else:
            cells.append(
                Compared(dataclasses.replace(job, sample_key=rows[0]["sample_key"]), plan.context, tuple(rows))
            )
    wrong += [f"{name_of(key)} is no cell of the suite" for key in rows_of]
    return cells, classified("cells", wrong, f"{len(cells)} cells, those of the suite")


def _expected(suite: Suite, result: CellResult) -> list[Row]:
    """Return the rows of a cell as results.csv has them, as text."""
    return [{name: unescape(text) for name, text in row.items()} for row in result_rows(suite, [result])]


def check_settings(suite: Suite, cells: Sequence[Compared]) -> Iterator[Check]:
    """Check that settings and weights are those of the suite on this machine."""
    for name, columns in (("settings", SETTINGS), ("weights", WEIGHTS)):
        wrong = []
        for cell in cells:
            (expected,) = _expected(suite, CellResult(cell.job, cell.context, "ok", "", (), None))
            same_classifier = [row for row in cell.rows if row["classifier"] == expected["classifier"]]
            wrong += [c for row in same_classifier for c in _differences(cell, expected, row, columns, same_field)]
        yield classified(name, wrong, f"those of suite {suite.suite}")


def same_field(column: str, again: Row, row: Row) -> bool:
    """Return whether a field is equal to the digit to the one that is computed again."""
    return same(again[column], row[column])


def _differences(cell: Compared, expected: Row, row: Row, columns: Iterable[str], equal: Equal) -> Iterator[str]:
    for column in columns:
        if column in expected and column in row and not equal(column, expected, row):
            where = f"{row['metric']} over {row['scope']} of {cell.name}" if column in NUMBERS else cell.name
            yield f"{column} of {where} is {_short(row[column])}, here {_short(expected[column])}"


def _short(text: str) -> str:
    return text if len(text) <= 40 else text[:20] + "..."


def check_store(cells: Sequence[Compared], resources: Resources) -> tuple[list[Compared], Check]:
    """Return the cells whose arrays the store has whole, and the check that none is damaged; nothing is removed.

    A cell that was skipped or failed needs none, and is whole.
    """
    whole, wrong, unchecked = [], [], []
    for cell in track(cells, "arrays of the store"):
        states = [_state(folder) for folder in _entries(cell.job, resources)] if cell.scored else []
        if "damaged" in states:
            wrong.append(f"the store's arrays of {cell.name} do not have their checksums")
        elif "absent" in states:
            unchecked.append(f"the store has no samples of {cell.name}, or not what its extractors saw")
        else:
            whole.append(cell)
    held = sum(cell.scored for cell in whole)
    return whole, classified("store", wrong, f"the arrays of {held} cells have their checksums", unchecked)


def _entries(job: CellJob, resources: Resources) -> Iterator[Path]:
    store = Store(job.store)
    for sampled in (job, job.paired_baseline):
        for shard in sampled.folders if sampled is not None else ():
            yield shard
            for spec in job.scoring.extractors:
                yield store.features(spec.name, resources.extractor(spec).digest, shard)


def _state(folder: Path) -> str:
    if read_arrays(folder) is not None:
        return "whole"
    return "damaged" if folder.exists() else "absent"


def check_numbers(
    suite: Suite, cells: Sequence[Compared], resources: Resources, path: Path, other_machine: bool = False
) -> Iterator[Check]:
    """Compute every number of the cells again from the store, and compare.

    Args:
        suite: for its metrics and references.
        cells: whose arrays the store has whole.
        resources: of this process.
        path: the file; a leaderboard.csv beside it is made again where every one of its cells could be.
        other_machine: whether the store was made on another machine than the file: numbers may then differ by the
            tolerances of their columns, and otherwise by no digit.
    """
    equal, differing, beyond = near if other_machine else same_field, 0, 0
    numbers: list[str] = []
    calls: list[str] = []
    unchecked: list[str] = []
    results, count = [], 0
    for cell in track(cells, "numbers computed again"):
        if not cell.scored:
            results.append(_without_scores(cell))
            continue
        try:
            result = _scored_again(cell, resources)
        except ConfigError as error:
            unchecked.append(f"{cell.name}: {error}")
            continue
        results.append(result)
        stored = {tuple(row[c] for c in KEY): row for row in cell.rows}
        expected = {tuple(row[c] for c in KEY): row for row in _expected(suite, result)}
        count += len(expected)
        beyond += len(expected.keys() ^ stored.keys())
        for key in expected.keys() ^ stored.keys():
            side = "lacks" if key in expected else "has, and the bench does not,"
            numbers.append(f"the file {side} {' over '.join(key[-2:])} of {cell.name}")
        for key in expected.keys() & stored.keys():
            differing += any(_differences(cell, expected[key], stored[key], NUMBERS, same_field))
            numbers += _differences(cell, expected[key], stored[key], NUMBERS, equal)
            beyond += any(_differences(cell, expected[key], stored[key], NUMBERS, near))
            calls += _differences(cell, expected[key], stored[key], CALLS, same_field)
    if not any(cell.scored for cell in cells):
        unchecked.append("the store has no cell whole")
    fine = f"denoiser calls and backward passes of {sum(bool(r.scores) for r in results)} cells"
    yield classified("calls", calls, fine, unchecked)
    to_the_digit = "equal to the digit"
    if other_machine and differing:
        to_the_digit = f"{count - differing} {to_the_digit}, the others within the tolerances of their columns"
    check = classified("numbers", numbers, f"{count} rows computed again from the store, {to_the_digit}", unchecked)
    yield dataclasses.replace(check, what=f"{check.what}; {HINT}") if numbers and not beyond else check
    if (path.parent / "leaderboard.csv").is_file() and len(results) == len(cells) and not unchecked:
        yield _check_leaderboard(path.parent / "leaderboard.csv", results, resources, other_machine)


def _scored_again(cell: Compared, resources: Resources) -> CellResult:
    with threadpool_limits(1):  # as a worker of a run has it: sums in another order end in other digits
        scores = score(resources, cell.job)
    failed_there = {row["metric"] for row in cell.rows if row["status"] == "failed"}
    for failed in (s for s in scores if s.status == "failed" and s.metric not in failed_there):
        raise ConfigError(last_line(failed.reason))
    return CellResult.of(cell.job, cell.context, "ok", "", scores)


def _without_scores(cell: Compared) -> CellResult:
    row = cell.rows[0]
    status: Status = "skipped" if row["status"] == "skipped" else "failed"
    return CellResult(cell.job, cell.context, status, row["reason"], (), None)


def _check_leaderboard(path: Path, results: Sequence[CellResult], resources: Resources, other_machine: bool) -> Check:
    equal = near_cell if other_machine else same_field
    stored = {(row["task"], row["method"]): row for row in read_records(path, ("task", "method"))}
    lines = csv.DictReader(io.StringIO(to_csv(leaderboard(results, resources))))
    expected = [{name: unescape(text) for name, text in row.items()} for row in lines]
    wrong = []
    for row in expected:
        stored_row: Row = stored.pop((row["task"], row["method"]), {})
        stored_row = {c: stored_row.get(c, row[c] if stored_row else "") for c in row}
        columns = [c for c in row if not equal(c, row, stored_row)]
        wrong += [f"{c} of {row['method']} on {row['task']}" for c in columns[:1]]
    wrong += [f"{method} on {task} is no row of it" for task, method in stored]
    return classified("leaderboard.csv", wrong, f"{len(expected)} rows follow from the store")
