"""The steps of one cell in a worker: fit, sample, extract. Each is skipped where the store has its result."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from bench.assets import HERE
from bench.config.build import build_method
from bench.config.data_source import ImageSetSpec
from bench.core.progress import console, track
from bench.core.specs import ExtractorSpec
from bench.engine.cell_job import CellJob
from bench.engine.extraction import extracted
from bench.engine.jobs import out_of_memory
from bench.engine.method_boundary import build_checked
from bench.engine.resources import Resources, reference_source
from bench.protocols.counting import Counted, Counts
from bench.protocols.method import Batch, Guided, Method, Task
from bench.protocols.model import DiffusionModel
from bench.sampling.distributed import ProcessGroup
from bench.sampling.loop import Sampler, draw_batch
from bench.storage.fits import FitCache
from bench.storage.store import Store

Arrays = dict[str, npt.NDArray[np.generic]]


def build(resources: Resources, job: CellJob) -> tuple[Counted, Guided]:
    """Return the model and the guided denoiser of a cell: from memory, from the store's fits, or fitted now.

    Raises:
        Incompatible: the task lacks something the method needs, or processes cannot share its guidance batch.
    """
    ProcessGroup.here().check(job.cell.title, build_method(job.cell.method, job.cell.fields).traits)

    def now() -> tuple[Counted, Guided]:
        model = resources.model(job.sampling.model, job.sampling.device)
        return model, build_on(resources, job, model)

    return resources.built(job.sample_key, now)


def build_on(resources: Resources, job: CellJob, model: DiffusionModel) -> Guided:
    """Return the guided denoiser of a cell on a loaded model: from the store's fits, or fitted now.

    Raises:
        ConfigError: the method breaks the protocol, see `bench.engine.method_boundary`.
    """
    task = Task(
        model=model,
        attributes=job.cell.attributes,
        target=np.array(job.cell.target),
        timesteps=Sampler.of(job.sampling.sampler).timesteps(model),
        **{need: resources.images(spec) for need, spec in job.sampling.learning_sets.items()},
        classifier=resources.guide,
        cache=FitCache(Store(job.store).fits, shipped=HERE),
        progress=track,
    )
    method: Method = build_method(job.cell.method, job.cell.fields)
    return build_checked(job.cell.method, method, task, job.cell.seed)


def fit(resources: Resources, job: CellJob) -> None:
    """Build the method, and store its cost and notes."""
    store = Store(job.store)
    path = fit_record(job)
    if store.read(path) is None:
        _, guided = build(resources, job)
        curves = [dataclasses.asdict(c) for c in guided.curves]
        store.write(path, {}, {**dataclasses.asdict(guided.cost), "notes": dict(guided.notes or {}), "curves": curves})


def fit_record(job: CellJob) -> Path:
    """Return the folder of cost and notes of a cell's fit."""
    return Store(job.store).record(job.sample_key)


def sample_shard(resources: Resources, job: CellJob, index: int, size: int) -> None:
    """Draw one guidance batch and store it, then let the extractors see it.

    Every process of a group calls it alike; the first looks into the store, writes and extracts.
    """
    store, group = Store(job.store), ProcessGroup.here()
    folder = store.shard(job.sample_key, index, size)
    arrays = store.read(folder) if group.first else None
    if group.agreed(arrays is None):
        arrays = _draw(resources, job, index, size, store, folder)
    if group.first and arrays is not None:
        for spec in job.scoring.extractors:
            extract(resources, store, spec, folder, arrays["images"])


def _draw(resources: Resources, job: CellJob, index: int, size: int, store: Store, folder: Path) -> Arrays:
    try:
        arrays, note = draw(resources, job, index, size)
    except (MemoryError, RuntimeError) as error:
        half = job.sampling.compute_batch // 2
        if not out_of_memory(error) or not half or ProcessGroup.here().count > 1:  # the others are on their way
            raise
        console.print(f"out of memory with a compute batch of {job.sampling.compute_batch}: once more with {half}")
        smaller = dataclasses.replace(job.sampling, compute_batch=half)
        arrays, note = draw(resources, dataclasses.replace(job, sampling=smaller), index, size)
    if ProcessGroup.here().first:
        store.write(folder, arrays, note)
    return arrays


def draw(resources: Resources, job: CellJob, index: int, size: int) -> tuple[Arrays, dict[str, float]]:
    """Draw one guidance batch, and return its images with their assigned classes, and the cost of drawing them.

    In a group of processes each draws its part, and all get the whole.

    Raises:
        ProcessLost: a process died or did not answer in time.
    """
    group, sampling = ProcessGroup.here(), job.sampling
    model, guided = build(resources, job)
    counts = model.counts = Counts()
    first = index * sampling.guidance_batch
    numbers = torch.arange(first, first + size)
    unconditional = torch.zeros(size, dtype=torch.int64, device=model.device)
    batch = group.part(Batch(numbers, unconditional, sampling.compute_batch))
    start = time.perf_counter()
    x = draw_batch(model, guided, Sampler.of(sampling.sampler), batch, job.cell.seed)
    images = group.gather(model.decode(x), size).cpu().numpy()
    forward, backward = batch.total(torch.tensor(dataclasses.astuple(counts), dtype=torch.float64)).tolist()
    seconds = time.perf_counter() - start
    assigned_class = guided.assigned_classes(numbers.numpy()) if guided.assigned_classes else np.full(size, -1)
    note = {"seconds": seconds, "forward_rows": forward, "backward_rows": backward}
    return {"images": images, "assigned_class": assigned_class.astype(np.int64)}, note


def extract(
    resources: Resources, store: Store, spec: ExtractorSpec, source: Path, images: npt.NDArray[np.generic]
) -> None:
    """Store the arrays of an extractor for the images of an entry; raises the errors of `extracted`."""
    extractor = resources.extractor(spec)
    folder = store.features(spec.name, extractor.digest, source)
    if store.read(folder) is None:
        store.write(folder, extracted(extractor, images), {})


def extract_reference(
    resources: Resources, root: Path, spec: ImageSetSpec, features: tuple[ExtractorSpec, ...], block: tuple[int, int]
) -> None:
    """Store the arrays of the feature extractors for one block of a reference set."""
    store, images = Store(root), resources.images(spec)
    start, stop = block
    for feature in (feature for feature in features if resources.gives_features(feature, spec.size)):
        source = reference_source(store, images.digest, start, stop)
        extract(resources, store, feature, source, images.images[start:stop])


def references_done(_: Resources) -> None:
    """Do nothing: this job ends when every block of every reference is stored, and evaluations wait for it alone."""
