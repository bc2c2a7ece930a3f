"""The chosen settings of a tuning, on the terminal and as texts."""

from __future__ import annotations

import json
from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bench.core.text import interval, number
from bench.core.value import Value
from bench.results.tuning import TuningRow


def show_tuning(rows: Sequence[TuningRow], console: Console) -> None:
    """Print one table per task: the chosen setting of every method beside its defaults."""
    for task in dict.fromkeys(row.task for row in rows):
        of_task = [row for row in rows if row.task == task]
        table = Table(title=escape(f"tuning on {task}"), caption=escape(rule(of_task[0])))
        table.add_column("method")
        table.add_column("chosen setting")
        columns = ("settings tried", "by default", "chosen", "Fréchet / vanilla's", "evaluation", "gap")
        for column in columns:
            table.add_column(column, justify="right")
        for row in of_task:
            if row.chosen:
                trials = [other for other in of_task if other.method == row.method]
                table.add_row(*map(escape, _cells(row, trials)))
        console.print(table)


def _cells(row: TuningRow, trials: Sequence[TuningRow]) -> tuple[str, ...]:
    default = trials[0].value
    values = (default, row.value)
    return (
        row.method,
        setting_text(row) + (f" ({row.note})" if row.note else ""),
        str(len(trials)),
        *map(_shown, values),
        number(row.frechet_ratio),
        _shown(row.evaluation),
        _shown(row.gap),
    )


def _shown(value: Value | None) -> str:
    return "-" if value is None else number(value.value) + interval(value.low, value.high)


def setting_text(row: TuningRow) -> str:
    """Return the searched fields of a setting, such as "strength 12, loss kl"."""
    fields = json.loads(row.setting)
    texts = (f"{name} {value if isinstance(value, str) else json.dumps(value)}" for name, value in fields.items())
    return ", ".join(texts) or "no search space: the defaults"


def rule(row: TuningRow) -> str:
    """Return the rule of choice as a sentence."""
    return (
        f"Chosen: the least {row.ranking_metric} among settings whose {row.frechet_of} is at most "
        f"{row.frechet_factor:g} times vanilla's, on tuning seed {row.seeds} with {row.n} samples per seed. "
        "Gap: the chosen setting's value on the evaluation's seeds minus that on the tuning's."
    )
