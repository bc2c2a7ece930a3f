"""The claims of every evaluator's card about its scores, measured on every evaluator."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.core import plugins
from bench.engine.metric_boundary import column_of
from bench.plugin_checks.evaluators import CHECKS, ORDERED, Metric, check_order
from bench.plugin_checks.outcome import NotApplicable
from bench.plugin_checks.samples import bad, good, scattered
from bench.protocols.evaluator import Score
from evaluators import epsilon_fairness

NAMES = plugins.with_member("evaluator", "Evaluator")


@pytest.fixture(autouse=True)
def _fewer_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    family = {k: v for k, v in epsilon_fairness.probes().items() if k in ("logistic_regression", "nearest_neighbours")}
    monkeypatch.setattr(epsilon_fairness, "probes", lambda: family)


def test_no_two_cards_have_a_column_of_the_same_name() -> None:
    patterns = [c.pattern for name in NAMES for c in plugins.load("evaluator", name, "Evaluator").card.columns]
    assert len(patterns) == len(set(patterns))


def test_evaluators_use_the_storage_to_find_weights_only() -> None:
    """Everything else that they read is handed in, and they write nothing."""
    taken = set()
    for path in (plugins.ROOT / "evaluators").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("bench.storage"):
                taken |= {f"{node.module}.{alias.name}" for alias in node.names}
    assert taken <= {"bench.storage.files.cache_root", "bench.storage.hub.FileChoice", "bench.storage.hub.fetch"}


@pytest.mark.parametrize("name", ["attribute_cnn", "attribute_resnet", "clip", "clip_features", "efficientnet_lite0"])
def test_loading_an_extractor_leaves_the_global_generator_alone(name: str) -> None:
    before = torch.get_rng_state()
    plugins.load("evaluator", name, "Extractor")()
    assert torch.equal(torch.get_rng_state(), before)


def test_cards_are_read_without_torch() -> None:
    """Tables and comparisons of finished runs need the cards, and start quickly."""
    code = (
        "import sys; from bench.results.metric_info import metric; metric('fd_l1'); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=plugins.ROOT, check=True)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("check", CHECKS)
def test_contract(name: str, check: str) -> None:
    try:
        CHECKS[check](Metric(name))
    except NotApplicable as reason:
        of_bench = plugins.package_of("evaluator", name) is None
        assert not of_bench or (check == "order of the samples" and name in ORDERED)
        pytest.skip(str(reason))


def direction_of(metric: Metric, score: Score) -> str | None:
    column = column_of(metric.card, score.metric)
    assert column is not None
    return column.better


@pytest.mark.parametrize("name", [name for name in NAMES if plugins.package_of("evaluator", name) is None])
def test_what_is_worse_in_every_respect_scores_worse(name: str) -> None:
    metric = Metric(name)
    better, worse = ({(s.metric, s.scope): s for s in metric.scores(make(3))} for make in (good, bad))
    compared = 0
    for key in better.keys() & worse.keys():
        direction = direction_of(metric, better[key])
        first, second = better[key].value, worse[key].value
        if direction is not None and first is not None and second is not None:
            assert first < second if direction == "lower" else first > second, key
            compared += 1
    assert compared == len([s for s in better.values() if direction_of(metric, s) is not None])


@pytest.mark.parametrize("name", [n for n in NAMES if n not in ORDERED])
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_order_of_the_samples_changes_no_value(name: str, seed: int) -> None:
    check_order(Metric(name), (seed,))


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), scale=st.floats(1e-3, 1e3), share=st.floats(0, 1))
def test_scores_and_intervals_stay_in_their_range(name: str, seed: int, scale: float, share: float) -> None:
    Metric(name).scores(scattered(seed, scale, share))
