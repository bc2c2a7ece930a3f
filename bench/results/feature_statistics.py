"""Mean and covariance of an extractor's features, of a labelled set or of the samples of a finished run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.core.errors import ConfigError, UnknownName
from bench.core.gaussian import Gaussian, fit
from bench.results.run import Run, Task
from bench.results.shards import shards
from bench.storage.store import Rows, Store

BLOCK = 500  # images an extractor sees at a time
Features = npt.NDArray[np.floating]


@dataclass(frozen=True)
class Cell:
    """Which cell of a run is meant; None where there is no choice to make.

    Attributes:
        method: as the leaderboard calls it.
        task: the task's name or attributes.
        seed: of the cell.
    """

    method: str | None = None
    task: str | None = None
    seed: int | None = None


def of_set(name: str, extractor: Any, n: int | None, size: int) -> Gaussian:
    """The fit of a labelled set.

    Args:
        name: as `bench.data.list_data` has it.
        extractor: what sees the images.
        n: how many images, the first ones; the set's own number unless given.
        size: side of the images, in pixels.

    Raises:
        UnknownName: no such set.
        ConfigError: n or size is out of range, or the extractor gives no features.
    """
    from bench.data import load_data

    images = load_data(name, n, size).images
    return _fit([_extracted(extractor, images[i : i + BLOCK]) for i in range(0, len(images), BLOCK)])


def of_run(folder: Path, cell: Cell, extractor: Any) -> Gaussian:
    """The fit of all samples of one cell of a finished run; features that its store has are not extracted again.

    Raises:
        UnknownName: a method, task or seed that the run has not.
        ConfigError: no run, several cells that are meant, samples that its store lacks, or an extractor without
            features.
    """
    run = Run.open(folder)
    row = _row(run, cell)
    return _fit(list(_shards(Store(run.store), shards(run, row), row.method, extractor)))


def _row(run: Run, cell: Cell) -> Any:
    rows: list[Any] = list(run.rows.drop_duplicates(["attributes", "target", "method", "seed"]).itertuples())
    tasks = [Task(row.attributes, row.target) for row in rows]
    choices: tuple[tuple[str, str | None, list[set[str]]], ...] = (
        ("method", cell.method, [{row.method} for row in rows]),
        ("task", cell.task, [{task.name, task.attributes} for task in tasks]),
        ("seed", None if cell.seed is None else str(cell.seed), [{str(row.seed)} for row in rows]),
    )
    kept = set(range(len(rows)))
    for kind, wanted, answers in choices:
        if wanted is not None:
            known = set().union(*answers)
            if wanted not in known:
                raise UnknownName(f"{kind} of {run.file.parent}", wanted, known)
            kept &= {i for i, names in enumerate(answers) if wanted in names}
    cells = {rows[i].sample_key: f"{rows[i].method} on {tasks[i].name} with seed {rows[i].seed}" for i in sorted(kept)}
    if len(cells) != 1:
        shown = "; ".join(list(cells.values())[:4]) or "none"
        raise ConfigError(
            f"one cell of {run.file} must be meant, got {len(cells)}: {shown}{'; ...' if len(cells) > 4 else ''}; "
            "narrow it by --method, --task and --seed"
        )
    return rows[min(kept)]


def _shards(store: Store, folders: list[Path], method: str, extractor: Any) -> Iterator[Features]:
    from bench.core.progress import track
    from bench.storage.files import read_arrays

    for index, folder in track(list(enumerate(folders)), "shards"):
        # Read without the store's own mending: this removes nothing.
        kept = read_arrays(store.features(extractor.name, extractor.digest, folder))
        if kept is not None and "features" in kept:
            yield kept["features"]
            continue
        samples = read_arrays(folder)
        if samples is None:
            raise ConfigError(
                f"{store.root} must hold the samples of {method}, got no whole shard {index}; run the suite again "
                "with the same --out"
            )
        yield _extracted(extractor, samples["images"])


def _extracted(extractor: Any, images: npt.NDArray[np.uint8]) -> Features:
    import torch

    found = extractor.extract(torch.from_numpy(np.array(images)))
    if "features" not in found:
        raise ConfigError(f"an extractor with features must be named, got {extractor.name}, which gives {list(found)}")
    features: Features = found["features"]
    return features


def _fit(parts: list[Features]) -> Gaussian:
    rows: Any = Rows(parts)
    if len(rows) < 2:
        raise ConfigError(f"a mean and a covariance must be of 2 images or more, got {len(rows)}")
    return fit(rows)
