"""results.csv is read once, in one place, and refused where it cannot be what a run wrote."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.core.attributes import target_name
from bench.core.errors import ConfigError
from bench.results.key import Task
from bench.results.read import COLUMNS, read_results, target_text
from tests.support.runs import classified, failed, half_and_half, read_rows, score, undefined, write_run

QUICK = Path(__file__).parents[2] / "leaderboards" / "quick"
Rows = list[dict[str, Any]]


def rows() -> Rows:
    found = [*classified("vanilla", half_and_half(200, 46)), score("vanilla", "frechet_x", "balanced", 473.0, 27.0)]
    return [*found, undefined("vanilla", "epsilon_x", "eyeglasses", "no class was asked for")]


def test_the_committed_results_are_read_to_the_same_numbers() -> None:
    frame, text = read_results(QUICK), read_rows(QUICK / "results.csv")
    assert len(frame) == len(text)
    assert set(COLUMNS) <= set(frame.columns)
    for column in ("value", "ci_low", "ci_high"):
        found = ["" if np.isnan(v) else repr(float(v)) for v in frame[column]]
        assert found == [row[column] for row in text]
    assert frame.index[0] == 2  # the line in the file
    assert frame["seed"].dtype == np.int64
    assert frame["guided_by_classifier"].dtype == bool


def test_blank_numbers_are_missing_and_the_apostrophe_of_the_writer_goes(tmp_path: Path) -> None:
    odd = score("'=1+1", "frechet_x", "'quoted", 1.0, 0.5)
    frame = read_results(write_run(tmp_path, [odd, failed("broken", "the denoiser returned NaN")]))
    assert frame["method"].tolist() == ["=1+1", "broken"]
    assert frame["scope"].iloc[0] == "'quoted"
    assert np.isnan(frame["noise_floor"].iloc[0])
    assert np.isnan(frame["value"].iloc[1])
    assert frame["n"].isna().tolist() == [False, True]


def test_texts_that_differ_by_the_writers_apostrophe_alone_are_one(tmp_path: Path) -> None:
    texts = ["'=1", "=1", "'1"]
    found = [score(text, "frechet_x", "y", 1.0, 0.5) | {"seed": i} for i, text in enumerate(texts)]
    frame = read_results(write_run(tmp_path, found))
    assert frame["method"].tolist() == ["=1", "=1", "'1"]
    assert frame["method"].nunique() == 2


def test_tasks_are_named_as_in_the_leaderboard_also_in_files_without_the_column(tmp_path: Path) -> None:
    shares = ["0.5/0.5", "0.1/0.9", "0.166667/0.833333"]
    found = [score("vanilla", "frechet_x", "y", 1.0, 0.5) | {"target": target} for target in shares]
    frame = read_results(write_run(tmp_path, found))
    names = ["eyeglasses uniform", "eyeglasses 10/90", "eyeglasses 16.6667/83.3333"]
    assert frame["task"].tolist() == names
    again = [row | {"task": name} for row, name in zip(found, names, strict=True)]
    assert read_results(write_run(tmp_path / "named", again))["task"].tolist() == names
    again[1]["task"] = "eyeglasses 90/10"
    with pytest.raises(ConfigError, match=r"line 3, column task: must be 'eyeglasses 10/90', got 'eyeglasses 90/10'"):
        read_results(write_run(tmp_path / "wrong", again))


@given(st.lists(st.floats(0.001, 1.0), min_size=2, max_size=7))
def test_every_table_gives_a_target_the_same_name(weights: list[float]) -> None:
    """leaderboard.csv names a task by its target, readers of results.csv by the six digits that this has."""
    target = tuple((np.array(weights) / sum(weights)).tolist())
    assert Task("a", target_text(target)).name == f"a {target_name(target)}"


def put(line: int, column: str, value: Any) -> Callable[[Rows], Rows]:
    def change(found: Rows) -> Rows:
        found[line - 2][column] = value
        return found

    return change


WRONG: dict[str, tuple[Callable[[Rows], Rows], str]] = {
    "words for a number": (
        put(3, "value", "high"),
        "line 3, column value: must be a finite number or blank, got 'high'",
    ),
    "infinite": (put(3, "ci_high", "inf"), "line 3, column ci_high: must be a finite number or blank, got 'inf'"),
    "not a number": (put(4, "value", "nan"), "line 4, column value: must be a finite number or blank, got 'nan'"),
    "no value": (put(2, "value", ""), "line 2, column value: must be a number where status is ok"),
    "a value of none": (put(9, "value", 0.5), "line 9, column value: must be blank where status is not ok"),
    "unknown status": (
        put(5, "status", "fine"),
        "line 5, column status: must be one of ok, undefined, skipped, failed",
    ),
    "ends swapped": (put(8, "ci_low", 600.0), "line 8, column ci_low: must be at most the value 473, got 600"),
    "ends below": (put(8, "ci_high", 470.0), "line 8, column ci_high: must be at least the value 473, got 470"),
    "one end": (put(8, "ci_high", ""), "line 8, column ci_high: must be there if and only if ci_low is"),
    "half a seed": (put(6, "seed", 0.5), "line 6, column seed: must be a whole number from 0 to 2^53, got '0.5'"),
    "no seed": (put(6, "seed", ""), "line 6, column seed: must be a whole number from 0 to 2^53, got ''"),
    "negative n": (put(6, "n", -3), "line 6, column n: must be a whole number from 0 to 2^53, got '-3'"),
    "no n": (put(6, "n", ""), "line 6, column n: must be a number where status is ok"),
    "no metric": (put(8, "metric", ""), "line 8, column metric: must name the metric where status is ok"),
    "no scope": (put(8, "scope", ""), "line 8, column scope: must say over what the metric was computed"),
    "no method": (put(8, "method", ""), "line 8, column method: must not be blank"),
    "target": (put(7, "target", "0.5/0.6"), "line 7, column target: must be shares that sum to 1"),
    "target of words": (put(7, "target", "uniform"), "line 7, column target: must be shares that sum to 1"),
    "fields": (put(7, "fields", "strength=1"), "line 7, column fields: must be a JSON object, got 'strength=1'"),
    "a list": (
        put(7, "classifier_confusion", "[]"),
        "line 7, column classifier_confusion: must be a JSON object, got '[]'",
    ),
    "a flag": (
        put(7, "guided_by_classifier", "yes"),
        "line 7, column guided_by_classifier: must be True or False, got 'yes'",
    ),
    "two protocols": (put(7, "protocol", 3), "line 7, column protocol: must be one value over the whole file, got 3"),
    "two models": (put(7, "model_sha256", "f"), "line 7, column model_sha256: must be one value over the whole file"),
    "two sizes": (put(7, "n_asked", 100), "line 7, column n_asked: must be one value over the whole file, got 100"),
    "twice": (
        lambda found: [*found, found[0]],
        "line 10, column metric: the same task, method, seed, classifier, metric and scope",
    ),
    "an edited ranking_metric": (
        put(2, "value", 0.39),
        "line 2, column value: is 0.39, but the shares of the same cell give",
    ),
}


@pytest.mark.parametrize(("change", "sentence"), WRONG.values(), ids=WRONG.keys())
def test_a_file_edited_into_nonsense_is_refused(tmp_path: Path, change: Callable[[Rows], Rows], sentence: str) -> None:
    path = write_run(tmp_path, change(rows()))
    with pytest.raises(ConfigError) as refused:
        read_results(path)
    assert f"{path}, {sentence}" in str(refused.value)
    assert "restore the file that the run wrote" in str(refused.value)


def test_the_unchanged_rows_are_read(tmp_path: Path) -> None:
    assert len(read_results(write_run(tmp_path, rows()))) == 8


@pytest.mark.parametrize("column", ["method", "ci_high", "protocol", "sample_key"])
def test_a_missing_column_is_named(tmp_path: Path, column: str) -> None:
    path = write_run(tmp_path, rows())
    kept = [{k: v for k, v in row.items() if k != column} for row in read_rows(path)]
    with path.open("w", newline="") as f:
        writer = csv.DictWriter(f, list(kept[0]))
        writer.writeheader()
        writer.writerows(kept)
    with pytest.raises(ConfigError, match=f"line 1: no column '{column}'"):
        read_results(path)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "FILE holds no rows; run the suite again"),
        (b"a,b\n", "FILE holds no rows"),
        (b"a,b\n1,2\n1,2,3\n", "FILE, line 3: must have 2 fields, as many as line 1, got 3"),
        (b"a,b\n1,2\n1\n", "FILE, line 3: must have 2 fields, as many as line 1, got 1"),
        (b'a,b\n1,"2\n', "FILE, line 2: no CSV: unexpected end of data"),
        (b"a,b,a\n1,2,3\n", "FILE, line 1: two columns are called 'a'"),
        (b"\xff\xfea,b\n1,2\n", "cannot read FILE: it is not UTF-8 text"),
        (b"a,b\n1,2\n", "FILE, line 1: no column 'suite'"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path: Path, content: bytes, sentence: str) -> None:
    path = tmp_path / "results.csv"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as refused:
        read_results(path)
    assert sentence in str(refused.value).replace(str(path), "FILE")
    assert "\n" not in str(refused.value)


def test_no_run_and_an_empty_folder_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no results\.csv in .*; give the folder of a finished run"):
        read_results(tmp_path)
    with pytest.raises(ConfigError, match=r"no run at .*nowhere; give the folder of a finished run"):
        read_results(tmp_path / "nowhere")
