"""Scores of one cell, computed from the arrays of the store."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.config.components import DownstreamChoice, ExtractorSpec
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
    samples, paired_baselines = _samples(work), _samples(work.paired_baseline) if work.paired_baseline else None
    features = [spec for spec in work.features if spec.title in samples[work.classifier].features]
    sets = {ref: data_set(work.source(ref), n, size) for ref, n in references.items()}
    seen: Any = {
        spec.title: {ref: _reference_features(work.store, spec, s.digest, len(s)) for ref, s in sets.items()}
        for spec in features
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
    for classifier in work.classifiers:
        sample = dataclasses.replace(
            samples[classifier], paired_baseline=paired_baselines[classifier] if paired_baselines else None
        )
        for metric in metrics:
            if classifier == work.classifier or evaluator(metric).card.classifier == "each":
                scores = evaluator(metric).evaluate(sample, reference)
                records += [{**dataclasses.asdict(one), "classifier": classifier.title} for one in scores]
    for title, reason in work.missing:
        skipped = Score("", title, None, n=work.n, status="skipped", reason=reason)
        records.append({**dataclasses.asdict(skipped), "classifier": work.classifier.title})
    return records


def _texts(work: Work, features: list[ExtractorSpec]) -> dict[str, dict[str, npt.NDArray[np.floating]]]:
    """Title of every extractor that reads texts to (name of a prompt to the embedding of its text)."""
    found = {}
    for spec in features:
        made = extractor(spec)
        if hasattr(made, "embed_texts") and work.parts[0].prompt:
            rows = made.embed_texts([part.text for part in work.parts])
            found[spec.title] = dict(zip((part.prompt for part in work.parts), rows, strict=True))
    return found


def _samples(work: Work) -> dict[ExtractorSpec, Sample]:
    """What a cell produced, as each classifier saw it."""
    store = Store(work.store)
    ends = np.cumsum([0, *(part.n for part in work.parts)]).tolist()
    prompts = {p.prompt: slice(*rows) for p, *rows in zip(work.parts, ends, ends[1:], strict=False) if p.prompt}
    found: Any = {spec: _gather(store, work, spec) for spec in work.specs}
    classified = {s: {a.name: found[s][a.name] for a in extractor(s).attributes} for s in work.classifiers}
    features, perceptual = (
        {spec.title: found[spec][kind] for spec in work.features if kind in found[spec]}
        for kind in ("features", "perceptual")
    )
    return {
        classifier: Sample(
            probabilities=classified[classifier],
            features=features,
            assigned_class=_assigned_classes(store, work),
            confusion=extractor(classifier).confusion,
            detected={spec.title: arrays["detected"] for spec, arrays in found.items() if "detected" in arrays},
            other_classifiers={other.title: classified[other] for other in work.classifiers if other != classifier},
            perceptual=perceptual,
            prompts=prompts,
        )
        for classifier in work.classifiers
    }


def _downstream(work: Work, choice: DownstreamChoice, features: list[ExtractorSpec], size: int) -> Downstream:
    """The real images of the downstream test, as the extractors of features saw them."""

    def labelled(name: str) -> LabelledFeatures:
        data = data_set(work.source(name), choice.n, size)
        seen: Any = {s.title: _reference_features(work.store, s, data.digest, len(data)) for s in features}
        return LabelledFeatures(seen, data.labels)

    attributes = data_set(work.source(choice.heldout), choice.n, size).attributes
    return Downstream(attributes, *(labelled(name) for name in (choice.biased, choice.balanced, choice.heldout)))


@functools.lru_cache(maxsize=16)
def _reference_features(root: Path, spec: ExtractorSpec, data_digest: str, n: int) -> Rows:
    """The same object on every call, so that an evaluator that keeps statistics of it knows it again."""
    store, digest = Store(root), extractor(spec).digest
    sources = [reference_source(store, data_digest, *block) for block in reference_blocks(n)]
    return Rows([_entry(store, store.features(spec.name, digest, source))["features"] for source in sources])


def _assigned_classes(store: Store, work: Work) -> npt.NDArray[np.int64]:
    return np.concatenate([_entry(store, folder)["assigned_class"] for folder in work.folders])


def _gather(store: Store, work: Work, spec: ExtractorSpec) -> dict[str, Any]:
    digest = extractor(spec).digest
    entries = [_entry(store, store.features(spec.name, digest, folder)) for folder in work.folders]
    return {key: Rows([entry[key] for entry in entries]) for key in entries[0]}


def _entry(store: Store, folder: Path) -> dict[str, npt.NDArray[Any]]:
    arrays = store.read(folder)
    if arrays is None:
        raise ConfigError(f"{folder} was removed or damaged while the run went on; run the same command again")
    return arrays


def predicted_labels(work: Work) -> npt.NDArray[np.int64]:
    """The classifier's class of the joint of the task's attributes for every sample, int64 [n]; -1 where it abstained."""
    classified = _gather(Store(work.store), work, work.classifier)
    probabilities = [classified[a.name][:] for a in work.cell.attributes]
    labels = joint_labels(np.stack([p.argmax(1) for p in probabilities], axis=1), work.cell.attributes)
    return np.where(np.any([np.isnan(p).any(1) for p in probabilities], axis=0), -1, labels)
