"""One check of a results file, and its verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Verdict = Literal["ok", "differs", "not checkable"]
SHOWN = 3  # differences that a line names


@dataclass(frozen=True)
class Check:
    """A line of the report.

    Attributes:
        name: what was looked at.
        verdict: "not checkable" where this machine lacks what it takes.
        what: what was found, or why it could not be looked at.
    """

    name: str
    verdict: Verdict
    what: str


def classified(name: str, wrong: Sequence[str], fine: str, unseen: Sequence[str] = ()) -> Check:
    """The check of many things: differs where any is wrong, and is checkable where any could be looked at.

    Args:
        name: of the check.
        wrong: a clause each.
        fine: said where nothing is wrong.
        unseen: why some could not be looked at, a clause each.
    """
    if wrong:
        return Check(name, "differs", _some(wrong))
    if unseen:
        return Check(name, "not checkable", _some(unseen))
    return Check(name, "ok", fine)


def _some(clauses: Sequence[str]) -> str:
    different = list(dict.fromkeys(clauses))
    more = f"; and {len(different) - SHOWN} more" if len(different) > SHOWN else ""
    return "; ".join(different[:SHOWN]) + more
