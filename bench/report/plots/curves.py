"""What methods found while they were built: the search for a transition point, the weights by noise level, ..."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

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
from bench.results.shards import parts
from bench.storage.files import read_arrays, read_note, slug
from bench.storage.store import Store

PROMPTS_SHOWN = 4  # of a cell with prompts, the first ones: each was fitted by itself, and a set may have hundreds
FEW = 12  # points of a line that are each marked


def draw(run: Finished) -> dict[str, Any]:
    """A figure a cell whose method found curves, with a panel each; cells that share their samples share one.

    Raises:
        Incompatible: the store beside the run has none.
    """
    found = _found(run)
    if not found:
        raise Incompatible(f"no method of the run left curves in {run.run.store}, where the run keeps them")
    return {f"curves-{stem}": draw_curves(panels, title) for stem, (title, panels) in found.items()}


def write_curves(run: Finished, folder: Path) -> list[Path]:
    """The same as PNG, as a run leaves them beside its tables."""
    with style():
        return [
            file
            for stem, (title, panels) in _found(run).items()
            for file in save(draw_curves(panels, title), folder / stem, ("png",))
        ]


def _found(run: Finished) -> dict[str, tuple[str, list[dict[str, Any]]]]:
    """Title and panels by a part of a file's name."""
    shared: dict[tuple[str, str], list[tuple[str, str, int]]] = {}
    for task in run.run.tasks:
        for title, seed, row in cells(run, task):
            for part in parts(run.run, row)[:PROMPTS_SHOWN]:
                shared.setdefault((part.sample_key, part.prompt), []).append((task.name, title, seed))
    stems, found = [], []
    for (key, prompt), of in shared.items():
        folder = Store(run.run.store).record(key)
        panels = read_note(folder)["curves"] if read_arrays(folder) is not None else []
        if panels:
            task_name, title, seed = of[0]
            names = [*(task_name, title)[len(of) > 1 :], *([prompt] if prompt else [])]
            stems.append("-".join([slug(name) for name in names] + [f"seed{seed}"]))
            found.append((", ".join([*names, f"seed {seed}"]), panels))
    return dict(zip(unlike(stems), found, strict=True))


def draw_curves(panels: Sequence[Mapping[str, Any]], title: str) -> Any:
    """A figure of the panels side by side.

    Args:
        panels: as `bench.protocols.method.Curves`, each as a dictionary.
        title: above all.
    """
    width = COLUMN if len(panels) == 1 else PAGE
    columns = [legend_columns(width / len(panels), [text(name, 60) for name in panel["lines"]]) for panel in panels]
    below = max(-(-len(panel["lines"]) // across) for panel, across in zip(panels, columns, strict=True))
    fig, axes = figure(width, 2.2 + LINE * below, columns=len(panels))
    fig.suptitle(text(title, 110))
    for ax, panel, across in zip(axes, panels, columns, strict=True):
        drawn: list[Any] = []
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
