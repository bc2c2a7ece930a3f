"""Scores of one cell, computed from the arrays of the store."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from bench.config.components import DownstreamChoice
from bench.core.attributes import product
from bench.core.design import BLOCK, INDEPENDENT, Design
from bench.core.gaussian import Gaussian
from bench.core.plugins import load
from bench.core.probability_rows import predicted_classes
from bench.core.specs import ExtractorSpec
from bench.engine.cell_job import CellJob
from bench.engine.metric_boundary import evaluated, without_scores
from bench.engine.plan import needs
from bench.engine.resources import Resources, stored
from bench.protocols.evaluator import Downstream, LabelledFeatures, Reference, Sample, Score
from bench.storage.store import Rows, Store

if TYPE_CHECKING:  # SciPy's tests start slowly
    from bench.core.stats import Answers


@dataclass(frozen=True)
class CellScore(Score):
    """A score of a cell.

    Attributes:
        classifier: title of the attribute classifier that it is computed by.
        design: how the cell's samples depend on one another, see `bench.core.design`.
    """

    classifier: str = ""
    design: str = INDEPENDENT


def evaluate(resources: Resources, job: CellJob, key: str) -> tuple[CellScore, ...]:
    """Return every score of a cell, from the store where it has them under `key`."""
    store = Store(job.store)
    records = store.read_scores(key)
    if records is not None:
        return tuple(CellScore(**record) for record in records)
    scores = score(resources, job)
    if not any(s.status == "failed" for s in scores):  # else the next run tries again
        store.write_scores(key, [dataclasses.asdict(s) for s in scores])
    return scores


def score(resources: Resources, job: CellJob) -> tuple[CellScore, ...]:
    """Return every score of a cell, computed from the arrays of the store; nothing is written.

    A metric that fails has one score with status "failed", its public name and the reason; the others have theirs.

    Raises:
        ConfigError: the store lacks an array.
    """
    scoring, samples = job.scoring, _samples(resources, job)
    baselines = _samples(resources, job.paired_baseline) if job.paired_baseline else {}
    features = [spec for spec in scoring.features if spec.title in samples[scoring.classifier].features]
    reference = _reference(resources, job, features)
    scores: list[CellScore] = []
    for classifier in scoring.classifiers:
        sample = dataclasses.replace(samples[classifier], paired_baseline=baselines.get(classifier))
        by_name: dict[tuple[str, str], str] = {}  # metric and scope of each score to the evaluator that returned it
        for metric in scoring.metrics:
            card = load("evaluator", metric, "Evaluator").card
            if classifier == scoring.classifier or card.classifier == "each":
                of_metric = evaluated(metric, card, partial(resources.evaluator, metric), sample, reference)
                scores += [_of(classifier, sample, one) for one in _distinct(metric, of_metric, by_name)]
    for title, reason in scoring.unavailable:
        skipped = Score("", title, None, n=job.n, status="skipped", reason=reason)
        scores.append(_of(scoring.classifier, samples[scoring.classifier], skipped))
    return tuple(scores)


def _distinct(metric: str, scores: Sequence[Score], by_name: dict[tuple[str, str], str]) -> Sequence[Score]:
    """Return the scores of a metric, and note them in `by_name`; a failed one where another metric has one of them."""
    for one in scores:
        first = by_name.setdefault((one.metric, one.scope), metric)
        if first != metric:
            name = f"{one.metric} over {one.scope}"
            return [
                without_scores(metric, one.n, f"metric {metric} returned {name}, which metric {first} returned too")
            ]
    return scores


def _of(classifier: ExtractorSpec, sample: Sample, score: Score) -> CellScore:
    design = INDEPENDENT if sample.design is None else sample.design.name
    return CellScore(**dataclasses.asdict(score), classifier=classifier.title, design=design)


def _reference(resources: Resources, job: CellJob, features: Sequence[ExtractorSpec]) -> Reference:
    """Return what the cell is measured against, read only as far as its metrics need it."""
    scoring, needed, store = job.scoring, needs(job.scoring.metrics), Store(job.store)
    sets = {name: resources.images(spec) for name, spec in scoring.references.items()}
    # An evaluator takes memory-mapped rows for the arrays that they stand for.
    arrays: Any = {
        spec.title: {
            name: resources.reference_features(store, spec, images.digest, len(images)) for name, images in sets.items()
        }
        for spec in features
    }
    labels = {
        name: images.labels[:, [images.attributes.index(a) for a in job.cell.attributes]]
        for name, images in sets.items()
        if "labels" in needed and set(job.cell.attributes) <= set(images.attributes)
    }
    statistics: dict[str, dict[str, Gaussian]] = {}
    for file in scoring.statistics:
        statistics.setdefault(file.features, {})[file.name] = resources.statistics(file)
    downstream = _downstream(resources, job, scoring.downstream, features) if scoring.downstream else None
    texts = _texts(resources, job, features) if "texts" in needed else {}
    return Reference(job.cell.attributes, np.array(job.cell.target), arrays, labels, statistics, downstream, texts)


def _texts(
    resources: Resources, job: CellJob, features: Sequence[ExtractorSpec]
) -> dict[str, dict[str, npt.NDArray[np.floating]]]:
    """Return, for each extractor that reads texts, its title to (name of a prompt to the embedding of its text)."""
    prompts = [part.prompt for part in job.parts if part.prompt is not None]
    texts = {}
    for spec in features:
        extractor = resources.extractor(spec)
        if hasattr(extractor, "embed_texts") and prompts:
            rows = extractor.embed_texts([prompt.text for prompt in prompts])
            texts[spec.title] = dict(zip((prompt.name for prompt in prompts), rows, strict=True))
    return texts


def _samples(resources: Resources, job: CellJob) -> dict[ExtractorSpec, Sample]:
    """Return the samples of a cell as each classifier saw them."""
    scoring = job.scoring
    ends = np.cumsum([0, *(part.n for part in job.parts)]).tolist()
    prompts = {p.prompt.name: slice(*rows) for p, *rows in zip(job.parts, ends, ends[1:], strict=False) if p.prompt}
    assigned_class = _assigned_classes(job)
    arrays: dict[ExtractorSpec, Any] = {spec: _gather(resources, job, spec) for spec in scoring.extractors}
    classified = {
        s: {a.name: arrays[s][a.name] for a in resources.extractor(s).attributes} for s in scoring.classifiers
    }
    features, perceptual = (
        {spec.title: arrays[spec][kind] for spec in scoring.features if kind in arrays[spec]}
        for kind in ("features", "perceptual")
    )
    return {
        classifier: Sample(
            probabilities=classified[classifier],
            features=features,
            assigned_class=assigned_class if (assigned_class >= 0).all() else np.full(job.n, -1),
            confusion=resources.extractor(classifier).confusion,
            detected={spec.title: one["detected"] for spec, one in arrays.items() if "detected" in one},
            other_classifiers={s.title: classified[s] for s in scoring.classifiers if s != classifier},
            perceptual=perceptual,
            prompts=prompts,
            design=sampling_design(job, assigned_class),
        )
        for classifier in scoring.classifiers
    }


def _downstream(
    resources: Resources, job: CellJob, choice: DownstreamChoice, features: Sequence[ExtractorSpec]
) -> Downstream:
    """Return the real images of the downstream test, as the extractors of features saw them."""
    store, sets = Store(job.store), job.scoring.downstream_sets

    def labelled(name: str) -> LabelledFeatures:
        images = resources.images(sets[name])
        arrays: Any = {s.title: resources.reference_features(store, s, images.digest, len(images)) for s in features}
        return LabelledFeatures(arrays, images.labels)

    attributes = resources.images(sets[choice.heldout]).attributes
    return Downstream(attributes, *(labelled(name) for name in (choice.biased, choice.balanced, choice.heldout)))


def _assigned_classes(job: CellJob) -> npt.NDArray[np.int64]:
    store = Store(job.store)
    return np.concatenate([stored(store, folder)["assigned_class"] for folder in job.folders])


def sampling_design(job: CellJob, assigned_class: npt.NDArray[np.int64]) -> Design:
    """Return how the samples of a cell depend on one another.

    Args:
        job: the job of the cell, which says whether its method steers whole guidance batches.
        assigned_class: int64 [n], the class assigned to each sample, -1 where there is none. A method that assigns
            classes fixes their numbers, and that of samples without one.
    """
    block = 0 if job.couples_batch else fixed_block(job, assigned_class)
    if job.couples_batch:
        sizes = [size for part in job.parts for _, size in part.shards()]
        return Design(np.zeros(job.n, dtype=np.int64), np.repeat(np.arange(len(sizes)), sizes))
    return Design(assigned_class + 1, block=block) if block else Design.independent(job.n)


def fixed_block(job: CellJob, assigned_class: npt.NDArray[np.int64]) -> int:
    """Return BLOCK where all whole blocks of a prompt's samples have equal numbers of classes, up to one, else 0."""
    if (assigned_class < 0).all():
        return 0
    ends, k = np.cumsum([0, *(part.n for part in job.parts)]).tolist(), int(assigned_class.max()) + 2
    blocks = [
        np.bincount(assigned_class[start : start + BLOCK] + 1, minlength=k)
        for first, end in pairwise(ends)
        for start in range(first, end - BLOCK + 1, BLOCK)
    ]
    return BLOCK if not blocks or int(np.ptp(blocks, axis=0).max()) <= 1 else 0


def _gather(resources: Resources, job: CellJob, spec: ExtractorSpec) -> dict[str, Rows]:
    store, digest = Store(job.store), resources.extractor(spec).digest
    entries = [stored(store, store.features(spec.name, digest, folder)) for folder in job.folders]
    return {key: Rows([entry[key] for entry in entries]) for key in entries[0]}


def predicted_answers(resources: Resources, job: CellJob) -> list[Answers]:
    """Return the predicted classes of the task's joint, of each prompt of a cell, or of all its samples."""
    from bench.core.stats import Answers

    return [
        Answers.of_labels(
            predicted_labels(resources, part),
            product(job.cell.attributes).n_classes,
            sampling_design(part, _assigned_classes(part)),
        )
        for part in job.parts
    ]


def predicted_labels(resources: Resources, job: CellJob) -> npt.NDArray[np.int64]:
    """Return the class of the task's joint that the classifier gives every sample, int64 [n]; -1 where it abstained."""
    classified = _gather(resources, job, job.scoring.classifier)
    return predicted_classes([classified[a.name][:] for a in job.cell.attributes], job.cell.attributes)
