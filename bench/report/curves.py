"""Plots of what methods found while they were built, such as the search for a transition point."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.cell import fit_record
from bench.files import write_bytes
from bench.report.tables import CellResult
from bench.store import Store


def write_curves(folder: Path, results: Sequence[CellResult]) -> list[Path]:
    """Write curves/<task>-<method>-seed<k>.png for every cell whose method found any; a panel each."""
    files = []
    for r in results:
        panels = Store(r.work.store).note(fit_record(r.work))["curves"]
        if panels:
            path = folder / "curves" / f"{r.slug}.png"
            picture = io.BytesIO()
            draw_curves(panels, r.name).savefig(picture, format="png", dpi=100, metadata={"Software": None})
            write_bytes(path, picture.getvalue())
            files.append(path)
    return files


def draw_curves(panels: Sequence[dict[str, Any]], title: str) -> Any:
    """A figure of the panels side by side.

    Args:
        panels: as `methods.base.Curves`, each as a dictionary.
        title: above all.
    """
    import seaborn
    from matplotlib.figure import Figure  # no global state, no display

    with seaborn.axes_style("whitegrid"):
        figure = Figure(figsize=(5.5 * len(panels), 4), layout="constrained")
        axes = figure.subplots(1, len(panels), squeeze=False)[0]
    figure.suptitle(title)
    for ax, panel in zip(axes, panels, strict=True):
        for name, values in panel["lines"].items():
            (line,) = ax.plot(panel["x"], values, label=name)
            if name in panel["marks"]:
                ax.axvline(panel["marks"][name], color=line.get_color(), linestyle="--", linewidth=1)
        ax.set(title=panel["title"], xlabel=panel["x_label"], ylabel=panel["y_label"])
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2, frameon=False)  # over no line
    return figure
