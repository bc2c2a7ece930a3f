"""A metric that fails does so alone and under its name; what keeps its card passes as it is."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from fnmatch import fnmatchcase
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.api import run_suite as run
from bench.config.suite import read_suite
from bench.core import plugins
from bench.core.errors import ConfigError, Incompatible
from bench.engine.metric_boundary import column_of, evaluated
from bench.engine.options import Options
from bench.engine.runner import FAILURES, FINISHED
from bench.protocols.evaluator import NO_INTERVAL, Column, MetricCard, Reference, Sample, Score
from bench.results.key import Key
from bench.results.read import read_results
from bench.results.run import Run
from bench.results.tables import read_records
from tests.support.mixtures import GROUP
from tests.support.small import small_suite

BOARDS = plugins.ROOT / "leaderboards"
CARD = MetricCard(
    *("A metric of a test.", "none", "ours"),
    columns=(
        Column("good_*", "higher", 0.0, 1.0, "share", NO_INTERVAL),
        Column("good_se_*", "lower", 0.0, np.inf, "standard error", NO_INTERVAL),
    ),
    classifier="none", min_n="1", bias="None.", interval="None.", limits="Everything.",
)  # fmt: skip
SAMPLE = Sample({"group": np.full((4, 2), 0.5)}, {}, np.full(4, -1))
REFERENCE = Reference((GROUP,), np.array([0.5, 0.5]))


class Given:
    """An evaluator that does what a test hands it."""

    card = CARD

    def __init__(self, act: Callable[[], Any]) -> None:
        self.act = act

    def evaluate(self, sample: Sample, reference: Reference) -> list[Score]:
        scores: list[Score] = self.act()
        return scores


def scores_of(act: Callable[[], Any]) -> list[Score]:
    return evaluated("mine", CARD, lambda: Given(act), SAMPLE, REFERENCE)


def raises(error: Exception) -> Callable[[], Any]:
    def act() -> None:
        raise error

    return act


def one(value: float | None = 0.5, **changes: Any) -> Callable[[], list[Score]]:
    """An act that returns one score, sound but for the changes."""
    return lambda: [Score(**{"metric": "good_a", "scope": "all", "value": value, "n": 4, **changes})]


FAILED: dict[str, tuple[Callable[[], Any], str]] = {
    "a defect": (raises(ZeroDivisionError("no more")), "metric mine raised ZeroDivisionError: no more"),
    "a user's error": (raises(ConfigError("two columns must be one")), "metric mine: two columns must be one"),
    "no list": (lambda: 0.5, "metric mine returned 0.5, expected a list of Score"),
    "numbers": (lambda: [0.5], "metric mine returned [0.5], expected a list of Score"),
    "a name off the card": (
        one(metric="goood_a"),
        "metric mine returned a score 'goood_a', expected a name of its card: good_*, good_se_*",
    ),
    "no scope": (one(scope=""), "metric mine returned the name 'good_a' over '', expected printable texts"),
    "an escape": (one(scope="\x1b[2J"), r"over '\x1b[2J', expected printable texts"),
    "above the range": (one(1.5), "mine returned 1.5 for good_a over all, expected a value of its card's range, 0 "),
    "below the range": (one(-0.1, metric="good_se_a"), "returned -0.1 for good_se_a over all, expected a value of its"),
    "nan": (one(float("nan")), "returned nan as value of good_a over all, expected a finite number (float) or None"),
    "infinity": (one(float("inf"), metric="good_se_a"), "returned inf as value of good_se_a over all"),
    "float32": (one(np.float32(0.5)), "returned np.float32(0.5) as value of good_a over all"),
    "no value": (one(None), "returned the value None for good_a over all with status ok"),
    "a default": (one(0.0, status="undefined", reason="too few"), "returned the value 0.0 for good_a over all with"),
    "a status": (one(None, status="error"), "returned status 'error' for good_a over all"),
    "half an interval": (one(ci_low=0.1), "returned one end of an interval for good_a over all, [0.1, None]"),
    "an interval elsewhere": (one(ci_low=0.6, ci_high=0.7), "returned the interval [0.6, 0.7] for good_a over all"),
    "half a sample": (one(n=3.5), "returned n = 3.5 for good_a over all"),
    "one score twice": (lambda: one()() * 2, "metric mine returned good_a over all twice"),
}  # fmt: skip


@pytest.mark.parametrize(("act", "sentence"), FAILED.values(), ids=FAILED.keys())
def test_a_metric_that_breaks_its_card_fails_under_its_name(act: Callable[[], Any], sentence: str) -> None:
    (score,) = scores_of(act)
    assert (score.metric, score.scope, score.value, score.n, score.status) == ("mine", "all", None, 4, "failed")
    assert sentence in score.reason.splitlines()[-1]


def test_a_metric_that_the_cell_lacks_something_for_is_skipped_alone() -> None:
    (score,) = scores_of(raises(Incompatible("no features")))
    assert (score.metric, score.status, score.reason) == ("mine", "skipped", "metric mine: no features")


def test_a_constructor_that_raises_fails_its_metric_alone() -> None:
    (score,) = evaluated("mine", CARD, raises(OSError("no file")), SAMPLE, REFERENCE)
    assert (score.status, score.reason.splitlines()[-1]) == ("failed", "metric mine raised OSError: no file")


def test_what_keeps_its_card_passes_as_it_is() -> None:
    scores = [
        Score("good_a", "all", 1.0000001, 0.9, 1.0000001, 4),
        Score("good_se_a", "all", 3.0, n=4),
        Score("good_b", "all", None, n=4, status="undefined", reason="too few"),
    ]
    assert scores_of(lambda: scores) == scores


@pytest.mark.parametrize("board", sorted(path.parent.name for path in BOARDS.glob("*/results.csv")))
def test_every_number_of_the_committed_leaderboards_keeps_its_card(board: str) -> None:
    cards = [e.card for e in plugins.loaded("evaluator", "Evaluator").values()]
    rows = read_results(BOARDS / board)
    for name, of_metric in rows[rows["status"] == "ok"].groupby("metric", observed=True):
        (card,) = (c for c in cards if any(fnmatchcase(str(name), column.pattern) for column in c.columns))
        column = column_of(card, str(name))
        assert column is not None
        assert of_metric["value"].between(column.low - 1e-6, column.high + 1e-6).all(), name


SOURCE = '''
from bench.protocols.evaluator import NO_INTERVAL, Column, MetricCard, Score


class Evaluator:
    """A metric whose value is out of its range for one method."""

    card = MetricCard(
        "A test.", "none", "ours", (Column("NAME", "higher", 0.0, 1.0, "share", NO_INTERVAL),), "none", "1", "None.",
        "None.", "Everything."
    )

    def evaluate(self, sample, reference):
        DO
        return [Score("NAME", "all", 0.25, n=len(sample.assigned_class))]
'''


def offer(patch: pytest.MonkeyPatch, folder: Path, **acts: str) -> None:
    """Offer evaluators as those of an installed package, each with a statement before its score."""
    entries = []
    for name, act in acts.items():
        path = folder / f"offered_{name}.py"
        path.write_text(SOURCE.replace("NAME", name if name != "twin" else "calm").replace("DO", act))
        module = types.ModuleType(path.stem)
        module.__file__ = str(path)
        exec(path.read_text(), module.__dict__)
        patch.setitem(sys.modules, path.stem, module)
        entries.append(EntryPoint(name, path.stem, plugins.GROUPS["evaluator"]))
    patch.syspath_prepend(folder)
    patch.setattr(plugins, "entry_points", lambda group: [e for e in entries if e.group == group])


def test_in_a_run_the_metric_fails_and_the_others_of_the_cell_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(monkeypatch, tmp_path, calm="pass", twin="pass", wild="raise KeyError('gone')")
    suite = small_suite(
        tmp_path, n=4, guidance_batch=4, methods=[{"name": "vanilla"}], tasks=[{"attributes": ["eyeglasses"]}],
        metrics=["wild", "fairness_discrepancy", "calm", "twin"],
    )  # fmt: skip
    outcome = run(read_suite(str(suite)), Options(tmp_path / "out", workers=1))
    assert outcome.failed
    cell = "eyeglasses uniform, vanilla, seed 0"
    reasons = {
        "wild": "metric wild raised KeyError: 'gone'",
        "twin": "metric twin returned calm over all, which metric calm returned too",
    }
    assert outcome.problems == [("failed", f"{cell}, metric {name}", reason) for name, reason in reasons.items()]
    folder = tmp_path / "out" / "small"
    rows = {row["metric"]: row for row in read_records(folder / "results.csv", ("metric",))}
    for name, reason in reasons.items():
        assert (rows[name]["status"], rows[name]["value"], rows[name]["reason"]) == ("failed", "", reason)
    assert (rows["fd_l2_hard"]["status"], rows["calm"]["status"], rows["calm"]["value"]) == ("ok", "ok", "0.25")
    (line,) = read_records(folder / "leaderboard.csv", ())
    assert (line["status"], line["tied_best"], line["reason"]) == ("ok", "best", "; ".join(reasons.values()))
    assert "Traceback" in (folder / FAILURES).read_text()
    assert f"failed: {cell}, metric wild" in (folder / FAILURES).read_text()
    assert not (folder / FINISHED).exists(), "the next run tries again"
    finished = Run.open(folder)
    assert finished.reason(Key(finished.tasks[0], "vanilla", "wild", "all")) == ("failed", reasons["wild"])
    (tmp_path / "kid.csv").write_text((folder / "results.csv").read_text().replace(",wild,", ",kid,"))
    finished = Run.open(tmp_path / "kid.csv")
    of_kid = Key(finished.tasks[0], "vanilla", "kid_clip_features", "balanced")
    assert finished.reason(of_kid) == ("failed", reasons["wild"]), "the evaluator's line stands for all its scores"

    offer(monkeypatch, tmp_path, calm="pass", twin="pass", wild="pass")
    suite.write_text(suite.read_text().replace("- twin\n", ""))
    assert not run(read_suite(str(suite)), Options(tmp_path / "out", workers=1)).problems
