"""The result of one cell: its scores and costs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.core.attributes import product
from bench.core.schema import ranking_metric_of
from bench.engine.work import Context, Work
from bench.engine.worker import fit_record
from bench.storage.store import Store


@dataclass(frozen=True)
class CellResult:
    """A cell and what came of it.

    Attributes:
        work: the cell's work.
        context: what all cells of the run share.
        status: "ok", "skipped" or "failed".
        reason: why there are no scores.
        scores: as `bench.engine.scoring.evaluate` returns them.
        cost: of the fit (seconds, rows) and of sampling; empty where the cell has no samples.
    """

    work: Work
    context: Context
    status: str
    reason: str
    scores: list[dict[str, Any]]
    cost: dict[str, float]

    @classmethod
    def of(cls, work: Work, context: Context, status: str, reason: str, scores: list[dict[str, Any]]) -> CellResult:
        """The result of an evaluated cell, with its costs read from the store."""
        cost = _cost(work) if status == "ok" else {}
        return cls(work, context, status, reason, scores, cost)

    @property
    def name(self) -> str:
        """Task, method and seed."""
        return f"{self.work.cell.task}, {self.work.cell.title}, seed {self.work.cell.seed}"

    @property
    def ranking_metric(self) -> str:
        """The metric that the leaderboard is ordered by."""
        return ranking_metric_of(prompts=bool(self.work.prompted))

    @property
    def scope(self) -> str:
        """The scope of the ranking_metric score: the joint of the task's attributes."""
        return product(self.work.cell.attributes).name

    def score(self, metric: str, scope: str, classifier: str | None = None) -> dict[str, Any] | None:
        """The score of a metric over a scope by a classifier (the first unless named), if it has a value."""
        wanted = (metric, scope, classifier or self.work.classifier.title, "ok")
        return next((s for s in self.scores if (s["metric"], s["scope"], s["classifier"], s["status"]) == wanted), None)

    def classifier_accuracy(self) -> float | None:
        """Held-out accuracy of the classifier, balanced over classes, of its worst attribute of the task, if measured."""
        measured = self.context.classifiers[0].confusion
        if any(a.name not in measured for a in self.work.cell.attributes):
            return None
        tables = [np.array(measured[a.name], dtype=np.float64) for a in self.work.cell.attributes]
        return min(float((table.diagonal() / table.sum(1)).mean()) for table in tables)

    def entries(self) -> list[Path]:
        """The store's folders that this result rests on."""
        return list(
            dict.fromkeys(folder for work in (self.work, self.work.paired_baseline) if work for folder in work.folders)
        )


def _cost(work: Work) -> dict[str, float]:
    store = Store(work.store)
    fits = [store.note(fit_record(part)) for part in work.parts]
    notes = [store.note(folder) for folder in work.folders]
    return {
        "nfe": sum(n["forward_rows"] for n in notes) / work.n,
        "backward": sum(n["backward_rows"] for n in notes) / work.n,
        "seconds": sum(n["seconds"] for n in notes) / work.n,
        "fit_nfe": sum(fit["forward_rows"] for fit in fits),
        "fit_seconds": sum(fit["seconds"] for fit in fits),
        "fit_backward": sum(fit["backward_rows"] for fit in fits),
    }
