"""A finished run as frames, values and images."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bench.core.distances import mean_noise_floor
from bench.core.errors import ConfigError, UnknownName
from bench.results.key import Key
from bench.results.run import Run
from bench.storage.files import write_arrays
from bench.storage.store import Store
from tests.results.test_run_record import record
from tests.support.runs import BATCH, classified, half_and_half, read_rows, score, write_run

QUICK = Path(__file__).parents[2] / "leaderboards" / "quick"


def test_the_frames_of_a_committed_run_have_the_numbers_of_its_files() -> None:
    run = Run.open(QUICK)
    scores, rows = run.scores, read_rows(QUICK / "results.csv")
    assert list(scores.columns[:7]) == ["task", "method", "seed", "metric", "scope", "classifier", "value"]
    assert ["" if np.isnan(v) else repr(v) for v in scores["value"].tolist()] == [row["value"] for row in rows]
    assert scores["method"].dtype == object
    board, written = run.leaderboard, read_rows(QUICK / "leaderboard.csv")
    assert list(board.columns) == list(written[0])
    assert ["" if np.isnan(v) else repr(v) for v in board["fd_l2_hard"].tolist()] == [r["fd_l2_hard"] for r in written]
    assert board["seeds"].tolist() == [1] * len(written)
    assert run.costs["seconds_per_image"].tolist() == [
        float(row["seconds_per_image"]) for row in read_rows(QUICK / "costs.csv")
    ]
    means = scores[scores["metric"] == "fd_l2_hard"].groupby("method")["value"].mean()
    assert set(means.index) == set(scores["method"])


def test_a_run_is_read_without_torch() -> None:
    code = (
        "import sys; from pathlib import Path; from bench.results.run import Run\n"
        f"run = Run.open(Path({str(QUICK)!r})); run.scores, run.leaderboard, run.costs, run.by_key, run.record\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_a_store_images_are_refused_in_one_sentence() -> None:
    with pytest.raises(ConfigError, match=r"must hold the samples of vanilla, got not all of them; images are there"):
        Run.open(QUICK).images("vanilla", "eyeglasses")


def stored_run(tmp_path: Path) -> Run:
    store = tmp_path / "store"
    cells = [classified(m, half_and_half(100, 30), store=store) for m in ("vanilla", "other")]
    for seed, rows in enumerate(cells):
        for i in range(2):
            images = np.full((BATCH, 3, 4, 4), 10 * seed + i, np.uint8)
            write_arrays(Store(store).shard(rows[0]["sample_key"], i, BATCH), {"images": images})
    return Run.open(write_run(tmp_path / "made", [row for rows in cells for row in rows]))


def test_images_are_the_first_of_the_cell(tmp_path: Path) -> None:
    run = stored_run(tmp_path)
    images = run.images(method="other", task="eyeglasses uniform", n=60)
    assert images.shape == (60, 3, 4, 4)
    assert images.dtype == np.uint8
    assert [int(image.max()) for image in images] == [10] * 50 + [11] * 10
    with pytest.raises(UnknownName, match="othr"):
        run.images(method="othr")
    with pytest.raises(ConfigError, match=r"one cell of .* must be meant, got 2"):
        run.images(task="eyeglasses")
    with pytest.raises(ConfigError, match="n must be at least 1, got 0"):
        run.images(method="other", n=0)


def test_the_record_beside_the_tables_is_read_and_held_against_them(tmp_path: Path) -> None:
    run = Run.open(write_run(tmp_path, classified("vanilla", half_and_half(200, 46))))
    assert run.record is None
    from bench.results.run_record import RunRecord

    for name in ("made", "another"):
        text = RunRecord.model_validate(record(suite={"suite": name})).to_json()
        (tmp_path / "run.json").write_text(text, encoding="utf-8")
        opened = Run.open(tmp_path)
        if name == "made":
            assert opened.record is not None
            assert opened.record.suite == {"suite": "made"}
        else:
            with pytest.raises(
                ConfigError, match=r"run\.json is not of the same run as .*: suite another and protocol"
            ):
                _ = opened.record


def test_a_value_over_seeds_has_the_interval_of_their_mean(tmp_path: Path) -> None:
    rows = [score("vanilla", "frechet_x", "balanced", v, 1.0, seed=seed) for seed, v in enumerate((4.0, 5.0, 9.0))]
    run = Run.open(write_run(tmp_path, rows))
    value = run.value(Key(run.tasks[0], "vanilla", "frechet_x", "balanced"))
    assert value is not None
    assert (value.value, value.seeds, value.n) == (6.0, 3, 200)
    assert value.low == 0.0, "a Fréchet distance cannot be negative"


def floor_of(run: Run, metric: str, scope: str) -> float | None:
    value = run.value(Key(run.tasks[0], "vanilla", metric, scope))
    assert value is not None
    assert value.seeds == len(run.good(Key(run.tasks[0], "vanilla", metric, scope)))
    return value.noise_floor


def test_the_noise_floor_over_seeds_is_that_of_the_mean_and_never_one_seeds(tmp_path: Path) -> None:
    rows = [
        row | {"attributes": "eyeglasses+hat", "target": "0.1/0.2/0.3/0.4"}
        for seed, n in ((0, 60), (1, 100))
        for row in (
            *(
                score("vanilla", m, "eyeglasses+hat", 0.2, 0.1, seed=seed, n=n, noise_floor=0.3)
                for m in ("fd_l2_hard", "kl", "fd_l2_corrected")
            ),
            score("vanilla", "fd_l2_hard", "hat", 0.2, 0.1, seed=seed, n=n, noise_floor=0.3),
            *(
                score("vanilla", "share_hard", f"{a}={c}", 0.5, 0.1, seed=seed, n=n, noise_floor=0.9)
                for a in ("eyeglasses", "hat")
                for c in ("no", "yes")
            ),
        )
    ]
    run = Run.open(write_run(tmp_path / "two", rows))
    joint, sizes = (0.1, 0.2, 0.3, 0.4), ((60,), (100,))
    assert floor_of(run, "fd_l2_hard", "eyeglasses+hat") == mean_noise_floor("fd_l2_hard", joint, sizes)
    assert floor_of(run, "kl", "eyeglasses+hat") == mean_noise_floor("kl", joint, sizes)
    assert floor_of(run, "fd_l2_corrected", "eyeglasses+hat") is None
    assert floor_of(run, "fd_l2_hard", "hat") == pytest.approx(mean_noise_floor("fd_l2_hard", (0.4, 0.6), sizes))
    assert floor_of(run, "share_hard", "hat=yes") == pytest.approx(mean_noise_floor("share_hard", (0.4, 0.6), sizes, 1))
    alone = Run.open(write_run(tmp_path / "one", [row for row in rows if row["seed"] == 1]))
    assert floor_of(alone, "fd_l2_hard", "eyeglasses+hat") == 0.3


def test_the_noise_floor_over_prompts_takes_the_samples_of_each_prompt(tmp_path: Path) -> None:
    rows = []
    for seed in (0, 1):
        rows.append(score("vanilla", "fd_l2_prompt_mean", "eyeglasses", 0.2, 0.1, seed=seed, n=100, noise_floor=0.3))
        for prompt, n in (("pilot", 40), ("baker", 60)):
            rows.append(score("vanilla", "fd_l2_by_prompt", f"eyeglasses at {prompt}", 0.2, 0.1, seed=seed, n=n))
    run = Run.open(write_run(tmp_path, rows))
    expected = mean_noise_floor("fd_l2_prompt_mean", (0.5, 0.5), ((40, 60),) * 2)
    assert floor_of(run, "fd_l2_prompt_mean", "eyeglasses") == expected
    assert floor_of(run, "fd_l2_by_prompt", "eyeglasses at pilot") is None
