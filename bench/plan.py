"""What a run will do: the cells of a suite, and the key of everything that decides a result."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.attributes import Attribute
from bench.discovery import source_digest
from bench.errors import ConfigError
from bench.files import digest_of
from bench.suite import Cell, Suite, build_method, cells

PROTOCOL = 2  # raise when the sampling loop or the meaning of a stored array changes


LEARNT_FROM = ("labelled", "observed", "unbiased")  # keys of a suite, needs of a method and fields of a task alike


@dataclass(frozen=True)
class Work:
    """All that a worker needs to sample and judge one cell; it travels between processes.

    Attributes:
        cell: the cell.
        model: the model's name.
        sampler: as `bench.sampling.Sampler`.
        data: the names of the image sets that methods may learn from, by their place in a task: "labelled",
            "observed", "unbiased"; without those that the suite does not name.
        guidance_batch: samples steered together.
        compute_batch: largest number of rows the network runs on at once.
        n: number of samples.
        device: a torch device.
        store: the store's root.
        judge: name of the extractor that judges.
        features: names of the extractors whose features are kept.
        guided_by_judge: whether the method guides with the network that judges the cell.
        sample_key: hash of everything that decides the samples.
    """

    cell: Cell
    model: str
    sampler: dict[str, Any]
    data: dict[str, str]
    guidance_batch: int
    compute_batch: int
    n: int
    device: str
    store: Path
    judge: str
    features: tuple[str, ...]
    guided_by_judge: bool = False
    sample_key: str = ""

    def shards(self) -> list[tuple[int, int]]:
        """(index, size) of every shard: whole guidance batches, the last one smaller where n asks for it."""
        whole, rest = divmod(self.n, self.guidance_batch)
        return [(i, self.guidance_batch) for i in range(whole)] + ([(whole, rest)] if rest else [])


@dataclass(frozen=True)
class Context:
    """What every cell of a run shares, by content."""

    model_digest: str
    data_digests: dict[str, str]  # as `Work.data`, with hashes in the place of names
    classifier_digests: dict[str, str]  # of the classifiers that methods guide with, by name
    judge_digest: str
    judge_confusion: str  # hash of it
    feature_digests: tuple[str, ...]
    reference_digests: tuple[str, ...]


def sample_key(work: Work, context: Context) -> str:
    """Hash of everything that decides the samples of a cell.

    The number of samples is not in it: shard k is the same whatever follows it. The task is, if the method's
    samples depend on it.
    """
    cell = work.cell
    traits = build_method(cell.method, cell.fields).traits
    parts: dict[str, Any] = {
        "protocol": PROTOCOL,
        "model": context.model_digest,
        "method": [cell.method, source_digest("method", cell.method), cell.fields],
        "sampler": work.sampler,
        "guidance_batch": work.guidance_batch,
        "seed": cell.seed,
    }
    if traits.needs & {"target", "conditions", "classifier"}:
        parts["task"] = [[a.name for a in cell.attributes], list(cell.target) if "target" in traits.needs else None]
    parts |= {need: context.data_digests[need] for need in LEARNT_FROM if need in traits.needs}
    if "classifier" in traits.needs:
        parts["classifier"] = context.classifier_digests[cell.fields["classifier"]]
    return digest_of(parts)


def scores_key(work: Work, context: Context, metrics: tuple[str, ...]) -> str:
    """Hash of everything that decides the scores of a cell."""
    return digest_of(
        {
            "samples": [work.sample_key, work.n],
            "task": [[[a.name, list(a.classes)] for a in work.cell.attributes], list(work.cell.target)],
            "judge": [context.judge_digest, context.judge_confusion],
            "features": context.feature_digests,
            "references": context.reference_digests,
            "metrics": [[m, source_digest("evaluator", m)] for m in metrics],
        }
    )


def learnt_from(suite: Suite) -> dict[str, str]:
    """The image sets that methods of a suite may learn from, by their place in a task."""
    return {place: name for place in LEARNT_FROM if (name := getattr(suite, place)) is not None}


def classifiers(suite: Suite) -> set[str]:
    """Names of the classifiers that methods of a suite guide with."""
    built = [build_method(m.name, m.fields) for m in suite.methods]
    return {m.classifier for m in built if "classifier" in m.traits.needs}


def plan(
    suite: Suite,
    known: tuple[Attribute, ...],
    context: Context,
    store: Path,
    device: str,
    compute_batch: int | None,
    only: dict[str, set[str]] | None = None,
) -> list[Work]:
    """The work of a suite, one entry a cell.

    Raises:
        ConfigError: as `bench.suite.cells`, a method learns from images that the suite does not name, or guides with
            the network that judges it and the suite does not allow that.
    """
    found = []
    data = learnt_from(suite)
    for cell in cells(suite, known, only):
        method = build_method(cell.method, cell.fields)
        for need in LEARNT_FROM:
            if need in method.traits.needs and need not in data:
                raise ConfigError(f"method {cell.method} learns from {need} images; add `{need}: NAME` to the suite")
        guide = context.classifier_digests[method.classifier] if "classifier" in method.traits.needs else None
        if guide == context.judge_digest and not suite.judge_may_guide:
            raise ConfigError(
                f"method {cell.title} must not guide with {method.classifier}, which also judges it; name another "
                "classifier, or set `judge_may_guide: true` in the suite, and every table says so"
            )
        work = Work(
            cell=cell,
            model=suite.model,
            sampler=suite.sampler.model_dump(),
            data=data,
            guidance_batch=suite.guidance_batch,
            compute_batch=compute_batch or suite.guidance_batch,
            n=suite.n,
            device=device,
            store=store,
            judge=suite.judge,
            features=suite.features,
            guided_by_judge=guide == context.judge_digest,
        )
        found.append(dataclasses.replace(work, sample_key=sample_key(work, context)))
    return found
