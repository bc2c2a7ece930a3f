"""Values claimed by papers, read from a CSV that the user writes: method, task, value, citation."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.core.csv_text import read_csv_lines
from bench.core.errors import ConfigError, UnknownName
from bench.results.key import Task
from bench.results.run import Run

COLUMNS = ("method", "task", "value", "citation")
KEY = re.compile(r"@([A-Za-z0-9][A-Za-z0-9:_.+/-]*)")


@dataclass(frozen=True)
class Claim:
    """A value as its source prints it, with its citation: a text, or "@KEY" for an entry of a bibliography."""

    value: str
    citation: str


def read_claims(path: Path, run: Run) -> dict[tuple[Task, str], Claim]:
    """Read the claims of a file, by task and method.

    Raises:
        UnknownName: the run does not have a method or task.
        ConfigError: the file cannot be read or has another header, a value is not a finite number, a citation is
            missing, or a method and task occur twice; the sentence names file and line.
    """
    advice = f"give a CSV with the columns {', '.join(COLUMNS)}"
    lines = [(line, row) for line, row in read_csv_lines(path, advice) if any(row)]
    if not lines or [name.strip() for name in lines[0][1]] != list(COLUMNS):
        got = ", ".join(lines[0][1]) if lines else "nothing"
        raise ConfigError(f"{path}, line 1: must be the header {','.join(COLUMNS)}, got {got:.80}")
    claims: dict[tuple[Task, str], Claim] = {}
    for number, row in lines[1:]:
        where = f"{path}, line {number}"
        if len(row) != len(COLUMNS):
            raise ConfigError(f"{where}: must have {len(COLUMNS)} fields ({', '.join(COLUMNS)}), got {len(row)}")
        method, task, value, citation = (field.strip() for field in row)
        key = (_task(where, task, run.tasks), method)
        if method not in run.methods:
            raise UnknownName(f"method in {where}", method, run.methods)
        if key in claims:
            raise ConfigError(f"{where}: {method} on {task} is claimed twice; remove one line")
        claims[key] = Claim(_checked(where, value), citation)
        if not citation:
            raise ConfigError(f"{where}: citation must name the source of the value, got nothing")
    return claims


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
