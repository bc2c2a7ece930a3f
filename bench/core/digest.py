"""Hashes of content: SHA-256 of JSON-able values and of files."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

_SORTED = json.JSONEncoder(sort_keys=True, allow_nan=False)


def digest_of(value: object) -> str:
    """Return the SHA-256 of a JSON-able value, independent of the order of keys.

    Args:
        value: what `json` encodes: dictionaries with string keys, lists, tuples, strings, finite numbers, None.

    Returns:
        64 hexadecimal digits.

    Raises:
        TypeError: the value holds something that JSON has no form for.
        ValueError: it holds a number that is not finite.

    >>> digest_of({"a": 1, "b": [2]}) == digest_of({"b": (2,), "a": 1})
    True
    """
    return hashlib.sha256(_SORTED.encode(value).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, 64 hexadecimal digits.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()
