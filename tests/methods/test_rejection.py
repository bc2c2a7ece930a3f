"""Rejection: the chosen rows by hand, the target met exactly on the mixture, candidates that are the model's own."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from bench.core.errors import ConfigError
from bench.engine.method_boundary import build_checked
from bench.protocols.method import Batch, Guided
from bench.sampling.loop import Sampler, draw_batch, sample_batch
from methods import vanilla
from methods.rejection import Method, chosen_rows
from tests.methods.test_universal_guidance import exact_task

SAMPLER = Sampler("ddim", 12)
N = 40


def batch(n: int = N) -> Batch:
    return Batch(torch.arange(n), torch.zeros(n, dtype=torch.long), n)


def test_first_candidates_of_each_class_are_kept() -> None:
    p = np.eye(3)[[0, 0, 1, 0, 2, 1, 2, 0]] * 0.7 + 0.1
    assert chosen_rows(p, np.array([0.5, 0.25, 0.25]), 4).tolist() == [0, 1, 2, 4]
    assert chosen_rows(p, np.array([0.0, 0.5, 0.5]), 4).tolist() == [2, 4, 5, 6]


def test_a_class_with_too_few_takes_the_most_probable_of_the_others() -> None:
    p = np.array([[0.9, 0.1], [0.6, 0.4], [0.8, 0.2], [0.3, 0.7], [0.55, 0.45]])
    # Two of class 1: row 3 is the only one, and row 4 has the largest probability of it among those left.
    assert chosen_rows(p, np.array([0.5, 0.5]), 4).tolist() == [0, 1, 3, 4]


def test_one_candidate_is_the_base_model_and_more_are_other_samples_of_it() -> None:
    task = exact_task(2)
    base = sample_batch(task.model, vanilla.Method().build(task, 0).denoise, SAMPLER, batch(), 3)
    one = draw_batch(task.model, Method(candidates=1).build(task, 0), SAMPLER, batch(), 3)
    assert torch.equal(one, base)
    guided = Method(candidates=4).build(task, 0)
    drawn = draw_batch(task.model, guided, SAMPLER, batch(), 3)
    pool = [
        sample_batch(task.model, guided.denoise, SAMPLER, batch(), 3, candidate=candidate) for candidate in range(4)
    ]
    assert torch.equal(pool[0], base)
    rows = {row.numpy().tobytes() for row in torch.cat(pool)}
    assert len(rows) == 4 * N, "every candidate has noise of its own"
    assert {row.numpy().tobytes() for row in drawn} <= rows


def test_the_target_is_met_exactly_where_the_candidates_suffice() -> None:
    task = exact_task(2)
    classifier: Any = task.classifier
    for share in (0.5, 0.9):
        of_target = dataclasses.replace(task, target=np.array([1 - share, share]))
        guided = Method(candidates=8).build(of_target, 0)
        x = draw_batch(task.model, guided, SAMPLER, batch(), 0)
        logits = classifier("").logits(x)[task.attributes[0].name]
        assert int((logits.argmax(1) == 1).sum()) == round(share * N)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"select": None}, "NoneType as `select` with 4 candidates"),
        ({"candidates": 0}, "0 as `candidates`, expected a whole number"),
        ({"select": lambda pool: np.zeros(pool.shape[1], dtype=np.int64)}, r"rows \[0, 0, 0, 0, 0\], ... as selected"),
        ({"select": lambda pool: np.arange(3)}, r"int64 \[3\] as selected rows, expected int64 \[40\], distinct rows"),
    ],
)
def test_a_wrong_selection_is_refused(changes: dict[str, Any], sentence: str) -> None:
    @dataclasses.dataclass(frozen=True)
    class Wrong(Method):
        def build(self, task: Any, seed: int) -> Guided:
            return dataclasses.replace(super().build(task, seed), **changes)

    task = exact_task(2)
    with pytest.raises(ConfigError, match=sentence):
        draw_batch(task.model, build_checked("wrong", Wrong(), task, 0), SAMPLER, batch(), 0)


def test_less_than_one_candidate_is_refused() -> None:
    with pytest.raises(ConfigError, match="candidates must be at least 1, got 0"):
        Method(candidates=0)
