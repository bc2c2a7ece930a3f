"""The samples of a finished run's cells: pictures, and what the classifier took them for, read from the store beside it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from bench.core.attributes import Attribute, joint_labels
from bench.results.classes import answers
from bench.results.run import Run
from bench.results.shards import Part, parts
from bench.storage.files import read_arrays
from bench.storage.store import Store


def images(run: Run, row: Any, n: int) -> npt.NDArray[np.uint8] | None:
    """n samples, uint8 [at most n, 3, h, w], of the cell that a row of results.csv is of, those of `places`.

    None where the store has not all of them, undamaged.
    """
    store, found, batch = Store(run.store), list[npt.NDArray[np.uint8]](), int(row.guidance_batch)
    for part, wanted in _shown(run, row, n):
        for folder, start in zip(part.folders(store, batch), range(0, wanted, batch), strict=False):
            # Read without the store's own mending: a report removes nothing.
            arrays = read_arrays(folder)
            if arrays is None or "images" not in arrays:
                return None
            found.append(arrays["images"][: wanted - start])
    return np.concatenate(found)


def labels(run: Run, row: Any, n: int) -> npt.NDArray[np.int64] | None:
    """The predicted class of the joint of a row's task for the samples of `images`, int64 [at most n]; -1: it abstained.

    The classifier is the row's. None where the store has not all that the classifier saw, undamaged.
    """
    found = answers(run, row)
    if found is None:
        return None
    first = [p[places(run, row, n)] for p in found.values()]
    attributes = tuple(Attribute(name, tuple(map(str, range(p.shape[1])))) for name, p in found.items())
    joint = joint_labels(np.stack([p.argmax(axis=1) for p in first], axis=1), attributes)
    return np.where(np.any([np.isnan(p).any(axis=1) for p in first], axis=0), -1, joint)


def places(run: Run, row: Any, n: int) -> npt.NDArray[np.int64]:
    """Rows of the n samples that stand for a cell, int64 [at most n]: its first, and of several prompts each one's."""
    begins = np.cumsum([0, *(part.n for part in parts(run, row))])
    return np.concatenate([begin + np.arange(m) for begin, (_, m) in zip(begins, _shown(run, row, n), strict=False)])


def _shown(run: Run, row: Any, n: int) -> list[tuple[Part, int]]:
    """Every part with how many of its samples are among the n: as even as can be, the earlier parts one more."""
    found = parts(run, row)
    each, more = divmod(n, len(found))
    return [(part, min(part.n, each + (i < more))) for i, part in enumerate(found)]


def credit(run: Run) -> str:
    """The line owed to whoever drew what the model was trained on; empty where the model is not ours."""
    from bench.data.avatars import CREDIT
    from bench.models import list_models

    return CREDIT if run.rows["model"].iloc[0] in list_models() else ""
