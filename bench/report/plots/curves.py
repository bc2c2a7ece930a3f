"""Curves that methods record while they are built: the search for a transition point, weights by noise level, ..."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.core.errors import Incompatible
from bench.report.plots.finished import Finished, unlike
from bench.report.plots.panels import wrapped
from bench.report.plots.sheets import cells
from bench.report.plots.style import (
    COLUMN,
    DASHES,
    LINE,
    MARKERS,
    PAGE,
    PALETTE,
    entry,
    figure,
    legend_columns,
    save,
    style,
    text,
)
from bench.storage.files import read_arrays, read_note, slug
from bench.storage.store import Store

PROMPTS_SHOWN = 4  # the first prompts of a cell: each was fitted separately, and a set may have hundreds
FEW = 12  # a line with at most this many points has a marker at each of them


class Panel(TypedDict):
    """The fields of `bench.protocols.method.Curves`, as the store's note holds them."""

    title: str
    x_label: str
    y_label: str
    x: list[float]
    lines: dict[str, list[float]]
    marks: dict[str, float]


def draw(run: Finished) -> dict[str, Figure]:
    """Draw a figure for every cell whose method recorded curves; cells that share their samples share one figure.

    Raises:
        Incompatible: the store beside the run has none.
    """
    recorded = _recorded(run)
    if not recorded:
        raise Incompatible(f"no method of the run left curves in {run.run.store}, where the run stores them")
    return {f"curves-{stem}": draw_curves(panels, title) for stem, (title, panels) in recorded.items()}


def write_curves(run: Finished, folder: Path) -> list[Path]:
    """Write the same figures as PNG, as a run leaves them beside its tables."""
    with style():
        return [
            file
            for stem, (title, panels) in _recorded(run).items()
            for file in save(draw_curves(panels, title), folder / stem, ("png",))
        ]


def _recorded(run: Finished) -> dict[str, tuple[str, list[Panel]]]:
    """Return title and panels by the stem of a file's name."""
    shared: dict[tuple[str, str], list[tuple[str, str, int]]] = {}
    for task in run.run.tasks:
        for title, seed, row in cells(run, task):
            for prompt_part in run.run.stored.parts(row)[:PROMPTS_SHOWN]:
                shared.setdefault((prompt_part.sample_key, prompt_part.prompt), []).append((task.name, title, seed))
    stems, figures = [], []
    for (key, prompt), sharing in shared.items():
        folder = Store(run.run.store).record(key)
        panels = read_note(folder)["curves"] if read_arrays(folder) is not None else []
        if panels:
            task_name, title, seed = sharing[0]
            names = [*(task_name, title)[len(sharing) > 1 :], *([prompt] if prompt else [])]
            stems.append("-".join([slug(name) for name in names] + [f"seed{seed}"]))
            figures.append((", ".join([*names, f"seed {seed}"]), panels))
    return dict(zip(unlike(stems), figures, strict=True))


def draw_curves(panels: Sequence[Panel], title: str) -> Figure:
    """Draw the panels side by side in one figure under a title."""
    width = COLUMN if len(panels) == 1 else PAGE
    columns = [legend_columns(width / len(panels), [text(name, 60) for name in panel["lines"]]) for panel in panels]
    below = max(-(-len(panel["lines"]) // across) for panel, across in zip(panels, columns, strict=True))
    fig, axes = figure(width, 2.2 + LINE * below, columns=len(panels))
    fig.suptitle(text(title, 110))
    for ax, panel, across in zip(axes, panels, columns, strict=True):
        drawn: list[Line2D] = []
        shown = [entry(text(name, 60)) for name in panel["lines"]]
        for i, (name, values) in enumerate(panel["lines"].items()):
            colour, marker = PALETTE[1 + i % (len(PALETTE) - 1)], MARKERS[i % len(MARKERS)]
            drawn += ax.plot(
                panel["x"], values, label=name, color=colour, linestyle=DASHES[i % len(DASHES)], marker=marker,
                markersize=3, markevery=1 if len(values) <= FEW else max(1, len(values) // FEW),
            )  # fmt: skip
            if name in panel["marks"]:
                ax.axvline(panel["marks"][name], color=colour, linestyle=":", linewidth=0.9)
        ax.set(
            title=text(panel["title"]), xlabel=text(panel["x_label"], 60), ylabel=wrapped(text(panel["y_label"]), 30)
        )
        ax.legend(drawn, shown, loc="upper center", bbox_to_anchor=(0.5, -0.24), ncols=across)
    return fig
