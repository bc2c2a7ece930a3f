"""Sample sheets: a row per method, a column per starting noise, each image framed in its predicted class's colour."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.core.errors import Incompatible
from bench.report.credit import credit
from bench.report.plots.finished import Finished
from bench.report.plots.proportions import classes
from bench.report.plots.style import (
    CLASSES,
    FONT,
    MARKERS,
    NEUTRAL,
    PAGE,
    SMALL,
    Keywords,
    entry,
    inches,
    legend_columns,
    save,
    style,
    text,
)
from bench.results.key import Key, Task
from bench.storage.files import slug

COLUMNS = 15  # images of a row
LARGEST, LEAST = 0.55, 64  # an image's largest side in inches, and its smallest side in pixels
LINE = 0.16  # height of a line of text, in inches
UNCLASSIFIED = "#ffffff"  # frame where the classifier abstained


@dataclass(frozen=True)
class Strip:
    """A row of a sheet.

    Attributes:
        name: the method's title; "" for a row that continues the row above.
        images: uint8 [n, 3, h, w]; None where there are none.
        labels: int64 [n], the predicted class, -1 where the classifier abstained.
        word: why there are no images, shown in their place.
    """

    name: str
    images: npt.NDArray[np.uint8] | None
    labels: npt.NDArray[np.int64]
    word: str = ""


def draw(run: Finished) -> dict[str, Figure]:
    """Draw a sheet per task, of the run's first seed.

    Raises:
        Incompatible: the store beside the run has no samples.
    """
    by_task = {f"sheet-{run.stems[task]}": _of_task(run, task) for task in run.run.tasks}
    sheets = {stem: fig for stem, fig in by_task.items() if fig is not None}
    if not sheets:
        raise no_samples(run)
    return sheets


def no_samples(run: Finished) -> Incompatible:
    """Return the error for a plot of samples where the store beside the run has none."""
    return Incompatible(
        f"there are no samples of it in {run.run.store}, where the run stores them; run the suite again"
    )


def write_grids(run: Finished, folder: Path) -> list[Path]:
    """Write a sheet per task as PNG, as a run leaves them beside its tables; `cells` draws one per cell."""
    files = []
    with style():
        for task in run.run.tasks:
            fig = _of_task(run, task)
            if fig is not None:
                files += save(fig, folder / slug(task.name), ("png",))
    return files


def cells(run: Finished, task: Task) -> list[tuple[str, int, Any]]:
    """Return method, seed and a row by the run's first classifier of every cell of a task, in the order of the run."""
    rows = run.run.rows
    of_task = rows[(rows["attributes"] == task.attributes) & (rows["target"] == task.target)]
    first = of_task[of_task["classifier"] == run.run.classifier].drop_duplicates(["method", "seed"])
    return [(str(row.method), int(row.seed), row) for row in first.itertuples()]  # type: ignore[arg-type]


def _of_task(run: Finished, task: Task) -> Figure | None:
    """Draw the sheet of a task; None where no method has samples."""
    of_task = cells(run, task)
    seed = of_task[0][1]
    strips = [strip_of(run, title, row, COLUMNS, task) for title, cell_seed, row in of_task if cell_seed == seed]
    if all(strip.images is None for strip in strips):
        return None
    title = f"{task.name}: one starting noise per column, seed {seed}"
    return draw_sheet(strips, classes(run, task), title, task.attributes, credit(run.run))


def strip_of(run: Finished, title: str, row: Any, n: int, task: Task) -> Strip:
    """Return the first n samples of a cell, or the reason why there are none.

    Args:
        run: the run.
        title: the method's title.
        row: a row of results.csv of the cell.
        n: largest number of samples.
        task: the cell's task.
    """
    shown, classified = run.run.stored.images(row, n), run.run.stored.labels(row, n)
    if shown is not None and classified is not None:
        return Strip(title, shown, classified)
    why = run.run.reason(Key(task, title, "", ""))[0]
    return Strip(title, None, np.empty(0, np.int64), why if why not in ("", "missing") else "not in the store")


def draw_sheet(strips: Sequence[Strip], names: Sequence[str], title: str, attribute: str, owed: str) -> Figure:
    """Draw the strips under a title, with a legend of the classes and the credit line below.

    Each class has a colour (frame and mark) and a shape (mark); from the ninth class on, colours repeat with other
    shapes.

    Args:
        strips: one or more, at least one with images; all images of one size.
        names: class names, in order.
        title: above all strips.
        attribute: the attribute that was classified.
        owed: the credit line; may be empty.
    """
    margin = max(inches(text(strip.name, 28)) for strip in strips) + 0.12
    columns = max(len(strip.labels) for strip in strips)
    side = min((PAGE - margin - 0.05) / columns, LARGEST)
    handles, shown = _legend(names, any((strip.labels < 0).any() for strip in strips))
    across = legend_columns(PAGE, shown)
    below = LINE * (-(-len(shown) // across) + 2) + (LINE if owed else 0)
    height = LINE * 1.6 + len(strips) * side + below
    fig = Figure(figsize=(PAGE, height))
    fig.text(0.05 / PAGE, 1 - LINE / height, text(title, 110), va="center", fontsize=FONT)
    ax = fig.add_axes((margin / PAGE, below / height, columns * side / PAGE, len(strips) * side / height))
    ax.set(xlim=(0, columns), ylim=(len(strips), 0))
    ax.axis("off")
    ax.imshow(_mosaic(strips, columns), extent=(0, columns, len(strips), 0), interpolation="none", aspect="auto")
    for row, strip in enumerate(strips):
        ax.text(-0.06 / side, row + 0.5, text(strip.name, 28), ha="right", va="center", fontsize=SMALL)
        if strip.images is None:
            ax.text(0.15, row + 0.5, strip.word, va="center", fontsize=SMALL, color=NEUTRAL, fontstyle="italic")
    _marks(ax, strips, names, side)
    fig.legend(
        handles, shown, title=f"classified {text(attribute, 80)}", ncols=across, loc="lower center",
        bbox_to_anchor=(0.5, (LINE if owed else 0) / height),
    )  # fmt: skip
    fig.text(0.5, 0.4 * LINE / height, text(owed, 160), ha="center", va="center", fontsize=SMALL - 1, color=NEUTRAL)
    return fig


def _mark(label: int) -> Keywords:
    look = {"linestyle": "none", "markersize": 4.5, "markeredgewidth": 0.5, "markeredgecolor": "white"}
    return {**look, "color": CLASSES[label % len(CLASSES)], "marker": MARKERS[label % len(MARKERS)]}


def _legend(names: Sequence[str], abstained: bool) -> tuple[list[Line2D], list[str]]:
    handles = [Line2D([], [], **_mark(label)) for label in range(len(names))]
    shown = [entry(text(name)) for name in names]
    if abstained:
        return [*handles, Line2D([], [], linestyle="none")], [*shown, "no frame: not classified"]
    return handles, shown


def _marks(ax: Axes, strips: Sequence[Strip], names: Sequence[str], side: float) -> None:
    """Draw the mark of a class in the lower left corner of each of its images."""
    inset = 0.055 / side
    for label, name in enumerate(names):
        places = [(c, r) for r, strip in enumerate(strips) for c in np.flatnonzero(strip.labels == label)]
        if places:
            x, y = np.array(places, dtype=np.float64).T
            ax.plot(x + inset, y + 1 - inset, label=name, clip_on=False, **_mark(label))


def _mosaic(strips: Sequence[Strip], columns: int) -> npt.NDArray[np.uint8]:
    """Return all images in their frames as one picture, uint8 [rows * height, columns * width, 3]."""
    size = next(strip.images.shape[2:] for strip in strips if strip.images is not None)
    zoom = max(1, -(-LEAST // max(size)))
    frame = max(2, max(size) * zoom // 16)
    gap = max(1, frame // 2)
    h, w = (pixels * zoom + 2 * frame + 2 * gap for pixels in size)
    picture = np.full((len(strips), columns, h, w, 3), 255, np.uint8)
    for row, strip in enumerate(strips):
        for column, label in enumerate(strip.labels.tolist()):
            colour = CLASSES[label % len(CLASSES)] if label >= 0 else UNCLASSIFIED
            cell = picture[row, column, gap : h - gap, gap : w - gap]
            cell[:] = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
            assert strip.images is not None, "a strip with labels has images"
            large = strip.images[column].transpose(1, 2, 0).repeat(zoom, axis=0).repeat(zoom, axis=1)
            cell[frame:-frame, frame:-frame] = large
    return picture.transpose(0, 2, 1, 3, 4).reshape(len(strips) * h, columns * w, 3)
