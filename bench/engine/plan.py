"""What a run will do: the cells of a suite, and the key of everything that decides a result."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Set
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.config.build import built_methods
from bench.config.components import ExtractorSpec
from bench.config.suite import Suite
from bench.core.attributes import Attribute
from bench.core.errors import ConfigError
from bench.core.gc_pause import many_made
from bench.core.plugins import load
from bench.engine.cells import Cell, cells
from bench.engine.prompts import prompt_seed

if TYPE_CHECKING:
    from bench.protocols.method import Traits  # whose module loads torch
from bench.engine.work import LEARNT_FROM, Context, Work, joined_key, sample_key

# Rows the network runs on at once on a CPU, unless told: the activations of more leave a core's cache, and a row then
# takes longer. A method that couples its batch gets it whole, since its parts would cost it another half pass each.
CPU_ROWS = 25


def keyed(
    cell: Cell, traits: Traits, shared: dict[str, Any], context: Context, paired_baseline: Work | None = None
) -> Work:
    """A cell's work with its sample key, and of a suite with prompts with its parts, each of `n` samples.

    Args:
        cell: the cell.
        traits: its method's.
        shared: what the works of all of the method's cells have, by the fields of `Work`.
        context: what every cell of the run shares.
        paired_baseline: as `Work.paired_baseline`.
    """
    sampling = traits, shared["sampler"], shared["guidance_batch"]
    if not context.prompts:
        return Work(
            cell=cell, sample_key=sample_key(cell, *sampling, context), paired_baseline=paired_baseline, **shared
        )
    parts = []
    for prompt in context.prompts:
        of_prompt = dataclasses.replace(cell, seed=prompt_seed(cell.seed, prompt.text))
        key = sample_key(of_prompt, *sampling, dataclasses.replace(context, model_digest=prompt.model_digest))
        said = {"prompt": prompt.name, "text": prompt.text, "model_fields": prompt.fields}
        parts.append(Work(cell=of_prompt, sample_key=key, **shared | said))
    key, n = joined_key([part.sample_key for part in parts]), shared["n"] * len(parts)
    return Work(cell=cell, sample_key=key, paired_baseline=paired_baseline, prompted=tuple(parts), **shared | {"n": n})


def learnt_from(suite: Suite) -> dict[str, str]:
    """The image sets that methods of a suite may learn from, by their place in a task."""
    return {place: name for place in LEARNT_FROM if (name := getattr(suite, place)) is not None}


def needs(metrics: tuple[str, ...]) -> set[str]:
    """What metrics need beyond features and predictions, as `bench.protocols.evaluator.Need` has it."""
    return {need for name in metrics for need in load("evaluator", name, "Evaluator").card.needs}


def guides(suite: Suite) -> set[str]:
    """Names of the classifiers that methods of a suite guide with."""
    return {m.classifier for m in built_methods(suite).values() if "classifier" in m.traits.needs}


@many_made()
def plan(
    suite: Suite,
    known: tuple[Attribute, ...],
    context: Context,
    store: Path,
    device: str,
    compute_batch: int | None,
    specs: tuple[tuple[ExtractorSpec, ...], tuple[ExtractorSpec, ...], tuple[tuple[str, str], ...]],
    only: Mapping[str, Set[str]] | None = None,
) -> list[Work]:
    """The work of a suite, one entry a cell.

    Args:
        suite: the suite.
        known: the attributes that the classifier knows.
        context: what every cell shares.
        store: the store's root.
        device: a torch device.
        compute_batch: largest number of rows the network runs on at once; unless given, the guidance batch, or
            CPU_ROWS on a CPU where a method does not couple its batch.
        specs: `classifiers`, `features` and `missing` of every `Work`.
        only: as `bench.engine.cells.cells`.

    Raises:
        ConfigError: as `bench.engine.cells.cells`, a method learns from images that the suite does not name, or guides
            with the network that classifies it and the suite does not allow that.
    """
    needed, methods, of_suite = needs(suite.metrics), built_methods(suite), cells(suite, known, only)
    shared = {
        "model": suite.model.name,
        "model_fields": suite.model.settings,
        "sampler": suite.sampler.model_dump(),
        "data": learnt_from(suite),
        "guidance_batch": suite.guidance_batch,
        "n": suite.n,
        "device": device,
        "store": store,
        "classifiers": specs[0],
        "features": specs[1],
        "missing": specs[2],
        "statistics": context.statistics,
        "sets": suite.data,
        "downstream": suite.downstream if "downstream" in needed else None,
    }
    of_method: dict[str, dict[str, Any]] = {}
    for title in dict.fromkeys(cell.title for cell in of_suite):
        traits = methods[title].traits
        apart = device == "cpu" and not traits.couples_batch
        rows = compute_batch or (min(CPU_ROWS, suite.guidance_batch) if apart else suite.guidance_batch)
        guided = _guided_by_classifier(suite, title, methods[title], context)
        of_method[title] = {**shared, "compute_batch": rows, "guided_by_classifier": guided}
    # Vanilla is sampled for a cell also where `only` leaves it out, so that scores do not differ.
    vanilla = next((m for m in suite.methods if m.name == "vanilla"), None) if "paired_baseline" in needed else None
    found = []
    for cell in of_suite:
        paired_baseline = None
        if vanilla is not None:
            method = methods[vanilla.title]
            same = dataclasses.replace(cell, title=vanilla.title, method="vanilla", fields=dataclasses.asdict(method))
            paired_baseline = keyed(
                same, method.traits, of_method[cell.title] | {"guided_by_classifier": False}, context
            )
        found.append(keyed(cell, methods[cell.title].traits, of_method[cell.title], context, paired_baseline))
    return found


def _guided_by_classifier(suite: Suite, title: str, method: Any, context: Context) -> bool:
    """Whether a method guides with a network that classifies it; refused where the suite does not allow it."""
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
