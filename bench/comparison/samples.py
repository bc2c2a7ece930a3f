"""The samples of a finished run's cells: pictures, and what the judge took them for, read from the store beside it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from bench.attributes import Attribute, joint_labels
from bench.comparison.classes import answers
from bench.comparison.runs import Run
from bench.files import read_arrays
from bench.store import Store


def images(run: Run, row: Any, n: int) -> npt.NDArray[np.uint8] | None:
    """The first n samples, uint8 [at most n, 3, h, w], of the cell that a row of results.csv is of.

    None where the store has not all of them, undamaged.
    """
    store, found, batch = Store(run.store), list[npt.NDArray[np.uint8]](), int(row.guidance_batch)
    for index, start in enumerate(range(0, min(n, int(row.n_asked)), batch)):
        # Read without the store's own mending: a report removes nothing.
        arrays = read_arrays(store.shard(row.sample_key, index, min(batch, int(row.n_asked) - start)))
        if arrays is None or "images" not in arrays:
            return None
        found.append(arrays["images"][: n - start])
    return np.concatenate(found)


def labels(run: Run, row: Any, n: int) -> npt.NDArray[np.int64] | None:
    """The judged class of the joint of a row's task for the first n samples, int64 [at most n]; -1 where it abstained.

    The judge is the row's. None where the store has not all that the judge saw, undamaged.
    """
    found = answers(run.store, row)
    if found is None:
        return None
    first = [p[:n] for p in found.values()]
    attributes = tuple(Attribute(name, tuple(map(str, range(p.shape[1])))) for name, p in found.items())
    joint = joint_labels(np.stack([p.argmax(axis=1) for p in first], axis=1), attributes)
    return np.where(np.any([np.isnan(p).any(axis=1) for p in first], axis=0), -1, joint)


def credit(run: Run) -> str:
    """The line owed to whoever drew what the model was trained on; empty where the model is not ours."""
    from bench.data.avatars import CREDIT
    from bench.models import list_models

    return CREDIT if run.rows["model"].iloc[0] in list_models() else ""
