"""The leaderboard on the terminal, read from leaderboard.csv and costs.csv."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from rich.console import Console, JustifyMethod
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table

from bench.core.schema import BY_PROMPT, OVER_PROMPTS, POOLED, ranking_metric_of
from bench.results.leaderboard_csv import LEADERBOARD, MARKS, columns, frechet_head, interval, method_name
from bench.results.tables import read_records

EPSILON = (
    "epsilon: balanced error rate of the best of four classifiers predicting the conditioning class from image "
    "features; higher is fairer."
)
RANK = "rank"  # the column of the marks "best" and "tied"
COSTS = ("task", "method", "seconds_per_image", "fit_seconds")


def show_leaderboard(folder: Path, console: Console) -> None:
    """Print one table per task."""
    rows = read_records(folder / "leaderboard.csv", LEADERBOARD)
    costs = read_records(folder / "costs.csv", COSTS, may_be_empty=True)
    for task in dict.fromkeys(row["task"] for row in rows):
        console.print(task_table([r for r in rows if r["task"] == task], costs, console))


def task_table(rows: Sequence[Mapping[str, str]], costs: Sequence[Mapping[str, str]], console: Console) -> Table:
    """Make the table of one task: discrepancy and Fréchet distances with their intervals, NFE and seconds.

    No number is cut: a console too narrow for all columns gets the most important ones, and the caption names the
    others.
    """
    first = rows[0]
    ranking_metric = ranking_metric_of(OVER_PROMPTS in first)
    shown = _columns(rows, costs)
    accuracy = _percent(first["classifier_accuracy"])
    title = f"{first['task']}  (n {first['n']}, seeds {first['seeds']}, attribute classifier accuracy {accuracy})"
    floor = float(first["fd_noise_floor"] or "nan")
    several = int(first["seeds"]) > 1
    mean = " of the mean over seeds" if several else ""
    notes = [
        *(f"{method_name(row)} {row['status']} ({row['reason']})." for row in rows if row["status"] != "ok"),
        *(f"{method_name(row)}: {row['reason']}." for row in rows if row["status"] == "ok" and row["reason"]),
        f"{ranking_metric}: lower is better; noise floor {floor:.3f}, the 95th percentile for a sampler that matches "
        f"the target exactly at this n{' and number of seeds' if several else ''}. Values below it cannot be told from "
        "zero.",
        *([EPSILON] if any(head.startswith("epsilon") for head in shown) else []),
        f"tied: not significantly different from the best (paired bootstrap{mean}, Holm, 5 %).",
        *(["In brackets: sampling errors of the seeds, and their spread where it is larger."] if several else []),
        "NFE and backward: network function evaluations and backward passes per image.",
        "s/image and fit s: seconds on this machine, one thread per worker.",
    ]
    fitting = ["method", f"{ranking_metric} [95 %]"]
    unbound = console.options.update(width=sys.maxsize)
    for head in _by_importance(list(shown)[len(fitting) :]):
        wider = _table(title, {h: cells for h, cells in shown.items() if h in fitting or h == head})
        if Measurement.get(console, unbound, wider).maximum <= console.width:
            fitting.append(head)
    left_out = [head for head in shown if head not in fitting]
    if left_out:
        notes.append(f"Columns not shown on this narrow terminal: {', '.join(left_out)}.".replace("\n", " "))
    table = _table(title, {head: cells for head, cells in shown.items() if head in fitting})
    table.caption = escape(" ".join(notes))
    return table


def _columns(rows: Sequence[Mapping[str, str]], costs: Sequence[Mapping[str, str]]) -> dict[str, list[str]]:
    """Return the cells of each column by its head, in the order of the table."""
    first = rows[0]
    ranking_metric = ranking_metric_of(OVER_PROMPTS in first)
    frechet, others = columns(first, "frechet_"), columns(first, f"{ranking_metric} by ")
    epsilon, clip = columns(first, "epsilon_"), columns(first, "clip_score_")
    prompts = [*BY_PROMPT, POOLED] if ranking_metric == OVER_PROMPTS else []

    def measured(column: str, digits: int) -> Callable[[Mapping[str, str]], str]:
        return lambda row: interval(row, column, 0 if digits == 2 and float(row[column] or 0) >= 100 else digits)

    formats: dict[str, Callable[[Mapping[str, str]], str]] = {
        f"{ranking_metric} [95 %]": measured(ranking_metric, 3),
        RANK: lambda row: MARKS[row["tied_best"]],
        **{column.removeprefix(f"{ranking_metric} "): measured(column, 3) for column in others},
        **{column: measured(column, 3) for column in prompts},
        **{f"CLIP score\n{column.removeprefix('clip_score_')}": measured(column, 1) for column in clip},
        **{f"Frechet\n{frechet_head(column, frechet)}": measured(column, 2) for column in frechet},
        **{f"epsilon\n{column.removeprefix('epsilon_')}": measured(column, 3) for column in epsilon},
        "NFE": lambda row: f"{float(row['nfe_per_image']):g}",
        "backward": lambda row: f"{float(row['backward_per_image']):g}",
        "s/image": lambda row: f"{_mean(row, costs, 'seconds_per_image'):.3f}",
        "fit s": lambda row: f"{_mean(row, costs, 'fit_seconds'):.1f}",
    }
    shown = {head: [cell(row) if row["status"] == "ok" else "-" for row in rows] for head, cell in formats.items()}
    shown[f"{ranking_metric} [95 %]"] = [
        cell if row["status"] == "ok" else row["status"]
        for row, cell in zip(rows, shown[f"{ranking_metric} [95 %]"], strict=True)
    ]
    return {"method": [method_name(row) for row in rows], **shown}


def _by_importance(heads: list[str]) -> list[str]:
    """Sort columns by importance: marks, first Fréchet distance and cost, then the others."""
    frechet = [head for head in heads if head.startswith("Frechet")]
    first = [RANK, *frechet[:1], "NFE", "s/image", "backward"]
    return first + [head for head in heads if head not in first]


def _table(title: str, shown: dict[str, list[str]]) -> Table:
    table = Table(title=title)
    for head in shown:
        justify: JustifyMethod = "left" if head in ("method", RANK) else "right"
        table.add_column(escape(head), justify=justify, no_wrap=head != "method", overflow="fold")
    for cells in zip(*shown.values(), strict=True):
        table.add_row(*map(escape, cells))
    return table


def _percent(text: str) -> str:
    return f"{100 * float(text):.1f} %" if text else "not measured"


def _mean(row: Mapping[str, str], costs: Sequence[Mapping[str, str]], column: str) -> float:
    values = [float(c[column]) for c in costs if (c["task"], c["method"]) == (row["task"], row["method"])]
    return sum(values) / len(values) if values else float("nan")
