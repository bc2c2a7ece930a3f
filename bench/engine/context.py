"""The context of a run: what every cell shares, by content."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bench.engine.prompts import Prompt
from bench.engine.reference_statistics import StatisticsFile


@dataclass(frozen=True, slots=True)
class ClassifierRecord:
    """An attribute classifier as tables record it.

    Attributes:
        title: what the tables call it.
        digest: hash of its weights.
        confusion: attribute name to counts [K, K] on held-out labelled images, rows the true class.
    """

    title: str
    digest: str
    confusion: Mapping[str, list[list[int]]]


@dataclass(frozen=True, slots=True)
class RunContext:
    """Hashes and records of the content that every cell of a run shares.

    Attributes:
        model_digest: hash of the model; of a suite with prompts, the hash of the prompts' models in order.
        learning_digests: hashes of the image sets that methods may learn from, by their names in a task.
        guide_digests: hashes of the classifiers that methods guide with, by name.
        classifiers: the attribute classifiers; the first decides the leaderboard's order.
        feature_digests: hashes of the feature extractors.
        reference_digests: hashes of the reference sets.
        statistics: the references that are files of mean and covariance.
        downstream_digests: hashes of the sets of the downstream test.
        prompts: of the suite's prompt set; none where it names none.
    """

    model_digest: str
    learning_digests: Mapping[str, str]
    guide_digests: Mapping[str, str]
    classifiers: tuple[ClassifierRecord, ...]
    feature_digests: tuple[str, ...] = ()
    reference_digests: tuple[str, ...] = ()
    statistics: tuple[StatisticsFile, ...] = ()
    downstream_digests: tuple[str, ...] = ()
    prompts: tuple[Prompt, ...] = ()
