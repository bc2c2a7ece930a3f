"""docs/models.md as a reader would use it: the example suite on a tiny pipeline, and the table of families."""

from __future__ import annotations

import csv
import dataclasses
import importlib
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench.api import run_suite as run
from bench.config.components import ModelChoice
from bench.config.suite import Suite, read_suite
from bench.core import plugins
from bench.core.yaml_models import fill
from bench.engine.options import Options
from bench.estimate.forecast import forecast_run
from bench.models import PIPELINES
from bench.models.fields import LatentFields, NetworkFields
from tests.models.test_pipelines_text import stable_diffusion

PAGE = (plugins.ROOT / "docs" / "models.md").read_text(encoding="utf-8")
EXAMPLE, OTHERS = (yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL))
QUICK: dict[str, dict[str, Any]] = {
    "vanilla": {},
    "distribution_guidance": {"labels_per_class": 10},
    "attribute_switching": {"minibatch": 4, "minibatches": 1},
}


def test_the_example_suite_runs_on_a_pipeline(tmp_path: Path) -> None:
    stable_diffusion(tmp_path, sample_size=16)
    assert [m["name"] for m in EXAMPLE["methods"]] == list(QUICK)
    quick = {
        "model": {**EXAMPLE["model"], "name": f"path:{tmp_path / 'saved'}", "label": "tiny"},
        "n": 6,
        "guidance_batch": 3,
        "sampler": {"name": "ddim", "steps": 2},
        "methods": [{"name": name, "with": fields} for name, fields in QUICK.items()],
        "labelled": "avatars-heldout",
        "classifier_may_guide": True,
    }
    quick["methods"].append({"name": "universal_guidance", "with": {"classifier": "attribute_cnn"}})
    suite = Suite.model_validate({**EXAMPLE, **quick})
    path = tmp_path / "suite.yaml"
    path.write_text(yaml.safe_dump(suite.model_dump(mode="json", by_alias=True, exclude_unset=True)))
    foreseen = forecast_run(read_suite(str(path)), Options(tmp_path / "out", workers=1))
    assert [row.left for row in foreseen.rows] == [6, 6, 6, 0]
    assert [bool(row.skipped) for row in foreseen.rows] == [False, False, False, True]
    outcome = run(read_suite(str(path)), Options(tmp_path / "out", workers=1))
    assert not outcome.failed
    ((status, where, reason),) = outcome.problems
    assert (status, where) == ("skipped", "eyeglasses uniform, universal_guidance, seed 0")
    assert re.search(r"32 x 32|32x32|32, 32", reason), reason
    assert foreseen.rows[-1].skipped == reason
    with (tmp_path / "out" / "glasses" / "results.csv").open(newline="") as f:
        rows = list(csv.DictReader(f))
    assert {r["model"] for r in rows} == {"tiny"}
    found = {r["method"]: r["status"] for r in rows if r["metric"] in ("fd_l2_hard", "")}
    assert found == {**dict.fromkeys(QUICK, "ok"), "universal_guidance": "skipped"}


@pytest.mark.parametrize("given", ["a-model", {"name": "a-model", "with": {"decode_batch": 2}}])
def test_a_model_is_written_as_it_was_given(given: Any) -> None:
    choice = ModelChoice.model_validate(given)
    assert choice.model_dump(mode="json", by_alias=True, exclude_unset=True) == given
    assert ModelChoice.model_validate(choice.model_dump(by_alias=True)) == choice


def families() -> dict[str, Any]:
    return {name: importlib.import_module(f"bench.models.{f.module}").Model for name, f in PIPELINES.items()}


def test_the_table_names_every_pipeline_and_its_fields() -> None:
    rows = [line.split("|")[1:-1] for line in PAGE.split("\n## ")[0].splitlines() if line.startswith("| `")]
    said: dict[str, list[str]] = {}
    for names, _, _, fields in rows:
        listed = re.findall(r"`(\w+)`", fields) or (list(said.values())[-1] if "same" in fields else [])
        said |= dict.fromkeys(re.findall(r"`(\w+)`", names), listed)
    shared, latent = (re.findall(r"`(\w+)`", part) for part in re.findall(r"All have (.*?)all but(.*)\.", PAGE)[0])
    beside = {
        name: [*shared, *latent]
        if issubclass(made, LatentFields)
        else shared
        if issubclass(made, NetworkFields)
        else []
        for name, made in families().items()
    }
    found = {name: {f.name for f in dataclasses.fields(made)} for name, made in families().items()}
    assert {name: {*own, *beside[name]} for name, own in said.items()} == found


def test_the_other_examples_are_models_with_fields_that_their_families_have() -> None:
    choices = [ModelChoice.model_validate(entry["model"]) for entry in OTHERS]
    made = (("DDPM", 0), ("LDM", 1), ("DiT", 2), ("StableDiffusionXL", 3))
    for pipeline, i in made:
        fill(families()[f"{pipeline}Pipeline"], choices[i].fields, "model", choices[i].name)
    assert len(choices) == len(made)
