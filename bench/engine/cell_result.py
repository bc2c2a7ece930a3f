"""The result of one cell: its scores and costs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.core.attributes import product
from bench.core.schema import ranking_metric_of
from bench.engine.cell_job import CellJob
from bench.engine.context import RunContext
from bench.engine.metric_boundary import EVERYTHING
from bench.engine.scoring import CellScore
from bench.engine.worker import fit_record
from bench.protocols.evaluator import Status
from bench.storage.store import Store


@dataclass(frozen=True, slots=True)
class CellCost:
    """The cost of a cell's samples, per image, and of its fit.

    Attributes:
        nfe: forward passes of the network per image.
        backward: backward passes per image.
        seconds: of sampling, per image.
        fit_nfe: forward passes of the fit, in rows.
        fit_seconds: of the fit.
        fit_backward: backward passes of the fit, in rows.
    """

    nfe: float
    backward: float
    seconds: float
    fit_nfe: float
    fit_seconds: float
    fit_backward: float


@dataclass(frozen=True, slots=True)
class CellResult:
    """A cell with its scores.

    Attributes:
        job: the cell's job.
        context: what all cells of the run share.
        status: "ok", "skipped" or "failed".
        reason: why there are no scores.
        scores: in the order of classifiers and metrics.
        cost: of sampling and fit; None where the cell has no samples.
    """

    job: CellJob
    context: RunContext
    status: Status
    reason: str
    scores: tuple[CellScore, ...]
    cost: CellCost | None

    @classmethod
    def of(
        cls, job: CellJob, context: RunContext, status: Status, reason: str, scores: tuple[CellScore, ...]
    ) -> CellResult:
        """Return the result of an evaluated cell, with its costs read from the store."""
        return cls(job, context, status, reason, scores, _cost(job) if status == "ok" else None)

    @property
    def name(self) -> str:
        """Task, method and seed."""
        return f"{self.job.cell.task}, {self.job.cell.title}, seed {self.job.cell.seed}"

    @property
    def problems(self) -> list[tuple[str, str, str]]:
        """Status, name and reason of the cell if it has no scores, else of each of its metrics that has none."""
        if self.status != "ok":
            return [(self.status, self.name, self.reason)]
        several = len(self.job.scoring.classifiers) > 1
        return [
            (s.status, f"{self.name}, metric {s.metric}{f' by {s.classifier}' if several else ''}", s.reason)
            for s in self.failed_metrics
        ]

    @property
    def failed_metrics(self) -> list[CellScore]:
        """The scores that stand for metrics without any: failed ones, and those that the cell lacks something for."""
        metrics = self.job.scoring.metrics
        return [
            s
            for s in self.scores
            if s.status == "failed" or (s.status == "skipped" and s.scope == EVERYTHING and s.metric in metrics)
        ]

    @property
    def ranking_metric(self) -> str:
        """The metric that the leaderboard is ordered by."""
        return ranking_metric_of(prompts=bool(self.job.prompt_jobs))

    @property
    def scope(self) -> str:
        """The scope of the ranking metric's score: the joint of the task's attributes."""
        return product(self.job.cell.attributes).name

    def score(self, metric: str, scope: str, classifier: str | None = None) -> CellScore | None:
        """Return the score of a metric over a scope by a classifier (the first unless named), if it has a value."""
        key = (metric, scope, classifier or self.job.scoring.classifier.title, "ok")
        return next((s for s in self.scores if (s.metric, s.scope, s.classifier, s.status) == key), None)

    def classifier_accuracy(self) -> float | None:
        """Return the held-out accuracy of the classifier, balanced over classes, of its worst attribute of the task.

        None where one of them was not measured.
        """
        confusion = self.context.classifiers[0].confusion
        if any(a.name not in confusion for a in self.job.cell.attributes):
            return None
        tables = [np.array(confusion[a.name], dtype=np.float64) for a in self.job.cell.attributes]
        return min(float((table.diagonal() / table.sum(1)).mean()) for table in tables)

    def entries(self) -> list[Path]:
        """Return the store's folders that this result rests on, each once."""
        jobs = (self.job, self.job.paired_baseline)
        return list(dict.fromkeys(folder for job in jobs if job for folder in job.folders))


def _cost(job: CellJob) -> CellCost:
    store = Store(job.store)
    fits = [store.note(fit_record(part)) for part in job.parts]
    notes = [store.note(folder) for folder in job.folders]
    return CellCost(
        nfe=sum(n["forward_rows"] for n in notes) / job.n,
        backward=sum(n["backward_rows"] for n in notes) / job.n,
        seconds=sum(n["seconds"] for n in notes) / job.n,
        fit_nfe=sum(fit["forward_rows"] for fit in fits),
        fit_seconds=sum(fit["seconds"] for fit in fits),
        fit_backward=sum(fit["backward_rows"] for fit in fits),
    )
