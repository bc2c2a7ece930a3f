"""The names of a run's tasks and numbers."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

from bench.core.attributes import target_name


class Task(NamedTuple):
    """A task, as results.csv writes it.

    Attributes:
        attributes: names joined by "+".
        target: shares of the joint's classes, separated by "/".
    """

    attributes: str
    target: str

    @property
    def name(self) -> str:
        """The task's name in the leaderboard, such as "eyeglasses uniform"."""
        return _name(self.attributes, self.target)

    def answers(self, text: str) -> bool:
        """Return whether `--task TEXT` means this task: its name, or its attributes."""
        return text in (self.attributes, self.name)


@cache
def _name(attributes: str, target: str) -> str:
    return f"{attributes} {target_name(tuple(map(float, target.split('/'))))}"


class Key(NamedTuple):
    """The key of a number in a run, apart from the seed.

    Attributes:
        task: the task.
        method: the method's title.
        metric: the metric's name.
        scope: what the metric was computed over.
        classifier: whose classes it is of, where that is not the run's first classifier.
    """

    task: Task
    method: str
    metric: str
    scope: str
    classifier: str = ""

    @property
    def label(self) -> str:
        """The number's name within its task and method."""
        return f"{self.metric} over {self.scope}" + (f" by {self.classifier}" if self.classifier else "")
