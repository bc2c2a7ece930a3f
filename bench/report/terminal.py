"""The leaderboard on the terminal, from leaderboard.csv and costs.csv alone."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from rich.console import Console, JustifyMethod
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table

from bench.core.schema import BY_PROMPT, OVER_PROMPTS, POOLED, ranking_metric_of
from bench.results.leaderboard_csv import MARKS, columns, frechet_head, interval, method_name, read_table

TIED = "rank"  # head of the marks


def show_leaderboard(folder: Path, console: Console) -> None:
    """Print one table a task."""
    rows = read_table(folder / "leaderboard.csv")
    costs = read_table(folder / "costs.csv")
    for task in dict.fromkeys(row["task"] for row in rows):
        console.print(task_table([r for r in rows if r["task"] == task], costs, console))


def task_table(rows: list[dict[str, str]], costs: list[dict[str, str]], console: Console) -> Table:
    """One task: discrepancy and Frechet distances with their intervals, calls and seconds.

    A number is never cut short: where the console is too narrow for all columns, it has the most important ones, and
    names the others.
    """
    first = rows[0]
    ranking_metric = ranking_metric_of(OVER_PROMPTS in first)
    shown = _columns(rows, costs)
    title = f"{first['task']}  (n {first['n']}, seeds {first['seeds']}, classifier {_percent(first['classifier_accuracy'])})"
    null = float(first["fd_noise_floor"] or "nan")
    notes = [
        *(f"{method_name(row)} {row['status']} ({row['reason']})." for row in rows if row["status"] != "ok"),
        f"{ranking_metric}: lower is better; a perfect sampler stays below {null:.3f} in 95 of 100 runs of this size.",
        "epsilon: balanced error of the best probe that guesses which class was asked for; higher is fairer.",
        "tied: not significantly worse than the best (paired bootstrap on the same noise, Holm, 5 %).",
        "s/image and fit s are of this machine, one thread a worker.",
    ]
    kept = ["method", f"{ranking_metric} [95 %]"]
    unbound = console.options.update(width=sys.maxsize)
    for head in _by_importance(list(shown)[len(kept) :]):
        wider = _table(title, {h: cells for h, cells in shown.items() if h in kept or h == head})
        if Measurement.get(console, unbound, wider).maximum <= console.width:
            kept.append(head)
    left_out = [head for head in shown if head not in kept]
    if left_out:
        notes.append(f"Too wide for this terminal, and in leaderboard.csv: {', '.join(left_out)}.".replace("\n", " "))
    table = _table(title, {head: cells for head, cells in shown.items() if head in kept})
    table.caption = escape(" ".join(notes))
    return table


def _columns(rows: list[dict[str, str]], costs: list[dict[str, str]]) -> dict[str, list[str]]:
    """Head of a column to its cells, in the order of the table."""
    first = rows[0]
    ranking_metric = ranking_metric_of(OVER_PROMPTS in first)
    frechet, others = columns(first, "frechet_"), columns(first, f"{ranking_metric} by ")
    epsilon, clip = columns(first, "epsilon_"), columns(first, "clip_score_")
    prompts = [*BY_PROMPT, POOLED] if ranking_metric == OVER_PROMPTS else []

    def measured(column: str, digits: int) -> Callable[[dict[str, str]], str]:
        return lambda row: interval(row, column, 0 if digits == 2 and float(row[column] or 0) >= 100 else digits)

    of: dict[str, Callable[[dict[str, str]], str]] = {
        f"{ranking_metric} [95 %]": measured(ranking_metric, 3),
        TIED: lambda row: MARKS[row["tied_best"]],
        **{column.removeprefix(f"{ranking_metric} "): measured(column, 3) for column in others},
        **{column: measured(column, 3) for column in prompts},
        **{f"CLIP score\n{column.removeprefix('clip_score_')}": measured(column, 1) for column in clip},
        **{f"Frechet\n{frechet_head(column, frechet)}": measured(column, 2) for column in frechet},
        **{f"epsilon\n{column.removeprefix('epsilon_')}": measured(column, 3) for column in epsilon},
        "calls/image": lambda row: f"{float(row['nfe_per_image']):g}",
        "backward": lambda row: f"{float(row['backward_per_image']):g}",
        "s/image": lambda row: f"{_mean(row, costs, 'seconds_per_image'):.3f}",
        "fit s": lambda row: f"{_mean(row, costs, 'fit_seconds'):.1f}",
    }
    found = {head: [cell(row) if row["status"] == "ok" else "-" for row in rows] for head, cell in of.items()}
    found[f"{ranking_metric} [95 %]"] = [
        cell if row["status"] == "ok" else row["status"]
        for row, cell in zip(rows, found[f"{ranking_metric} [95 %]"], strict=True)
    ]
    return {"method": [method_name(row) for row in rows], **found}


def _by_importance(heads: list[str]) -> list[str]:
    """The marks, the first Frechet distance and the cost before the rest."""
    frechet = [head for head in heads if head.startswith("Frechet")]
    first = [TIED, *frechet[:1], "calls/image", "s/image", "backward"]
    return first + [head for head in heads if head not in first]


def _table(title: str, shown: dict[str, list[str]]) -> Table:
    table = Table(title=title)
    for head in shown:
        justify: JustifyMethod = "left" if head in ("method", TIED) else "right"
        table.add_column(escape(head), justify=justify, no_wrap=head != "method", overflow="fold")
    for cells in zip(*shown.values(), strict=True):
        table.add_row(*map(escape, cells))
    return table


def _percent(text: str) -> str:
    return f"{100 * float(text):.1f} %" if text else "not measured"


def _mean(row: dict[str, str], costs: list[dict[str, str]], column: str) -> float:
    own = [float(c[column]) for c in costs if (c["task"], c["method"]) == (row["task"], row["method"])]
    return sum(own) / len(own) if own else float("nan")
