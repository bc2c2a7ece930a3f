"""Mean and covariance of an extractor's features, of a labelled set or of the samples of a finished run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt

from bench.core.errors import ConfigError
from bench.core.gaussian import Gaussian, fit
from bench.core.progress import track
from bench.data import load_data
from bench.protocols.evaluator import Extractor
from bench.results.run import Run
from bench.storage.files import read_arrays
from bench.storage.store import Rows, Store

BLOCK = 500  # images an extractor sees at a time
Features = npt.NDArray[np.floating]


def of_set(name: str, extractor: Extractor, n: int | None, size: int) -> Gaussian:
    """Fit the features of a labelled set.

    Args:
        name: as `bench.data.list_data` has it.
        extractor: the network whose features they are.
        n: number of images, the first ones; the set's own number unless given.
        size: side of the images, in pixels.

    Raises:
        UnknownName: no such set.
        ConfigError: n or size is out of range, or the extractor gives no features.
    """
    images = load_data(name, n, size).images
    return _fit([_extracted(extractor, images[i : i + BLOCK]) for i in range(0, len(images), BLOCK)])


def of_run(
    folder: Path,
    extractor: Extractor,
    method: str | None = None,
    task: str | None = None,
    seed: int | None = None,
) -> Gaussian:
    """Fit the features of all samples of one cell of a finished run; features that its store has are read from there.

    Args:
        folder: the run's folder, or its results.csv.
        extractor: the network whose features they are.
        method: as the leaderboard calls it; None where there is no choice to make, as for the next two.
        task: the task's name or attributes.
        seed: of the cell.

    Raises:
        UnknownName: a method, task or seed that the run does not have.
        ConfigError: no run, several cells that are meant, samples that its store lacks, or an extractor without
            features.
    """
    run = Run.open(folder)
    row = run.cell(method, task, seed)
    return _fit(list(_shards(Store(run.store), run.stored.shards(row), row.method, extractor)))


def _shards(store: Store, folders: Sequence[Path], method: str, extractor: Extractor) -> Iterator[Features]:
    for index, folder in track(list(enumerate(folders)), "shards"):
        # Read without the store's own mending: this removes nothing.
        stored = read_arrays(store.features(extractor.name, extractor.digest, folder))
        if stored is not None and "features" in stored:
            yield stored["features"]
            continue
        samples = read_arrays(folder)
        if samples is None:
            raise ConfigError(
                f"{store.root} must hold the samples of {method}, got no whole shard {index}; run the suite again "
                "with the same --out"
            )
        yield _extracted(extractor, samples["images"])


def _extracted(extractor: Extractor, images: npt.NDArray[np.uint8]) -> Features:
    from bench.engine.extraction import extracted

    arrays = extracted(extractor, images)
    if "features" not in arrays:
        raise ConfigError(f"an extractor with features must be named, got {extractor.name}, which gives {list(arrays)}")
    return cast("Features", arrays["features"])


def _fit(blocks: list[Features]) -> Gaussian:
    rows = cast("Features", Rows(blocks))  # what `fit` needs of an array
    if len(rows) < 2:
        raise ConfigError(f"a mean and a covariance must be of 2 images or more, got {len(rows)}")
    return fit(rows)
