"""The examples of the documentation are run as a reader would run them."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import shlex
import shutil
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from bench.config.build import build_method
from bench.config.suite import MethodChoice
from bench.core import plugins
from bench.core.errors import Incompatible
from bench.protocols.method import Batch, Task
from bench.sampling.loop import Sampler, sample_batch
from tests.support.mixtures import GROUP, pictures
from tests.support.runs import caller

DOCS = plugins.ROOT / "docs"


def blocks(path: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL)


def test_the_example_method_is_short_and_does_what_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    source = blocks(DOCS / "adding-a-method.md", "python")[0]
    code = [line for line in source.splitlines() if line.strip()]
    assert len(code) <= 30
    ast.parse(source)
    module = types.ModuleType("assigned_conditions")
    monkeypatch.setitem(sys.modules, "assigned_conditions", module)
    exec(source, module.__dict__)
    entry = importlib.metadata.EntryPoint("assigned_conditions", "assigned_conditions", plugins.GROUPS["method"])
    monkeypatch.setattr(plugins, "entry_points", lambda group: [entry] if group == entry.group else [])

    (suite,) = blocks(DOCS / "adding-a-method.md", "yaml")
    chosen = [MethodChoice(**entry) for entry in yaml.safe_load(suite)["methods"]]
    assert [c.name for c in chosen] == ["vanilla", "assigned_conditions"]
    model, steps, n = pictures((0.8, 0.2)), Sampler("ddim", 10), 60
    task = Task(model, (GROUP,), np.array([0.5, 0.5]), steps.timesteps(model))
    batch = Batch(torch.arange(n), torch.zeros(n, dtype=torch.long), n)
    guided = build_method("assigned_conditions", chosen[1].fields).build(task, 0)
    x = sample_batch(model, guided.denoise, steps, batch, 0)
    group = model.posterior(x, torch.zeros(n, dtype=torch.long)).argmax(1).numpy()
    assert np.array_equal(group, guided.assigned_classes(np.arange(n)))
    model.conditions = ("none",)
    with pytest.raises(Incompatible, match="has no conditions for group"):
        build_method("assigned_conditions", {}).build(task, 0)


def test_commands_of_the_readme_are_known() -> None:
    text = (plugins.ROOT / "README.md").read_text(encoding="utf-8")
    used = set(re.findall(r"run_bench\.py (\w+)", text))
    shown = subprocess.run(
        [sys.executable, "run_bench.py", "--help"], cwd=plugins.ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert used
    assert all(command in shown for command in used)


@pytest.fixture
def committed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run beside the committed tables of quick without a store, whose arrays would give sharper tests."""
    quick = tmp_path / "leaderboards" / "quick"
    quick.mkdir(parents=True)
    for table in (plugins.ROOT / "leaderboards" / "quick").glob("*.csv"):
        shutil.copy(table, quick)
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("committed")
def test_the_readme_shows_what_its_commands_print(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    call = caller(monkeypatch, capsys)
    text = (plugins.ROOT / "README.md").read_text(encoding="utf-8")
    shown = re.findall(r"```\n\$ python run_bench\.py ([^\n]*)\n(.*?)```", text, re.DOTALL)
    assert len(shown) >= 2
    for command, output in shown:
        if "results/gate" in command:
            continue  # of a new run: tests/comparison/test_own_gate.py
        code, out, _ = call(*shlex.split(command))
        printed = "\n".join(line.rstrip() for line in out.strip().splitlines())
        assert (code, printed) == (0, output.strip()), command


@pytest.mark.usefixtures("committed")
def test_the_readme_shows_what_its_python_prints(capsys: pytest.CaptureFixture[str]) -> None:
    text = (plugins.ROOT / "README.md").read_text(encoding="utf-8")
    ((source, output),) = re.findall(r"```python\n(.*?)```\n\n```\n(.*?)```", text, re.DOTALL)
    capsys.readouterr()
    exec(source, {})
    assert capsys.readouterr().out.rstrip() == output.rstrip()
