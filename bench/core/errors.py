"""The errors a user can cause, each one a full sentence: what, expected, got, what to do.

The command line prints these without a traceback; any other exception is a defect and keeps its own.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class BenchError(Exception):
    """Base of every error that the user can mend. The CLI shows its text and exits with 2."""


class ConfigError(BenchError):
    """A value, file or combination that cannot be run as given."""


class UnknownName(ConfigError):
    """A name that nothing answers to; its text offers the nearest existing names first."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
        super().__init__(f"unknown {kind} {name!r}; {hint}known: {', '.join(names) or 'none'}")


class Incompatible(BenchError):
    """A method, model or metric lacks something the cell needs: the cell is `skipped`, with this reason."""


class Undefined(BenchError):
    """A metric has no value for these inputs: the row is `undefined`, with this reason."""


class NotFinite(BenchError):
    """A denoiser returned NaN or infinity: the cell is `failed`, with this reason."""
