"""Scores of one cell, computed from the arrays of the store."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.config.components import DownstreamChoice, Seer
from bench.core.attributes import joint_labels
from bench.core.errors import ConfigError
from bench.core.gaussian import Gaussian
from bench.engine.plan import needs
from bench.engine.reference_statistics import read_given
from bench.engine.resources import data_set, evaluator, extractor
from bench.engine.work import Work
from bench.engine.worker import reference_blocks, reference_source
from bench.protocols.evaluator import Downstream, LabelledFeatures, Reference, Sample, Score
from bench.storage.store import Rows, Store


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
