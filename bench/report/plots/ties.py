"""The ranking with its ties: discrepancies with intervals, best first, and which are not told from the best."""

from __future__ import annotations

from typing import Any

from matplotlib.lines import Line2D

from bench.report.plots.finished import Finished
from bench.report.plots.panels import ROW, filled, headings, method_rows, task_panels
from bench.report.plots.style import NEUTRAL, label
from bench.results.run import Task

BAND: Any = {"color": "black", "linewidth": 2.6, "solid_capstyle": "butt"}


def draw(run: Finished) -> dict[str, Any]:
    """One figure, with a panel a task; a thick line joins the best with those that are tied with it.

    The ties are the column `tied_best` of leaderboard.csv: paired bootstrap on the same noise, Holm's correction, 5 %.

    Raises:
        ConfigError: leaderboard.csv cannot be read, or is of another run.
    """
    most = max(len(run.methods(task)) for task in run.run.tasks)
    fig, panels = task_panels(run, most * ROW + 0.45)
    for task, ax in panels:
        _panel(ax, run, task)
    headings(fig, panels, loc="right")
    over = ", mean over prompts," if run.run.has_prompts else ""
    dashed = Line2D([], [], color=NEUTRAL, linestyle="--", linewidth=1)
    entries = [
        (Line2D([], [], **BAND), "not told from the best (paired, Holm, 5 %)"),
        (dashed, "a perfect sampler stays left of it in 95 of 100 runs"),
    ]
    run.legend(fig, label(f"fairness discrepancy (L2){over} with its 95 % interval", "lower", 80), (), entries)
    return {"ties": fig}


def ranking(run: Finished, task: Task) -> list[str]:
    """Methods of a task, smallest discrepancy first; those without one last, in the order of the run."""
    values = {title: run.ranking_metric(task, title) for title in run.methods(task)}
    return sorted(values, key=lambda title: (values[title] is None, getattr(values[title], "value", 0.0)))


def _panel(ax: Any, run: Finished, task: Task) -> None:
    titles = ranking(run, task)
    filled(ax, run, {title: run.ranked_by(task, title) for title in titles})
    method_rows(ax, titles)
    ax.set_xlim(left=-0.03 * ax.get_xlim()[1])  # a point at 0 touches no name
    tied = [place for place, title in enumerate(titles) if run.measured.mark(task, title)]
    # The tied need not be neighbours: a method between two of them may be told from the best. So a piece a row.
    for place in tied:
        ax.plot(
            [0.985, 0.985], [place - 0.5, place + 0.5], transform=ax.get_yaxis_transform(), label=titles[place], **BAND
        )
    bound = next((b for b in (run.noise_floor(task, title) for title in titles) if b is not None), None)
    if bound is not None:
        ax.axvline(bound, color=NEUTRAL, linestyle="--", linewidth=1, label=f"noise floor of {run.run.ranking_metric}")
