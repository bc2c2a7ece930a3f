"""Tables: golden text, and ties."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from bench.core.csv_text import to_csv
from bench.core.stats import holm, paired_discrepancy_p
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


def test_paired_test_finds_a_difference_that_an_unpaired_one_would_miss() -> None:
    """600 samples at 60/40; the other method turns 18 of the majority over and none back."""
    r, rng = np.array([0.5, 0.5]), np.random.default_rng(0)
    a = np.repeat([0, 1], [360, 240])
    b = a.copy()
    b[:18] = 1
    assert paired_discrepancy_p(a, b, r, rng) < 0.01
    shuffled = rng.permutation(b)  # the same shares without the pairing
    assert paired_discrepancy_p(a, shuffled, r, rng) > 0.05


def test_paired_test_keeps_its_level_where_nothing_differs() -> None:
    r, rng = np.array([0.5, 0.5]), np.random.default_rng(1)
    p = []
    for _ in range(200):
        base = rng.random(300) < 0.7
        turned = rng.random((2, 300)) < 0.1  # each method turns its own tenth of the samples over
        a, b = ((base ^ t).astype(np.int64) for t in turned)
        p.append(paired_discrepancy_p(a, b, r, rng, n_draws=400))
    assert np.mean(np.array(p) < 0.05) < 0.05 + 3 * (0.05 * 0.95 / 200) ** 0.5
    assert np.mean(np.array(p) < 0.5) == pytest.approx(0.5, abs=0.12)


def test_identical_samples_are_never_different() -> None:
    a = np.repeat([0, 1], [70, 30])
    assert paired_discrepancy_p(a, a, np.array([0.5, 0.5]), np.random.default_rng(0)) == 1.0


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
