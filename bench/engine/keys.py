"""The keys of samples and scores: hashes of everything that decides them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bench.core.digest import digest_of
from bench.core.plugins import module_of
from bench.core.source_digest import source_digest
from bench.core.specs import SamplerSpec
from bench.engine.cell_job import CellJob
from bench.engine.cells import Cell
from bench.engine.context import RunContext

if TYPE_CHECKING:
    from bench.protocols.method import Traits

INTERVALS = 3  # raise when the intervals of bench/core change: the scores of the store are then computed anew
PROTOCOL = 2  # raise when the sampling loop or the meaning of a stored array changes

LEARNT_FROM = ("labelled", "observed", "unbiased")  # keys of a suite, needs of a method and fields of a task alike


def sample_key(
    cell: Cell, traits: Traits, sampler: SamplerSpec, guidance_batch: int, context: RunContext, model_digest: str = ""
) -> str:
    """Return the hash of everything that decides the samples of a cell.

    The number of samples is not in it: shard k is the same whatever follows it. The task is, if the method's
    samples depend on it.

    Args:
        cell: the cell.
        traits: its method's.
        sampler: the sampler.
        guidance_batch: samples steered together.
        context: what every cell of the run shares.
        model_digest: of the cell's model, that of the context unless given.
    """
    parts: dict[str, object] = {
        "protocol": PROTOCOL,
        "model": model_digest or context.model_digest,
        "method": [cell.method, source_digest(module_of("method", cell.method)), dict(cell.fields)],
        "sampler": dataclasses.asdict(sampler),
        "guidance_batch": guidance_batch,
        "seed": cell.seed,
    }
    if traits.needs & {"target", "conditions", "classifier"}:
        parts["task"] = [[a.name for a in cell.attributes], list(cell.target) if "target" in traits.needs else None]
    parts |= {need: context.learning_digests[need] for need in LEARNT_FROM if need in traits.needs}
    if "classifier" in traits.needs:
        parts["classifier"] = context.guide_digests[str(cell.fields["classifier"])]
    return digest_of(parts)


def joined_key(keys: Sequence[str]) -> str:
    """Return the key of a cell of several prompts, or the digest of its model, from those of the prompts in order."""
    return digest_of(list(keys))


def scores_key(job: CellJob, context: RunContext) -> str:
    """Return the hash of everything that decides the scores of a cell."""
    scoring = job.scoring
    needed: dict[str, object] = {}
    if job.paired_baseline is not None:
        needed["paired_baseline"] = job.paired_baseline.sample_key
    if scoring.downstream is not None:
        needed["downstream"] = [context.downstream_digests, scoring.downstream.model_dump()]
    if job.prompt_jobs:
        needed["prompts"] = [part.prompt.name for part in job.prompt_jobs if part.prompt is not None]
    return digest_of(
        {
            "samples": [job.sample_key, job.n],
            "task": [[[a.name, list(a.classes)] for a in job.cell.attributes], list(job.cell.target)],
            "classifiers": [[c.title, c.digest, dict(c.confusion)] for c in context.classifiers],
            "features": [[f.title for f in scoring.features], context.feature_digests, scoring.unavailable],
            "references": [*context.reference_digests, *(file.record for file in context.statistics)],
            "design": [job.couples_batch, job.sampling.guidance_batch, INTERVALS],
            "metrics": [[m, source_digest(module_of("evaluator", m))] for m in scoring.metrics],
            **needed,
        }
    )
