"""Strict reading of JSON files that a user gave."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from bench.core.errors import ConfigError


def read_object(path: Path, hint: str, unbounded: tuple[str, ...] = ()) -> dict[str, Any]:
    """Read the JSON object of a file; NaN and infinity, which JSON does not have, are refused.

    Args:
        path: the file.
        hint: what to do if there is no such file, for the error's sentence.
        unbounded: keys that are left out of the object where they are infinite.

    Returns:
        The object; its values are what `json` makes of them.

    Raises:
        ConfigError: the file is missing or unreadable, is not JSON, or holds no object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(value, dict):
            value = {k: v for k, v in value.items() if k not in unbounded or v not in (math.inf, -math.inf)}
        json.dumps(value, allow_nan=False)  # Python reads NaN and 1e999, which could not be hashed as JSON
    except FileNotFoundError:
        raise ConfigError(f"no file {path}; {hint}") from None
    except (OSError, ValueError, RecursionError) as error:  # RecursionError: nested too deeply
        raise ConfigError(f"cannot read {path}: {error}; copy it again from where it came") from error
    if not isinstance(value, dict):
        raise ConfigError(f"{path} must hold a JSON object, got {type(value).__name__}")
    return value
