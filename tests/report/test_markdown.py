"""Tables: golden text, and ties."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from rich.console import Console

from bench.core.csv_text import to_csv
from bench.core.stats import holm
from bench.report.markdown import leaderboard_markdown
from bench.report.terminal import show_leaderboard
from bench.results.leaderboard_csv import frechet_head

LEADERBOARD = (
    "task,method,fd_l2_hard,fd_l2_hard_low,fd_l2_hard_high,frechet_x to balanced,frechet_x to balanced_low,"
    "frechet_x to balanced_high,fd_noise_floor,classifier_accuracy,nfe_per_image,n,seeds,status,reason,tied_best,"
    "backward_per_image,guided_by_classifier\n"
    "a uniform,guided,0.05,0.01,0.1,12.5,11.0,14.0,0.06,0.998,25.0,100,1,ok,,best,0.0,False\n"
    "a uniform,vanilla,0.4,0.3,0.5,13.5,12.0,15.0,0.06,0.998,25.0,100,1,ok,,no,0.0,False\n"
    "a uniform,broken,,,,,,,,0.998,,100,0,failed,the denoiser returned NaN,,,False\n"
)
COSTS = "task,method,seconds_per_image,fit_seconds\na uniform,guided,0.105,31.25\na uniform,vanilla,0.1,0.0\n"


def test_the_terminal_shows_the_tables_numbers(tmp_path: Path) -> None:
    (tmp_path / "leaderboard.csv").write_text(LEADERBOARD)
    (tmp_path / "costs.csv").write_text(COSTS)
    out = io.StringIO()
    show_leaderboard(tmp_path, Console(file=out, width=160))
    text = out.getvalue()
    lines = {name: next(line for line in text.splitlines() if f" {name} " in line) for name in ("guided", "vanilla")}
    for part in ("0.050 [0.010, 0.100]", "best", "12.50 [11.00, 14.00]", "25", "0.105", "31.2"):
        assert part in lines["guided"]
    assert "tied" not in lines["vanilla"]
    assert "the denoiser returned NaN" in text
    assert "noise floor 0.060" in text
    assert "classifier accuracy 99.8 %" in text


@pytest.mark.parametrize("width", [60, 80, 120, 160])
def test_a_narrow_terminal_leaves_columns_out_and_cuts_no_number(tmp_path: Path, width: int) -> None:
    (tmp_path / "leaderboard.csv").write_text(LEADERBOARD)
    (tmp_path / "costs.csv").write_text(COSTS)
    out = io.StringIO()
    show_leaderboard(tmp_path, Console(file=out, width=width))
    text = " ".join(out.getvalue().split())
    assert "0.050 [0.010, 0.100] │ best" in text
    assert ("12.50 [11.00, 14.00]" in text) == (width >= 80)
    assert ("Columns not shown on this narrow terminal" in text) == (width <= 80)
    assert "…" not in text


def test_csv_reads_back_to_the_same_numbers_and_is_inert() -> None:
    rows = [{"value": 0.1 + 0.2, "none": None, "text": "=1+1", "empty": "", "minus": "-1.5", "list": 'a,"b"'}]
    (back,) = csv.DictReader(io.StringIO(to_csv(rows)))
    assert float(back["value"]) == 0.1 + 0.2
    assert back["none"] == back["empty"] == ""
    assert back["text"] == "'=1+1"
    assert back["minus"] == "-1.5"
    assert back["list"] == 'a,"b"'


def test_seeds_without_a_value_are_counted_beside_the_mean(tmp_path: Path) -> None:
    lines = LEADERBOARD.splitlines()
    heads = ",fd_l2_hard_seeds,frechet_x to balanced_seeds"
    rows = [
        line.replace(",100,1,ok", ",100,3,ok") + ends
        for line, ends in zip(lines[1:], (",3,2", ",3,3", ",,"), strict=True)
    ]
    (tmp_path / "leaderboard.csv").write_text("\n".join([lines[0] + heads, *rows]) + "\n")
    (tmp_path / "costs.csv").write_text(COSTS)
    out = io.StringIO()
    show_leaderboard(tmp_path, Console(file=out, width=200))
    text = " ".join(out.getvalue().split())
    assert "12.50 [11.00, 14.00] (2 of 3 seeds)" in text
    assert text.count("of 3 seeds") == 1
    assert "at this n and number of seeds" in text
    assert "12 [11, 14] (2 of 3 seeds)" in leaderboard_markdown(tmp_path)


def test_holm_at_known_values() -> None:
    # Sorted p 0.005, 0.01, 0.03, 0.04 against 0.05/4, 0.05/3, 0.05/2, 0.05/1: the third stops it.
    assert holm([0.01, 0.04, 0.03, 0.005], 0.05) == [True, False, False, True]
    assert holm([], 0.05) == []


def test_the_documentation_shows_the_committed_leaderboard() -> None:
    root = Path(__file__).parents[2]
    assert leaderboard_markdown(root / "leaderboards" / "quick") in (root / "docs" / "results.md").read_text(
        encoding="utf-8"
    )


def test_frechet_distances_of_several_backbones_say_whose_they_are() -> None:
    faces, masks, other = "frechet_dinov2 to faces", "frechet_dinov2 to masks", "frechet_inception to faces"
    assert [frechet_head(c, [faces, masks]) for c in (faces, masks)] == ["to faces", "to masks"]
    heads = [frechet_head(c, [faces, masks, other]) for c in (faces, masks, other)]
    assert heads == ["of dinov2 to faces", "of dinov2 to masks", "of inception to faces"]
