"""Seconds per image: sampling alone, and sampling plus the fit spread over the images of a cell."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from bench.core.errors import Incompatible
from bench.report.plots.finished import Finished
from bench.report.plots.panels import ROW, headings, method_rows, names_methods, point, task_panels, word
from bench.report.plots.style import NEUTRAL, label
from bench.results.key import Task

SAMPLING, FIT = "seconds_per_image", "fit_seconds"


def draw(run: Finished) -> dict[str, Figure]:
    """Draw one figure with a panel per task: a hollow point for sampling, a filled one with the fit.

    Raises:
        Incompatible: the run has no such costs.
        ConfigError: costs.csv cannot be read.
    """
    for column in (SAMPLING, FIT):
        if not run.run.has_cost(column):
            raise Incompatible(f"costs.csv of the run has no column {column}")
    most = max(len(run.methods(task)) for task in run.run.tasks)
    fig, panels = task_panels(run, most * ROW + 0.45, sharex=True)
    for i, (task, ax) in enumerate(panels):
        _panel(ax, run, task)
        method_rows(ax, run.methods(task), names_methods(run, i))
    headings(fig, panels)
    n = int(run.run.rows["n_asked"].iloc[0])
    hollow = Line2D([], [], color=NEUTRAL, marker="o", linestyle="none", fillstyle="none")
    full = Line2D([], [], color=NEUTRAL, marker="o", linestyle="none", fillstyle="full")
    entries = [(hollow, "sampling"), (full, f"sampling plus fit, spread over the {n} images of a cell")]
    run.legend(fig, label("seconds per image", "lower"), (), entries)
    return {"cost": fig}


def _panel(ax: Axes, run: Finished, task: Task) -> None:
    ax.set_xscale("log")
    for row, title in enumerate(run.methods(task)):
        seconds, fit = (run.run.cost(task, title, column) for column in (SAMPLING, FIT))
        if seconds is None or fit is None:
            word(ax, row, run.status(run.ranked_by(task, title)))
            continue
        look, whole = run.looks[title], seconds + fit / int(run.run.rows["n_asked"].iloc[0])
        ax.plot([seconds, whole], [row, row], color=look.colour, linewidth=0.8, zorder=2)
        point(ax, seconds, row, look, title, fillstyle="full", markerfacecolor="white")
        point(ax, whole, row, look, f"{title}, with the fit", fillstyle="full")
    ax.xaxis.set_major_locator(LogLocator(numticks=5))
    ax.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))  # the default formatter writes powers as mathematics
    ax.xaxis.set_minor_formatter(NullFormatter())
