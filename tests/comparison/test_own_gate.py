"""The project's own gate: its small suite, run here, held to the committed baseline by the shipped commands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bench.core import plugins
from tests.comparison.test_gate import worse_fd
from tests.support.runs import Call, caller, read_rows, write_run

GATE = plugins.ROOT / "leaderboards" / "gate"
call = pytest.fixture(caller)


def held(call: Call, run: Path) -> tuple[int, str]:
    """Check a run against the baseline: exit code, and the terminal's text."""
    code, printed, said = call("check", run, "--baseline", GATE / "results.csv", "--gates", GATE / "gates.yaml")
    assert said == ""
    return code, printed


def test_the_gate_suite_passes_and_a_discrepancy_20_percent_worse_is_refused(call: Call, tmp_path: Path) -> None:
    code, _, _ = call("run", "gate", "--out", tmp_path)
    assert code == 0
    code, printed = held(call, tmp_path / "gate")
    assert code == 0, printed
    assert re.search(r"^passed: \d+ same$|^passed: \d+ better, \d+ same$", printed, re.M)
    rows = read_rows(tmp_path / "gate" / "results.csv")
    same = write_run(tmp_path / "same", worse_fd(rows, 1.0))
    assert held(call, same)[0] == 0  # the planting itself changes nothing
    code, printed = held(call, write_run(tmp_path / "worse", worse_fd(rows, 1.2)))
    assert code == 1
    assert re.search(r"worse .*vanilla", printed)
