"""tuning.csv beside a run's tables: every trial of every tuned method, the chosen settings, and their later values."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from bench.core.csv_text import to_csv
from bench.core.errors import ConfigError
from bench.core.specs import Fields
from bench.core.value import Value
from bench.results.key import Key
from bench.results.run import Run
from bench.results.tables import Record, read_records
from bench.storage.files import write_bytes

NAME = "tuning.csv"
YES = "yes"


@dataclass(frozen=True)
class TuningRow:
    """A setting of a tuned method on a task.

    Attributes:
        task: the task's name.
        method: the method's title in the leaderboard.
        trial: number of the trial that tried the setting first, from 1; the first trial is the defaults.
        chosen: whether the method runs with this setting on this task.
        setting: the searched fields, as JSON.
        ranking_metric: name of the metric of `value` and `evaluation`; lower is better.
        value: on the tuning's seeds; None where the trial has none.
        frechet: the Fréchet distance on the tuning's seeds; None where the trial has none.
        frechet_of: the column of that distance in leaderboard.csv.
        frechet_ratio: that distance divided by vanilla's on the same seeds.
        frechet_factor: largest ratio of a setting that may be chosen.
        evaluation: the same metric of the same setting in the run, on the run's seeds; None before the run, or where
            the run has no cell of this setting.
        gap: `evaluation` minus `value`; both draws are independent. Selection makes it positive on average.
        nfe_per_image: network function evaluations per image while sampling.
        backward_per_image: backward passes per image while sampling.
        denoiser_calls: NFE and backward passes of the whole trial, those of its fit included.
        n: samples per seed.
        seeds: of the tuning, joined by "/".
        status: as in leaderboard.csv.
        reason: why there is no value.
        note: how the choice was made, where it was not made by the rule.
        run: name of the suite whose folder holds the tables of the trials.
        method_file: the method's public name.
        fields: every field of the method, as in results.csv.
        tuning_sha256: hash of the models, tasks, methods, spaces and budget that the tuning was made with.
    """

    task: str
    method: str
    trial: int
    chosen: bool
    setting: str
    ranking_metric: str
    value: Value | None
    frechet: Value | None
    frechet_of: str
    frechet_ratio: float | None
    frechet_factor: float
    evaluation: Value | None
    gap: Value | None
    nfe_per_image: float | None
    backward_per_image: float | None
    denoiser_calls: float | None
    n: int
    seeds: str
    status: str
    reason: str
    note: str
    run: str
    method_file: str
    fields: str
    tuning_sha256: str


FIELDS = tuple(field.name for field in dataclasses.fields(TuningRow))
VALUES = ("value", "frechet", "evaluation", "gap")
COLUMNS = tuple(c for name in FIELDS for c in ((name, f"{name}_low", f"{name}_high") if name in VALUES else (name,)))


def write_tuning(path: Path, rows: Sequence[TuningRow]) -> None:
    """Write tuning.csv, one row per task, method and setting.

    Raises:
        ConfigError: the file cannot be written.
    """
    write_bytes(path, to_csv([_columns(row) for row in rows]).encode())


def _columns(row: TuningRow) -> Mapping[str, object]:
    columns: dict[str, object] = {}
    for name in FIELDS:
        value = getattr(row, name)
        if name in VALUES:
            ends = (None, None, None) if value is None else (value.value, value.low, value.high)
            columns |= dict(zip((name, f"{name}_low", f"{name}_high"), ends, strict=True))
        else:
            columns[name] = (YES if value else "") if name == "chosen" else value
    return columns


def frame(rows: Sequence[TuningRow]) -> pd.DataFrame:
    """Return the rows with the columns of tuning.csv."""
    return pd.DataFrame([_columns(row) for row in rows], columns=list(COLUMNS))


def read_tuning(path: Path) -> list[TuningRow]:
    """Read tuning.csv.

    Raises:
        ConfigError: the file cannot be read, or a field of it is not what a tuning writes.
    """
    return [_row(record) for record in read_records(path, COLUMNS)]


def _row(record: Record) -> TuningRow:
    for column in ("setting", "fields"):
        _json_object(record, column)
    if record["chosen"] not in (YES, ""):
        raise record.wrong("chosen", f"must be {YES} or blank")
    return TuningRow(
        task=record["task"],
        method=record["method"],
        trial=record.whole("trial"),
        chosen=record["chosen"] == YES,
        setting=record["setting"],
        ranking_metric=record["ranking_metric"],
        value=_value(record, "value"),
        frechet=_value(record, "frechet"),
        frechet_of=record["frechet_of"],
        frechet_ratio=record.number("frechet_ratio"),
        frechet_factor=record.required("frechet_factor"),
        evaluation=_value(record, "evaluation"),
        gap=_value(record, "gap"),
        nfe_per_image=record.number("nfe_per_image"),
        backward_per_image=record.number("backward_per_image"),
        denoiser_calls=record.number("denoiser_calls"),
        n=record.whole("n"),
        seeds=record["seeds"],
        status=record["status"],
        reason=record["reason"],
        note=record["note"],
        run=record["run"],
        method_file=record["method_file"],
        fields=record["fields"],
        tuning_sha256=record["tuning_sha256"],
    )


def _json_object(record: Record, column: str) -> Mapping[str, object]:
    try:
        value = json.loads(record[column])
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise record.wrong(column, "must be an object in JSON")
    return value


def _value(record: Record, column: str) -> Value | None:
    value = record.number(column)
    return None if value is None else Value(value, record.number(f"{column}_low"), record.number(f"{column}_high"))


def chosen_fields(rows: Sequence[TuningRow]) -> Mapping[str, Mapping[str, Mapping[str, object]]]:
    """Return the chosen fields by the method's title, then by task.

    Raises:
        ConfigError: a method has no chosen setting on a task, or several.
    """
    chosen: dict[str, dict[str, Mapping[str, object]]] = {}
    for row in rows:
        of_task = chosen.setdefault(row.method, {})
        if row.chosen and row.task in of_task:
            raise ConfigError(f"{NAME}: {row.method} has two chosen settings on {row.task}; run `tune` again")
        if row.chosen:
            of_task[row.task] = json.loads(row.setting)
    for row in rows:
        if row.task not in chosen[row.method]:
            raise ConfigError(f"{NAME}: {row.method} has no chosen setting on {row.task}; run `tune` again")
    return chosen


def evaluated(rows: Sequence[TuningRow], run: Run | None) -> list[TuningRow]:
    """Return the rows with the evaluation and the gap of every setting that a run has a cell of.

    Args:
        rows: of tuning.csv.
        run: the finished run beside it; None before there is one.
    """
    values: dict[tuple[str, str, Fields], Value | None] = {}
    if run is not None:
        for cell in run.cells:
            key = Key(cell.task, cell.method, run.ranking_metric, cell.attributes)
            values.setdefault((cell.task.name, cell.method_file, Fields(json.loads(cell.fields))), run.value(key))
    complete = []
    for row in rows:
        evaluation = values.get((row.task, row.method_file, Fields(json.loads(row.fields))))
        gap = None if evaluation is None or row.value is None else difference(evaluation, row.value)
        complete.append(dataclasses.replace(row, evaluation=evaluation, gap=gap))
    return complete


def difference(a: Value, b: Value) -> Value:
    """Return a - b of independent estimates, with an interval made of theirs.

    Source: Zou and Donner 2008, Construction of confidence limits about effect measures, Statistics in Medicine 27,
    Eq. 4 (MOVER): low = a - b - sqrt((a - a_low)^2 + (b_high - b)^2), high likewise.
    """
    gap = a.value - b.value
    if a.low is None or a.high is None or b.low is None or b.high is None:
        return Value(gap)
    low = gap - math.hypot(a.value - a.low, b.high - b.value)
    return Value(gap, low, gap + math.hypot(a.high - a.value, b.value - b.low))
