"""run.json beside a run's tables: what was run, with what, on what, and when."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Literal

import yaml
from pydantic import JsonValue, ValidationError

from bench.core.errors import ConfigError
from bench.core.yaml_models import Strict, describe

NAME = "run.json"
FORMAT: Literal[1] = 1  # of the file; raise it when a key changes its meaning


class RunRecord(Strict):
    """The record that a run leaves of itself.

    Attributes:
        format: `FORMAT`.
        suite: the resolved suite, every default filled in; `bench.config.suite.Suite` reads it.
        options: what decides how a suite is run but not its numbers: workers, executor and the like.
        protocol: `bench.engine.keys.PROTOCOL` at the time.
        bench_version: version of the installed package, "source" of a checkout.
        commit: of the source tree, "+" behind it where it had changes; "" where it is no git checkout.
        python: version of Python.
        packages: distribution to version, of every package whose version can change a number.
        hardware: what the run was computed on, such as "cpu", "gpu", "capability".
        device: the torch device, such as "cpu" or "cuda".
        started: start of the run, with its time zone.
        ended: end of the run, with its time zone.
        plugins: the plug-ins of other packages that the suite names, such as "method mirrored", each to its `package`,
            `version` and the `sha256` of its source.
    """

    format: Literal[1] = FORMAT
    suite: dict[str, JsonValue]
    options: dict[str, JsonValue]
    protocol: int
    bench_version: str
    commit: str
    python: str
    packages: dict[str, str]
    hardware: dict[str, JsonValue]
    device: str
    started: datetime
    ended: datetime
    plugins: dict[str, JsonValue]

    def to_json(self) -> str:
        """Return the text of run.json: indented, keys in the order above, the same for the same record."""
        return json.dumps(self.model_dump(mode="json"), indent=2, allow_nan=False) + "\n"


def read_run_record(path: Path) -> RunRecord:
    """Read a run.json.

    Raises:
        ConfigError: the file cannot be read, is no JSON, or a key is missing, unknown or of another kind; one sentence
            with file, line and key.
    """
    try:
        text = path.read_text(encoding="utf-8")
        value = json.loads(text)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(f"cannot read {path}: {reason}; restore the file that the run wrote") from error
    except json.JSONDecodeError as error:
        raise ConfigError(
            f"{path}, line {error.lineno}: must be JSON: {error.msg}; restore the file that the run wrote"
        ) from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(
            f"{path}: must be JSON with usual numbers and depth; restore the file that the run wrote"
        ) from error
    if not isinstance(value, dict):
        raise ConfigError(
            f"{path}: must hold a JSON object, got {type(value).__name__}; restore the file that the run wrote"
        )
    try:
        return RunRecord.model_validate(value)
    except ValidationError as error:
        sentence = describe(error, RunRecord, str(path), yaml.compose(text, Loader=yaml.SafeLoader))
        raise ConfigError(f"{sentence}; restore the file that the run wrote") from error
