"""One cell in a worker process: fit, sample, extract, evaluate. Every step is skipped where the store has it."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from bench.attributes import joint_labels
from bench.data import load_data
from bench.discovery import load
from bench.errors import ConfigError
from bench.models import load_model
from bench.models.counting import Counted, Counts
from bench.plan import Work
from bench.sampling import Sampler, sample_batch
from bench.store import Rows, Store
from bench.suite import Seer, build_extractor, build_method
from evaluators.base import Reference, Sample, Score
from methods.base import Batch, Guided, Task

BLOCK = 500  # reference images an extractor sees in one job


@functools.lru_cache(maxsize=2)
def counted_model(name: str, device: str) -> Counted:
    """The model of a name, loaded once a process."""
    return Counted(load_model(name, device))


@functools.lru_cache(maxsize=8)
def extractor(seer: Seer) -> Any:
    """An extractor, made once a process."""
    return build_extractor(seer)


def guide(name: str) -> Any:
    """The extractor of a name that a method guides with, with the defaults of its fields."""
    return extractor(Seer(name, "{}", name))


@functools.lru_cache(maxsize=4)
def evaluator(name: str) -> Any:
    """The evaluator of a name, made once a process, so that what it caches of a reference is kept."""
    return load("evaluator", name, "Evaluator")()


# By sample key, each with the model it runs, whose tally is then read; a worker goes from shard to shard of few cells.
_built: dict[str, tuple[Counted, Guided]] = {}


def build(work: Work) -> tuple[Counted, Guided]:
    """The model and the guided denoiser of a cell: from the process's memory, the store's fits, or fitted now."""
    if work.sample_key not in _built:
        model: Any = counted_model(work.model, work.device)
        sampler = Sampler(**work.sampler)
        task = Task(
            model=model,
            attributes=work.cell.attributes,
            target=np.array(work.cell.target),
            timesteps=sampler.timesteps(model),
            **{place: load_data(name, size=model.shape[-1]) for place, name in work.data.items()},
            classifier=guide,
            cache=Store(work.store).fits,
        )
        while len(_built) >= 8:
            _built.pop(next(iter(_built)))
        _built[work.sample_key] = model, build_method(work.cell.method, work.cell.fields).build(task, work.cell.seed)
    return _built[work.sample_key]


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
    return Store(work.store).fits / f"record-{work.sample_key[:24]}"


def sample_shard(work: Work, index: int, size: int) -> None:
    """Draw one guidance batch and keep it, then let the extractors see it."""
    store = Store(work.store)
    folder = store.shard(work.sample_key, index, size)
    arrays = store.read(folder)
    if arrays is None:
        arrays = _draw(work, index, size, store, folder)
    for seer in work.seers:
        extract(store, seer, folder, arrays["images"])


def _draw(work: Work, index: int, size: int, store: Store, folder: Path) -> dict[str, npt.NDArray[Any]]:
    counted, guided = build(work)
    counts = counted.counts = Counts()
    model: Any = counted
    first = index * work.guidance_batch
    numbers = torch.arange(first, first + size)
    nothing_asked = torch.zeros(size, dtype=torch.int64, device=model.device)
    batch = Batch(numbers, nothing_asked, work.compute_batch)
    start = time.perf_counter()
    x = sample_batch(model, guided.denoise, Sampler(**work.sampler), batch, work.cell.seed, guided.repeats)
    images = model.decode(x).cpu().numpy()
    seconds = time.perf_counter() - start
    preset = guided.presets(numbers.numpy()) if guided.presets else np.full(size, -1)
    arrays = {"images": images, "preset": preset.astype(np.int64)}
    store.write(folder, arrays, {"seconds": seconds, **dataclasses.asdict(counts)})
    return arrays


def extract(store: Store, seer: Seer, source: Path, images: npt.NDArray[np.uint8]) -> None:
    """Keep what an extractor makes of the images of an entry."""
    made = extractor(seer)
    folder = store.features(seer.name, made.digest, source)
    if store.read(folder) is None:
        store.write(folder, made.extract(torch.from_numpy(np.array(images))), {})


def reference_blocks(n: int) -> list[tuple[int, int]]:
    """(start, stop) of the blocks that a reference set of n images is extracted in."""
    return [(i, min(i + BLOCK, n)) for i in range(0, n, BLOCK)]


def _reference_source(store: Store, digest: str, start: int, stop: int) -> Path:
    return store.root / "references" / digest[:24] / f"{start:06d}-{stop - start}"


def extract_reference(
    root: Path, name: str, n: int, size: int, features: tuple[Seer, ...], block: tuple[int, int]
) -> None:
    """Keep what the feature extractors make of one block of a reference set."""
    store, data = Store(root), load_data(name, n, size)
    start, stop = block
    for feature in features:
        extract(store, feature, _reference_source(store, data.digest, start, stop), data.images[start:stop])


def evaluate(
    work: Work, metrics: tuple[str, ...], references: Mapping[str, int], size: int, key: str
) -> list[dict[str, Any]]:
    """Every score of a cell, as JSON-able records, from the store where it has them under `key`."""
    store = Store(work.store)
    kept = store.read_scores(key)
    if kept is not None:
        return kept
    found = {seer: _gather(store, work, seer) for seer in work.seers}
    features = {s: found[s]["features"] for s in work.features if "features" in found[s]}
    judged = {s: {a.name: found[s][a.name] for a in extractor(s).attributes} for s in work.judges}
    seen: Any = {
        seer.title: {ref: _reference_features(work.store, seer, ref, n, size) for ref, n in references.items()}
        for seer in features
    }
    sets = {ref: load_data(ref, n, size) for ref, n in references.items()}
    labels = {
        ref: data.labels[:, [data.attributes.index(a) for a in work.cell.attributes]]
        for ref, data in sets.items()
        if set(work.cell.attributes) <= set(data.attributes)
    }
    reference = Reference(work.cell.attributes, np.array(work.cell.target), seen, labels)
    records = []
    for judge in work.judges:
        sample: Any = Sample(
            probabilities=judged[judge],
            features={seer.title: values for seer, values in features.items()},
            preset=_presets(store, work),
            confusion=extractor(judge).confusion,
            detected={seer.title: arrays["detected"] for seer, arrays in found.items() if "detected" in arrays},
            other_judges={other.title: judged[other] for other in work.judges if other != judge},
        )
        for metric in metrics:
            if judge == work.judge or evaluator(metric).card.each_judge:
                scores = evaluator(metric).evaluate(sample, reference)
                records += [{**dataclasses.asdict(score), "judge": judge.title} for score in scores]
    for title, reason in work.missing:
        score = Score("", title, None, n=work.n, status="skipped", reason=reason)
        records.append({**dataclasses.asdict(score), "judge": work.judge.title})
    store.write_scores(key, records)
    return records


@functools.lru_cache(maxsize=8)
def _reference_features(root: Path, seer: Seer, reference: str, n: int, size: int) -> Rows:
    """The same object on every call, so that an evaluator that keeps statistics of it knows it again."""
    store, data, digest = Store(root), load_data(reference, n, size), extractor(seer).digest
    sources = [_reference_source(store, data.digest, *block) for block in reference_blocks(n)]
    return Rows([_entry(store, store.features(seer.name, digest, source))["features"] for source in sources])


def _presets(store: Store, work: Work) -> npt.NDArray[np.int64]:
    return np.concatenate([_entry(store, store.shard(work.sample_key, i, s))["preset"] for i, s in work.shards()])


def _gather(store: Store, work: Work, seer: Seer) -> dict[str, Any]:
    digest = extractor(seer).digest
    entries = [
        _entry(store, store.features(seer.name, digest, store.shard(work.sample_key, i, s))) for i, s in work.shards()
    ]
    return {key: Rows([entry[key] for entry in entries]) for key in entries[0]}


def _entry(store: Store, folder: Path) -> dict[str, npt.NDArray[Any]]:
    arrays = store.read(folder)
    if arrays is None:
        raise ConfigError(f"{folder} was removed or damaged while the run went on; run the same command again")
    return arrays


def judged_labels(work: Work) -> npt.NDArray[np.int64]:
    """The judge's class of the joint of the task's attributes for every sample, int64 [n]; -1 where it abstained."""
    judged = _gather(Store(work.store), work, work.judge)
    probabilities = [judged[a.name][:] for a in work.cell.attributes]
    labels = joint_labels(np.stack([p.argmax(1) for p in probabilities], axis=1), work.cell.attributes)
    return np.where(np.any([np.isnan(p).any(1) for p in probabilities], axis=0), -1, labels)
