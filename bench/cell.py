"""One cell in a worker process: fit, sample, extract, evaluate. Every step is skipped where the store has it."""

from __future__ import annotations

import dataclasses
import functools
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from bench.attributes import joint_labels
from bench.data import load_data
from bench.data.base import LabelledImages
from bench.data.source import DataSource
from bench.discovery import load
from bench.downstream import DownstreamChoice
from bench.errors import ConfigError
from bench.given_statistics import read_given
from bench.jobs import out_of_memory
from bench.models import load_model
from bench.models.counting import Counted, Counts
from bench.plan import Work, needs
from bench.progress import console
from bench.ranks import Ranks
from bench.sampling import Sampler, sample_batch
from bench.store import Rows, Store
from bench.suite import Seer, build_extractor, build_method
from evaluators.base import Downstream, LabelledFeatures, Reference, Sample, Score
from evaluators.features.gaussian import Gaussian
from methods.base import Batch, Guided, Task

BLOCK = 500  # reference images an extractor sees in one job


@functools.lru_cache(maxsize=2)
def counted_model(name: str, device: str, fields: str) -> Counted:
    """The model of a name, with JSON of its fields, loaded once a process."""
    return Counted(load_model(name, device, json.loads(fields)))


@functools.lru_cache(maxsize=8)
def data_set(source: DataSource | str, n: int | None, size: int) -> LabelledImages:
    """An image set, read once a process and run."""
    return load_data(source, n, size)


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
    """The model and the guided denoiser of a cell: from the process's memory, the store's fits, or fitted now.

    Raises:
        Incompatible: the task lacks something the method needs, or ranks cannot share its guidance batch.
    """
    Ranks.here().check(work.cell.title, build_method(work.cell.method, work.cell.fields).traits)
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
    store, ranks = Store(work.store), Ranks.here()
    folder = store.shard(work.sample_key, index, size)
    arrays = store.read(folder) if ranks.first else None
    if ranks.agreed(arrays is None):
        arrays = _draw(work, index, size, store, folder)
    if ranks.first and arrays is not None:
        for seer in work.seers:
            extract(store, seer, folder, arrays["images"])


def _draw(work: Work, index: int, size: int, store: Store, folder: Path) -> dict[str, npt.NDArray[Any]]:
    try:
        arrays, note = draw(work, index, size)
    except (MemoryError, RuntimeError) as error:
        half = work.compute_batch // 2
        if not out_of_memory(error) or not half or Ranks.here().count > 1:  # the other ranks are on their way
            raise
        console.print(f"out of memory with a compute batch of {work.compute_batch}: once more with {half}")
        arrays, note = draw(dataclasses.replace(work, compute_batch=half), index, size)
    if Ranks.here().first:
        store.write(folder, arrays, note)
    return arrays


def draw(work: Work, index: int, size: int) -> tuple[dict[str, npt.NDArray[Any]], dict[str, float]]:
    """Draw one guidance batch: the images with the classes given beforehand, and what drawing them took.

    In a group of ranks each draws its part, and all get the whole.

    Raises:
        RankLost: a rank died or did not answer in time.
    """
    ranks = Ranks.here()
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
    preset = guided.presets(numbers.numpy()) if guided.presets else np.full(size, -1)
    note = {"seconds": seconds, "forward_rows": forward, "backward_rows": backward}
    return {"images": images, "preset": preset.astype(np.int64)}, note


def extract(store: Store, seer: Seer, source: Path, images: npt.NDArray[np.uint8]) -> None:
    """Keep what an extractor makes of the images of an entry."""
    made = extractor(seer)
    folder = store.features(seer.name, made.digest, source)
    if store.read(folder) is None:
        store.write(folder, made.extract(torch.from_numpy(np.array(images))), {})


@functools.lru_cache(maxsize=8)
def gives_features(seer: Seer, size: int) -> bool:
    """Whether an extractor gives features of images of this side: references are compared by them alone."""
    return "features" in extractor(seer).extract(torch.zeros(1, 3, size, size, dtype=torch.uint8))


def reference_blocks(n: int) -> list[tuple[int, int]]:
    """(start, stop) of the blocks that a reference set of n images is extracted in."""
    return [(i, min(i + BLOCK, n)) for i in range(0, n, BLOCK)]


def reference_source(store: Store, digest: str, start: int, stop: int) -> Path:
    """The folder by whose name what extractors see of a block of a reference set is kept."""
    return store.root / "references" / digest[:24] / f"{start:06d}-{stop - start}"


def extract_reference(
    root: Path, source: DataSource | str, n: int, size: int, features: tuple[Seer, ...], block: tuple[int, int]
) -> None:
    """Keep what the feature extractors make of one block of a reference set."""
    store, data = Store(root), data_set(source, n, size)
    start, stop = block
    for feature in (seer for seer in features if gives_features(seer, size)):
        extract(store, feature, reference_source(store, data.digest, start, stop), data.images[start:stop])


def referred() -> None:
    """Nothing is left to do when every block of every reference is kept; evaluations wait for this alone."""


def evaluate(
    work: Work, metrics: tuple[str, ...], references: Mapping[str, int], size: int, key: str
) -> list[dict[str, Any]]:
    """Every score of a cell, as JSON-able records, from the store where it has them under `key`."""
    store = Store(work.store)
    kept = store.read_scores(key)
    if kept is None:
        kept = score(work, metrics, references, size)
        store.write_scores(key, kept)
    return kept


def score(work: Work, metrics: tuple[str, ...], references: Mapping[str, int], size: int) -> list[dict[str, Any]]:
    """Every score of a cell, as JSON-able records, computed from the arrays of the store; nothing is written.

    Raises:
        ConfigError: the store lacks an array.
    """
    needed = needs(metrics)
    samples, twins = _samples(work), _samples(work.twin) if work.twin else None
    features = [seer for seer in work.features if seer.title in samples[work.judge].features]
    sets = {ref: data_set(work.source(ref), n, size) for ref, n in references.items()}
    seen: Any = {
        seer.title: {ref: _reference_features(work.store, seer, s.digest, len(s)) for ref, s in sets.items()}
        for seer in features
    }
    labels = {
        ref: data.labels[:, [data.attributes.index(a) for a in work.cell.attributes]]
        for ref, data in sets.items()
        if "labels" in needed and set(work.cell.attributes) <= set(data.attributes)
    }
    statistics: dict[str, dict[str, Gaussian]] = {}
    for given in work.statistics:
        statistics.setdefault(given.features, {})[given.name] = read_given(given)
    downstream = _downstream(work, work.downstream, features, size) if work.downstream else None
    texts = _texts(work, features) if "texts" in needed else {}
    reference = Reference(work.cell.attributes, np.array(work.cell.target), seen, labels, statistics, downstream, texts)
    records = []
    for judge in work.judges:
        sample = dataclasses.replace(samples[judge], twin=twins[judge] if twins else None)
        for metric in metrics:
            if judge == work.judge or evaluator(metric).card.judge == "each":
                scores = evaluator(metric).evaluate(sample, reference)
                records += [{**dataclasses.asdict(one), "judge": judge.title} for one in scores]
    for title, reason in work.missing:
        skipped = Score("", title, None, n=work.n, status="skipped", reason=reason)
        records.append({**dataclasses.asdict(skipped), "judge": work.judge.title})
    return records


def _texts(work: Work, features: list[Seer]) -> dict[str, dict[str, npt.NDArray[np.floating]]]:
    """Title of every extractor that reads texts to (name of a prompt to the embedding of its text)."""
    found = {}
    for seer in features:
        made = extractor(seer)
        if hasattr(made, "embed_texts") and work.parts[0].prompt:
            rows = made.embed_texts([part.text for part in work.parts])
            found[seer.title] = dict(zip((part.prompt for part in work.parts), rows, strict=True))
    return found


def _samples(work: Work) -> dict[Seer, Sample]:
    """What a cell produced, as each judge saw it."""
    store = Store(work.store)
    ends = np.cumsum([0, *(part.n for part in work.parts)]).tolist()
    prompts = {p.prompt: slice(*rows) for p, *rows in zip(work.parts, ends, ends[1:], strict=False) if p.prompt}
    found: Any = {seer: _gather(store, work, seer) for seer in work.seers}
    judged = {s: {a.name: found[s][a.name] for a in extractor(s).attributes} for s in work.judges}
    features, perceptual = (
        {seer.title: found[seer][kind] for seer in work.features if kind in found[seer]}
        for kind in ("features", "perceptual")
    )
    return {
        judge: Sample(
            probabilities=judged[judge],
            features=features,
            preset=_presets(store, work),
            confusion=extractor(judge).confusion,
            detected={seer.title: arrays["detected"] for seer, arrays in found.items() if "detected" in arrays},
            other_judges={other.title: judged[other] for other in work.judges if other != judge},
            perceptual=perceptual,
            prompts=prompts,
        )
        for judge in work.judges
    }


def _downstream(work: Work, choice: DownstreamChoice, features: list[Seer], size: int) -> Downstream:
    """The real images of the downstream test, as the extractors of features saw them."""

    def labelled(name: str) -> LabelledFeatures:
        data = data_set(work.source(name), choice.n, size)
        seen: Any = {s.title: _reference_features(work.store, s, data.digest, len(data)) for s in features}
        return LabelledFeatures(seen, data.labels)

    attributes = data_set(work.source(choice.heldout), choice.n, size).attributes
    return Downstream(attributes, *(labelled(name) for name in (choice.biased, choice.balanced, choice.heldout)))


@functools.lru_cache(maxsize=16)
def _reference_features(root: Path, seer: Seer, data_digest: str, n: int) -> Rows:
    """The same object on every call, so that an evaluator that keeps statistics of it knows it again."""
    store, digest = Store(root), extractor(seer).digest
    sources = [reference_source(store, data_digest, *block) for block in reference_blocks(n)]
    return Rows([_entry(store, store.features(seer.name, digest, source))["features"] for source in sources])


def _presets(store: Store, work: Work) -> npt.NDArray[np.int64]:
    return np.concatenate([_entry(store, folder)["preset"] for folder in work.folders])


def _gather(store: Store, work: Work, seer: Seer) -> dict[str, Any]:
    digest = extractor(seer).digest
    entries = [_entry(store, store.features(seer.name, digest, folder)) for folder in work.folders]
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
