"""A run records itself: run.json names everything that decided its numbers, and can be run again."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from bench.config.suite import Suite, read_suite
from bench.core.attributes import Attribute
from bench.core.errors import ConfigError
from bench.engine.cells import cells
from bench.engine.options import Options
from bench.engine.record import run_record
from bench.results.run_record import read_run_record

GLASSES = Attribute("eyeglasses", ("absent", "present"))
SUITE = {
    "suite": "recorded",
    "model": {"name": "avatars-unet", "label": "small"},
    "n": 8,
    "guidance_batch": 4,
    "tasks": [{"attributes": ["eyeglasses"], "target": [0.25, 0.75]}],
    "methods": [{"name": "vanilla"}, {"name": "distribution_guidance", "label": "strong", "with": {"scale": 200}}],
    "data": {"faces": {"name": "avatars-balanced", "n": 50}},
    "labelled": "avatars-labelled",
    "references": {"faces": 20},
    "judge": "attribute_resnet",
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The record of a run of SUITE, written as a run writes it."""
    options = Options(tmp_path, only={"method": {"vanilla", "strong"}}, compute_batch=4)
    record = run_record(Suite.model_validate(SUITE), options, datetime.now(UTC))
    path = tmp_path / "run.json"
    path.write_text(record.to_json())
    return path


def test_a_record_names_software_hardware_and_options(file: Path) -> None:
    record = read_run_record(file)
    assert record.options == {"only": {"method": ["strong", "vanilla"]}, "device": "cpu", "compute_batch": 4}
    assert {"torch", "diffusers", "numpy", "dicebear-core"} <= record.packages.keys()
    assert record.hardware.keys() == {"cpu", "cpu_capability", "cores", "gpu"}
    assert record.hardware["gpu"] is None
    assert record.started <= record.ended


def test_the_recorded_suite_has_every_default_and_spans_the_same_cells(file: Path) -> None:
    given, recorded = Suite.model_validate(SUITE), read_suite(str(file))
    assert recorded.classifier == given.classifier
    assert [m.title for m in recorded.methods] == ["vanilla", "strong"]
    assert cells(recorded, (GLASSES,)) == cells(given, (GLASSES,))
    assert recorded.methods[1].fields["scale"] == 200
    assert "loss" in recorded.methods[1].fields, "a default of the method"
    assert {"sampler", "seeds", "features", "statistics"} <= read_run_record(file).suite.keys()
    assert recorded.source("faces") == given.source("faces")


def test_a_record_without_a_suite_is_refused_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"format": 1}')
    with pytest.raises(ConfigError, match=r"run\.json: suite: field required"):
        read_suite(str(tmp_path / "run.json"))
