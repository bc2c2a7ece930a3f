"""A run as the new baseline, and what changes with it."""

from __future__ import annotations

import json
from pathlib import Path

from bench.core.errors import ConfigError
from bench.core.value import Value
from bench.results.read import ONE_RUN
from bench.results.run import Run
from bench.storage.files import write_bytes

SETTINGS = (*ONE_RUN, "classifier", "classifier_sha256", "bench_version", "commit")


def update(new: Run, file: Path) -> list[str]:
    """Write the run's results.csv as the baseline, with its costs.csv beside it, and return one line per change.

    Raises:
        ConfigError: the run is the baseline itself, or a file cannot be read or written.
    """
    lines = changes(new, Run.open(file)) if file.exists() else ["there was none"]
    if file.is_dir():
        file = file / "results.csv"
    if file.resolve() == new.file.resolve():
        raise ConfigError(f"{file} is the run's own results.csv; name another file as the baseline to update")
    costs = new.file.parent / "costs.csv"
    if costs.is_file():
        write_bytes(file.parent / "costs.csv", costs.read_bytes())
    write_bytes(file, new.file.read_bytes())
    return lines


def changes(new: Run, baseline: Run) -> list[str]:
    """Return a line per change: settings of the whole run, methods and their fields, then every number that moved."""
    lines = []
    for column in SETTINGS:
        before, after = baseline.rows[column].iloc[0], new.rows[column].iloc[0]
        if before != after:
            lines.append(f"{column}: {before} -> {after}")
    for method in dict.fromkeys((*baseline.methods, *new.methods)):
        lines += _of_method(new, baseline, method)
    for key in dict.fromkeys((*baseline.by_key, *new.by_key)):
        before, after = (_text(run.value(key)) for run in (baseline, new))
        if before != after:
            lines.append(f"{key.task.name}, {key.method}: {key.label}: {before} -> {after}")
    return lines


def _of_method(new: Run, baseline: Run, method: str) -> list[str]:
    if method not in baseline.methods or method not in new.methods:
        return [f"{method}: {'added' if method in new.methods else 'removed'}"]
    rows = (next(row for row in run.cells if row.method == method) for run in (baseline, new))
    before, after = ({"method_file": row.method_file, **json.loads(row.fields)} for row in rows)
    names = [name for name in dict.fromkeys((*before, *after)) if before.get(name) != after.get(name)]
    return [f"{method}: {name} {before.get(name)} -> {after.get(name)}" for name in names]


def _text(value: Value | None) -> str:
    return "none" if value is None else f"{value.value:.6g}"
