"""The jobs of a run and what each waits for: references, fits, shards and evaluations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bench.config.build import build_method
from bench.core.gc_pause import gc_paused
from bench.engine import scoring, worker
from bench.engine.cell_job import CellJob
from bench.engine.jobs import Job
from bench.engine.keys import scores_key
from bench.engine.preflight import RunPlan
from bench.engine.resources import reference_blocks


@dataclass(frozen=True, slots=True)
class JobGraph:
    """The jobs of a run.

    Attributes:
        references: one per block of a reference set, and a last one that waits for all of them.
        samples: the fits, then the shards.
        evaluations: one per cell, in the order of the plan.
    """

    references: list[Job]
    samples: list[Job]
    evaluations: list[Job]

    @property
    def in_order(self) -> list[Job]:
        """Every job, behind those that it waits for."""
        return [*self.samples, *self.references, *self.evaluations]


def job_graph(plan: RunPlan) -> JobGraph:
    """Return the jobs of a run. Cells that share their samples, such as vanilla on several tasks, share their jobs."""
    with gc_paused():
        references = _references(plan)
        samples, shards = _samples(plan)
        last = tuple(references[-1:])
        evaluations = [
            Job(
                scoring.evaluate,
                (job, scores_key(job, plan.context)),
                after=(*(shard for part in _parts(job) for shard in shards[part.sample_key]), *last),
            )
            for job in plan.jobs
        ]
        return JobGraph(references, samples, evaluations)


def _parts(job: CellJob) -> Iterator[CellJob]:
    """Yield everything that is sampled for a cell, its paired baseline included."""
    yield from job.parts
    if job.paired_baseline is not None:
        yield from job.paired_baseline.parts


def _references(plan: RunPlan) -> list[Job]:
    store, scoring_spec = plan.options.store, plan.scoring
    jobs = [
        Job(
            worker.extract_reference,
            (store, spec, scoring_spec.features, block),
            rows=block[1] - block[0],
        )
        for spec in scoring_spec.reference_sets
        for block in reference_blocks(len(plan.resources.images(spec)))
    ]
    # One job waits for all of them: otherwise each evaluation of a grid would name a thousand blocks.
    return [*jobs, Job(worker.references_done, (), after=tuple(jobs))] if jobs else []


def _samples(plan: RunPlan) -> tuple[list[Job], dict[str, list[Job]]]:
    """Return fits and shards, and the shards of each sample key."""
    by_key: dict[str, list[Job]] = {}
    fits: list[Job] = []
    for job in (part for cell_job in plan.jobs for part in _parts(cell_job)):
        if job.sample_key in by_key:
            continue
        traits = build_method(job.cell.method, job.cell.fields).traits
        weight = job.n * (traits.calls + 2 * traits.backward)  # a backward pass takes about two forward ones
        # Fits on the labelled images rest on one predictor: a worker makes it and goes on with the others of its
        # model, while the other workers do what need not wait for it.
        learns = f"labelled {job.sampling.model.fields.text}" if "labelled" in traits.needs else job.sample_key
        fit = Job(worker.fit, (job,), group=learns, weight=weight)
        fits.append(fit)
        by_key[job.sample_key] = [
            Job(worker.sample_shard, (job, i, size), (fit,), size, job.sample_key, weight, together=True)
            for i, size in job.shards()
        ]
    return [*fits, *(shard for shards in by_key.values() for shard in shards)], by_key
