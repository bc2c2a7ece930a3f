"""The page's section on tuning: the chosen settings, the gap and every trial; hidden where nothing was tuned."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.core.csv_text import to_csv
from bench.core.errors import ConfigError
from bench.core.value import Value
from bench.report.page import document
from bench.results.run import Run
from bench.results.tuning import TuningRow, evaluated, read_tuning, write_tuning
from tests.report.test_page import HOSTILE, Opened, browser, browser_only, made, opened, shown_page
from tests.support.runs import read_rows

__all__ = ["browser", "opened", "shown_page"]

TRIAL = TuningRow(
    task="eyeglasses uniform",
    method="even (tuned)",
    trial=1,
    chosen=False,
    setting='{"strength": 100.0}',
    ranking_metric="fd_l2_hard",
    value=Value(0.3, 0.2, 0.4),
    frechet=Value(330.0, 310.0, 350.0),
    frechet_of="frechet_x to real",
    frechet_ratio=1.0,
    frechet_factor=1.15,
    evaluation=None,
    gap=None,
    nfe_per_image=20.0,
    backward_per_image=0.0,
    denoiser_calls=4000.0,
    n=200,
    seeds="1000",
    status="ok",
    reason="",
    note="",
    run="made-tuning",
    method_file="even",
    fields='{"strength": 100.0}',
    tuning_sha256="f" * 64,
)
CHOSEN = dataclasses.replace(
    TRIAL, trial=4, chosen=True, setting='{"strength": 12.5, "loss": "kl"}', value=Value(0.1, 0.02, 0.2), fields="{}"
)
BROKEN = dataclasses.replace(
    TRIAL, trial=7, setting=f'{{"strength": "{"x" * 3}"}}', value=None, frechet=None, frechet_ratio=None,
    denoiser_calls=None, status="failed", reason=HOSTILE,
)  # fmt: skip


def tuned(folder: Path) -> Path:
    """A made run with a tuning of three trials, whose chosen setting is the run's `even`."""
    run = made(folder, pictures=False)
    write_tuning(run / "tuning.csv", evaluated([TRIAL, CHOSEN, BROKEN], Run.open(run)))
    return run


def test_the_evaluation_and_the_gap_are_those_of_the_same_setting(tmp_path: Path) -> None:
    run = tuned(tmp_path / "run")
    default, chosen, broken = read_tuning(run / "tuning.csv")
    assert (default.evaluation, default.gap) == (None, None), "the run has no cell of that setting"
    assert (broken.evaluation, broken.gap) == (None, None)
    assert chosen.evaluation is not None
    assert chosen.evaluation.value == 0.0, "even draws equally many of both classes"
    assert chosen.gap is not None
    assert chosen.gap.value == pytest.approx(-0.1)
    data = document.data(Run.open(run))["tuning"]
    assert data["rule"].startswith(
        "Chosen: the least fd_l2_hard among settings whose frechet_x to real is at most 1.15"
    )
    assert [trial["chosen"] for trial in data["trials"]] == [False, True, False]
    assert data["trials"][1]["setting"] == "strength 12.5, loss kl"
    assert data["trials"][2]["note"].startswith("failed: ")
    assert document.data(Run.open(made(tmp_path / "plain")))["tuning"] == {"rule": "", "trials": []}


def test_rows_are_read_as_they_were_written(tmp_path: Path) -> None:
    rows = [TRIAL, dataclasses.replace(CHOSEN, evaluation=Value(0.2), gap=Value(0.1, -0.1, 0.3)), BROKEN]
    rows = [dataclasses.replace(row, reason="") for row in rows]
    write_tuning(tmp_path / "tuning.csv", rows)
    assert read_tuning(tmp_path / "tuning.csv") == rows


@pytest.mark.parametrize(
    ("column", "text", "sentence"),
    [
        ("trial", "one", "column trial: must be a whole number, got 'one'"),
        ("value", "nan", "column value: must be a finite number or blank, got 'nan'"),
        ("fields", "[]", "column fields: must be an object in JSON, got '[]'"),
        ("frechet_factor", "", "column frechet_factor: must be a finite number, got ''"),
        ("chosen", "no", "column chosen: must be yes or blank, got 'no'"),
    ],
)
def test_a_damaged_tuning_is_refused(tmp_path: Path, column: str, text: str, sentence: str) -> None:
    file = tuned(tmp_path / "run") / "tuning.csv"
    rows: list[dict[str, Any]] = read_rows(file)
    rows[1][column] = text
    file.write_text(to_csv(rows))
    with pytest.raises(ConfigError) as error:
        document.data(Run.open(file.parent))
    assert sentence in str(error.value)


@browser_only
def test_the_section_shows_the_gap_and_is_hidden_without_a_tuning(
    opened: Callable[..., Opened], tmp_path: Path
) -> None:
    run = tuned(tmp_path / "run")
    file = run / "page.html"
    file.write_text(document.page(Run.open(run)), encoding="utf-8")
    page = opened("", file).page
    assert page.locator("#tuning-link").is_visible()
    (row,) = page.locator("#tuning-table tbody tr").all_inner_texts()
    for text in ("even (tuned)", "strength 12.5", "3", "0.30 [0.20, 0.40]", "0.100", "1", "-0.10 [-0.20, 0.03]"):
        assert text in row, text
    page.locator("#tuning summary").click()
    assert page.locator("#tuning-trials tbody tr").count() == 3
    assert "onerror" in page.locator("#tuning-trials tbody tr").nth(2).inner_text(), "a reason is text"
    page.select_option("#task", "eyeglasses 10/90")
    assert page.locator("#tuning-table tbody tr").count() == 0
    assert not opened().page.locator("#tuning").is_visible()
