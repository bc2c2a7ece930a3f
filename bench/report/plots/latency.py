"""Fairness against time: the ranking metric over the sampling time per image."""

from __future__ import annotations

from matplotlib.figure import Figure

from bench.core.errors import Incompatible
from bench.core.value import Value
from bench.report.plots.finished import Finished, named
from bench.report.plots.panels import headings, plane, task_panels, y_label
from bench.report.plots.style import label

SECONDS = "seconds_per_image"


def draw(run: Finished) -> dict[str, Figure]:
    """Draw one figure with a panel per task.

    Raises:
        Incompatible: the run has no such costs.
        ConfigError: costs.csv cannot be read.
    """
    if not run.run.has_cost(SECONDS):
        raise Incompatible(f"costs.csv of the run has no column {SECONDS}")
    fig, panels = task_panels(run, 1.95)
    gaps = []
    for task, ax in panels:
        titles = run.methods(task)
        seconds = {title: run.run.cost(task, title, SECONDS) for title in titles}
        plane(ax, run, task, {t: None if s is None else Value(s) for t, s in seconds.items()})
        untimed = [t for t in titles if seconds[t] is None and run.ranking_metric(task, t) is not None]
        missing = [run.gaps([run.ranked_by(task, title) for title in titles]), named("no measured time", untimed)]
        gaps.append("; ".join(filter(None, missing)))
        ax.set_xlim(left=0)
    headings(fig, panels, gaps)
    y_label(panels, label("fairness discrepancy (L2)", "lower"))
    run.legend(fig, label("sampling time, seconds per image", "lower"), run.run.methods)
    return {"latency": fig}
