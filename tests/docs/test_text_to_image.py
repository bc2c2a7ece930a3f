"""The examples of docs/text-to-image.md, run as a reader would run them, on a tiny pipeline."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench.config.prompt_set import PromptSet
from bench.config.suite import Suite
from tests.docs.test_readme import DOCS, blocks
from tests.models.test_pipelines_text import stable_diffusion
from tests.support.runs import Call, caller, read_rows

PAGE = DOCS / "text-to-image.md"
SET, SUITE = blocks(PAGE, "yaml")
call = pytest.fixture(caller)


def test_the_commands_of_the_page_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Call) -> None:
    monkeypatch.chdir(tmp_path)
    stable_diffusion(tmp_path, sample_size=16)
    (tmp_path / "my-prompts.yaml").write_text(SET)
    suite: dict[str, Any] = yaml.safe_load(SUITE)
    assert [m["name"] for m in suite["methods"]] == ["vanilla", "distribution_guidance", "attribute_switching"]
    small = {"n": 2, "guidance_batch": 2, "sampler": {"name": "ddim", "steps": 2}, "labelled": "avatars-heldout"}
    quick = {"labels_per_class": 4}
    methods = [{"name": "vanilla"}, {"name": "distribution_guidance", "with": quick}]
    model = {**suite["model"], "name": f"path:{tmp_path / 'saved'}"}
    changed = Suite.model_validate({**suite, **small, "model": model, "methods": methods})
    text = yaml.safe_dump(changed.model_dump(mode="json", by_alias=True, exclude_unset=True))
    (tmp_path / "my-suite.yaml").write_text(text)
    for line in blocks(PAGE, "bash")[0].splitlines():
        python, script, *words = shlex.split(line)
        assert (python, script) == ("python", "run_bench.py")
        code, printed, error = call(*words, *(["--workers", "1"] if words[0] == "run" else []))
        assert code == 0 or words[0] == "verify", (line, printed, error)
        assert "differs" not in printed
    row = read_rows(tmp_path / "runs" / "portraits" / "leaderboard.csv")[0]
    assert row["fd_l2_prompt_mean"]
    assert row["clip_score_clip_features"]


def test_the_names_of_the_page_are_those_of_the_tables() -> None:
    prompts = PromptSet.model_validate(yaml.safe_load(SET)).prompts
    assert prompts["nurse"]["eyeglasses=present"] == "a portrait of a nurse with glasses"
    assert list(prompts) == ["nurse", "pilot", "chief executive"]
    twice = PromptSet.model_validate({**yaml.safe_load(SET), "templates": ["a {}", "the {}"]}).prompts
    assert list(twice)[:2] == ["nurse (1)", "nurse (2)"]
