"""Sample grids: the first samples of a cell, each framed in the colour of its judged class."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from bench.attributes import product
from bench.cell import judged_labels
from bench.files import write_bytes
from bench.report.tables import CellResult, slug
from bench.store import Store

# Okabe & Ito 2008: eight colours that people with any common colour blindness can tell apart.
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#000000")
UNJUDGED = "#ffffff"  # the judge abstained
SHOWN, COLUMNS, FRAME, GAP = 60, 15, 4, 4
TEXT = 15  # height of a line in pixels


def write_grids(folder: Path, results: Sequence[CellResult], credit: str) -> list[Path]:
    """Write grids/<task>-<method>-seed<k>.png for every cell, and grids/<task>.png with all methods of a task.

    In the latter a row is a method and a column is one noise, so that a reader sees what a method changed.
    """
    files = []
    tasks: dict[str, list[CellResult]] = {}
    for r in results:
        tasks.setdefault(r.work.cell.task, []).append(r)
        path = folder / "grids" / f"{r.slug}.png"
        images, labels = shown(r, SHOWN)
        rows = [(r.work.cell.title if i == 0 else "", slice(i, i + COLUMNS)) for i in range(0, len(images), COLUMNS)]
        strips = [(name, images[part], labels[part]) for name, part in rows]
        files.append(_save(strips, r, f"{r.name}: judged {product(r.work.cell.attributes).name}", credit, path))
    for task, of_task in tasks.items():
        seed = of_task[0].work.cell.seed
        same = [r for r in of_task if r.work.cell.seed == seed]
        strips = [(r.work.cell.title, *shown(r, COLUMNS)) for r in same]
        title = f"{task}: the same noise in every column, seed {seed}"
        files.append(_save(strips, same[0], title, credit, folder / "grids" / f"{slug(task)}.png"))
    return files


def shown(result: CellResult, n: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """The first n images of a cell, uint8 [n, 3, h, w], and their judged classes, int64 [n]."""
    store, found, held = Store(result.work.store), list[npt.NDArray[np.uint8]](), 0
    for index, size in result.work.shards():
        arrays = store.read(store.shard(result.work.sample_key, index, size))
        assert arrays is not None, "a shard of an evaluated cell is there"
        found.append(arrays["images"][: n - held])
        held += len(found[-1])
        if held >= n:
            break
    images = np.concatenate(found)
    return images, judged_labels(result.work)[: len(images)]


def _save(strips: list[tuple[str, Any, Any]], result: CellResult, title: str, credit: str, path: Path) -> Path:
    picture = io.BytesIO()
    draw_strips(strips, product(result.work.cell.attributes).classes, title, credit).save(picture, format="PNG")
    write_bytes(path, picture.getvalue())
    return path


def draw_strips(
    strips: list[tuple[str, npt.NDArray[np.uint8], npt.NDArray[np.int64]]],
    classes: tuple[str, ...],
    title: str,
    credit: str,
) -> Image.Image:
    """Rows of framed images under a title, with a legend of the classes and the credit line below.

    Args:
        strips: name, images uint8 [n, 3, h, w] and classes int64 [n] of each row.
        classes: names of the classes; beyond eight, colours repeat and the number of the class stands in the frame.
        title: above all.
        credit: below all.
    """
    side = strips[0][1].shape[-1]
    zoom = max(1, 64 // side)
    cell = side * zoom + 2 * FRAME + GAP
    columns = max(len(images) for _, images, _ in strips)
    font = ImageFont.load_default(TEXT - 3)
    margin = max([int(font.getlength(name)) + 10 for name, _, _ in strips if name] or [0]) + GAP
    legend = _legend(classes, font, margin + columns * cell)
    height = TEXT + 2 * GAP + len(strips) * cell + (legend[-1][1] + TEXT + GAP) + TEXT + GAP
    canvas = Image.new("RGB", (margin + columns * cell + GAP, height), "white")
    pen = ImageDraw.Draw(canvas)
    pen.text((GAP, GAP), title, fill="black", font=font)
    top = TEXT + 2 * GAP
    for row, (name, images, labels) in enumerate(strips):
        y = top + row * cell
        pen.text((GAP, y + cell // 2 - TEXT // 2), name, fill="black", font=font)
        for column, (image, label) in enumerate(zip(images, labels.tolist(), strict=True)):
            x = margin + column * cell
            size = side * zoom + 2 * FRAME
            frame = COLOURS[label % len(COLOURS)] if label >= 0 else UNJUDGED
            pen.rectangle((x, y, x + size - 1, y + size - 1), fill=frame)
            face = Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0)))
            canvas.paste(face.resize((side * zoom,) * 2, Image.Resampling.NEAREST), (x + FRAME, y + FRAME))
            if label >= 0 and len(classes) > len(COLOURS):
                pen.text((x + FRAME + 1, y + FRAME), str(label), fill="white", stroke_width=1, stroke_fill="black")
    y = top + len(strips) * cell
    for label, (x, line) in enumerate(legend):
        pen.rectangle((x, y + line + 3, x + 9, y + line + 12), fill=COLOURS[label % len(COLOURS)])
        pen.text((x + 14, y + line), _legend_name(label, classes), fill="black", font=font)
    pen.text((GAP, height - TEXT - GAP), credit, fill="#555555", font=font)
    return canvas


def _legend_name(label: int, classes: tuple[str, ...]) -> str:
    return f"{label} {classes[label]}" if len(classes) > len(COLOURS) else classes[label]


def _legend(classes: tuple[str, ...], font: Any, width: int) -> list[tuple[int, int]]:
    """Places of the legend's entries, wrapped to the width."""
    places, x, y = [], GAP, 0
    for label in range(len(classes)):
        needed = 14 + int(font.getlength(_legend_name(label, classes))) + 16
        if x > GAP and x + needed > width:
            x, y = GAP, y + TEXT
        places.append((x, y))
        x += needed
    return places
