"""The protocols that plug-ins implement: methods, evaluators, extractors, models, image sets and caches.

The names below are imported when they are first used, so that `import bench.protocols` does not load torch.

>>> from bench.protocols import Cost
>>> Cost(forward_rows=2) + Cost(seconds=1.0)
Cost(seconds=1.0, forward_rows=2.0, backward_rows=0.0)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.protocols.cache import Cache as Cache
    from bench.protocols.cache import NoCache as NoCache
    from bench.protocols.evaluator import Evaluator as Evaluator
    from bench.protocols.evaluator import Extractor as Extractor
    from bench.protocols.evaluator import MetricCard as MetricCard
    from bench.protocols.evaluator import Reference as Reference
    from bench.protocols.evaluator import Sample as Sample
    from bench.protocols.evaluator import Score as Score
    from bench.protocols.images import LabelledImages as LabelledImages
    from bench.protocols.method import Batch as Batch
    from bench.protocols.method import Classifier as Classifier
    from bench.protocols.method import Cost as Cost
    from bench.protocols.method import Curves as Curves
    from bench.protocols.method import Guided as Guided
    from bench.protocols.method import Method as Method
    from bench.protocols.method import Task as Task
    from bench.protocols.method import Traits as Traits
    from bench.protocols.model import DiffusionModel as DiffusionModel
    from bench.protocols.progress import Progress as Progress

_MODULES = {
    "Batch": "method",
    "Cache": "cache",
    "Classifier": "method",
    "Cost": "method",
    "Curves": "method",
    "DiffusionModel": "model",
    "Evaluator": "evaluator",
    "Extractor": "evaluator",
    "Guided": "method",
    "LabelledImages": "images",
    "Method": "method",
    "MetricCard": "evaluator",
    "NoCache": "cache",
    "Progress": "progress",
    "Reference": "evaluator",
    "Sample": "evaluator",
    "Score": "evaluator",
    "Task": "method",
    "Traits": "method",
}

__all__ = [
    "Batch",
    "Cache",
    "Classifier",
    "Cost",
    "Curves",
    "DiffusionModel",
    "Evaluator",
    "Extractor",
    "Guided",
    "LabelledImages",
    "Method",
    "MetricCard",
    "NoCache",
    "Progress",
    "Reference",
    "Sample",
    "Score",
    "Task",
    "Traits",
]


def __getattr__(name: str) -> object:
    """Import a public name when it is first used."""
    if name in _MODULES:
        return getattr(import_module(f"bench.protocols.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'bench.protocols' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
