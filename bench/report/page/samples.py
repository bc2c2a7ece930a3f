"""The first samples of every cell as the page embeds them: one picture strip per cell, and the predicted classes."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from typing import Any, TypedDict

import numpy as np
import numpy.typing as npt
from PIL import Image

from bench.report.credit import credit
from bench.report.plots.style import CLASSES
from bench.results.key import Task
from bench.results.run import Run

SHOWN = 24  # samples per cell; 24 faces of 32 pixels take about 35 kB
SIDE = 128  # pixels; larger images are scaled down


class SampleCell(TypedDict):
    """The samples of a method on a task.

    Attributes:
        task: index in the run.
        method: index in the run.
        strip: index of the picture.
        labels: class of each sample in the task's joint attribute, -1 where the classifier abstained; empty where the
            store does not have the classifier's output.
    """

    task: int
    method: int
    strip: int
    labels: list[int]


class SampleRecord(TypedDict):
    """All samples of the page.

    Attributes:
        strips: PNG pictures in base64, one per distinct cell; sample i begins at i times `width`.
        width: of a sample, in pixels.
        height: of a sample, in pixels.
        reduced: the longer side in pixels before images were scaled down; None where they were not.
        count: samples in a strip.
        cells: the cells with samples.
        colours: of the classes, as in the grids.
        why: a sentence where there are no cells, else empty.
        credit: the line owed to the author of the training images.
    """

    strips: list[str]
    width: int
    height: int
    reduced: int | None
    count: int
    cells: list[SampleCell]
    colours: list[str]
    why: str
    credit: str


def samples(run: Run) -> SampleRecord:
    """Return the first samples of the first seed of every cell that the run's store has in full."""
    strips: dict[str, str] = {}
    cells: list[SampleCell] = []
    sizes: set[tuple[int, int]] = set()
    for t, m, row in _first_rows(run) if run.store.is_dir() else ():
        pictures = run.stored.images(row, SHOWN)
        if pictures is None:
            continue
        sizes.add((pictures.shape[3], pictures.shape[2]))
        if row.sample_key not in strips:
            strips[row.sample_key] = _strip(pictures)
        classified = run.stored.labels(row, SHOWN)
        predicted = [] if classified is None else classified.tolist()
        cells.append({"task": t, "method": m, "strip": list(strips).index(row.sample_key), "labels": predicted})
    largest = max((max(size) for size in sizes), default=0)
    width, height = _reduced(*sizes.pop()) if sizes else (0, 0)
    why = (
        f"No samples: their store ({run.store.name}/, beside the run's folder) is not available. Make the page on the "
        "machine of the run, or run the suite again."
    )
    return {
        "strips": list(strips.values()),
        "width": width,
        "height": height,
        "reduced": largest if largest > SIDE else None,
        "count": min(SHOWN, int(run.rows["n_asked"].iloc[0])),
        "cells": cells,
        "colours": list(CLASSES),
        "why": "" if cells else why,
        "credit": credit(run),
    }


def _first_rows(run: Run) -> Iterable[tuple[int, int, Any]]:
    """Yield index of task and method, and a row of the first classifier and seed, of every cell."""
    rows = run.rows[run.rows["classifier"] == run.classifier].sort_values("seed", kind="stable")
    tasks, methods = ({name: i for i, name in enumerate(names)} for names in (run.tasks, run.methods))
    for row in rows.drop_duplicates(["attributes", "target", "method"]).sort_index().itertuples():
        yield tasks[Task(str(row.attributes), str(row.target))], methods[str(row.method)], row


def _strip(pictures: npt.NDArray[np.uint8]) -> str:
    """Return images uint8 [n, 3, h, w] side by side, as a PNG in base64."""
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
