"""Methods of another package for tests of tuning: they return labelled faces, so every right answer is known."""

from __future__ import annotations

import importlib
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from bench.core import plugins

HEAD = '''
from dataclasses import dataclass
from typing import ClassVar

import torch

from bench.protocols.method import Guided, Task, Traits


def faces(task, share, index):
    """Return faces of the labelled set as samples, `share` of them of class 1 of the task's first attribute."""
    labels = task.labelled.column(task.attributes[:1])
    rows = [torch.from_numpy((labels == k).nonzero()[0]) for k in (0, 1)]
    second = (index * 7919 % 100).double() < 100 * share
    chosen = torch.where(second, rows[1][index % len(rows[1])], rows[0][index % len(rows[0])])
    return task.model.encode(torch.from_numpy(task.labelled.images[chosen.numpy()]))


TRAITS = Traits(paper="none", stage="sampling", needs=frozenset({"labelled", "target"}), calls=0)
'''

# With the lucky number of a seed it meets the target, else it is as biased as can be: all that tuning finds is luck.
LUCKY = (
    HEAD
    + '''

@dataclass(frozen=True)
class Method:
    """Meets the target with the seed's lucky number, and never else."""

    traits: ClassVar[Traits] = TRAITS
    search_space: ClassVar = {"number": [0, 1, 2, 3, 4]}
    number: int = 0

    def build(self, task, seed):
        share = 0.5 if self.number == seed % 5 else 0.0
        return Guided(lambda x, t, batch: faces(task, share, batch.index).to(x))
'''
)
# Its field decides the discrepancy on every seed alike: tuning finds what holds.
HONEST = (
    HEAD
    + '''

@dataclass(frozen=True)
class Method:
    """Draws a share of class 1, on every seed."""

    traits: ClassVar[Traits] = TRAITS
    search_space: ClassVar = {"share": "0..1"}
    share: float = 0.1

    def build(self, task, seed):
        return Guided(lambda x, t, batch: faces(task, self.share, batch.index).to(x))
'''
)


def plant(patch: pytest.MonkeyPatch, folder: Path, **sources: str) -> None:
    """Offer modules as methods of an installed package, under their names."""
    entries = []
    for name, source in sources.items():
        (folder / f"planted_{name}.py").write_text(source)
        entries.append(EntryPoint(name, f"planted_{name}", plugins.GROUPS["method"]))
        patch.delitem(importlib.sys.modules, f"planted_{name}", raising=False)  # type: ignore[attr-defined]
    patch.syspath_prepend(folder)
    patch.setattr(plugins, "entry_points", lambda group: [e for e in entries if e.group == group])
