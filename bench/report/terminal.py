"""The leaderboard on the terminal, from leaderboard.csv and costs.csv alone."""

from __future__ import annotations

import csv
from pathlib import Path

from rich.console import Console
from rich.table import Table

MARKS = {"best": "best", "yes": "tied", "no": "", "": ""}


def show_leaderboard(folder: Path, console: Console) -> None:
    """Print one table a task."""
    rows = read_table(folder / "leaderboard.csv")
    costs = read_table(folder / "costs.csv")
    for task in dict.fromkeys(row["task"] for row in rows):
        console.print(task_table(task, [r for r in rows if r["task"] == task], costs))


def task_table(task: str, rows: list[dict[str, str]], costs: list[dict[str, str]]) -> Table:
    """One task: discrepancy and Frechet distances with their intervals, calls and seconds."""
    first = rows[0]
    frechet, epsilon = columns(first, "frechet_"), columns(first, "epsilon_")
    others = columns(first, "fd_l2_hard by ")
    table = Table(title=f"{task}  (n {first['n']}, seeds {first['seeds']}, judge {_percent(first['judge_accuracy'])})")
    table.add_column("method", no_wrap=True)
    table.add_column("fd_l2_hard [95 %]", justify="right", no_wrap=True)
    table.add_column("", justify="left")  # tied with the best
    for column in others:
        table.add_column(column.removeprefix("fd_l2_hard "), justify="right", no_wrap=True)
    for column in frechet:
        table.add_column(f"Frechet {frechet_head(column, frechet)}", justify="right", no_wrap=True)
    for _ in epsilon:
        table.add_column("epsilon", justify="right", no_wrap=True)
    for column in ("calls/image", "backward", "s/image", "fit s"):
        table.add_column(column, justify="right")
    for row in rows:
        if row["status"] != "ok":
            table.add_row(method_name(row), row["status"], row["reason"][:60])
            continue
        own = [c for c in costs if c["task"] == task and c["method"] == row["method"]]
        table.add_row(
            method_name(row),
            interval(row, "fd_l2_hard", 3),
            MARKS[row["tied_best"]],
            *(interval(row, column, 3) for column in others),
            *(interval(row, column, 2) for column in frechet),
            *(interval(row, column, 3) for column in epsilon),
            f"{float(row['nfe_per_image']):g}",
            f"{float(row['backward_per_image']):g}",
            f"{_mean(own, 'seconds_per_image'):.3f}",
            f"{_mean(own, 'fit_seconds'):.1f}",
        )
    null = float(first["fd_null_bound"] or "nan")
    table.caption = (
        f"fd_l2_hard: lower is better; a perfect sampler stays below {null:.3f} in 95 of 100 runs of this size. "
        "epsilon: balanced error of the best probe that guesses which class was asked for; higher is fairer. "
        "tied: not significantly worse than the best (paired bootstrap on the same noise, Holm, 5 %). "
        "s/image and fit s are of this machine, one thread a worker."
    )
    return table


def frechet_head(column: str, beside: list[str]) -> str:
    """What a Frechet distance is to, and of whose features, where the columns beside it are not all of the same."""
    metric, _, scope = column.partition(" to ")
    several = len({other.partition(" to ")[0] for other in beside}) > 1
    return f"of {metric.removeprefix('frechet_')} to {scope}" if several else f"to {scope}"


def columns(row: dict[str, str], prefix: str) -> list[str]:
    """The columns of the metrics of a prefix, without their intervals'."""
    return [c for c in row if c.startswith(prefix) and not c.endswith(("_low", "_high"))]


def method_name(row: dict[str, str]) -> str:
    """The method of a leaderboard row, with a warning where it guided with the network that judges it."""
    return row["method"] + (" (guided by its judge)" if row.get("guided_by_judge") == "True" else "")


def read_table(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV, as text."""
    with path.open(newline="", encoding="utf-8") as f:
        return list(csv.DictReader(f))


def interval(row: dict[str, str], column: str, digits: int) -> str:
    """A value with its interval, or a dash where there is none."""
    if not row[column]:
        return "-"
    value = f"{float(row[column]):.{digits}f}"
    if not row[f"{column}_low"]:
        return value
    return f"{value} [{float(row[f'{column}_low']):.{digits}f}, {float(row[f'{column}_high']):.{digits}f}]"


def _percent(text: str) -> str:
    return f"{100 * float(text):.1f} %" if text else "not measured"


def _mean(rows: list[dict[str, str]], column: str) -> float:
    return sum(float(r[column]) for r in rows) / len(rows) if rows else float("nan")
