"""results.csv as a checked frame: refused where it cannot be what a run wrote."""

from __future__ import annotations

import itertools
import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NoReturn

import numpy as np
import numpy.typing as npt
import pandas as pd

from bench.core.csv_text import unescape
from bench.core.design import BY_BATCH, BY_CLASS, INDEPENDENT
from bench.core.errors import ConfigError
from bench.core.gc_pause import gc_paused
from bench.results.key import Task
from bench.results.tables import ADVICE, COMMAND, current_metric, read_lines

WHOLE = ("seed", "n_asked", "guidance_batch", "steps", "protocol")
NUMBERS = ("value", "ci_low", "ci_high", "noise_floor", "eta", "nfe_per_image", "backward_per_image")
TEXTS = (
    *("suite", "model", "attributes", "target", "method", "metric", "scope", "status", "reason", "sampler", "spacing"),
    *("precision", "method_file", "fields", "classifier", "classifier_confusion", "model_sha256", "classifier_sha256"),
    *("sample_key", "bench_version", "commit", "design"),
)
COLUMNS = (*TEXTS, *WHOLE, *NUMBERS, "n", "guided_by_classifier")
STATUSES = ("ok", "undefined", "skipped", "failed")
BLANK = ("metric", "scope", "reason", "bench_version", "commit")  # texts that may be
ONE_RUN = (
    *("suite", "model", "n_asked", "guidance_batch", "sampler", "steps", "eta", "spacing", "precision"),
    *("model_sha256", "protocol"),
)
KEY = ("attributes", "target", "method", "seed", "classifier", "metric", "scope")
ROUNDING = 1e-9  # relative; an interval's end may miss its value by that much
LARGEST = 2.0**53  # above it a float64 does not hold every whole number
SHARES = 1e-5  # a target is written with six digits
BLOCK = 1000  # lines that are held as lists of texts at a time


def results_file(run: Path) -> Path:
    """Return the results.csv of a run, given its folder or the file itself.

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


def read_results(path: Path) -> pd.DataFrame:
    """Read and check the rows of a results.csv, one per cell and score.

    Args:
        path: the file, as `bench.engine.tables.write_tables` writes it, or the folder that holds it.

    Returns:
        A frame with at least `COLUMNS` and "task", the task's name in leaderboard.csv: `WHOLE` as int64, `NUMBERS` as
        float64 with NaN where blank, `n` as nullable Int64, `guided_by_classifier` as bool, everything else, further
        columns included, as categoricals of str; the index is the line in the file. A value is finite where `status` is
        "ok", and blank elsewhere.

    Raises:
        ConfigError: no such file, no rows, a missing column, a field that is not of its column's kind, an unknown
            status, an interval that does not hold its value, a row given twice, rows of several runs in one file, or
            a discrepancy that its own shares contradict; the sentence names file, line and column.
    """
    with gc_paused():
        path = results_file(path)
        frame = _texts(path)
        if "design" not in frame.columns:  # files of earlier versions, which treated all samples as independent
            frame["design"] = pd.Categorical([INDEPENDENT] * len(frame))
        missing = [c for c in COLUMNS if c not in frame.columns]
        if missing:
            raise ConfigError(
                f"{path}, line 1: no column {missing[0]!r}; give a results.csv as `run_bench.py run` writes it, "
                "all columns"
            )
        _check_texts(path, frame, "status", lambda text: text in STATUSES, f"must be one of {', '.join(STATUSES)}")
        designs = (INDEPENDENT, BY_CLASS, BY_BATCH)
        _check_texts(path, frame, "design", lambda text: text in designs, f"must be one of {', '.join(designs)}")
        for column in TEXTS:
            if column not in BLANK:
                _check_texts(path, frame, column, bool, "must not be blank")
        for column in WHOLE:
            frame[column] = _whole(path, frame, column).astype(np.int64)
        frame["n"] = _whole(path, frame, "n", blank=True)
        for column in NUMBERS:
            frame[column] = _numbers(path, frame, column)
        _check_texts(
            path, frame, "guided_by_classifier", lambda text: text in ("True", "False"), "must be True or False"
        )
        frame["guided_by_classifier"] = frame["guided_by_classifier"] == "True"
        for column in ("fields", "classifier_confusion"):
            _check_texts(path, frame, column, _is_object, "must be a JSON object")
        _check_texts(path, frame, "target", _is_distribution, "must be shares that sum to 1, separated by /")
        _name_tasks(path, frame)
        _check_values(path, frame)
        _check_one_run(path, frame)
        _check_shares(path, frame)
        return frame


def _texts(path: Path) -> pd.DataFrame:
    """Return every field as text in categoricals, since most texts stand in many rows; the index is the row's line."""
    names, lines = read_lines(path)
    index: list[int] = []
    numbers = [defaultdict[str, int](itertools.count().__next__) for _ in names]  # of a column: text to its number
    codes: list[list[npt.NDArray[np.int32]]] = [[] for _ in names]
    while block := list(itertools.islice(lines, BLOCK)):
        index += [line for line, _ in block]
        for number_of, blocks, texts in zip(numbers, codes, zip(*(row for _, row in block), strict=True), strict=True):
            blocks.append(np.fromiter(map(number_of.__getitem__, texts), np.int32, len(texts)))
    if not index:
        raise ConfigError(f"{path} holds no rows; run the suite again, or copy the file again")
    columns = {name: _plain(name, of, np.concatenate(c)) for name, of, c in zip(names, numbers, codes, strict=True)}
    frame = pd.DataFrame(columns, index=index)
    for name in names:
        _check_texts(path, frame, name, lambda text: not COMMAND.search(text), "must hold no terminal's command")
    return frame


def _plain(name: str, texts: Iterable[str], codes: npt.NDArray[np.int32]) -> pd.Categorical:
    """Return a column without the apostrophes that spreadsheets need, its metrics under today's names."""
    plain = [unescape(text) for text in texts]
    if name == "metric":
        plain = [current_metric(text) for text in plain]
    places, categories = pd.factorize(np.array(plain, dtype=object))
    return pd.Categorical.from_codes(places[codes], pd.Index(categories, dtype=object))


def _refuse(path: Path, line: int, column: str, what: str) -> NoReturn:
    raise ConfigError(f"{path}, line {line}, column {column}: {what}; {ADVICE}")


def _first(frame: pd.DataFrame, bad: pd.Series[bool] | npt.NDArray[np.bool_]) -> int:
    """Return the line of the first row that is bad."""
    return int(frame.index[int(np.asarray(bad).argmax())])


def _check_texts(path: Path, frame: pd.DataFrame, column: str, good: Callable[[str], bool], must: str) -> None:
    places, texts = frame[column].cat.codes.to_numpy(), frame[column].cat.categories
    bad = np.array([not good(text) for text in texts])[places]
    if bad.any():
        line = _first(frame, bad)
        _refuse(path, line, column, f"{must}, got {frame.at[line, column]!r:.60}")


def _numbers(path: Path, frame: pd.DataFrame, column: str) -> pd.Series[float]:
    places, texts = frame[column].cat.codes.to_numpy(), frame[column].cat.categories
    blank = texts == ""
    values = pd.to_numeric(np.where(blank, "nan", texts), errors="coerce").astype(np.float64)
    finite = np.isfinite(values)
    values[finite] = [float(text) for text in texts[finite]]  # exact; pandas before 3.1 is off in the last bit
    bad = (~finite & ~blank)[places]
    if bad.any():
        line = _first(frame, bad)
        _refuse(path, line, column, f"must be a finite number or blank, got {frame.at[line, column]!r:.60}")
    return pd.Series(values[places], frame.index)


def _whole(path: Path, frame: pd.DataFrame, column: str, blank: bool = False) -> pd.Series[int]:
    values = _numbers(path, frame, column)
    bad = (values != values.round()) | (values < 0) | (values > LARGEST)
    if blank:
        bad &= values.notna()
    if bad.any():
        line = _first(frame, bad)
        _refuse(path, line, column, f"must be a whole number from 0 to 2^53, got {frame.at[line, column]!r:.60}")
    return values.astype("Int64")


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def _name_tasks(path: Path, frame: pd.DataFrame) -> None:
    """Add the column `task` to a file of an earlier version; refuse one that its attributes and target contradict."""
    names = np.array([Task(*pair).name for pair in tasks_of(frame)], dtype=object)
    expected = names[frame.groupby(["attributes", "target"], sort=False, observed=True).ngroup().to_numpy()]
    if "task" not in frame.columns:
        frame["task"] = pd.Categorical(expected)
    wrong = frame["task"].to_numpy() != expected
    if wrong.any():
        line, name = _first(frame, wrong), expected[int(wrong.argmax())]
        _refuse(path, line, "task", f"must be {name!r}, got {frame.at[line, 'task']!r:.80}")


def tasks_of(frame: pd.DataFrame) -> list[tuple[str, str]]:
    """Return attributes and target of every task of a file, in the order of the file."""
    return list(dict.fromkeys(zip(frame["attributes"], frame["target"], strict=True)))


def target_shares(text: str) -> npt.NDArray[np.float64]:
    """Return the target of a row as float64 [K] that sums to 1, from its shares separated by "/"."""
    shares = _shares(text)
    return np.asarray(shares / shares.sum())


def target_text(target: Sequence[float]) -> str:
    """Return the text of a target in results.csv: its shares with six digits, separated by "/"."""
    return "/".join(f"{share:.6g}" for share in target)


def _shares(text: str) -> npt.NDArray[np.float64]:
    return np.array([float(part) for part in text.split("/")])


def _is_distribution(text: str) -> bool:
    try:
        shares = _shares(text)
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
            _refuse(path, _first(frame, bad), column, what)
    slack = ROUNDING * frame["value"].abs()
    for column, over in (("ci_low", frame["ci_low"] - frame["value"]), ("ci_high", frame["value"] - frame["ci_high"])):
        bad = over > slack
        if bad.any():
            line = _first(frame, bad)
            side = "at most" if column == "ci_low" else "at least"
            value, end = float(frame["value"][line]), float(frame[column][line])
            _refuse(path, line, column, f"must be {side} the value {value:g}, got {end:g}")


def _check_one_run(path: Path, frame: pd.DataFrame) -> None:
    first = int(frame.index[0])
    for column in ONE_RUN:
        bad = frame[column] != frame.at[first, column]
        if bad.any():
            line = _first(frame, bad)
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
            _first(frame, twice),
            "metric",
            "the same task, method, seed, classifier, metric and scope is in an earlier line",
        )


def _check_shares(path: Path, frame: pd.DataFrame) -> None:
    """The ranking_metric of a joint is a function of its shares: a row that contradicts them was edited."""
    good = frame[(frame["status"] == "ok") & frame["metric"].isin(["fd_l2_hard", "share_hard"])]
    targets = {text: target_shares(text).tolist() for text in good["target"].unique()}
    cell = good.groupby(list(KEY[:5]), sort=False, observed=True).ngroup().to_numpy()
    shares: dict[int, list[float]] = {}
    distances: dict[int, tuple[int, str, float]] = {}
    columns = (good[c].tolist() for c in ("metric", "attributes", "scope", "target", "value"))
    for line, k, metric, attributes, scope, target, value in zip(good.index.tolist(), cell, *columns, strict=True):
        if metric == "fd_l2_hard" and scope == attributes:
            distances.setdefault(k, (line, target, value))
        elif metric == "share_hard" and scope.startswith(attributes + "="):
            shares.setdefault(k, []).append(value)
    for k, (line, target, value) in distances.items():
        shares_of_target = targets[target]
        if len(shares.get(k, ())) == len(shares_of_target):
            distance = math.dist(shares[k], shares_of_target)
            if abs(distance - value) > SHARES * len(shares_of_target):
                _refuse(path, line, "value", f"is {value:g}, but the shares of the same cell give {distance:g}")
