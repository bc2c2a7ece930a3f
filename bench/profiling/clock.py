"""A clock that gives every moment to one stage, with the device synchronised at each change of stage."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from bench.sampling.timing import now_on


def no_flops() -> int:
    """Where FLOPs are not counted: counting them takes longer than many a stage."""
    return 0


class Clock:
    """Seconds and FLOPs by stage, in total and for every step.

    One stage is current at any moment, and a stage that begins within another takes its time out of it, so the stages
    add up to the time between the first and the last change.

    Attributes:
        seconds: stage to seconds, in total.
        flops: stage to floating-point operations, in total; zero throughout unless they are counted.
        steps: stage to seconds, for every step that has ended.
    """

    def __init__(self, device: torch.device, flops: Callable[[], int] = no_flops) -> None:
        """Stand still until the first stage.

        Args:
            device: what is waited for before the time is read.
            flops: the number of floating-point operations so far.
        """
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.flops: Counter[str] = Counter()
        self.steps: list[dict[str, float]] = []
        self._device, self._read_flops = device, flops
        self._stage: str | None = None
        self._since, self._flops_since = 0.0, 0
        self._at_last_step: defaultdict[str, float] = defaultdict(float)

    def enter(self, stage: str | None) -> str | None:
        """Make a stage the current one (None: stand still), and return the one before."""
        now, flops = now_on(self._device), self._read_flops()
        before = self._stage
        if before is not None:
            self.seconds[before] += now - self._since
            self.flops[before] += flops - self._flops_since
        self._stage, self._since, self._flops_since = stage, now, flops
        return before

    @contextmanager
    def within(self, stage: str) -> Iterator[None]:
        """A stage for the duration of a block, then the one before again."""
        before = self.enter(stage)
        try:
            yield
        finally:
            self.enter(before)

    def end_step(self) -> None:
        """Close a step: what has passed in each stage since the last one ended."""
        self.enter(self._stage)
        self.steps.append({k: v - self._at_last_step[k] for k, v in self.seconds.items()})
        self._at_last_step = self.seconds.copy()
