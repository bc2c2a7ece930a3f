"""Spot re-sampling: the first guidance batch of some cells drawn again and compared with the store."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from bench.core.progress import track
from bench.engine.cell_job import CellJob
from bench.engine.jobs import one_thread
from bench.engine.resources import Resources
from bench.engine.worker import draw
from bench.storage.files import read_arrays
from bench.storage.store import Store
from bench.verification.check import Check, classified
from bench.verification.recompute import Compared

LEVELS = 2  # of 255 by which another machine's arithmetic may move a value; on one machine the bytes are the same
FEATURES = 1e-3  # by which it may move a probability or a feature, relative to the largest of its kind


def check_images(cells: Sequence[Compared], k: int, resources: Resources) -> Check:
    """Draw at least k images again, whole guidance batches of cells spread evenly over those that differ.

    Args:
        cells: whose arrays the store has whole.
        k: number of images, >= 1.
        resources: of this process.
    """
    parts = ((job, cell.name) for cell in cells if cell.scored for job in cell.job.parts)
    distinct = list({job.sample_key: (job, name) for job, name in parts}.values())
    if not distinct:
        return Check("images", "not checkable", "the store has no cell whole")
    size = distinct[0][0].shards()[0][1]
    count = min(len(distinct), -(-k // size))
    chosen = [distinct[i] for i in np.linspace(0, len(distinct) - 1, count).round().astype(int)]
    one_thread()  # as a worker of `run` has: the bytes depend on it
    wrong: list[str] = []
    most = 0
    for job, name in track(chosen, "guidance batches drawn again"):
        clauses, off = _compare(resources, job, f"{name}, prompt {job.prompt.name}" if job.prompt else name)
        wrong += clauses
        most = max(most, off)
    names = ", ".join(dict.fromkeys(job.cell.title for job, _ in chosen))
    how = f"at most {most} of 255 levels off" if most else "the same bytes"
    cells_drawn = "1 cell" if len(chosen) == 1 else f"{len(chosen)} cells"
    return classified("images", wrong, f"{size * len(chosen)} images of {cells_drawn} drawn again ({names}): {how}")


def _compare(resources: Resources, job: CellJob, name: str) -> tuple[list[str], int]:
    """Return the differences in a job's first guidance batch, and the largest one of an image in levels."""
    index, size = job.shards()[0]
    store = Store(job.store)
    shard = store.shard(job.sample_key, index, size)
    stored = read_arrays(shard)
    assert stored is not None, "only whole cells are drawn again"
    arrays, _ = draw(resources, job, index, size)
    levels = np.abs(arrays["images"].astype(np.int16) - stored["images"].astype(np.int16)).reshape(size, -1).max(1)
    wrong = []
    if levels.max() > LEVELS:
        n, most = int((levels > LEVELS).sum()), levels.max()
        wrong.append(f"{n} of the first {size} images of {name} are others, by up to {most} of 255 levels")
    if not np.array_equal(arrays["assigned_class"], stored["assigned_class"]):
        wrong.append(f"the classes given beforehand to the first {size} samples of {name} are others")
    for spec in job.scoring.extractors:
        extractor = resources.extractor(spec)
        features = read_arrays(store.features(spec.name, extractor.digest, shard)) or {}
        again = extractor.extract(torch.from_numpy(np.array(stored["images"])))
        if any(not _near(again[key], np.asarray(features[key])) for key in again):
            wrong.append(f"{spec.title} sees other things in the first {size} images of {name} than is stored")
    return wrong, int(levels.max())


def _near(again: npt.NDArray[np.floating], stored: npt.NDArray[np.floating]) -> bool:
    slack = FEATURES * float(np.nanmax(np.abs(stored)))
    return again.shape == stored.shape and np.allclose(again, stored, rtol=0, atol=slack, equal_nan=True)
