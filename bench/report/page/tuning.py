"""The tuning of a run as the page's data: every trial, the chosen settings, and the gap to the evaluation."""

from __future__ import annotations

from typing import TypedDict

from bench.core.rounding import shown
from bench.core.text import number
from bench.core.value import Value
from bench.report.tuning import rule, setting_text
from bench.results.run import Run
from bench.results.tuning import NAME, TuningRow, read_tuning


class TrialRecord(TypedDict):
    """A setting of a tuned method on a task, in the words of `bench.results.tuning.TuningRow`.

    Numbers are texts: a value alone, or a value and the ends of its interval; none where there is no value.
    """

    task: str
    method: str
    trial: int
    chosen: bool
    setting: str
    value: list[str]
    frechet: list[str]
    ratio: str
    evaluation: list[str]
    gap: list[str]
    calls: str
    note: str


class TuningRecord(TypedDict):
    """The rule of choice as a sentence, and every trial; an empty sentence and no trial where nothing was tuned."""

    rule: str
    trials: list[TrialRecord]


def tuning(run: Run) -> TuningRecord:
    """Return the tuning.csv beside a run.

    Raises:
        ConfigError: the file exists and cannot be read.
    """
    file = run.file.parent / NAME
    rows = read_tuning(file) if file.is_file() else []
    return {"rule": rule(rows[0]) if rows else "", "trials": [_trial(row) for row in rows]}


def _trial(row: TuningRow) -> TrialRecord:
    return {
        "task": row.task,
        "method": row.method,
        "trial": row.trial,
        "chosen": row.chosen,
        "setting": setting_text(row),
        "value": _texts(row.value),
        "frechet": _texts(row.frechet),
        "ratio": number(row.frechet_ratio),
        "evaluation": _texts(row.evaluation),
        "gap": _texts(row.gap),
        "calls": number(row.denoiser_calls),
        "note": row.note if row.status == "ok" else f"{row.status}: {row.reason}",
    }


def _texts(value: Value | None) -> list[str]:
    return [] if value is None else list(shown(value.value, value.low, value.high, "brackets"))
