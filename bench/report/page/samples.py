"""The first samples of every cell, as a page embeds them: pictures of one strip each, and the classifier's classes."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from bench.report.plots.style import CLASSES
from bench.results.run import Run, Task
from bench.results.samples import credit, images, labels

SHOWN = 24  # noises a page holds; 24 faces of 32 pixels are about 35 kB a cell
SIDE = 128  # pixels; larger images are shown smaller


def samples(run: Run) -> dict[str, Any]:
    """Samples of the first seed of every cell that the run's store holds whole.

    Returns:
        "strips": PNG pictures in base64, one a distinct cell, sample i at i times "width"; "width" and "height" of a
        sample in pixels; "count" of samples in a strip; "cells": task and method (their numbers in the run), "strip",
        and "labels" (a sample's class in the joint of the task, -1 where the classifier abstained; empty where what it
        saw is not there); "reduced", the side in pixels before images were made smaller, else None; "colours" of the
        classes, as in the grids; "why", a sentence where there are no cells; "credit", the line owed to whoever drew
        the faces.
    """
    strips: dict[str, str] = {}
    cells: list[dict[str, Any]] = []
    sizes: set[tuple[int, int]] = set()
    for t, m, row in _first_rows(run) if run.store.is_dir() else ():
        pictures = images(run, row, SHOWN)
        if pictures is None:
            continue
        sizes.add((pictures.shape[3], pictures.shape[2]))
        if row.sample_key not in strips:
            strips[row.sample_key] = _strip(pictures)
        classified = labels(run, row, SHOWN)
        shown = [] if classified is None else classified.tolist()
        cells.append({"task": t, "method": m, "strip": list(strips).index(row.sample_key), "labels": shown})
    largest = max((max(size) for size in sizes), default=0)
    width, height = _reduced(*sizes.pop()) if sizes else (0, 0)
    return {
        "strips": list(strips.values()),
        "width": width,
        "height": height,
        "reduced": largest if largest > SIDE else None,
        "count": min(SHOWN, int(run.rows["n_asked"].iloc[0])),
        "cells": cells,
        "colours": list(CLASSES),
        "why": ""
        if cells
        else f"No samples: there is no store with them beside the run ({run.store.name}/ is next to "
        "its folder where it was made). Make the page there, or run the suite again.",
        "credit": credit(run),
    }


def _first_rows(run: Run) -> Iterable[tuple[int, int, Any]]:
    """Task's and method's number, and a row of the first classifier and seed of every cell."""
    rows = run.rows[run.rows["classifier"] == run.classifier].sort_values("seed", kind="stable")
    tasks, methods = ({name: i for i, name in enumerate(all_)} for all_ in (run.tasks, run.methods))
    for row in rows.drop_duplicates(["attributes", "target", "method"]).sort_index().itertuples():
        yield tasks[Task(str(row.attributes), str(row.target))], methods[str(row.method)], row


def _strip(pictures: npt.NDArray[np.uint8]) -> str:
    """Images uint8 [n, 3, h, w] side by side, as a PNG in base64."""
    width, height = _reduced(pictures.shape[3], pictures.shape[2])
    strip = Image.new("RGB", (width * len(pictures), height))
    for i, image in enumerate(pictures):
        picture = Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0)))
        same = picture.size == (width, height)
        strip.paste(picture if same else picture.resize((width, height), Image.Resampling.LANCZOS), (i * width, 0))
    data = io.BytesIO()
    strip.save(data, format="PNG", optimize=True)
    return base64.b64encode(data.getvalue()).decode()


def _reduced(width: int, height: int) -> tuple[int, int]:
    scale = min(1.0, SIDE / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))
