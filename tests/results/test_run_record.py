"""run.json: what a run records of itself is read back, and refused in one sentence where it is something else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench.core.errors import ConfigError
from bench.results.run_record import RunRecord, read_run_record


def record(**changes: Any) -> dict[str, Any]:
    return {
        "format": 1,
        "suite": {"suite": "quick", "n": 200, "seeds": [0]},
        "options": {"workers": 2},
        "protocol": 2,
        "bench_version": "source",
        "commit": "c" * 40,
        "python": "3.12.3",
        "packages": {"torch": "2.14.1", "numpy": "2.3.0"},
        "hardware": {"cpu": "EPYC", "cores": 2},
        "device": "cpu",
        "started": "2026-11-28T09:00:00Z",
        "ended": "2026-11-28T09:10:00Z",
        "plugins": {},
        **changes,
    }


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    written = RunRecord.model_validate(record())
    path = tmp_path / "run.json"
    path.write_text(written.to_json(), encoding="utf-8")
    assert read_run_record(path) == written
    assert json.loads(path.read_text())["suite"] == {"suite": "quick", "n": 200, "seeds": [0]}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "FILE, line 1: must be JSON: Expecting value"),
        ('{\n"format": 1,\n}', "FILE, line 3: must be JSON: Expecting property name"),
        ("[]", "FILE: must hold a JSON object, got list"),
        (json.dumps(record(format=2), indent=2), "FILE, line 2: format: input should be 1, got 2"),
        (json.dumps(record(devise="cpu"), indent=2), "unknown key 'devise'; did you mean 'device'?"),
        (json.dumps(record(protocol="two"), indent=2), "protocol: input should be a valid integer"),
        (json.dumps({k: v for k, v in record().items() if k != "suite"}), "suite: field required"),
        ("[" * 100_000, "FILE: must be JSON with usual numbers and depth"),
    ],
)
def test_what_is_no_record_is_refused(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "run.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as refused:
        read_run_record(path)
    assert sentence in str(refused.value).replace(str(path), "FILE")
    assert str(refused.value).endswith("restore the file that the run wrote")
    assert "\n" not in str(refused.value)


def test_no_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read .*run\.json: No such file"):
        read_run_record(tmp_path / "run.json")
