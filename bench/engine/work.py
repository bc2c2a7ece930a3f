"""The work of one cell, and the keys of everything that decides its result."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.config.components import DownstreamChoice, ExtractorSpec
from bench.config.data_source import DataSource
from bench.core.digest import digest_of
from bench.core.plugins import source_digest
from bench.engine.cells import Cell
from bench.engine.prompts import Prompt
from bench.engine.reference_statistics import GivenStatistics
from bench.storage.store import Store

if TYPE_CHECKING:
    from bench.protocols.method import Traits

PROTOCOL = 2  # raise when the sampling loop or the meaning of a stored array changes

LEARNT_FROM = ("labelled", "observed", "unbiased")  # keys of a suite, needs of a method and fields of a task alike


@dataclass(frozen=True)
class Work:
    """All that a worker needs to sample and classifier one cell; it travels between processes.

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
        classifiers: the attribute classifiers; the first decides the leaderboard's order.
        features: the extractors whose features are kept.
        missing: of the suite's other extractors, title and reason of those that cannot be made here.
        statistics: the references that are files of mean and covariance.
        sets: the image sets that the suite declares, by their names there.
        guided_by_classifier: whether the method guides with a network that classifies the cell.
        sample_key: hash of everything that decides the samples.
        downstream: the real images of the downstream test; None where no metric needs them.
        paired_baseline: vanilla on the same noises; None where no metric needs it or the suite has none.
        model_fields: JSON of the model's fields that are not the defaults.
        prompt: the name of its prompt, where it is of one prompt of several.
        text: what that prompt says.
        prompted: of a cell of several prompts, the work of each, in the prompt set's order: model fields, seed, sample
            key and `n` are theirs; the cell's own `n` is that of all together, and its key the hash of theirs.
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
    classifiers: tuple[ExtractorSpec, ...]
    features: tuple[ExtractorSpec, ...]
    missing: tuple[tuple[str, str], ...] = ()
    statistics: tuple[GivenStatistics, ...] = ()
    sets: dict[str, DataSource] = dataclasses.field(default_factory=dict)
    guided_by_classifier: bool = False
    sample_key: str = ""
    downstream: DownstreamChoice | None = None
    paired_baseline: Work | None = None
    model_fields: str = "{}"
    prompt: str = ""
    text: str = ""
    prompted: tuple[Work, ...] = ()

    @property
    def parts(self) -> tuple[Work, ...]:
        """What is sampled, each part by itself: one a prompt; a cell without prompts is its own."""
        return self.prompted or (self,)

    @property
    def folders(self) -> list[Path]:
        """The store's folder of every shard, part by part: rows of samples have this order."""
        store = Store(self.store)
        return [store.shard(part.sample_key, i, size) for part in self.parts for i, size in part.shards()]

    def source(self, name: str) -> DataSource | str:
        """The declaration of an image set of the suite, or the name of a shipped one."""
        return self.sets.get(name, name)

    @property
    def classifier(self) -> ExtractorSpec:
        """The classifier that decides the leaderboard's order."""
        return self.classifiers[0]

    @property
    def specs(self) -> tuple[ExtractorSpec, ...]:
        """Every extractor that looks at the samples, once each."""
        return tuple(dict.fromkeys((*self.classifiers, *self.features)))

    def shards(self) -> list[tuple[int, int]]:
        """(index, size) of every shard of a part: whole guidance batches, the last one smaller where n asks for it."""
        whole, rest = divmod(self.n, self.guidance_batch)
        return [(i, self.guidance_batch) for i in range(whole)] + ([(whole, rest)] if rest else [])


@dataclass(frozen=True)
class Classifier:
    """What a table says of a classifier.

    Attributes:
        title: what the tables call it.
        digest: hash of its weights.
        confusion: attribute name to counts [K, K] on held-out labelled images, rows the true class.
    """

    title: str
    digest: str
    confusion: dict[str, list[list[int]]]


@dataclass(frozen=True)
class Context:
    """What every cell of a run shares, by content."""

    model_digest: str  # of a suite with prompts, the hash of theirs in order
    data_digests: dict[str, str]  # as `Work.data`, with hashes in the place of names
    guide_digests: dict[str, str]  # of the classifiers that methods guide with, by name
    classifiers: tuple[Classifier, ...]  # as `Work.classifiers`
    feature_digests: tuple[str, ...]
    reference_digests: tuple[str, ...]
    statistics: tuple[GivenStatistics, ...] = ()  # as `Work.statistics`
    downstream_digests: tuple[str, ...] = ()  # of the sets of `Work.downstream`
    prompts: tuple[Prompt, ...] = ()  # of the suite's prompt set; none where it names none


def sample_key(cell: Cell, traits: Traits, sampler: dict[str, Any], guidance_batch: int, context: Context) -> str:
    """Hash of everything that decides the samples of a cell.

    The number of samples is not in it: shard k is the same whatever follows it. The task is, if the method's
    samples depend on it.

    Args:
        cell: the cell.
        traits: its method's.
        sampler: as `bench.sampling.Sampler`.
        guidance_batch: samples steered together.
        context: what every cell of the run shares.
    """
    parts: dict[str, Any] = {
        "protocol": PROTOCOL,
        "model": context.model_digest,
        "method": [cell.method, source_digest("method", cell.method), cell.fields],
        "sampler": sampler,
        "guidance_batch": guidance_batch,
        "seed": cell.seed,
    }
    if traits.needs & {"target", "conditions", "classifier"}:
        parts["task"] = [[a.name for a in cell.attributes], list(cell.target) if "target" in traits.needs else None]
    parts |= {need: context.data_digests[need] for need in LEARNT_FROM if need in traits.needs}
    if "classifier" in traits.needs:
        parts["classifier"] = context.guide_digests[cell.fields["classifier"]]
    return digest_of(parts)


def joined_key(keys: Sequence[str]) -> str:
    """The key of a cell of several prompts, or the digest of its model, from those of the prompts in order."""
    return digest_of(list(keys))


def scores_key(work: Work, context: Context, metrics: tuple[str, ...]) -> str:
    """Hash of everything that decides the scores of a cell."""
    needed = {
        **({"paired_baseline": work.paired_baseline.sample_key} if work.paired_baseline else {}),
        **({"downstream": [context.downstream_digests, work.downstream.model_dump()]} if work.downstream else {}),
        **({"prompts": [part.prompt for part in work.prompted]} if work.prompted else {}),
    }
    return digest_of(
        {
            "samples": [work.sample_key, work.n],
            "task": [[[a.name, list(a.classes)] for a in work.cell.attributes], list(work.cell.target)],
            "classifiers": [[j.title, j.digest, j.confusion] for j in context.classifiers],
            "features": [[f.title for f in work.features], context.feature_digests, work.missing],
            "references": [*context.reference_digests, *(given.record for given in context.statistics)],
            "metrics": [[m, source_digest("evaluator", m)] for m in metrics],
            **needed,
        }
    )
