"""The project's own gate: its small suite, run here, held to the committed baseline by the commands of the docs."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest

from bench.core import plugins
from tests.comparison.test_gate import worse_fd
from tests.support.runs import Call, caller, read_rows, write_run

GATE = plugins.ROOT / "leaderboards" / "gate"
PAGE = plugins.ROOT / "docs" / "regression-gate.md"
call = pytest.fixture(caller)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the committed tables that the page's commands name, as in a new clone without a store."""
    folder = tmp_path_factory.mktemp("clone")
    for name in ("gate", "quick"):
        (folder / "leaderboards" / name).mkdir(parents=True)
        for file in (plugins.ROOT / "leaderboards" / name).glob("*.*"):
            if file.suffix in (".csv", ".yaml"):
                shutil.copy(file, folder / "leaderboards" / name)
    return folder


def commands(page: Path) -> list[str]:
    blocks = re.findall(r"^```(\w*)\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    lines = [line for language, block in blocks if not language for line in block.splitlines()]
    return [line.partition("  #")[0].removeprefix("python run_bench.py ") for line in lines if "run_bench.py" in line]


def test_every_command_of_the_page_passes_on_an_unchanged_clone(
    call: Call, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(checkout)
    lines = commands(PAGE)
    assert len(lines) >= 8
    assert lines[0] == "run gate --out results"
    for command in lines[:-1]:
        code, printed, said = call(*shlex.split(command))
        assert (code, "error" in said) == (0, False), (command, printed, said)
    assert (checkout / "ab.md").is_file()
    assert (checkout / "summary.md").is_file()

    readme = (plugins.ROOT / "README.md").read_text(encoding="utf-8")
    ((command, output),) = re.findall(
        r"```\n\$ python run_bench\.py (check results/gate[^\n]*)\n(.*?)```", readme, re.S
    )
    assert call(*shlex.split(command))[:2] == (0, output), "as the README shows it"

    assert lines[-1].endswith("--update")
    assert call(*shlex.split(lines[-1]))[0] == 0
    assert (checkout / "leaderboards" / "gate" / "results.csv").read_bytes() == (
        checkout / "results" / "gate" / "results.csv"
    ).read_bytes()


def test_a_discrepancy_20_percent_worse_is_refused(call: Call, checkout: Path, tmp_path: Path) -> None:
    def held(run: Path) -> tuple[int, str]:
        code, printed, said = call("check", run, "--baseline", GATE / "results.csv", "--gates", GATE / "gates.yaml")
        assert said == ""
        return code, printed

    rows = read_rows(checkout / "results" / "gate" / "results.csv")
    assert held(write_run(tmp_path / "same", worse_fd(rows, 1.0)))[0] == 0  # the planting itself changes nothing
    code, printed = held(write_run(tmp_path / "worse", worse_fd(rows, 1.2)))
    assert code == 1
    assert re.search(r"worse .*vanilla", printed)
