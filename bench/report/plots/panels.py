"""What plots share: a panel a task, rows of methods, points with intervals, and headings that name what is missing."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from bench.report.plots.finished import Finished
from bench.report.plots.style import ARROWS, COLUMN, FAINT, LINE, NEUTRAL, PAGE, SMALL, Look, figure, grow, inches, text
from bench.results.quantities import Quantity
from bench.results.run import Key, Task

ACROSS = 3  # panels side by side on a page
ROW = 0.17  # inches a method's row takes
BARS = {"elinewidth": 0.7, "capsize": 1.5, "capthick": 0.7}


def task_panels(run: Finished, height: float, **subplots: Any) -> tuple[Any, list[tuple[Task, Any]]]:
    """A figure with a panel of this height in inches for every task: one column wide for one task, else a page."""
    tasks = run.run.tasks
    across = min(len(tasks), ACROSS)
    rows = -(-len(tasks) // across)
    width = COLUMN if across == 1 else PAGE
    fig, axes = figure(width, rows * height + 0.1, rows, across, **subplots)
    for ax in axes[len(tasks) :]:
        ax.remove()
    return fig, list(zip(tasks, axes, strict=False))


def headings(
    fig: Any, panels: Sequence[tuple[Task, Any]], gaps: Sequence[str] = (), loc: Literal["center", "right"] = "center"
) -> None:
    """The title of every panel, and below it, in grey, what has no value; the figure grows by what these take.

    At the right, a title has the room above the names of a panel's rows too.
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


def point(ax: Any, x: Quantity | float, y: Quantity | float, look: Look, name: str, **more: Any) -> Any:
    """A point with the intervals that its numbers have; `name` is its label, for whoever reads the axes.

    `more` are keywords of `Axes.errorbar` that change the look.
    """
    return ax.errorbar(
        _value(x),
        _value(y),
        xerr=_ends(x),
        yerr=_ends(y),
        label=name,
        **(look.points() | BARS | more),
        zorder=3,
        clip_on=False,
    )


def _value(number: Quantity | float) -> float:
    return number.value if isinstance(number, Quantity) else number


def _ends(number: Quantity | float) -> list[list[float]] | None:
    if not isinstance(number, Quantity) or number.low is None or number.high is None:
        return None
    return [[max(number.value - number.low, 0.0)], [max(number.high - number.value, 0.0)]]


def plane(ax: Any, run: Finished, task: Task, x: Mapping[str, Quantity | None]) -> None:
    """A point a method: its discrepancy over another number of it. Those without one of the two are not in it."""
    for title, other in x.items():
        discrepancy = run.ranking_metric(task, title)
        if other is not None and discrepancy is not None:
            point(ax, other, discrepancy, run.looks[title], title)
    ax.set_ylim(bottom=0)


def y_label(panels: Sequence[tuple[Task, Any]], words: str) -> None:
    """Label the y axis of the first panel of every row."""
    for _, ax in panels[::ACROSS]:
        ax.set_ylabel(wrapped(words))


def wrapped(words: str, longest: int = 26) -> str:
    """The label of a y axis, in lines as long as a panel is high; an arrow stays with the word before it."""
    for arrow in ARROWS.values():
        words = words.replace(arrow, arrow.replace(" ", "\N{NO-BREAK SPACE}"))
    return "\n".join(textwrap.wrap(words, longest, break_on_hyphens=False))


def left(run: Finished, place: int) -> bool:
    """Whether a panel must name its methods: it is the first of its row, or its methods differ from those on its left.

    Args:
        run: the run.
        place: of the panel's task.
    """
    tasks = run.run.tasks
    return place % ACROSS == 0 or run.methods(tasks[place]) != run.methods(tasks[place - 1])


def method_rows(ax: Any, titles: Sequence[str], names: bool = True) -> None:
    """Make the y axis a list of methods, the first on top; without their names in a panel that shares them."""
    ax.set_ylim(len(titles) - 0.4, -0.6)
    ax.set_yticks(range(len(titles)), [text(title, 28) for title in titles] if names else [""] * len(titles))
    ax.tick_params(axis="y", length=0)
    ax.grid(visible=False, axis="y")
    for place in range(0, len(titles), 2):
        ax.axhspan(place - 0.5, place + 0.5, color=FAINT, alpha=0.18, linewidth=0, zorder=0)


def word(ax: Any, place: float, status: str) -> None:
    """A word in a row that has no number."""
    ax.annotate(
        status, (0.02, place), xycoords=("axes fraction", "data"), va="center", fontsize=SMALL, color=NEUTRAL,
        fontstyle="italic", zorder=4, bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8, "alpha": 0.85},
    )  # fmt: skip


def filled(ax: Any, run: Finished, keys: Mapping[str, Key]) -> None:
    """A row a method: its number with its interval, or the word that says why there is none."""
    for place, (title, key) in enumerate(keys.items()):
        found = run.measured.quantity(key)
        if found is None:
            word(ax, place, run.status(key))
        else:
            point(ax, found, place, run.looks[title], title)
