"""A clock that assigns time to stages and synchronises the device at each change of stage."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from bench.sampling.timing import now_on


def no_flops() -> int:
    """Return 0, for clocks without FLOPs: counting them takes longer than many stages."""
    return 0


class Clock:
    """Seconds and FLOPs by stage, in total and for every step.

    One stage is current at any moment. Time of a nested stage is not counted for the outer one, so the stages add up
    to the time between the first and the last change.

    Attributes:
        seconds: stage to seconds, in total.
        flops: stage to floating-point operations, in total; 0 unless they are counted.
        steps: stage to seconds, for every finished step.
    """

    def __init__(self, device: torch.device, flops: Callable[[], int] = no_flops) -> None:
        """Make a clock that starts with the first stage.

        Args:
            device: synchronised before the time is read.
            flops: returns the number of floating-point operations so far.
        """
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.flops: Counter[str] = Counter()
        self.steps: list[dict[str, float]] = []
        self._device, self._read_flops = device, flops
        self._stage: str | None = None
        self._since, self._flops_since = 0.0, 0
        self._at_last_step: defaultdict[str, float] = defaultdict(float)

    def enter(self, stage: str | None) -> str | None:
        """Switch to a stage (None: stop) and return the previous one."""
        now, flops = now_on(self._device), self._read_flops()
        before = self._stage
        if before is not None:
            self.seconds[before] += now - self._since
            self.flops[before] += flops - self._flops_since
        self._stage, self._since, self._flops_since = stage, now, flops
        return before

    @contextmanager
    def within(self, stage: str) -> Iterator[None]:
        """Switch to a stage for the duration of a block, then back to the previous one."""
        before = self.enter(stage)
        try:
            yield
        finally:
            self.enter(before)

    def end_step(self) -> None:
        """End a step: record the seconds of each stage since the last step ended."""
        self.enter(self._stage)
        self.steps.append({k: v - self._at_last_step[k] for k, v in self.seconds.items()})
        self._at_last_step = self.seconds.copy()
