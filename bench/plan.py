"""What a run will do: the cells of a suite, and the key of everything that decides a result."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.attributes import Attribute
from bench.discovery import load, source_digest
from bench.errors import ConfigError
from bench.files import digest_of
from bench.suite import Cell, Suite, build_method, cells

PROTOCOL = 1  # raise when the sampling loop or the meaning of a stored array changes


@dataclass(frozen=True)
class Work:
    """All that a worker needs to sample and judge one cell; it travels between processes.

    Attributes:
        cell: the cell.
        model: the model's name.
        sampler: as `bench.sampling.Sampler`.
        labelled: the name of the labelled set that methods may learn from.
        guidance_batch: samples steered together.
        compute_batch: largest number of rows the network runs on at once.
        n: number of samples.
        device: a torch device.
        store: the store's root.
        judge: name of the extractor that judges.
        features: names of the extractors whose features are kept.
        sample_key: hash of everything that decides the samples.
    """

    cell: Cell
    model: str
    sampler: dict[str, Any]
    labelled: str | None
    guidance_batch: int
    compute_batch: int
    n: int
    device: str
    store: Path
    judge: str
    features: tuple[str, ...]
    sample_key: str = ""

    def shards(self) -> list[tuple[int, int]]:
        """(index, size) of every shard: whole guidance batches, the last one smaller where n asks for it."""
        whole, rest = divmod(self.n, self.guidance_batch)
        return [(i, self.guidance_batch) for i in range(whole)] + ([(whole, rest)] if rest else [])


@dataclass(frozen=True)
class Context:
    """What every cell of a run shares, by content."""

    model_digest: str
    labelled_digest: str | None
    judge_digest: str
    feature_digests: tuple[str, ...]
    reference_digests: tuple[str, ...]


def sample_key(work: Work, context: Context) -> str:
    """Hash of everything that decides the samples of a cell.

    The number of samples is not in it: shard k is the same whatever follows it. The task is, if the method's
    samples depend on it.
    """
    cell = work.cell
    traits = load("method", cell.method, "Method").traits
    parts: dict[str, Any] = {
        "protocol": PROTOCOL,
        "model": context.model_digest,
        "method": [cell.method, source_digest("method", cell.method), cell.fields],
        "sampler": work.sampler,
        "guidance_batch": work.guidance_batch,
        "seed": cell.seed,
    }
    if "target" in traits.needs:
        parts["task"] = [[a.name for a in cell.attributes], list(cell.target)]
    if "labels" in traits.needs:
        parts["labelled"] = context.labelled_digest
    return digest_of(parts)


def scores_key(work: Work, context: Context, metrics: tuple[str, ...]) -> str:
    """Hash of everything that decides the scores of a cell."""
    return digest_of(
        {
            "samples": [work.sample_key, work.n],
            "task": [[[a.name, list(a.classes)] for a in work.cell.attributes], list(work.cell.target)],
            "judge": context.judge_digest,
            "features": context.feature_digests,
            "references": context.reference_digests,
            "metrics": [[m, source_digest("evaluator", m)] for m in metrics],
        }
    )


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
        ConfigError: as `bench.suite.cells`, or a method needs labelled images and the suite names none.
    """
    found = []
    for cell in cells(suite, known, only):
        method = build_method(cell.method, cell.fields)
        if "labels" in method.traits.needs and suite.labelled is None:
            raise ConfigError(f"method {cell.method} learns from labelled images; add `labelled: NAME` to the suite")
        work = Work(
            cell=cell,
            model=suite.model,
            sampler=suite.sampler.model_dump(),
            labelled=suite.labelled,
            guidance_batch=suite.guidance_batch,
            compute_batch=compute_batch or suite.guidance_batch,
            n=suite.n,
            device=device,
            store=store,
            judge=suite.judge,
            features=suite.features,
        )
        found.append(dataclasses.replace(work, sample_key=sample_key(work, context)))
    return found
