"""Reading results.csv: the one place where a finished run's table is read, and refused where it cannot be true."""

from __future__ import annotations

import csv
import itertools
import json
import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt
import pandas as pd

from bench.core.errors import ConfigError
from bench.core.gc_pause import gc_paused

WHOLE = ("seed", "n_asked", "guidance_batch", "steps", "protocol")
NUMBERS = ("value", "ci_low", "ci_high", "noise_floor", "eta", "nfe_per_image", "backward_per_image")
TEXTS = (
    *("suite", "model", "attributes", "target", "method", "metric", "scope", "status", "reason", "sampler", "spacing"),
    *(
        "precision",
        "method_file",
        "fields",
        "classifier",
        "classifier_confusion",
        "model_sha256",
        "classifier_sha256",
        "sample_key",
    ),
    *("bench_version", "commit"),
)
COLUMNS = (*TEXTS, *WHOLE, *NUMBERS, "n", "guided_by_classifier")
STATUSES = ("ok", "undefined", "skipped", "failed")
BLANK = ("metric", "scope", "reason", "bench_version", "commit")  # texts that may be
ONE_RUN = (
    *("suite", "model", "n_asked", "guidance_batch", "sampler", "steps", "eta", "spacing", "precision"),
    *("model_sha256", "protocol"),
)
KEY = ("attributes", "target", "method", "seed", "classifier", "metric", "scope")
APOSTROPHE = re.compile(r"^'(?=\s*[=+\-@])")
ROUNDING = 1e-9  # relative; an interval's end may miss its value by that much
LARGEST = 2.0**53  # above it a float64 does not hold every whole number
COMMAND = re.compile(r"[\x1b\x80-\x9f]")  # begins what a terminal obeys
SHARES = 1e-5  # a target is written with six digits
BLOCK = 1000  # lines that are held as lists of texts at a time


def results_file(run: Path) -> Path:
    """The results.csv of a run, given its folder or the file itself.

    Raises:
        ConfigError: neither is there.
    """
    if run.is_dir():
        if not (run / "results.csv").is_file():
            raise ConfigError(
                f"no results.csv in {run}; give the folder of a finished run, such as leaderboards/quick, or its CSV"
            )
        return run / "results.csv"
    if not run.is_file():
        raise ConfigError(f"no run at {run}; give the folder of a finished run, such as leaderboards/quick, or its CSV")
    return run


@gc_paused()
def read_results(path: Path) -> pd.DataFrame:
    """The rows of a results.csv, one a cell and score, checked.

    Args:
        path: the file, as `bench.engine.tables.write_tables` writes it, or the folder that holds it.

    Returns:
        A frame with at least `COLUMNS`: `WHOLE` as int64, `NUMBERS` as float64 with NaN where blank, `n` as nullable
        Int64, `guided_by_classifier` as bool, everything else, further columns included, as categoricals of str; the
        index is the line in the file. A value is finite where `status` is "ok", and blank elsewhere.

    Raises:
        ConfigError: no such file, no rows, a missing column, a field that is not of its column's kind, an unknown
            status, an interval that does not hold its value, a row given twice, rows of several runs in one file, or
            a discrepancy that its own shares contradict; the sentence names file, line and column.
    """
    path = results_file(path)
    frame = _texts(path)
    missing = [c for c in COLUMNS if c not in frame.columns]
    if missing:
        raise ConfigError(
            f"{path}, line 1: no column {missing[0]!r}; give a results.csv as `run_bench.py run` writes it, all columns"
        )
    _each(path, frame, "status", lambda text: text in STATUSES, f"must be one of {', '.join(STATUSES)}")
    for column in TEXTS:
        if column not in BLANK:
            _each(path, frame, column, bool, "must not be blank")
    for column in WHOLE:
        frame[column] = _whole(path, frame, column).astype(np.int64)
    frame["n"] = _whole(path, frame, "n", blank=True)
    for column in NUMBERS:
        frame[column] = _numbers(path, frame, column)
    _each(path, frame, "guided_by_classifier", lambda text: text in ("True", "False"), "must be True or False")
    frame["guided_by_classifier"] = frame["guided_by_classifier"] == "True"
    for column in ("fields", "classifier_confusion"):
        _each(path, frame, column, _is_object, "must be a JSON object")
    _each(path, frame, "target", _is_distribution, "must be shares that sum to 1, separated by /")
    _check_values(path, frame)
    _check_one_run(path, frame)
    _check_shares(path, frame)
    return frame


def _texts(path: Path) -> pd.DataFrame:
    """Every field as text, the index the line that its row ends in."""
    try:
        with path.open(newline="", encoding="utf-8") as f:
            reader = csv.reader(f, strict=True)
            return _table(path, ((reader.line_num, row) for row in reader if row))
    except csv.Error as error:
        raise ConfigError(f"{path}, line {reader.line_num}: no CSV: {error}; restore the file") from error
    except UnicodeDecodeError:
        raise ConfigError(f"cannot read {path}: it is not UTF-8 text") from None
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror or error}") from error


def _table(path: Path, lines: Iterator[tuple[int, list[str]]]) -> pd.DataFrame:
    """Lines with their numbers, the names first, as categoricals: most texts stand in many rows, and are kept once."""
    _, names = next(lines, (0, []))
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ConfigError(f"{path}, line 1: two columns are called {twice!r}; restore the file that the run wrote")
    index: list[int] = []
    known = [defaultdict[str, int](itertools.count().__next__) for _ in names]  # of a column: text to its number
    codes: list[list[npt.NDArray[np.int32]]] = [[] for _ in names]
    while block := list(itertools.islice(lines, BLOCK)):
        for line, row in block:
            if len(row) != len(names):
                raise ConfigError(
                    f"{path}, line {line}: must have {len(names)} fields, as many as line 1, got {len(row)}; restore "
                    "the file that the run wrote"
                )
        index += [line for line, _ in block]
        for numbers, found, texts in zip(known, codes, zip(*(row for _, row in block), strict=True), strict=True):
            found.append(np.fromiter(map(numbers.__getitem__, texts), np.int32, len(texts)))
    if not index:
        raise ConfigError(f"{path} holds no rows; run the suite again, or copy the file again")
    for name in filter(COMMAND.search, names):
        _refuse(path, 1, name, f"must hold no terminal's command, got {name!r:.60}")
    columns = {name: _plain(of, np.concatenate(c)) for name, of, c in zip(names, known, codes, strict=True)}
    frame = pd.DataFrame(columns, index=index)
    for name in names:
        _each(path, frame, name, lambda text: not COMMAND.search(text), "must hold no terminal's command")
    return frame


def _plain(texts: Iterable[str], codes: npt.NDArray[np.int32]) -> pd.Categorical:
    """Without the writer's apostrophe, which keeps spreadsheets from computing a text and is no part of it."""
    places, distinct = pd.factorize(np.array([APOSTROPHE.sub("", text) for text in texts], dtype=object))
    return pd.Categorical.from_codes(places[codes], pd.Index(distinct, dtype=object))


def distinct(column: pd.Series[Any]) -> tuple[npt.NDArray[np.integer[Any]], npt.NDArray[np.object_]]:
    """Of each value of a whole column its place among the distinct ones, and these; 0.0 and -0.0 are two."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        return column.cat.codes.to_numpy(), column.cat.categories.to_numpy()
    if column.dtype == np.float64:
        places, bits = pd.factorize(column.to_numpy().view(np.int64))
        values = bits.view(np.float64).tolist()
    else:
        places, other = pd.factorize(column, use_na_sentinel=False)
        values = other.tolist()
    return places.astype(np.int32), np.array(values, dtype=object)


def _refuse(path: Path, line: Any, column: str, what: str) -> NoReturn:
    raise ConfigError(f"{path}, line {line}, column {column}: {what}; restore the file that the run wrote")


def _each(path: Path, frame: pd.DataFrame, column: str, good: Callable[[str], bool], must: str) -> None:
    places, texts = frame[column].cat.codes.to_numpy(), frame[column].cat.categories
    bad = np.array([not good(text) for text in texts])[places]
    if bad.any():
        line = frame.index[int(bad.argmax())]
        _refuse(path, line, column, f"{must}, got {frame.at[line, column]!r:.60}")


def _numbers(path: Path, frame: pd.DataFrame, column: str) -> pd.Series[float]:
    places, texts = frame[column].cat.codes.to_numpy(), frame[column].cat.categories
    blank = texts == ""
    each = pd.to_numeric(np.where(blank, "nan", texts), errors="coerce").astype(np.float64)
    bad = (~np.isfinite(each) & ~blank)[places]
    if bad.any():
        line = frame.index[int(bad.argmax())]
        _refuse(path, line, column, f"must be a finite number or blank, got {frame.at[line, column]!r:.60}")
    return pd.Series(each[places], frame.index)


def _whole(path: Path, frame: pd.DataFrame, column: str, blank: bool = False) -> pd.Series[Any]:
    values = _numbers(path, frame, column)
    bad = (values != values.round()) | (values < 0) | (values > LARGEST)
    if blank:
        bad &= values.notna()
    if bad.any():
        line = bad.idxmax()
        _refuse(path, line, column, f"must be a whole number from 0 to 2^53, got {frame.at[line, column]!r:.60}")
    return values.astype("Int64")


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def target_shares(text: str) -> np.ndarray:
    """The target of a row as float64 [K], from its shares separated by "/"."""
    return np.array([float(part) for part in text.split("/")])


def _is_distribution(text: str) -> bool:
    try:
        shares = target_shares(text)
    except ValueError:
        return False
    return bool((shares >= 0).all() and abs(shares.sum() - 1) < SHARES * shares.size)


def _check_values(path: Path, frame: pd.DataFrame) -> None:
    ok = frame["status"] == "ok"
    rules = [
        ("metric", ok & (frame["metric"] == ""), "must name the metric where status is ok"),
        ("scope", (frame["metric"] != "") & (frame["scope"] == ""), "must say over what the metric was computed"),
        ("value", ok & frame["value"].isna(), "must be a number where status is ok, got ''"),
        ("value", ~ok & frame["value"].notna(), "must be blank where status is not ok"),
        ("n", ok & frame["n"].isna(), "must be a number where status is ok, got ''"),
        ("ci_high", frame["ci_low"].isna() != frame["ci_high"].isna(), "must be there if and only if ci_low is"),
    ]
    for column, bad, what in rules:
        if bad.any():
            _refuse(path, bad.idxmax(), column, what)
    slack = ROUNDING * frame["value"].abs()
    for column, over in (("ci_low", frame["ci_low"] - frame["value"]), ("ci_high", frame["value"] - frame["ci_high"])):
        bad = over > slack
        if bad.any():
            line: Any = bad.idxmax()
            side = "at most" if column == "ci_low" else "at least"
            value, end = float(frame["value"][line]), float(frame[column][line])
            _refuse(path, line, column, f"must be {side} the value {value:g}, got {end:g}")


def _check_one_run(path: Path, frame: pd.DataFrame) -> None:
    first: Any = frame.index[0]
    for column in ONE_RUN:
        bad = frame[column] != frame.at[first, column]
        if bad.any():
            line: Any = bad.idxmax()
            _refuse(
                path,
                line,
                column,
                f"must be one value over the whole file, got {frame[column][line]!s} beside {frame[column][first]!s}"
                f" in line {first}: the rows are of several runs, which no table may mix",
            )
    twice = frame.duplicated(list(KEY))
    if twice.any():
        _refuse(
            path,
            twice.idxmax(),
            "metric",
            "the same task, method, seed, classifier, metric and scope is in an earlier line",
        )


def _check_shares(path: Path, frame: pd.DataFrame) -> None:
    """The ranking_metric of a joint is a function of its shares: a row that contradicts them was edited."""
    good = frame[(frame["status"] == "ok") & frame["metric"].isin(["fd_l2_hard", "share_hard"])]
    targets = {text: target_shares(text).tolist() for text in good["target"].unique()}
    cell = good.groupby(list(KEY[:5]), sort=False, observed=True).ngroup().to_numpy()
    shares: dict[int, list[float]] = {}
    distances: dict[int, tuple[Any, str, float]] = {}
    columns = (good[c].tolist() for c in ("metric", "attributes", "scope", "target", "value"))
    for line, k, metric, attributes, scope, target, value in zip(good.index, cell, *columns, strict=True):
        if metric == "fd_l2_hard" and scope == attributes:
            distances.setdefault(k, (line, target, value))
        elif metric == "share_hard" and scope.startswith(attributes + "="):
            shares.setdefault(k, []).append(value)
    for k, (line, target, value) in distances.items():
        wanted = targets[target]
        if len(shares.get(k, ())) == len(wanted):
            told = math.dist(shares[k], wanted)
            if abs(told - value) > SHARES * len(wanted):
                _refuse(path, line, "value", f"is {value:g}, but the shares of the same cell give {told:g}")
