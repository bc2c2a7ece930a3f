"""Values claimed by papers, read from a CSV that the user writes: method, task, value, citation and metric."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.core.csv_text import read_csv_lines
from bench.core.errors import ConfigError, UnknownName
from bench.core.plugins import names
from bench.results.key import Task
from bench.results.run import Run

COLUMNS = ("method", "task", "value", "citation")
METRIC = "metric"  # a fifth column, which may be left out
NEAR = 0.85  # a name this like one of the run's is taken for a misspelling
KEY = re.compile(r"@([A-Za-z0-9][A-Za-z0-9:_.+/-]*)")


@dataclass(frozen=True)
class Claim:
    """A value as its source prints it.

    Attributes:
        value: the number's text.
        citation: a text, or "@KEY" for an entry of a bibliography.
        metric: what the value is of; "" where the file does not say.
    """

    value: str
    citation: str
    metric: str = ""


def read_claims(path: Path, run: Run) -> dict[tuple[Task, str], Claim]:
    """Read the claims of a file, by task and method. Its methods need not be among those of the run.

    Raises:
        UnknownName: the run does not have a task, or a method's name is a misspelling of one of the run's.
        ConfigError: the file cannot be read or has another header, a value is not a finite number, a citation is
            missing, the claims are of several metrics, or a method and task occur twice; the sentence names file and
            line.
    """
    advice = f"give a CSV with the columns {', '.join(COLUMNS)}, and {METRIC} where the values are of another metric"
    lines = [(line, row) for line, row in read_csv_lines(path, advice) if any(row)]
    header = [name.strip() for name in lines[0][1]] if lines else []
    if header not in ([*COLUMNS], [*COLUMNS, METRIC]):
        got = ", ".join(header) or "nothing"
        raise ConfigError(f"{path}, line 1: must be the header {','.join(COLUMNS)} or with ,{METRIC}, got {got:.80}")
    claims: dict[tuple[Task, str], Claim] = {}
    for number, row in lines[1:]:
        where = f"{path}, line {number}"
        if len(row) != len(header):
            raise ConfigError(f"{where}: must have {len(header)} fields ({', '.join(header)}), got {len(row)}")
        method, task, value, citation, *metrics = (field.strip() for field in row)
        key = (_task(where, task, run.tasks), method)
        if _is_misspelt(method, run.methods):
            raise UnknownName(f"method in {where}", method, run.methods)
        if key in claims:
            raise ConfigError(f"{where}: {method} on {task} is claimed twice; remove one line")
        claims[key] = claim = Claim(_checked(where, value), citation, *metrics)
        first = next(iter(claims.values())).metric
        if claim.metric != first:
            raise ConfigError(
                f"{where}: the claims of a file must be of one metric, got {first!r} and {claim.metric!r}"
            )
        if not citation:
            raise ConfigError(f"{where}: citation must name the source of the value, got nothing")
    return claims


def _is_misspelt(method: str, existing: Sequence[str]) -> bool:
    if not method or method in existing or method in names("method"):
        return not method
    return bool(difflib.get_close_matches(method, existing, 1, NEAR))


def cited(citation: str) -> str | None:
    """Return the bibliography key of a citation "@KEY"; None where it is a text."""
    key = KEY.fullmatch(citation)
    return key.group(1) if key else None


def _task(where: str, name: str, tasks: Sequence[Task]) -> Task:
    meant = [task for task in tasks if task.answers(name)]
    if not meant:
        raise UnknownName(f"task in {where}", name, [task.name for task in tasks])
    if len(meant) > 1:
        raise ConfigError(f"{where}: task {name!r} may be {' or '.join(task.name for task in meant)}; name one")
    return meant[0]


def _checked(where: str, value: str) -> str:
    try:
        good = (
            math.isfinite(float(value)) and value.isascii() and "_" not in value
        )  # float accepts more than LaTeX does
    except ValueError:
        good = False
    if not good:
        raise ConfigError(f"{where}: value must be a finite number, got {value!r:.40}")
    return value
