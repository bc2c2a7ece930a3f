"""Errors that a user can cause, each a full sentence: what, expected, got, what to do.

The command line prints them without a traceback; any other exception is a defect and keeps its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class BenchError(Exception):
    """Base class of errors that the user can fix. The command line prints the text and exits with code 2."""


class ConfigError(BenchError):
    """A value, file or combination that cannot be run."""


class UnknownName(ConfigError):
    """An unknown name; the text offers the nearest existing names first."""

    def __init__(self, kind: str, name: str, existing: Iterable[str]) -> None:
        names = sorted(existing)
        near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
        super().__init__(f"unknown {kind} {name!r}; {hint}known: {', '.join(names) or 'none'}")


class Incompatible(BenchError):
    """A method, model or metric lacks something that the cell needs: the cell is `skipped` for this reason."""


class Undefined(BenchError):
    """A metric has no value for these inputs: the row is `undefined` for this reason."""


class NotFinite(BenchError):
    """A network returned NaN or infinity: the cell is `failed` for this reason."""
