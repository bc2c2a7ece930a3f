"""What the classifier saw in every sample of a cell, read from the store beside the run."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.results.run import Run
from bench.results.shards import shards
from bench.storage.files import read_arrays
from bench.storage.store import Store

Floats = npt.NDArray[np.float64]


def probabilities(run: Run, row: Any) -> dict[str, Floats] | None:
    """Attribute to the classifier's probabilities [n, K], row i of sample i, of the cell that a row of results.csv is of.

    None where the store has not all of it, undamaged, or where the classifier left samples without an answer.
    """
    found = answers(run, row)
    return found if found is not None and all(np.isfinite(p).all() for p in found.values()) else None


def answers(run: Run, row: Any) -> dict[str, Floats] | None:
    """The same, with rows of NaN for samples that the classifier left without an answer."""
    found = _read(run.store, row.classifier_sha256, tuple(shards(run, row)))
    names = row.attributes.split("+")
    return {name: found[name] for name in names} if found is not None and all(n in found for n in names) else None


@lru_cache(maxsize=512)  # a cell is asked for once a metric
def _read(root: Path, digest: str, folders: tuple[Path, ...]) -> dict[str, Floats] | None:
    # The table has a classifier's title, the store the extractor's name; both have the hash of its weights.
    names = [path.name.rpartition("-")[0] for path in (root / "features").glob(f"*-{digest[:16]}")]
    if not names:
        return None
    store, name, parts = Store(root), names[0], []
    for folder in folders:
        # Read without the store's own mending: a report removes nothing.
        arrays = read_arrays(store.features(name, digest, folder))
        if arrays is None:
            return None
        parts.append(arrays)
    return {name: np.concatenate([part[name] for part in parts]).astype(np.float64) for name in parts[0]}
