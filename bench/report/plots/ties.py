"""The ranking: discrepancies with intervals, best first, and marks for those not significantly worse than the best."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.report.plots.finished import Finished
from bench.report.plots.panels import ROW, filled, headings, method_rows, task_panels
from bench.report.plots.style import NEUTRAL, Keywords, label
from bench.results.key import Task

BAND: Keywords = {"color": "black", "linewidth": 2.6, "solid_capstyle": "butt"}


def draw(run: Finished) -> dict[str, Figure]:
    """Draw one figure with a panel per task; a thick line marks the best and the methods tied with it.

    Tied methods are those of the column `tied_best` of leaderboard.csv: paired bootstrap, Holm's correction, 5 %.

    Raises:
        ConfigError: leaderboard.csv cannot be read, or belongs to another run.
    """
    most = max(len(run.methods(task)) for task in run.run.tasks)
    fig, panels = task_panels(run, most * ROW + 0.45)
    for task, ax in panels:
        _panel(ax, run, task)
    headings(fig, panels, loc="right")
    over = ", mean over prompts," if run.run.has_prompts else ""
    several = run.run.rows["seed"].nunique() > 1
    mean, seeds = (" of the mean over seeds", " and number of seeds") if several else ("", "")
    dashed = Line2D([], [], color=NEUTRAL, linestyle="--", linewidth=1)
    entries = [
        (Line2D([], [], **BAND), f"not significantly different from the best (paired bootstrap{mean}, Holm, 5 %)"),
        (dashed, f"noise floor: 95th percentile for a sampler that matches the target exactly at this n{seeds}"),
    ]
    run.legend(fig, label(f"fairness discrepancy (L2){over} with its 95 % interval", "lower", 80), (), entries)
    return {"ties": fig}


def ranking(run: Finished, task: Task) -> list[str]:
    """Return the methods of a task by discrepancy, smallest first; those without one last, in the order of the run."""
    values = {title: run.ranking_metric(task, title) for title in run.methods(task)}
    # Equal values that differ by rounding keep the order of the run.
    return sorted(values, key=lambda title: (values[title] is None, round(getattr(values[title], "value", 0.0), 12)))


def _panel(ax: Axes, run: Finished, task: Task) -> None:
    titles = ranking(run, task)
    filled(ax, run, {title: run.ranked_by(task, title) for title in titles})
    method_rows(ax, titles)
    ax.set_xlim(left=-0.03 * ax.get_xlim()[1])  # so that a point at 0 touches no name
    tied = [row for row, title in enumerate(titles) if run.run.mark(task, title)]
    # Tied methods need not be neighbours: one between two of them may differ significantly. So one segment per row.
    for row in tied:
        ax.plot([0.985, 0.985], [row - 0.5, row + 0.5], transform=ax.get_yaxis_transform(), label=titles[row], **BAND)
    floor = next((b for b in (run.noise_floor(task, title) for title in titles) if b is not None), None)
    if floor is not None:
        ax.axvline(floor, color=NEUTRAL, linestyle="--", linewidth=1, label=f"noise floor of {run.run.ranking_metric}")
