"""Noise floors of means over seeds: those of single seeds, which results.csv has, are larger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np

from bench.core.schema import OVER_PROMPTS, SHARE
from bench.results.key import Key
from bench.results.read import target_shares
from bench.results.score_row import ScoreRow

BY_PROMPT = "fd_l2_by_prompt"  # its rows have the number of samples of each prompt


class NoiseFloors:
    """The noise floors of a run's scores over their seeds."""

    def __init__(self, by_key: Mapping[Key, Sequence[ScoreRow]]) -> None:
        """Take the rows of every score of a run."""
        self._by_key = by_key

    def of(self, key: Key, rows: Sequence[ScoreRow]) -> float | None:
        """Return the noise floor of the mean over seeds; of one seed, the row's own.

        Args:
            key: of the score.
            rows: its rows that have a value, one per seed.

        Returns:
            None where the score has none, or several seeds and a distribution that needs more than results.csv has.
        """
        if len(rows) == 1:
            return rows[0].measured.noise_floor
        from bench.core.distances import DISTANCES, mean_noise_floor

        if not rows or key.metric not in (*DISTANCES, SHARE):
            return None
        scope = key.scope.partition("=")[0]
        target, sizes = self._target(key, scope), self._sizes(key, rows)
        if target is None or sizes is None:
            return None
        k = self._classes(key, scope).index(key.scope) if key.metric == SHARE else None
        return mean_noise_floor(key.metric, target, sizes, k)

    def _target(self, key: Key, scope: str) -> tuple[float, ...] | None:
        """Return the target of a scope: that of the task, or its marginal; None where the run does not tell it."""
        target = target_shares(key.task.target)
        names = key.task.attributes.split("+")
        if scope == key.task.attributes:
            return tuple(target.tolist())
        shape = [len(self._classes(key, name)) for name in names]
        if scope not in names or np.prod(shape) != target.size:
            return None
        others = tuple(i for i, name in enumerate(names) if name != scope)
        return tuple(target.reshape(shape).sum(axis=others).tolist())

    def _sizes(self, key: Key, rows: Sequence[ScoreRow]) -> tuple[tuple[int, ...], ...] | None:
        """Return the samples behind each seed's value, by prompt where the metric is a mean over prompts."""
        if key.metric != OVER_PROMPTS:
            return tuple((row.n or 0,) for row in rows)
        of_seed: dict[int, list[int]] = {}
        for row in self._by_prompt.get(key._replace(metric=BY_PROMPT), ()):
            of_seed.setdefault(row.seed, []).append(row.n or 0)
        return tuple(tuple(of_seed[row.seed]) for row in rows) if of_seed.keys() >= {row.seed for row in rows} else None

    def _classes(self, key: Key, scope: str) -> list[str]:
        """Return the scopes of the classes of an attribute or a joint, in class order."""
        return self._class_scopes.get(key._replace(metric=SHARE, scope=scope), [])

    @cached_property
    def _class_scopes(self) -> dict[Key, list[str]]:
        scopes: dict[Key, list[str]] = {}
        for key in self._by_key:
            if key.metric == SHARE:
                scopes.setdefault(key._replace(scope=key.scope.partition("=")[0]), []).append(key.scope)
        return scopes

    @cached_property
    def _by_prompt(self) -> dict[Key, list[ScoreRow]]:
        """The rows of single prompts, by the key of their scope without the prompt."""
        rows_of: dict[Key, list[ScoreRow]] = {}
        for key, rows in self._by_key.items():
            if key.metric == BY_PROMPT:
                rows_of.setdefault(key._replace(scope=key.scope.partition(" at ")[0]), []).extend(rows)
        return rows_of
