"""One cell in a worker process: fit, sample, extract, evaluate. Every step is skipped where the store has it."""

from __future__ import annotations

import dataclasses
import functools
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from bench.config.build import build_method
from bench.config.components import ExtractorSpec
from bench.config.data_source import DataSource
from bench.core.progress import console
from bench.engine.jobs import out_of_memory
from bench.engine.resources import counted_model, data_set, extractor, guide
from bench.engine.work import Work
from bench.models.counting import Counted, Counts
from bench.protocols.method import Batch, Guided, Task
from bench.sampling.distributed import ProcessGroup
from bench.sampling.loop import Sampler, sample_batch
from bench.storage.store import Store

BLOCK = 500  # reference images an extractor sees in one job

# By sample key, each with the model it runs, whose tally is then read; a worker goes from shard to shard of few cells.
_built: dict[str, tuple[Counted, Guided]] = {}


def build(work: Work) -> tuple[Counted, Guided]:
    """The model and the guided denoiser of a cell: from the process's memory, the store's fits, or fitted now.

    Raises:
        Incompatible: the task lacks something the method needs, or ranks cannot share its guidance batch.
    """
    ProcessGroup.here().check(work.cell.title, build_method(work.cell.method, work.cell.fields).traits)
    if work.sample_key not in _built:
        model = counted_model(work.model, work.device, work.model_fields)
        while len(_built) >= 8:
            _built.pop(next(iter(_built)))
        _built[work.sample_key] = model, build_on(work, model)
    return _built[work.sample_key]


def build_on(work: Work, model: Any) -> Guided:
    """The guided denoiser of a cell on a model that is at hand: from the store's fits, or fitted now."""
    task = Task(
        model=model,
        attributes=work.cell.attributes,
        target=np.array(work.cell.target),
        timesteps=Sampler(**work.sampler).timesteps(model),
        **{place: data_set(work.source(name), None, model.image_size) for place, name in work.data.items()},
        classifier=guide,
        cache=Store(work.store).fits,
    )
    guided: Guided = build_method(work.cell.method, work.cell.fields).build(task, work.cell.seed)
    return guided


def fit(work: Work) -> None:
    """Build the method, and keep what it cost and found."""
    store = Store(work.store)
    path = fit_record(work)
    if store.read(path) is None:
        _, guided = build(work)
        curves = [dataclasses.asdict(c) for c in guided.curves]
        store.write(path, {}, {**dataclasses.asdict(guided.cost), "notes": dict(guided.notes or {}), "curves": curves})


def fit_record(work: Work) -> Path:
    """Where cost and notes of a cell's fit are kept."""
    return Store(work.store).record(work.sample_key)


def sample_shard(work: Work, index: int, size: int) -> None:
    """Draw one guidance batch and keep it, then let the extractors see it.

    Every rank of a group calls it alike; the first looks into the store, writes and extracts.
    """
    store, ranks = Store(work.store), ProcessGroup.here()
    folder = store.shard(work.sample_key, index, size)
    arrays = store.read(folder) if ranks.first else None
    if ranks.agreed(arrays is None):
        arrays = _draw(work, index, size, store, folder)
    if ranks.first and arrays is not None:
        for spec in work.specs:
            extract(store, spec, folder, arrays["images"])


def _draw(work: Work, index: int, size: int, store: Store, folder: Path) -> dict[str, npt.NDArray[Any]]:
    try:
        arrays, note = draw(work, index, size)
    except (MemoryError, RuntimeError) as error:
        half = work.compute_batch // 2
        if not out_of_memory(error) or not half or ProcessGroup.here().count > 1:  # the other ranks are on their way
            raise
        console.print(f"out of memory with a compute batch of {work.compute_batch}: once more with {half}")
        arrays, note = draw(dataclasses.replace(work, compute_batch=half), index, size)
    if ProcessGroup.here().first:
        store.write(folder, arrays, note)
    return arrays


def draw(work: Work, index: int, size: int) -> tuple[dict[str, npt.NDArray[Any]], dict[str, float]]:
    """Draw one guidance batch: the images with the classes given beforehand, and what drawing them took.

    In a group of ranks each draws its part, and all get the whole.

    Raises:
        ProcessLost: a rank died or did not answer in time.
    """
    ranks = ProcessGroup.here()
    counted, guided = build(work)
    counts = counted.counts = Counts()
    model: Any = counted
    first = index * work.guidance_batch
    numbers = torch.arange(first, first + size)
    nothing_asked = torch.zeros(size, dtype=torch.int64, device=model.device)
    batch = ranks.part(Batch(numbers, nothing_asked, work.compute_batch))
    start = time.perf_counter()
    x = sample_batch(model, guided.denoise, Sampler(**work.sampler), batch, work.cell.seed, guided.repeats)
    images = ranks.gather(model.decode(x), size).cpu().numpy()
    forward, backward = batch.total(torch.tensor(dataclasses.astuple(counts), dtype=torch.float64)).tolist()
    seconds = time.perf_counter() - start
    assigned_class = guided.assigned_classes(numbers.numpy()) if guided.assigned_classes else np.full(size, -1)
    note = {"seconds": seconds, "forward_rows": forward, "backward_rows": backward}
    return {"images": images, "assigned_class": assigned_class.astype(np.int64)}, note


def extract(store: Store, spec: ExtractorSpec, source: Path, images: npt.NDArray[np.uint8]) -> None:
    """Keep what an extractor makes of the images of an entry."""
    made = extractor(spec)
    folder = store.features(spec.name, made.digest, source)
    if store.read(folder) is None:
        store.write(folder, made.extract(torch.from_numpy(np.array(images))), {})


@functools.lru_cache(maxsize=8)
def gives_features(spec: ExtractorSpec, size: int) -> bool:
    """Whether an extractor gives features of images of this side: references are compared by them alone."""
    return "features" in extractor(spec).extract(torch.zeros(1, 3, size, size, dtype=torch.uint8))


def reference_blocks(n: int) -> list[tuple[int, int]]:
    """(start, stop) of the blocks that a reference set of n images is extracted in."""
    return [(i, min(i + BLOCK, n)) for i in range(0, n, BLOCK)]


def reference_source(store: Store, digest: str, start: int, stop: int) -> Path:
    """The folder by whose name what extractors see of a block of a reference set is kept."""
    return store.root / "references" / digest[:24] / f"{start:06d}-{stop - start}"


def extract_reference(
    root: Path, source: DataSource | str, n: int, size: int, features: tuple[ExtractorSpec, ...], block: tuple[int, int]
) -> None:
    """Keep what the feature extractors make of one block of a reference set."""
    store, data = Store(root), data_set(source, n, size)
    start, stop = block
    for feature in (spec for spec in features if gives_features(spec, size)):
        extract(store, feature, reference_source(store, data.digest, start, stop), data.images[start:stop])


def referred() -> None:
    """Nothing is left to do when every block of every reference is kept; evaluations wait for this alone."""
