"""The samples of a finished run as image files with a metadata.csv, the layout that `datasets` calls imagefolder."""

from __future__ import annotations

import io
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from bench.core.csv_text import to_csv
from bench.core.errors import ConfigError, UnknownName
from bench.core.progress import track
from bench.results.run import Run
from bench.results.score_row import ScoreRow
from bench.results.stored import Part
from bench.storage.files import has_arrays, read_arrays, slug, write_bytes
from bench.storage.store import Store

METADATA = "metadata.csv"
SHARE = "share_hard"  # its scopes name the classes of a task, in label order


@dataclass(frozen=True)
class Exported:
    """The files of an export.

    Attributes:
        metadata: metadata.csv, one row per image.
        n: number of images.
        left_out: cells whose samples the store lacks, such as those that failed.
    """

    metadata: Path
    n: int
    left_out: tuple[str, ...]


def export(
    run: Run, folder: Path, methods: Sequence[str] = (), tasks: Sequence[str] = (), seeds: Sequence[int] = ()
) -> Exported:
    """Write the images of cells as FOLDER/TASK/METHOD/seed-SEED/000000.png, and metadata.csv.

    Columns of metadata.csv: file_name, task, method, seed, sample (its number in the cell, whose starting noise all
    methods share), prompt and text in a run with prompts, assigned_class (blank where the method assigns none) and
    predicted_class (blank where the classifier abstained, or its answers are not in the store).

    Args:
        run: the finished run, beside its store.
        folder: a new or empty folder.
        methods: titles of methods; all unless given.
        tasks: names or attributes of tasks; all unless given.
        seeds: all unless given.

    Raises:
        UnknownName: a method, task or seed that the run does not have.
        ConfigError: the folder holds something or cannot be written, or the store has no sample of any chosen cell.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"FOLDER must be a new or empty folder, got {folder}; nothing is written over")
    cells = _chosen(run, methods, tasks, seeds)
    whole = [row for row in cells if all(has_arrays(shard, verify=False) for shard in run.stored.shards(row))]
    if not whole:
        raise ConfigError(
            f"{run.store} must hold samples of {_name(cells[0])}, got none of it or of any other chosen cell; images "
            "are there only where the run was made: run the suite again with the same --out"
        )
    folders = _folders(whole)
    rows = [line for row in track(whole, "cells to export") for line in _write(run, row, folder, folders[_name(row)])]
    write_bytes(folder / METADATA, to_csv(rows).encode())  # last: a folder without it is of an interrupted export
    return Exported(folder / METADATA, len(rows), tuple(_name(row) for row in cells if row not in whole))


def _name(row: ScoreRow) -> str:
    return f"{row.method} on {row.task.name} with seed {row.seed}"


def _chosen(run: Run, methods: Sequence[str], tasks: Sequence[str], seeds: Sequence[int]) -> list[ScoreRow]:
    answers = [({row.method}, {row.task.name, row.attributes}, {str(row.seed)}) for row in run.cells]
    choices = (("method", methods), ("task", tasks), ("seed", [str(seed) for seed in seeds]))
    for i, (kind, chosen) in enumerate(choices):
        offered = set[str]().union(*(names[i] for names in answers))
        for name in chosen:
            if name not in offered:
                raise UnknownName(f"{kind} of {run.file.parent}", name, offered)
    cells = [
        row
        for row, names in zip(run.cells, answers, strict=True)
        if all(not chosen or names[i] & {*chosen} for i, (_, chosen) in enumerate(choices))
    ]
    if not cells:
        raise ConfigError(f"{run.file} has no cell of this method, task and seed together; leave one of them out")
    return cells


def _folders(rows: Collection[ScoreRow]) -> dict[str, str]:
    """Return the folder of each cell by its name; two that would be equal get a number."""
    folders: dict[str, str] = {}
    for row in rows:
        plain = folder = f"{slug(row.task.name)}/{slug(row.method)}/seed-{row.seed}"
        while folder in folders.values():
            folder = f"{plain}-{len(folders)}"
        folders[_name(row)] = folder
    return folders


def _write(run: Run, row: ScoreRow, root: Path, folder: str) -> Iterator[dict[str, object]]:
    """Write the images of a cell, and yield their lines of metadata.csv."""
    names = _classes(run, row)
    parts = run.stored.parts(row)
    labels = run.stored.labels(row, sum(part.n for part in parts))
    sample = 0
    for part in parts:
        for images, assigned in _shards(run, row, part):
            for image, number in zip(images, assigned.tolist(), strict=True):
                file = f"{folder}/{sample:06d}.png"
                buffer = io.BytesIO()
                Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0))).save(buffer, "PNG")
                write_bytes(root / file, buffer.getvalue())
                prompt = {"prompt": part.prompt, "text": part.text} if run.has_prompts else {}
                yield {
                    **{"file_name": file, "task": row.task.name, "method": row.method, "seed": row.seed},
                    **{"sample": sample, **prompt, "assigned_class": _class(number, names)},
                    "predicted_class": "" if labels is None else _class(int(labels[sample]), names),
                }
                sample += 1


def _shards(run: Run, row: ScoreRow, part: Part) -> Iterator[tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]]:
    """Yield images uint8 [n, 3, h, w] and assigned classes int64 [n] of every shard of a part.

    Raises:
        ConfigError: a shard is damaged.
    """
    for folder in part.folders(Store(run.store), row.guidance_batch):
        arrays = read_arrays(folder)
        if arrays is None:
            raise ConfigError(f"{folder} is damaged; run the suite again, which draws its samples again")
        yield arrays["images"], arrays["assigned_class"]


def _classes(run: Run, row: ScoreRow) -> list[str]:
    """Return the names of the joint's classes, in label order; none where the run has no shares."""
    keys = (key for key in run.by_key if (key.task, key.metric, key.classifier) == (row.task, SHARE, ""))
    scopes = dict.fromkeys(key.scope.partition("=") for key in keys)
    return [name for attributes, _, name in scopes if attributes == row.attributes]


def _class(number: int, names: Sequence[str]) -> str:
    """Return a class by name, or by number where the names are not known; "" for -1, which is none."""
    if number < 0:
        return ""
    return names[number] if number < len(names) else str(number)
