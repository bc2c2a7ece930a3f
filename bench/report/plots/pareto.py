"""Fairness against quality: the ranking metric over a Fréchet distance, with the Pareto front of the methods."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.core.errors import Incompatible
from bench.core.pareto import pareto_front
from bench.report.plots.finished import Finished
from bench.report.plots.panels import headings, plane, task_panels, y_label
from bench.report.plots.style import label
from bench.results.key import Key, Task
from bench.storage.files import slug


def draw(run: Finished) -> dict[str, Figure]:
    """Draw a figure per Fréchet distance and reference set, with a panel per task.

    Raises:
        Incompatible: the run has no Fréchet distance.
    """
    scopes = run.scopes("frechet_")
    if not scopes:
        raise Incompatible("the run has no frechet_*; add features, references and frechet to the suite")
    return {f"pareto-{slug(metric)}-{slug(scope)}": _of(run, metric, scope) for metric, scope in scopes}


def _of(run: Finished, metric: str, scope: str) -> Figure:
    fig, panels = task_panels(run, 1.95)
    gaps = []
    for task, ax in panels:
        keys = [Key(task, title, metric, scope) for title in run.methods(task)]
        plane(ax, run, task, {key.method: run.run.value(key) for key in keys})
        _front(ax, run, task, keys)
        gaps.append(run.gaps([k for key in keys for k in (run.ranked_by(task, key.method), key)]))
    headings(fig, panels, gaps)
    features = metric.removeprefix("frechet_")
    y_label(panels, label("fairness discrepancy (L2)", "lower"))
    x_label = label(f"Fréchet distance of {features} features to {scope}", "lower", 80)
    run.legend(fig, x_label, run.run.methods, [(_line(), "Pareto front")])
    return fig


def _line() -> Line2D:
    return Line2D([], [], color="black", linestyle=":", linewidth=0.9)


def _front(ax: Axes, run: Finished, task: Task, keys: list[Key]) -> None:
    """Draw a staircase through the points on the Pareto front: points above and right of it are dominated."""
    points = []
    for key in keys:
        x, y = run.run.value(key), run.ranking_metric(task, key.method)
        if x is not None and y is not None:
            points.append((x.value, y.value))
    if points:
        best = sorted({p for p, on in zip(points, pareto_front(points), strict=True) if on})
        ax.step(*zip(*best, strict=True), where="post", color="black", linestyle=":", linewidth=0.9, label="front")
