"""Image quality of each class by itself and of the worst class, which a pooled distance can hide."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.core.errors import Incompatible
from bench.report.plots.finished import Finished
from bench.report.plots.panels import ROW, filled, headings, method_rows, names_methods, task_panels
from bench.report.plots.style import NEUTRAL, label
from bench.results.key import Key, Task
from bench.results.metric_info import metric as metric_info
from bench.storage.files import slug

WORST = "worst_"


def draw(run: Finished) -> dict[str, Figure]:
    """Draw a figure per group metric and reference set, with a panel per task and a row per method.

    Raises:
        Incompatible: the run has no quality by group.
    """
    scopes = run.scopes(f"{WORST}group_")
    pairs = dict.fromkeys((metric, scope.partition(" to ")[2]) for metric, scope in scopes)
    if not pairs:
        raise Incompatible("the run has no worst_group_*; add group_quality to the suite's metrics")
    return {f"groups-{slug(m.removeprefix(WORST))}-{slug(reference)}": _of(run, m, reference) for m, reference in pairs}


def _of(run: Finished, worst: str, reference: str) -> Figure:
    most = max(len(run.methods(task)) for task in run.run.tasks)
    fig, panels = task_panels(run, most * ROW + 0.45)
    for i, (task, ax) in enumerate(panels):
        titles = run.methods(task)
        keys = {title: Key(task, title, worst, f"{task.attributes} to {reference}") for title in titles}
        _groups(ax, run, task, worst.removeprefix(WORST), reference)
        filled(ax, run, keys)
        method_rows(ax, titles, names_methods(run, i))
    headings(fig, panels)
    name = worst.removeprefix(WORST).removeprefix("group_").replace("frechet_", "Fréchet distance, ", 1)
    x_label = label(f"{name}, of each class to its images in {reference}", metric_info(worst).better, 90)
    run.legend(fig, x_label, (), [(_dot(), "worst class, with its 95 % interval"), (_tick(), "each class")])
    return fig


def _tick() -> Line2D:
    return Line2D([], [], color=NEUTRAL, marker="|", linestyle="none")


def _dot() -> Line2D:
    return Line2D([], [], color=NEUTRAL, marker="o", linestyle="none")


def _groups(ax: Axes, run: Finished, task: Task, metric: str, reference: str) -> None:
    """Draw a tick for every class that has a value, on the row of its method."""
    titles = run.methods(task)
    for key in run.run.by_key:
        drawn_here = key.task == task and key.metric == metric and not key.classifier
        group, _, to = key.scope.partition(" to ")
        value = run.run.value(key) if drawn_here else None
        if value is not None and to == reference and group.startswith(f"{task.attributes}="):
            ax.plot(
                [value.value], [titles.index(key.method)], color=NEUTRAL, marker="|", linestyle="none", zorder=2,
                label=f"{key.method}, {group}",
            )  # fmt: skip
