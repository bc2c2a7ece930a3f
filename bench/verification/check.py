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
        name: the subject of the check.
        verdict: "not checkable" where this machine lacks what the check needs.
        what: the differences, or the reason that the check was impossible.
    """

    name: str
    verdict: Verdict
    what: str


def classified(name: str, wrong: Sequence[str], fine: str, unchecked: Sequence[str] = ()) -> Check:
    """Return the check of many things: differs where any is wrong, not checkable where any could not be checked.

    Args:
        name: of the check.
        wrong: differences, a clause each.
        fine: the text where nothing is wrong.
        unchecked: reasons that some could not be checked, a clause each.
    """
    if wrong:
        return Check(name, "differs", _some(wrong))
    if unchecked:
        return Check(name, "not checkable", _some(unchecked))
    return Check(name, "ok", fine)


def _some(clauses: Sequence[str]) -> str:
    different = list(dict.fromkeys(clauses))
    further = f"; and {len(different) - SHOWN} more" if len(different) > SHOWN else ""
    return "; ".join(different[:SHOWN]) + further
