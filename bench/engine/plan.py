"""The jobs of a suite's cells, each with the key of everything that decides its samples."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.config.build import build_method, built_methods, built_settings
from bench.config.suite import Suite
from bench.core.attributes import Attribute
from bench.core.errors import ConfigError
from bench.core.gc_pause import gc_paused
from bench.core.plugins import load
from bench.core.specs import Fields
from bench.engine.cell_job import CellJob, SamplingSpec, ScoringSpec
from bench.engine.cells import Cell, cells
from bench.engine.context import RunContext
from bench.engine.keys import LEARNT_FROM, joined_key, sample_key
from bench.engine.prompts import prompt_seed

if TYPE_CHECKING:
    from bench.protocols.method import Traits  # whose module loads torch

# The default compute batch on a CPU: the activations of more rows leave a core's cache, and a row then takes longer. A
# method that couples its batch gets it whole, since its parts would cost it another half pass each.
CPU_ROWS = 25


@dataclass(frozen=True, slots=True)
class Shared:
    """The settings that the jobs of all cells share.

    Attributes:
        sampling: how samples are drawn.
        scoring: what they are scored by.
        store: the store's root.
        n: number of samples; per prompt, where the suite has prompts.
        context: what every cell of the run shares.
    """

    sampling: SamplingSpec
    scoring: ScoringSpec
    store: Path
    n: int
    context: RunContext


def learnt_from(suite: Suite) -> dict[str, str]:
    """Return the names of the image sets that methods of a suite may learn from, by their names in a task."""
    names = {need: getattr(suite, need) for need in LEARNT_FROM}
    return {need: name for need, name in names.items() if name is not None}


def needs(metrics: tuple[str, ...]) -> set[str]:
    """Return what metrics need beyond features and predictions, see `bench.protocols.evaluator.Need`."""
    return {need for name in metrics for need in load("evaluator", name, "Evaluator").card.needs}


def guides(suite: Suite) -> set[str]:
    """Return the names of the classifiers that methods of a suite guide with.

    Raises:
        ConfigError: a method needs a classifier, and has no field that names it.
    """
    guided = [method for method in built_settings(suite) if "classifier" in method.traits.needs]
    for method in guided:
        if not isinstance(getattr(method, "classifier", None), str):
            raise ConfigError(
                f"a method with the need 'classifier' must have a field `classifier` that names it, got {method!r:.80}"
            )
    return {method.classifier for method in guided}


def plan(
    suite: Suite,
    classified: tuple[Attribute, ...],
    shared: Shared,
    compute_batch: int | None,
    only: Mapping[str, Set[str]] | None = None,
) -> tuple[CellJob, ...]:
    """Return the jobs of a suite, one per cell, in the order of `bench.engine.cells.cells`.

    Args:
        suite: the suite.
        classified: the attributes that the classifier knows.
        shared: what all jobs share; the compute batch of each method takes the place of its own.
        compute_batch: largest number of rows the network runs on at once; unless given, the guidance batch, or
            CPU_ROWS on a CPU where a method does not couple its batch.
        only: see `bench.engine.cells.cells`.

    Raises:
        ConfigError: see `bench.engine.cells.cells`; or a method learns from images that the suite does not name, or
            guides with the network that classifies it and the suite does not allow that.
    """
    with gc_paused():
        return tuple(_jobs(suite, cells(suite, classified, only), shared, compute_batch))


def _jobs(suite: Suite, of_suite: list[Cell], shared: Shared, compute_batch: int | None) -> list[CellJob]:
    by_setting: dict[tuple[str, Fields], tuple[Traits, Shared, bool]] = {}
    for title, name, fields in dict.fromkeys((cell.title, cell.method, cell.fields) for cell in of_suite):
        method = build_method(name, fields)
        rows = compute_batch or _default_rows(method.traits, shared.sampling)
        sampling = dataclasses.replace(shared.sampling, compute_batch=rows)
        guided = _guided_by_classifier(suite, title, method, shared.context)
        by_setting[title, fields] = method.traits, dataclasses.replace(shared, sampling=sampling), guided
    # Vanilla is sampled for a cell also where `only` leaves it out, so that scores do not differ.
    paired = "paired_baseline" in needs(suite.metrics)
    vanilla = next((m for m in suite.methods if m.name == "vanilla"), None) if paired else None
    unguided = None if vanilla is None else built_methods(suite)[vanilla.title]
    unguided_fields = Fields({} if unguided is None else dataclasses.asdict(unguided))
    jobs = []
    for cell in of_suite:
        traits, of_method, guided = by_setting[cell.title, cell.fields]
        baseline = None
        if vanilla is not None and unguided is not None:
            same = dataclasses.replace(cell, title=vanilla.title, method="vanilla", fields=unguided_fields)
            baseline = _job(same, unguided.traits, of_method, False, None)
        jobs.append(_job(cell, traits, of_method, guided, baseline))
    return jobs


def _default_rows(traits: Traits, sampling: SamplingSpec) -> int:
    apart = sampling.device == "cpu" and not traits.couples_batch
    return min(CPU_ROWS, sampling.guidance_batch) if apart else sampling.guidance_batch


def _job(cell: Cell, traits: Traits, shared: Shared, guided: bool, baseline: CellJob | None) -> CellJob:
    """Return the job of a cell; in a suite with prompts, with the jobs of its prompts, each of `shared.n` samples."""
    sampling, context, coupled = shared.sampling, shared.context, traits.couples_batch

    def key_of(prompt_cell: Cell, model_digest: str = "") -> str:
        return sample_key(prompt_cell, traits, sampling.sampler, sampling.guidance_batch, context, model_digest)

    if not context.prompts:
        key = key_of(cell)
        return CellJob(cell, sampling, shared.scoring, shared.store, shared.n, key, guided, coupled, baseline)
    parts = []
    for prompt in context.prompts:
        of_prompt = dataclasses.replace(cell, seed=prompt_seed(cell.seed, prompt.text))
        asked_so = dataclasses.replace(sampling, model=prompt.model)
        key = key_of(of_prompt, prompt.model_digest)
        job = CellJob(of_prompt, asked_so, shared.scoring, shared.store, shared.n, key, guided, coupled, prompt=prompt)
        parts.append(job)
    key, n = joined_key([part.sample_key for part in parts]), shared.n * len(parts)
    return CellJob(
        cell, sampling, shared.scoring, shared.store, n, key, guided, coupled, baseline, prompt_jobs=tuple(parts)
    )


def _guided_by_classifier(suite: Suite, title: str, method: Any, context: RunContext) -> bool:
    """Return whether a method guides with a network that classifies it; refuse it where the suite does not allow it."""
    for need in LEARNT_FROM:
        if need in method.traits.needs and getattr(suite, need) is None:
            name = next(m.name for m in suite.methods if m.title == title)
            raise ConfigError(f"method {name} learns from {need} images; add `{need}: NAME` to the suite")
    guide = context.guide_digests[method.classifier] if "classifier" in method.traits.needs else None
    classified = guide in {classifier.digest for classifier in context.classifiers}
    if classified and not suite.classifier_may_guide:
        raise ConfigError(
            f"method {title} must not guide with {method.classifier}, which also classifies it; name another "
            "classifier, or set `classifier_may_guide: true` in the suite, and every table says so"
        )
    return classified
