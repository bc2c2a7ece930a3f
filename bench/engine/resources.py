"""Models, image sets and extractors, loaded once per process."""

from __future__ import annotations

import functools
import json
from typing import Any

from bench.config.build import build_extractor
from bench.config.components import ExtractorSpec
from bench.config.data_source import DataSource
from bench.core.plugins import load
from bench.data import load_data
from bench.models import load_model
from bench.models.counting import Counted
from bench.protocols.images import LabelledImages


@functools.lru_cache(maxsize=2)
def counted_model(name: str, device: str, fields: str) -> Counted:
    """The model of a name, with JSON of its fields, loaded once a process."""
    return Counted(load_model(name, device, json.loads(fields)))


@functools.lru_cache(maxsize=8)
def data_set(source: DataSource | str, n: int | None, size: int) -> LabelledImages:
    """An image set, read once a process and run."""
    return load_data(source, n, size)


@functools.lru_cache(maxsize=8)
def extractor(spec: ExtractorSpec) -> Any:
    """An extractor, made once a process."""
    return build_extractor(spec)


def guide(name: str) -> Any:
    """The extractor of a name that a method guides with, with the defaults of its fields."""
    return extractor(ExtractorSpec(name, "{}", name))


@functools.lru_cache(maxsize=4)
def evaluator(name: str) -> Any:
    """The evaluator of a name, made once a process, so that what it caches of a reference is kept."""
    return load("evaluator", name, "Evaluator")()
