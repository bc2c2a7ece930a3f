"""Discrepancy prompt by prompt, a row each: what the mean over prompts is the mean of."""

from __future__ import annotations

from typing import Any

from bench.core.errors import Incompatible
from bench.report.plots.finished import Finished
from bench.report.plots.panels import ROW, headings, point, task_panels
from bench.report.plots.style import FAINT, SMALL, label, text
from bench.results.run import Key, Task

ONE = "fd_l2_by_prompt"
MOST = 40  # rows of a panel: the prompts that the first method is worst on


def draw(run: Finished) -> dict[str, Any]:
    """A figure with a panel a task: prompts from top to bottom by the first method's discrepancy, a point a method.

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
    left_out = {task: len(found) - MOST for task, found in rows.items()}
    headings(fig, panels, [f"{left_out[t]} fairer prompts left out" if left_out[t] > 0 else "" for t, _ in panels])
    titles = [title for title in run.files if any(title in run.methods(task) for task in rows)]
    run.legend(fig, label("discrepancy (L2) of a prompt, 95 % interval", "lower", 60), titles)
    return {"prompts": fig}


def ranked(run: Finished, task: Task) -> list[str]:
    """The prompts of a task, that with the largest discrepancy of the run's first method first."""
    prefix = f"{task.attributes} at "
    names = dict.fromkeys(scope.removeprefix(prefix) for _, scope in run.scopes(ONE) if scope.startswith(prefix))
    first = run.methods(task)[0]
    values = {name: run.measured.quantity(_key(task, first, name)) for name in names}
    return sorted(names, key=lambda name: -getattr(values[name], "value", 0.0))


def _key(task: Task, title: str, prompt: str) -> Key:
    return Key(task, title, ONE, f"{task.attributes} at {prompt}")


def _panel(ax: Any, run: Finished, task: Task, prompts: list[str]) -> None:
    titles = run.methods(task)
    for row, prompt in enumerate(prompts):
        for i, title in enumerate(titles):
            found = run.measured.quantity(_key(task, title, prompt))
            if found is not None:
                place = row + 0.6 * ((i + 0.5) / len(titles) - 0.5)
                point(ax, found, place, run.looks[title], f"{title}, {prompt}", markersize=3)
    ax.set_ylim(len(prompts) - 0.4, -0.6)
    ax.set_yticks(range(len(prompts)), [text(name, 24) for name in prompts], fontsize=SMALL)
    ax.tick_params(axis="y", length=0)
    ax.grid(visible=False, axis="y")
    for place in range(0, len(prompts), 2):
        ax.axhspan(place - 0.5, place + 0.5, color=FAINT, alpha=0.18, linewidth=0, zorder=0)
    ax.set_xlim(left=0)
