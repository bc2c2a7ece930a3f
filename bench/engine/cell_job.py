"""The job of one cell: everything that a worker needs to sample and score it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bench.config.components import DownstreamChoice
from bench.config.data_source import ImageSetSpec
from bench.core.specs import ExtractorSpec, ModelSpec, SamplerSpec
from bench.engine.cells import Cell
from bench.engine.prompts import Prompt
from bench.engine.reference_statistics import StatisticsFile
from bench.storage.store import Store


@dataclass(frozen=True, slots=True)
class SamplingSpec:
    """The settings that the samples of a method's cells are drawn with.

    Attributes:
        model: the diffusion model.
        sampler: the sampler.
        learning_sets: the image sets that methods may learn from, by their names in a task ("labelled", "observed",
            "unbiased"); without those that the suite does not name.
        guidance_batch: samples steered together.
        compute_batch: largest number of rows the network runs on at once.
        device: a torch device.
    """

    model: ModelSpec
    sampler: SamplerSpec
    learning_sets: Mapping[str, ImageSetSpec]
    guidance_batch: int
    compute_batch: int
    device: str


@dataclass(frozen=True, slots=True)
class ScoringSpec:
    """The extractors and references that the samples of every cell are scored by.

    Attributes:
        metrics: names of the evaluators, in the order of their scores.
        classifiers: the attribute classifiers; the first decides the leaderboard's order.
        features: the extractors whose features are stored.
        unavailable: title and reason of each of the suite's extractors that cannot be made here.
        references: the reference sets, by their names in the suite.
        statistics: the references that are files of mean and covariance.
        downstream: the choice of real images for the downstream test; None where no metric needs them.
        downstream_sets: these image sets, by their names in the suite.
    """

    metrics: tuple[str, ...]
    classifiers: tuple[ExtractorSpec, ...]
    features: tuple[ExtractorSpec, ...]
    unavailable: tuple[tuple[str, str], ...] = ()
    references: Mapping[str, ImageSetSpec] = field(default_factory=dict)
    statistics: tuple[StatisticsFile, ...] = ()
    downstream: DownstreamChoice | None = None
    downstream_sets: Mapping[str, ImageSetSpec] = field(default_factory=dict)

    @property
    def classifier(self) -> ExtractorSpec:
        """The classifier that decides the leaderboard's order."""
        return self.classifiers[0]

    @property
    def extractors(self) -> tuple[ExtractorSpec, ...]:
        """Every extractor that looks at the samples, once."""
        return tuple(dict.fromkeys((*self.classifiers, *self.features)))

    @property
    def reference_sets(self) -> tuple[ImageSetSpec, ...]:
        """Every image set that feature extractors look at, once."""
        return tuple(dict.fromkeys((*self.references.values(), *self.downstream_sets.values())))


@dataclass(frozen=True, slots=True)
class CellJob:
    """All that a worker needs to sample and score one cell; it travels between processes.

    Attributes:
        cell: the cell.
        sampling: how its samples are drawn.
        scoring: what they are scored by.
        store: the store's root.
        n: number of samples; of a cell of several prompts, of all of them together.
        sample_key: hash of everything that decides the samples; of a cell of several prompts, of the prompts' keys.
        guided_by_classifier: whether the method guides with a network that classifies the cell.
        couples_batch: whether the method's samples depend on the other samples of their guidance batch.
        paired_baseline: vanilla on the same noises; None where no metric needs it or the suite has none.
        prompt: the prompt, where this is one of several prompts of a cell.
        prompt_jobs: of a cell of several prompts, the job of each, in the prompt set's order: model, seed, sample key
            and `n` are theirs.
    """

    cell: Cell
    sampling: SamplingSpec
    scoring: ScoringSpec
    store: Path
    n: int
    sample_key: str
    guided_by_classifier: bool = False
    couples_batch: bool = False
    paired_baseline: CellJob | None = None
    prompt: Prompt | None = None
    prompt_jobs: tuple[CellJob, ...] = ()

    @property
    def parts(self) -> tuple[CellJob, ...]:
        """The jobs that are sampled apart: one per prompt; a cell without prompts is its only part."""
        return self.prompt_jobs or (self,)

    @property
    def folders(self) -> list[Path]:
        """The store's folder of every shard, part by part: rows of samples have this order."""
        store = Store(self.store)
        return [store.shard(part.sample_key, i, size) for part in self.parts for i, size in part.shards()]

    def shards(self) -> list[tuple[int, int]]:
        """Return (index, size) of every shard of a part: whole guidance batches, the last one smaller if need be."""
        batch = self.sampling.guidance_batch
        whole, remainder = divmod(self.n, batch)
        return [(i, batch) for i in range(whole)] + ([(whole, remainder)] if remainder else [])
