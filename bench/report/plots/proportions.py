"""The share of each class among every method's samples, with its interval, beside the target share."""

from __future__ import annotations

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.core.errors import Incompatible
from bench.report.plots.finished import Finished
from bench.report.plots.panels import ROW, filled, method_rows
from bench.report.plots.style import FONT, NEUTRAL, PAGE, figure, inches, text
from bench.results.key import Key, Task
from bench.results.read import target_shares

ACROSS = 6  # classes side by side


def draw(run: Finished) -> dict[str, Figure]:
    """Draw a figure per task: a panel for each class of the task's joint attribute, a row for each method.

    Raises:
        Incompatible: the run has no shares.
    """
    figures = {f"proportions-{run.stems[task]}": _of(run, task) for task in run.run.tasks if classes(run, task)}
    if not figures:
        raise Incompatible("the run has no share_hard; add fairness_discrepancy to the suite's metrics")
    return figures


def classes(run: Finished, task: Task) -> list[str]:
    """Return the class names of a task's joint attribute in the order of its target; empty without shares."""
    start = task.attributes + "="
    rows = run.run.rows
    of_task = rows[(rows["attributes"] == task.attributes) & (rows["metric"] == "share_hard")]
    return [s.removeprefix(start) for s in dict.fromkeys(of_task["scope"]) if s.startswith(start)]


def _of(run: Finished, task: Task) -> Figure:
    titles, names = run.methods(task), classes(run, task)
    across = min(len(names), ACROSS)
    rows = -(-len(names) // across)
    room = int(0.75 * PAGE / across / inches("n", FONT))
    fig, axes = figure(PAGE, rows * (len(titles) * ROW + 0.45) + 0.3, rows, across, sharex=True)
    for ax in axes[len(names) :]:
        ax.remove()
    for i, (ax, name, target) in enumerate(zip(axes, names, target_shares(task.target), strict=False)):
        keys = {t: Key(task, t, "share_hard", f"{task.attributes}={name}") for t in titles}
        ax.axvline(target, color=NEUTRAL, linestyle="--", linewidth=1, label="target")
        filled(ax, run, keys)
        method_rows(ax, titles, names=i % across == 0)
        ax.set_title(text(name, room))
    axes[0].set_xlim(left=0)  # applies to all panels; only now, since it fixes the right end too
    fig.suptitle(text(task.name, 80))
    dashed = Line2D([], [], color=NEUTRAL, linestyle="--", linewidth=1)
    run.legend(fig, "share of the samples, as classified, with its 95 % interval", (), [(dashed, "target share")])
    return fig
