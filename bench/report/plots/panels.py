"""Building blocks of the plots: a panel per task, a row per method, points with intervals, headings with the gaps."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.core.value import Value
from bench.report.plots.finished import Finished
from bench.report.plots.style import (
    ARROWS,
    COLUMN,
    FAINT,
    LINE,
    NEUTRAL,
    PAGE,
    SMALL,
    Keywords,
    Look,
    figure,
    grow,
    inches,
    text,
)
from bench.results.key import Key, Task

ACROSS = 3  # panels side by side on a page
ROW = 0.17  # height of a method's row, in inches
BARS: Keywords = {"elinewidth": 0.7, "capsize": 1.5, "capthick": 0.7}
Panels = Sequence[tuple[Task, Axes]]


def task_panels(run: Finished, height: float, sharex: bool = False) -> tuple[Figure, list[tuple[Task, Axes]]]:
    """Make a figure with a panel of this height in inches for every task; one column wide for one task, else a page."""
    tasks = run.run.tasks
    across = min(len(tasks), ACROSS)
    rows = -(-len(tasks) // across)
    width = COLUMN if across == 1 else PAGE
    fig, axes = figure(width, rows * height + 0.1, rows, across, sharex=sharex)
    for ax in axes[len(tasks) :]:
        ax.remove()
    return fig, list(zip(tasks, axes, strict=False))


def headings(fig: Figure, panels: Panels, gaps: Sequence[str] = (), loc: Literal["center", "right"] = "center") -> None:
    """Write the title of every panel and below it, in grey, the methods without a value; the figure grows accordingly.

    With `loc` "right", a title may also use the room above the method names.
    """
    across = min(len(panels), ACROSS)
    room = int(0.8 * fig.get_figwidth() / across / inches("n"))
    titles = [textwrap.wrap(text(task.name, 80), room) for task, _ in panels]
    missing = [textwrap.wrap(gap, room) for gap in gaps or [""] * len(panels)]
    for (_, ax), title, lines in zip(panels, titles, missing, strict=True):
        ax.set_title("\n".join(title), pad=4 + 1.25 * SMALL * len(lines), loc=loc)
        ax.annotate(
            "\n".join(lines), (0.5, 1), (0, 3), xycoords="axes fraction", textcoords="offset points", ha="center",
            va="bottom", fontsize=SMALL, color=NEUTRAL,
        )  # fmt: skip
    taken = [len(title) - 1 + len(lines) for title, lines in zip(titles, missing, strict=True)]
    grow(fig, sum(LINE * max(taken[i : i + across]) for i in range(0, len(panels), across)))


def point(ax: Axes, x: Value | float, y: Value | float, look: Look, name: str, **changes: object) -> None:
    """Draw a point with the intervals that its numbers have.

    Args:
        ax: drawn on.
        x: position along x.
        y: position along y.
        look: of the point's method.
        name: the artist's label, for whoever reads the axes.
        changes: keywords of `Axes.errorbar` that change the look.
    """
    keywords = look.points() | BARS | changes
    ax.errorbar(_value(x), _value(y), xerr=_ends(x), yerr=_ends(y), label=name, zorder=3, clip_on=False, **keywords)


def _value(number: Value | float) -> float:
    return number.value if isinstance(number, Value) else number


def _ends(number: Value | float) -> list[list[float]] | None:
    if not isinstance(number, Value) or number.low is None or number.high is None:
        return None
    return [[max(number.value - number.low, 0.0)], [max(number.high - number.value, 0.0)]]


def plane(ax: Axes, run: Finished, task: Task, x: Mapping[str, Value | None]) -> None:
    """Draw a point per method: its discrepancy over another number. Methods without one of the two are left out."""
    for title, along in x.items():
        discrepancy = run.ranking_metric(task, title)
        if along is not None and discrepancy is not None:
            point(ax, along, discrepancy, run.looks[title], title)
    ax.set_ylim(bottom=0)


def y_label(panels: Panels, words: str) -> None:
    """Label the y axis of the first panel of every row."""
    for _, ax in panels[::ACROSS]:
        ax.set_ylabel(wrapped(words))


def wrapped(words: str, longest: int = 26) -> str:
    """Break a y label into lines that fit a panel's height; an arrow stays with the word before it."""
    for arrow in ARROWS.values():
        words = words.replace(arrow, arrow.replace(" ", "\N{NO-BREAK SPACE}"))
    return "\n".join(textwrap.wrap(words, longest, break_on_hyphens=False))


def names_methods(run: Finished, index: int) -> bool:
    """Return whether the panel of task `index` names its methods: it is first in its row, or differs from its left."""
    tasks = run.run.tasks
    return index % ACROSS == 0 or run.methods(tasks[index]) != run.methods(tasks[index - 1])


def method_rows(ax: Axes, titles: Sequence[str], names: bool = True) -> None:
    """Make the y axis a list of methods, the first on top; without names in a panel that shares those on its left."""
    list_rows(ax, [text(title, 28) for title in titles] if names else [""] * len(titles))


def list_rows(ax: Axes, names: Sequence[str]) -> None:
    """Make the y axis a list of rows with a grey band on every second, the first on top."""
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.set_yticks(range(len(names)), names)
    ax.tick_params(axis="y", length=0)
    ax.grid(visible=False, axis="y")
    for row in range(0, len(names), 2):
        ax.axhspan(row - 0.5, row + 0.5, color=FAINT, alpha=0.18, linewidth=0, zorder=0)


def word(ax: Axes, row: float, status: str) -> None:
    """Write a word in a row that has no number."""
    ax.annotate(
        status, (0.02, row), xycoords=("axes fraction", "data"), va="center", fontsize=SMALL, color=NEUTRAL,
        fontstyle="italic", zorder=4, bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8, "alpha": 0.85},
    )  # fmt: skip


def filled(ax: Axes, run: Finished, keys: Mapping[str, Key]) -> None:
    """Draw a row per method: its number with its interval, or one word on why there is none."""
    for row, (title, key) in enumerate(keys.items()):
        value = run.run.value(key)
        if value is None:
            word(ax, row, run.status(key))
        else:
            point(ax, value, row, run.looks[title], title)
