"""Rejection: draw more samples than are kept, and keep those whose classes, by a classifier, meet the target.

Source: none; rejection sampling of the model itself. It steers nothing, so a kept image is an image of the model, and
its cost is what any guidance has to beat: `candidates` times vanilla's, where the target needs 1 / min_k (p_k / r_k)
for the model's shares p and the target r.

1. `candidates` samples are drawn for each one that is kept, from noise of their own (`bench.sampling.loop.draw_batch`).
2. Of a guidance batch's candidates the first ones of each class, by the classifier's most probable class, are kept, as
   many as the target asks for (`chosen_rows`). A class that has too few takes the candidates in which it is most
   probable, so a target out of reach is missed; more candidates reach it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bench.core.errors import ConfigError
from bench.protocols.method import Batch, Guided, SearchSpace, Task, Traits, micro_batches, timestep
from methods.targeting.assigned_classes import largest_remainder
from methods.targeting.classifiers import find_classifier, joint_log_probabilities

COMPUTE = 100  # candidates that the classifier sees at once


def chosen_rows(p: npt.NDArray[np.float64], r: npt.NDArray[np.float64], n: int) -> npt.NDArray[np.int64]:
    """Return the rows that are kept, int64 [n], ascending.

    Args:
        p: [m, K], class probabilities of the candidates, m >= n.
        r: [K], the target, summing to 1.
        n: number of rows to keep; n r is rounded by largest remainders.

    >>> chosen_rows(np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.1, 0.9]]), np.array([0.5, 0.5]), 2).tolist()
    [0, 3]
    >>> chosen_rows(np.array([[0.9, 0.1], [0.8, 0.2], [0.6, 0.4], [0.7, 0.3]]), np.array([0.5, 0.5]), 2).tolist()
    [0, 2]
    """
    counts, predicted = largest_remainder(r, n), p.argmax(1)
    kept = np.zeros(len(p), dtype=bool)
    for k, count in enumerate(counts):
        kept[np.flatnonzero(predicted == k)[:count]] = True
    for k, count in enumerate(counts):
        missing = count - int((kept & (predicted == k)).sum())
        if missing > 0:
            left = np.flatnonzero(~kept)
            kept[left[np.argsort(-p[left, k], kind="stable")[:missing]]] = True
    return np.flatnonzero(kept)


@dataclass(frozen=True)
class Method:
    """Samples are kept, one of `candidates`, so that their classes by a classifier meet the target.

    Attributes:
        candidates: samples drawn for each one that is kept, >= 1; 1 keeps all and is the base model exactly.
        classifier: name of the extractor that chooses; it must offer logits.
    """

    search_space: ClassVar[SearchSpace] = {"candidates": [2, 4, 8]}
    candidates: int = 4
    classifier: str = "attribute_resnet"

    def __post_init__(self) -> None:
        """Check the ranges of the fields."""
        if self.candidates < 1:
            raise ConfigError(f"candidates must be at least 1, got {self.candidates}")

    @property
    def traits(self) -> Traits:
        """The declared properties: every candidate costs a sample's calls."""
        return Traits(
            paper="none: rejection sampling",
            stage="sampling",
            needs=frozenset({"classifier", "target"}),
            couples_batch=True,
            calls=float(self.candidates),
            neutral={"candidates": 1},
        )

    def build(self, task: Task, seed: int) -> Guided:
        """Load and check the classifier; nothing is learnt.

        Raises:
            Incompatible: there is no such classifier, or it does not fit the task.
        """
        classifier, model = find_classifier(task, self.classifier), task.model

        def denoise(x: Tensor, t: int, batch: Batch) -> Tensor:
            rows = [
                model.denoise(x[piece], timestep(t, len(x[piece]), x.device), batch.condition[piece])
                for piece in micro_batches(len(x), batch.micro)
            ]
            return torch.cat(rows)

        def select(pool: Tensor) -> npt.NDArray[np.int64]:
            flat = pool.flatten(0, 1)
            with torch.no_grad():
                p = torch.cat(
                    [
                        joint_log_probabilities(classifier.logits(flat[piece]), task.attributes).exp()
                        for piece in micro_batches(len(flat), COMPUTE)
                    ]
                )
            return chosen_rows(p.double().cpu().numpy(), task.target, pool.shape[1])

        notes: dict[str, object] = {"classifier": self.classifier, "classifier_sha256": classifier.digest}
        if self.candidates == 1:
            return Guided(denoise, notes=notes)
        return Guided(denoise, candidates=self.candidates, select=select, notes=notes)
