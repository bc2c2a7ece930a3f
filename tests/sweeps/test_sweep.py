"""`run_bench.py sweep`: ordinary suites, one table of what they trade for what, and a search that goes on."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench.config.suite import read_suite
from bench.engine import worker
from bench.engine.cell_job import CellJob
from bench.engine.resources import Resources
from tests.support.runs import Call, caller, read_rows, refusal
from tests.support.small import small_suite

call = pytest.fixture(caller)
MEASURED: dict[str, Any] = {
    "n": 24,
    "guidance_batch": 12,
    "features": ["efficientnet_lite0"],
    "references": {"avatars-balanced": 12},
    "metrics": ["fairness_discrepancy", "frechet"],
}
GUIDED = ("class_gap_guidance", "--task", "eyeglasses", "--workers", "1")
QUALITY = "frechet_efficientnet_lite0 to avatars-balanced"


def measured(folder: Path, **changes: Any) -> Path:
    """A suite file of the tiny model that measures fairness and quality."""
    return small_suite(folder, **{**MEASURED, **changes})


def test_a_grid_is_ordinary_suites_and_one_table(call: Call, tmp_path: Path) -> None:
    swept = {"name": "class_gap_guidance", "with": {"labels_per_class": 20}}
    base, out = measured(tmp_path, methods=[{"name": "vanilla"}, swept]), tmp_path / "out"
    grid = (*GUIDED, "--suite", base, "--out", out, "--set", "strength=0,5", "--sampler", "steps=2,3", "--name", "g")
    code, said, _ = call("sweep", *grid)
    assert code == 0, said
    assert "All points are on seed 1000." in said
    assert "reports that very seed" not in said

    rows = read_rows(out / "g" / "trade-off.csv")
    assert [(r["run"], r["method"], r["strength"], r["steps"]) for r in rows] == [
        (f"g-steps-{steps}", method, strength, str(steps))
        for steps in (2, 3)
        for method, strength in (("vanilla", ""), ("strength 0", "0"), ("strength 5", "5"))
    ]
    numbers = ("fd_l2_hard", "fd_l2_hard_low", QUALITY, f"{QUALITY}_high", "nfe_per_image", "n", "status")
    for row in rows:
        kept = {r["method"]: r for r in read_rows(out / row["run"] / "leaderboard.csv")}
        assert [row[c] for c in numbers] == [kept[row["method"]][c] for c in numbers]
        assert float(row["passes_per_image"]) == float(row["steps"])
        assert row["fd_l2_hard"]
        assert row[QUALITY]
    for vanilla, neutral in ((rows[0], rows[1]), (rows[3], rows[4])):  # strength 0 is vanilla, bit for bit
        assert [vanilla[c] for c in numbers] == [neutral[c] for c in numbers]
        assert vanilla["pareto"] == neutral["pareto"]
    assert "yes" in [r["pareto"] for r in rows]
    volumes = read_rows(out / "g" / "hypervolume.csv")
    assert [(v["method"], v["objectives"]) for v in volumes] == [
        (method, m) for method in ("vanilla", "class_gap_guidance") for m in "23"
    ]
    assert all(0 <= float(v["hypervolume"]) < 1 for v in volumes)
    assert {p.name for p in (out / "g").iterdir()} >= {"trade-off.png", "trade-off.pdf"}

    suite = read_suite(str(out / "g-steps-2" / "SUITE.yaml"))
    assert [m.title for m in suite.methods] == ["vanilla", "strength 0", "strength 5"]
    assert suite.methods[2].fields == {"labels_per_class": 20, "strength": 5}, "the base's fields stay"
    assert (suite.seeds, suite.sampler.steps, len(suite.tasks)) == ((1000,), 2, 1)
    code, _, err = call("run", out / "g-steps-2" / "SUITE.yaml", "--out", out, "--workers", "1")
    assert code == 0
    assert "nothing to do" in err

    before = (out / "g" / "trade-off.csv").read_bytes()
    code, said, err = call("sweep", *grid)
    assert code == 0
    assert err.count("nothing to do") == 2
    assert (out / "g" / "trade-off.csv").read_bytes() == before


def test_a_search_is_cells_and_goes_on_where_it_was(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("optuna")
    base, out = measured(tmp_path), tmp_path / "out"
    drawn: list[str] = []
    draw = worker._draw

    def noted(resources: Resources, job: CellJob, *shard: Any) -> Any:
        drawn.append(job.cell.title)
        return draw(resources, job, *shard)

    monkeypatch.setattr(worker, "_draw", noted)
    asked = (*GUIDED, "--suite", base, "--out", out, "--name", "s", "--seed", "0", "--set", "strength=1..50:log")

    code, said, _ = call("sweep", *asked, "--search", "2")
    assert code == 0, said
    assert "Suite small reports that very seed: sweep on another --seed." in said
    first = read_rows(out / "s" / "trade-off.csv")
    assert [r["method"] for r in first] == list(dict.fromkeys(drawn))
    assert all(1 <= float(r["strength"]) <= 50 for r in first[1:])

    drawn.clear()
    code, said, _ = call("sweep", *asked, "--search", "3")
    assert code == 0, said
    rows = read_rows(out / "s" / "trade-off.csv")
    assert len(rows) == 4
    assert [r["method"] for r in rows[:3]] == [r["method"] for r in first], "the same trials again, from the store"
    assert set(drawn) == {rows[3]["method"]}
    assert len(read_suite(str(out / "s" / "SUITE.yaml")).methods) == 4


def test_values_may_be_lists_and_categories() -> None:
    from bench.config.suite import MethodChoice
    from bench.sweeps.axes import axes_of, texts_of
    from bench.sweeps.grid import variants

    axes: Any = axes_of("--set", texts_of("--set", ["window=[0,1],[0.4,1]", "loss=kl", "temperature=1e0, 2"]))
    found = variants(MethodChoice(name="class_gap_guidance"), axes)
    assert [v.choice.title for v in found] == [
        f"window {window}, temperature {t}" for window in ([0, 1], [0.4, 1]) for t in ("1e0", "2")
    ]
    assert all(v.choice.fields["loss"] == "kl" for v in found)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("vanila", "--set", "a=1,2"), "unknown method 'vanila'; did you mean 'vanilla'?"),
        (
            ("class_gap_guidance", "--set", "strengh=1,2"),
            "unknown field of method class_gap_guidance 'strengh'; did you mean 'strength'?",
        ),
        (("class_gap_guidance", "--set", "strength=1,x"), "strength: input should be a valid number"),
        (("class_gap_guidance", "--set", "strength=inf,2"), "strength must be a finite number, got inf"),
        (("class_gap_guidance", "--set", "strength="), "--set strength must give at least one value, got ''"),
        (("class_gap_guidance", "--set", "strength=1,,2"), "--set strength must give values separated by commas"),
        (("class_gap_guidance", "--set", "strength=1,1"), "--set strength lists 1 twice; remove one"),
        (
            ("class_gap_guidance", "--set", "strength"),
            "--set must be NAME=VALUES, got 'strength'; for example --set",
        ),
        (("class_gap_guidance", "--set", "strength=1,2", "--set", "strength=3"), "--set strength is set twice"),
        (
            ("class_gap_guidance",),
            "nothing to vary: a sweep needs several values of a field, as in --set strength=50,100",
        ),
        (("class_gap_guidance", "--set", "strength=1"), "nothing to vary"),
        (("class_gap_guidance", "--set", "strength=1..9"), "got the range 1..9; add --search N to search it"),
        (("class_gap_guidance", "--set", "strength=a..b"), "--set strength must be two numbers, LOW..HIGH or LOW"),
        (("class_gap_guidance", "--set", "strength=9..1"), "--set strength must have LOW < HIGH, got '9..1'"),
        (("class_gap_guidance", "--set", "strength=0..9:log"), "--set strength must have 0 < LOW < HIGH, got"),
        (("vanilla", "--sampler", "steps=2..9"), "steps must be values separated by commas, got the range 2..9; only"),
        (("vanilla", "--sampler", "step=2,3"), "the sweep's suite: unknown key 'sampler.step'; did you mean 'steps'?"),
        (("vanilla", "--sampler", "steps=1001,2"), "steps must be 1 to 1000, the model's training timesteps, got 1001"),
        (("vanilla", "--guidance-batch", "6,99"), "guidance_batch must be at most n = 24, got 99"),
        (("vanilla", "--sampler", "steps=2,3", "--task", "glasses"), "unknown task of suite small 'glasses'; did you"),
        (("vanilla", "--sampler", "steps=2,3", "--seed", "-1"), "the seeds must be different and >= 0, got [-1]"),
        (("vanilla", "--sampler", "steps=2,3", "--name", "a/b"), "suite: string should match pattern"),
        (("vanilla", "--sampler", "steps=2,3", "--workers", "0"), "--workers must be at least 1, got 0"),
        (("class_gap_guidance", "--set", "strength=1..9", "--search", "0"), "--search must be at least 1 trial"),
        (("class_gap_guidance", "--set", "strength=1,9", "--search", "3"), "--search needs a range, as in --set"),
        (
            ("class_gap_guidance", "--set", "strength=1..9", "--search", "3"),
            "--search needs one task, got 2; choose",
        ),
        (("class_gap_guidance", "--set", "loss=1..9", "--search", "3"), "loss: input should be 'chi_square', 'kl' or"),
        (
            ("class_gap_guidance", "--set", "calibration=1.5..9", "--search", "3"),
            "--set calibration must have whole ends, as the field has, got 1.5",
        ),
        (
            ("class_gap_guidance", "--set", "strength=1..9", "--search", "3", "--sampler", "steps=2,3"),
            "--search varies the method's fields within one suite, got 2 samplers or guidance batches; choose one",
        ),
    ],
)
def test_what_cannot_be_swept_is_refused(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], sentence: str
) -> None:
    monkeypatch.setattr("bench.engine.worker._draw", lambda *_: pytest.fail("sampled before the input was checked"))
    base, out = measured(tmp_path), tmp_path / "out"
    assert sentence in refusal(call("sweep", *arguments, "--suite", base, "--out", out))
    assert not out.exists(), "nothing is written, not even the folder"


def test_a_base_that_measures_no_quality_is_refused(call: Call, tmp_path: Path) -> None:
    said = refusal(call("sweep", "vanilla", "--sampler", "steps=1,2", "--suite", small_suite(tmp_path)))
    assert "a trade-off needs fairness and quality: suite small must name the metrics" in said


def test_a_search_without_optuna_is_refused(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    asked = (*GUIDED, "--set", "strength=1..9", "--search", "3", "--out", tmp_path / "out")
    said = refusal(call("sweep", *asked, "--suite", measured(tmp_path)))
    assert "--search needs optuna, which is not installed; pip install 'fairdiff-bench[search]'" in said


def test_another_run_and_a_file_are_not_written_over(call: Call, tmp_path: Path) -> None:
    base, out = measured(tmp_path), tmp_path / "out"
    (out / "quick").mkdir(parents=True)
    with (out / "quick" / "results.csv").open("w", newline="") as f:
        csv.writer(f).writerow(["suite"])
    asked = ("sweep", "vanilla", "--sampler", "steps=1,2", "--suite", base)
    assert "quick holds a run that is no sweep; choose another --name" in refusal(
        call(*asked, "--out", out, "--name", "quick")
    )
    (out / "taken").write_text("")
    assert "taken: it is a file; choose another --name" in refusal(call(*asked, "--out", out, "--name", "taken"))
    assert "cannot write" in refusal(call(*asked, "--out", out / "taken", "--task", "eyeglasses", "--workers", "1"))


def test_own_data_sets_of_the_base_survive(tmp_path: Path) -> None:
    """Validation names each set after its key, and refuses that name where a file gives it."""
    from bench.config.suite import MethodChoice, Suite
    from bench.sweeps.axes import Values
    from bench.sweeps.grid import protocols, tree_of, variants, with_variants

    tree = yaml.safe_load(measured(tmp_path).read_text())
    tree |= {"data": {"mine": {"name": "avatars-balanced", "n": 12}}, "references": {"mine": 12}}
    base = Suite.model_validate(tree)
    (plan,) = protocols(base, "p", 1, [])
    found = variants(MethodChoice(name="class_gap_guidance"), [Values("strength", (1, 2))])
    suite = with_variants(plan.suite, found)
    assert suite.data == base.data
    assert Suite.model_validate(yaml.safe_load(yaml.safe_dump(tree_of(suite)))) == suite
