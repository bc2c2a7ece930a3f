"""The examples in the docstrings of evaluators, and of the protocols that plug-in authors read, are true."""

from __future__ import annotations

import doctest
import importlib

import pytest

from bench.core.plugins import ROOT

PATHS = [*(ROOT / "evaluators").rglob("*.py"), ROOT / "bench/protocols/evaluator.py", ROOT / "bench/core/gaussian.py"]
NAMES = [".".join(p.relative_to(ROOT).with_suffix("").parts) for p in sorted(PATHS) if ">>>" in p.read_text("utf-8")]


@pytest.mark.parametrize("name", NAMES)
def test_examples(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted
    assert not result.failed
