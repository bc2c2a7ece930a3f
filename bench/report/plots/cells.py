"""One sheet of samples per cell, with more samples than the sheet of a task. Drawn only when named: cells are many."""

from __future__ import annotations

from matplotlib.figure import Figure

from bench.report.credit import credit
from bench.report.plots.finished import Finished, unlike
from bench.report.plots.proportions import classes
from bench.report.plots.sheets import COLUMNS, Strip, cells, draw_sheet, no_samples, strip_of
from bench.storage.files import slug

SHOWN = 60  # images of a sheet


def draw(run: Finished) -> dict[str, Figure]:
    """Draw a sheet for every cell whose samples are in the store.

    Raises:
        Incompatible: the store beside the run has no samples.
    """
    stems, sheets = [], []
    for task in run.run.tasks:
        for title, seed, row in cells(run, task):
            strip = strip_of(run, title, row, SHOWN, task)
            if strip.images is None:
                continue
            slices = [slice(i, i + COLUMNS) for i in range(0, len(strip.images), COLUMNS)]
            strips = [Strip("", strip.images[s], strip.labels[s]) for s in slices]
            name = f"{task.name}, {title}, seed {seed}: classified {task.attributes}"
            stems.append(f"cell-{run.stems[task]}-{slug(title)}-seed{seed}")
            sheets.append(draw_sheet(strips, classes(run, task), name, task.attributes, credit(run.run)))
    if not sheets:
        raise no_samples(run)
    return dict(zip(unlike(stems), sheets, strict=True))
