"""The one reader of run tables: leaderboard.csv, costs.csv and prompts.csv, and files written under earlier names."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.core.csv_text import to_csv
from bench.core.errors import ConfigError
from bench.results.key import Key
from bench.results.run import Run
from bench.results.tables import RENAMED_COLUMNS, read_records
from tests.support.runs import Call, caller, classified, half_and_half, score, write_run

QUICK = Path(__file__).parents[2] / "leaderboards" / "quick"


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    return caller(monkeypatch, capsys)


def table(folder: Path, text: str) -> Path:
    path = folder / "costs.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_apostrophe_of_a_label_is_no_part_of_it(tmp_path: Path) -> None:
    path = table(tmp_path, to_csv([{"task": "t", "method": label, "seed": 0} for label in ("-strong", "=1", "'=1")]))
    assert [row["method"] for row in read_records(path, ("task", "method"))] == ["-strong", "=1", "'=1"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "FILE holds no rows"),
        ("task,method\n", "FILE holds no rows"),
        ("task,method\na\n", "FILE, line 2: must have 2 fields, as many as line 1, got 1"),
        ("task,method\na,b,c\n", "FILE, line 2: must have 2 fields, as many as line 1, got 3"),
        ("task,task\na,b\n", "FILE, line 1: two columns are called 'task'"),
        ("task,n\na,b\n", "FILE, line 1: no column 'method'"),
        ('task,method\na,"b\n', "FILE, line 2: no CSV: unexpected end of data"),
        ("task,method\na,\x1b[2J\n", "FILE, line 2, column method: must hold no terminal's command"),
    ],
)
def test_what_is_no_table_is_refused_in_one_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    path = table(tmp_path, text)
    with pytest.raises(ConfigError) as refused:
        read_records(path, ("task", "method"))
    assert sentence in str(refused.value).replace(str(path), "FILE")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(("text", "must"), [("x", "must be a finite number or blank"), ("inf", "must be a finite")])
def test_a_number_names_file_line_and_column(tmp_path: Path, text: str, must: str) -> None:
    path = table(tmp_path, f"task,seconds\na,1.5\nb,{text}\nc,\n")
    rows = read_records(path, ("task",))
    assert rows[0].number("seconds") == 1.5
    assert rows[2].number("seconds") is None
    with pytest.raises(ConfigError, match=rf"costs\.csv, line 3, column seconds: {must}"):
        rows[1].number("seconds")
    with pytest.raises(ConfigError, match=r"line 4, column seconds: must be a finite number, got ''"):
        rows[2].required("seconds")
    with pytest.raises(ConfigError, match=r"line 2, column seconds: must be a whole number, got '1\.5'"):
        rows[0].whole("seconds")


def old_names(path: Path) -> Path:
    """Give the columns and metrics of a results.csv the names that they had before."""
    head, _, rows = path.read_text().partition("\n")
    old = {new: name for name, new in RENAMED_COLUMNS.items()}
    names = [old.get(name, name) if not name.startswith("fd_") else name for name in head.split(",")]
    rows = rows.replace(",paired_cosine_", ",twin_cosine_").replace(",paired_distance_", ",twin_distance_")
    path.write_text(f"{','.join(names)}\n{rows}")
    return path


def test_a_file_of_earlier_names_is_read_under_todays(tmp_path: Path) -> None:
    scores = [*classified("vanilla", half_and_half(200, 46)), score("vanilla", "paired_cosine_x", "all", 0.2, 0.1)]
    new = Run.open(write_run(tmp_path / "new", scores))
    old = Run.open(old_names(write_run(tmp_path / "old", scores)))
    text = old.file.read_text()
    assert "judge_sha256" in text
    assert "twin_cosine_x" in text
    assert old.rows.equals(new.rows)
    assert old.value(Key(new.tasks[0], "vanilla", "paired_cosine_x", "all")) is not None


def test_an_old_baseline_still_gates(tmp_path: Path, call: Call) -> None:
    scores = [*classified("vanilla", half_and_half(200, 46)), score("vanilla", "paired_cosine_x", "all", 0.2, 0.1)]
    new, old = write_run(tmp_path / "new", scores), old_names(write_run(tmp_path / "old", scores))
    gates = tmp_path / "gates.yaml"
    gates.write_text("metrics:\n  fd_l2_hard: {absolute: 0.05, judge: ''}\n  paired_cosine_*: {relative: 0.1}\n")
    code, out, _ = call("check", new, "--baseline", old, "--gates", gates)
    assert code == 0, out
    assert "passed: 2 same" in out


def test_leaderboard_columns_of_earlier_names_are_read(tmp_path: Path) -> None:
    text = (QUICK / "leaderboard.csv").read_text()
    path = tmp_path / "leaderboard.csv"
    path.write_text(text.replace("fd_noise_floor", "fd_null_bound").replace("classifier_accuracy", "judge_accuracy"))
    assert read_records(path, ()) == read_records(QUICK / "leaderboard.csv", ("fd_noise_floor", "classifier_accuracy"))
