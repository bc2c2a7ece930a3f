"""`run_bench.py verify`: an honest file passes every check, and each planted tampering is found."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bench.api import run_suite
from bench.config.suite import read_suite
from bench.core.errors import ConfigError
from bench.engine.keys import PROTOCOL
from bench.engine.options import Options
from bench.engine.record import resolved
from bench.results.read import read_results
from bench.results.run import Run
from bench.results.run_record import RunRecord
from bench.verification import keys
from bench.verification.check import SHOWN, classified
from bench.verification.resample import LEVELS
from bench.verification.table import check_protocol, check_rows, check_shares, exact_target
from bench.verification.tolerance import near_cell
from bench.verification.verify import suite_of
from tests.results.test_run_record import record
from tests.support.runs import Call, caller, half_and_half, read_rows, refusal, write_run
from tests.support.runs import classified as rows_of
from tests.support.small import small_suite

call = pytest.fixture(caller)
Rows = list[dict[str, Any]]
METHODS = [{"name": "vanilla"}, {"name": "universal_guidance"}]


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a suite and its run: two cells of six samples."""
    folder = tmp_path_factory.mktemp("honest")
    small = {"n": 6, "guidance_batch": 4, "sampler": {"steps": 2}, "tasks": [{"attributes": ["eyeglasses"]}]}
    suite = small_suite(folder, **small, methods=METHODS, labelled=None)
    assert not run_suite(read_suite(str(suite)), Options(folder / "out", workers=1)).problems
    return folder


@pytest.fixture
def copied(honest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it to tamper with, from sources that have not changed since."""
    monkeypatch.setattr(keys, "sources_changed", lambda _commit: False)
    for name in ("out", "model"):
        shutil.copytree(honest / name, tmp_path / name)
    shutil.copy(honest / "small.yaml", tmp_path)
    return tmp_path


def verdicts(outcome: tuple[int, str, str]) -> dict[str, str]:
    """Check to verdict, with the rest of its line."""
    _, printed, _ = outcome
    return {line.split(": ", 1)[0]: line.split(": ", 1)[1] for line in printed.splitlines()}


def rewrite(path: Path, change: Callable[[Rows], Rows]) -> None:
    rows = read_rows(path)
    with path.open("w", newline="") as f:
        writer = csv.DictWriter(f, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(change(rows))


@pytest.fixture
def verify(call: Call, copied: Path) -> Callable[..., tuple[int, str, str]]:
    """Verify the copy, once its results have been changed."""

    def run(change: Callable[[Rows], Rows] | None = None, *options: str) -> tuple[int, str, str]:
        if change is not None:
            rewrite(copied / "out" / "small" / "results.csv", change)
        return call("verify", copied / "out" / "small", "--suite", copied / "small.yaml", *options)

    return run


def test_an_honest_run_passes_every_check(verify: Callable[..., Any], copied: Path) -> None:
    before = {path: path.read_bytes() for path in (copied / "out").rglob("*") if path.is_file()}
    outcome = verify(None, "--resample", "5")
    found = verdicts(outcome)
    assert outcome[0] == 0
    assert list(found) == [
        *("table", "protocol", "shares", "rows", "sample keys", "cells", "settings", "weights", "store", "calls"),
        *("numbers", "leaderboard.csv", "images"),
    ]
    assert all(line.startswith("ok: ") for line in found.values()), found
    assert "equal to the digit" in found["numbers"]
    assert found["images"] == (
        "ok: 8 images of 2 cells drawn again (vanilla, universal_guidance): the same bytes"
    )  # whole guidance batches of four
    assert {path: path.read_bytes() for path in before} == before


def edit(metric: str, column: str, value: str) -> Callable[[Rows], Rows]:
    """Change one field of universal_guidance."""

    def change(rows: Rows) -> Rows:
        wanted = [r for r in rows if r["metric"] == metric and r["method"] == "universal_guidance"]
        wanted[0][column] = value
        return rows

    return change


def every(column: str, value: str) -> Callable[[Rows], Rows]:
    """Change a column throughout."""
    return lambda rows: [{**row, column: value} for row in rows]


def share(rows: Rows) -> Rows:
    """A share moved within its interval, so that the two no longer sum to 1."""
    row = next(r for r in rows if r["metric"] == "share_hard")
    value, low, high = (float(row[column]) for column in ("value", "ci_low", "ci_high"))
    row["value"] = repr((value + (high if high - value > 1e-6 else low)) / 2)
    return rows


def other_key(rows: Rows) -> Rows:
    """The key of the other method, which is in the store."""
    keys = {row["method"]: row["sample_key"] for row in rows}
    return [{**row, "sample_key": keys["vanilla"]} for row in rows]


def last_digit(rows: Rows) -> Rows:
    """Another last digit of a number that nothing else in the file contradicts."""
    row = next(r for r in rows if r["metric"] == "fd_l2_soft" and r["method"] == "vanilla")
    row["value"] = repr(float(np.nextafter(float(row["value"]), 2)))
    return rows


TAMPERED: dict[str, tuple[Callable[[Rows], Rows], str, str]] = {
    "a value": (last_digit, "numbers", "value of fd_l2_soft over eyeglasses of vanilla on eyeglasses 0.5/0.5 (seed 0)"),
    "a bound": (edit("fd_l2_hard", "noise_floor", "0.25"), "numbers", "noise_floor of fd_l2_hard over eyeglasses"),
    "a row deleted": (
        lambda rows: [r for r in rows if (r["metric"], r["method"]) != ("kl", "vanilla")],
        "rows",
        "vanilla on eyeglasses 0.5/0.5 (seed 0) has no row of kl over eyeglasses",
    ),
    "a row deleted from every method": (
        lambda rows: [r for r in rows if r["metric"] != "kl"],
        "numbers",
        "the file lacks kl over eyeglasses of vanilla",
    ),
    "a cell deleted": (
        lambda rows: [r for r in rows if r["method"] != "universal_guidance"],
        "cells",
        "no row of universal_guidance on eyeglasses 0.5/0.5 (seed 0), which the suite has",
    ),
    "another protocol": (every("protocol", str(PROTOCOL - 1)), "protocol", f"this bench has {PROTOCOL}"),
    "other weights": (every("model_sha256", "f" * 64), "weights", "model_sha256 of vanilla"),
    "another classifier": (every("classifier_sha256", "f" * 64), "weights", "classifier_sha256 of vanilla"),
    "other steps": (every("steps", "50"), "settings", "steps of vanilla"),
    "a field of the method": (
        lambda rows: [{**r, "fields": r["fields"].replace('"strength": 2.0', '"strength": 1.0')} for r in rows],
        "sample keys",
        "the key of universal_guidance on eyeglasses 0.5/0.5 (seed 0) is not that of its settings",
    ),
    "another method's samples": (other_key, "sample keys", "the key of universal_guidance"),
    "fewer calls": (every("nfe_per_image", "1.0"), "calls", "nfe_per_image of vanilla"),
}


@pytest.mark.parametrize(("change", "check", "words"), TAMPERED.values(), ids=TAMPERED.keys())
def test_a_tampered_file_is_found(
    verify: Callable[..., Any], change: Callable[[Rows], Rows], check: str, words: str
) -> None:
    outcome = verify(change)
    assert outcome[0] == 1
    line = verdicts(outcome)[check]
    assert line.startswith("differs: ")
    assert words in line


def nudged(part: float) -> Callable[[Rows], Rows]:
    """Move a value by a part of half the width of its interval."""

    def change(rows: Rows) -> Rows:
        row = next(r for r in rows if r["metric"] == "fd_l2_soft" and r["method"] == "vanilla")
        value, low, high = (float(row[column]) for column in ("value", "ci_low", "ci_high"))
        row["value"] = repr(value + (1 if high - value > value - low else -1) * part * (high - low) / 2)
        return rows

    return change


def test_numbers_of_another_machines_store_may_differ_by_the_tolerance_of_their_column(
    verify: Callable[..., Any], copied: Path
) -> None:
    (copied / "out" / "small" / "leaderboard.csv").unlink()
    assert "--other-machine" in verdicts(verify(nudged(0.1)))["numbers"]
    outcome = verify(None, "--other-machine")
    assert outcome[0] == 0, outcome
    assert "equal to the digit, the others within the tolerances of their columns" in verdicts(outcome)["numbers"]
    outcome = verify(nudged(0.5), "--other-machine")
    assert (outcome[0], verdicts(outcome)["numbers"].startswith("differs: value of fd_l2_soft")) == (1, True)
    assert verify(every("nfe_per_image", "1.0"), "--other-machine")[0] == 1, "counts are exact"


def test_tolerances_of_a_leaderboard_are_those_of_its_results() -> None:
    again = {"kl": "0.5", "kl_low": "0.4", "kl_high": "0.6", "n": "200", "tied_best": "yes", "nfe_per_image": "20.0"}
    for column, text, expected in (
        ("kl", "0.519", True),
        ("kl", "0.521", False),
        ("kl_low", "0.439", True),
        ("kl_high", "0.641", False),
        ("kl", "", False),
        ("n", "200.1", False),
        ("tied_best", "best", True),
        ("nfe_per_image", "20", True),
    ):
        assert near_cell(column, again, {**again, column: text}) is expected, (column, text)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (share, "the shares of the same cell give"),
        (edit("fd_l2_hard", "ci_low", "1.4"), "must be at most the value"),
        (edit("fd_l2_hard", "ci_high", "0.0"), "must be at least the value"),
        (edit("fd_l2_hard", "value", "lots"), "must be a finite number or blank, got 'lots'"),
    ],
)
def test_what_contradicts_itself_is_refused(
    verify: Callable[..., Any], copied: Path, change: Callable[[Rows], Rows], sentence: str
) -> None:
    said = refusal(verify(change))
    assert sentence in said
    assert str(copied / "out" / "small" / "results.csv") in said


def test_a_leaderboard_that_does_not_follow_is_found(verify: Callable[..., Any], copied: Path) -> None:
    def better(rows: Rows) -> Rows:
        return [{**row, "tied_best": "best"} for row in rows]

    rewrite(copied / "out" / "small" / "leaderboard.csv", better)
    outcome = verify()
    assert outcome[0] == 1
    assert verdicts(outcome)["leaderboard.csv"].startswith("differs: tied_best of ")


def shard(copied: Path, method: str) -> Path:
    """The folder of a method's first guidance batch."""
    rows = read_rows(copied / "out" / "small" / "results.csv")
    key = next(row["sample_key"] for row in rows if row["method"] == method)
    return copied / "out" / "store" / "samples" / key[:2] / key / "000000-4"


def paint(folder: Path, level: int) -> None:
    """Raise a pixel of the second image by that much, or lower it where there is no room."""
    images = np.load(folder / "images.npy")
    value = int(images[1, 0, 5, 5])
    images[1, 0, 5, 5] = value + level if value + level < 256 else value - level
    np.save(folder / "images.npy", images)


def test_an_altered_image_is_found_by_its_checksum_and_left_there(verify: Callable[..., Any], copied: Path) -> None:
    folder = shard(copied, "universal_guidance")
    paint(folder, 1)
    outcome = verify()
    assert outcome[0] == 1
    found = verdicts(outcome)
    assert found["store"] == (
        "differs: the store's arrays of universal_guidance on eyeglasses 0.5/0.5 (seed 0) do not have their checksums"
    )
    assert found["numbers"].startswith("ok: ")  # of the other cell
    assert (folder / "images.npy").is_file()


def test_an_altered_image_with_a_new_checksum_is_found_by_drawing_it_again(
    verify: Callable[..., Any], copied: Path
) -> None:
    folder = shard(copied, "vanilla")
    paint(folder, LEVELS + 1)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["sha256"]["images"] = hashlib.sha256((folder / "images.npy").read_bytes()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert verify()[0] == 0  # nothing else looks at pixels
    outcome = verify(None, "--resample", "1")
    assert outcome[0] == 1
    assert verdicts(outcome)["images"].startswith(
        f"differs: 1 of the first 4 images of vanilla on eyeglasses 0.5/0.5 (seed 0) are others, by up to {LEVELS + 1} "
    )


def test_without_a_store_the_numbers_are_not_checkable(verify: Callable[..., Any], copied: Path) -> None:
    shutil.rmtree(copied / "out" / "store" / "samples")
    outcome = verify(None, "--resample", "1")
    assert outcome[0] == 0
    found = verdicts(outcome)
    assert {name for name, line in found.items() if line.startswith("not checkable: ")} == {
        *("store", "calls", "numbers", "images"),
    }
    assert found["weights"].startswith("ok: ")


def test_the_suite_of_a_run_is_that_of_its_record(tmp_path: Path) -> None:
    run = Run.open(write_run(tmp_path, rows_of("vanilla", half_and_half(200, 46))))
    assert suite_of(run)[0] is None
    suite = read_suite("quick").model_copy(update={"suite": "made"})
    text = RunRecord.model_validate(record(suite=resolved(suite))).to_json()
    (tmp_path / "run.json").write_text(text, encoding="utf-8")
    found, _ = suite_of(Run.open(tmp_path))
    assert found is not None
    assert resolved(found) == resolved(suite)
    broken = RunRecord.model_validate(record(suite={**resolved(suite), "n": "many"})).to_json()
    (tmp_path / "run.json").write_text(broken, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"run\.json: suite: n: .*got 'many'"):
        suite_of(Run.open(tmp_path))


def test_a_run_with_its_record_needs_no_suite(call: Call, copied: Path) -> None:
    found = verdicts(call("verify", copied / "out" / "small"))
    assert found["cells"] == "ok: 2 cells, those of the suite"
    assert found["numbers"].startswith("ok: ")


def test_without_its_suite_only_the_file_itself_is_checked(call: Call, copied: Path) -> None:
    (copied / "out" / "small" / "run.json").unlink()  # as in runs of earlier versions
    outcome = call("verify", copied / "out" / "small" / "results.csv")
    assert outcome[0] == 0
    found = verdicts(outcome)
    assert (
        found["cells"] == "not checkable: no suite 'small' is shipped and no run.json lies beside the tables; "
        "give its file with --suite"
    )
    assert found["sample keys"].startswith("ok: 2 keys")  # neither method learns from images


def test_a_key_of_other_sources_is_no_difference(verify: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "sources_changed", lambda _commit: True)
    found = verdicts(verify(other_key))
    assert found["sample keys"].startswith("not checkable: made at commit ")


def test_sources_are_those_of_a_known_commit_without_changes_alone() -> None:
    assert keys.sources_changed("")
    assert keys.sources_changed("0" * 40)
    assert keys.sources_changed("c" * 40 + "+")


def frame(tmp_path: Path, *rows: Rows) -> pd.DataFrame:
    return read_results(write_run(tmp_path, [row for some in rows for row in some]))


def test_checks_of_the_table_alone(tmp_path: Path) -> None:
    plain, other = (rows_of(name, half_and_half(40, 10)) for name in ("plain", "other"))
    good = frame(tmp_path / "good", plain, other)
    assert check_shares(good).verdict == check_rows(good).verdict == check_protocol(good, PROTOCOL).verdict == "ok"
    # Shares of which no discrepancy is told cannot contradict it, but they must sum to 1.
    shares = [row for row in plain if row["metric"] == "share_hard"]
    assert check_shares(frame(tmp_path / "shares", shares)).verdict == "ok"
    off = [{**row, "value": row["value"] + 1e-3, "ci_high": 1.0} for row in shares[:1]] + shares[1:]
    found = check_shares(frame(tmp_path / "off", off))
    assert (found.verdict, found.what) == (
        "differs",
        "the shares of eyeglasses of plain on eyeglasses 0.5/0.5 (seed 0) sum to 1.001",
    )
    none = check_shares(frame(tmp_path / "none", [row for row in plain if row["metric"] == "kl"]))
    assert none.verdict == "not checkable"


def test_a_verdict_names_some_of_many_once() -> None:
    assert classified("x", [], "fine").verdict == "ok"
    assert classified("x", [], "fine", ["why"]).verdict == "not checkable"
    many = classified("x", [*"aabcdef"], "fine", ["why"])
    assert many.verdict == "differs"
    assert many.what == "; ".join("abcdef"[:SHOWN]) + f"; and {6 - SHOWN} more"


def test_a_target_is_read_back_exactly() -> None:
    assert exact_target("0.333333/0.333333/0.333333") == (1 / 3,) * 3
    assert exact_target("0.1/0.9") == (0.1, 0.9)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("/no/such",), "no run at /no/such"),
        (("leaderboards/quick", "--resample", "-1"), "--resample must be at least 0, got -1"),
        (("leaderboards/quick", "--suite", "quik"), "unknown suite 'quik'; did you mean 'quick'"),
    ],
)
def test_bad_input_is_refused(call: Call, arguments: tuple[str, ...], sentence: str) -> None:
    assert sentence in refusal(call("verify", *arguments))
