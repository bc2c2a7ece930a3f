"""The discrepancy of every prompt, in a row each: the values behind the mean over prompts."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.core.errors import Incompatible
from bench.report.plots.finished import Finished
from bench.report.plots.panels import ROW, headings, list_rows, point, task_panels
from bench.report.plots.style import label, text
from bench.results.key import Key, Task

ONE = "fd_l2_by_prompt"
MOST = 40  # rows of a panel: the prompts on which the first method is worst


def draw(run: Finished) -> dict[str, Figure]:
    """Draw a figure with a panel per task and a point per method, prompts sorted by the first method's discrepancy.

    Raises:
        Incompatible: the run has no prompts.
    """
    if not run.scopes(ONE):
        raise Incompatible("the run has no prompts; name a prompt set in the suite")
    rows = {task: ranked(run, task) for task in run.run.tasks}
    most = max(map(len, rows.values()))
    fig, panels = task_panels(run, most * ROW + 0.45)
    for task, ax in panels:
        _panel(ax, run, task, rows[task][:MOST])
    left_out = {task: len(prompts) - MOST for task, prompts in rows.items()}
    gaps = [f"{left_out[t]} prompts with lower discrepancy not shown" if left_out[t] > 0 else "" for t, _ in panels]
    headings(fig, panels, gaps)
    titles = [title for title in run.files if any(title in run.methods(task) for task in rows)]
    run.legend(fig, label("discrepancy (L2) per prompt, 95 % interval", "lower", 60), titles)
    return {"prompts": fig}


def ranked(run: Finished, task: Task) -> list[str]:
    """Return the prompts of a task by the discrepancy of the run's first method, largest first."""
    prefix = f"{task.attributes} at "
    names = dict.fromkeys(scope.removeprefix(prefix) for _, scope in run.scopes(ONE) if scope.startswith(prefix))
    first = run.methods(task)[0]
    values = {name: run.run.value(_key(task, first, name)) for name in names}
    return sorted(names, key=lambda name: -getattr(values[name], "value", 0.0))


def _key(task: Task, title: str, prompt: str) -> Key:
    return Key(task, title, ONE, f"{task.attributes} at {prompt}")


def _panel(ax: Axes, run: Finished, task: Task, prompts: list[str]) -> None:
    titles = run.methods(task)
    for row, prompt in enumerate(prompts):
        for i, title in enumerate(titles):
            value = run.run.value(_key(task, title, prompt))
            if value is not None:
                y = row + 0.6 * ((i + 0.5) / len(titles) - 0.5)
                point(ax, value, y, run.looks[title], f"{title}, {prompt}", markersize=3)
    list_rows(ax, [text(name, 24) for name in prompts])
    ax.set_xlim(left=0)
