"""`run_bench.py tune`: one budget and one rule for every method, no evaluation noise, and the gap in the open."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

import bench
from bench.config.suite import Suite, read_suite
from bench.core.errors import ConfigError
from bench.core.value import Value
from bench.engine import worker
from bench.engine.cell_job import CellJob
from bench.engine.options import Options
from bench.engine.resources import Resources
from bench.report.tradeoff.points import Point
from bench.results.tuning import difference, read_tuning
from bench.sweeps.tuned import with_chosen
from bench.sweeps.tuning import Candidate, choose, measure, plan_tuning
from tests.support.planted import HONEST, LUCKY, plant
from tests.support.runs import Call, caller, read_rows, refusal
from tests.support.small import small_suite

call = pytest.fixture(caller)
SEED = 1003  # the lucky number is 3
RUNS = {"task": {"task-tuning-eyeglasses-100-0", "task-tuning-eyeglasses-0-100"}, "suite": {"suite-tuning"}}


@pytest.fixture(scope="module", autouse=True)
def planted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The planted methods, two of them with a wrong search space."""
    far, wrong = HONEST.replace('"0..1"', '"0.5..1"'), HONEST.replace('{"share"', '{"shere"')
    with pytest.MonkeyPatch.context() as patch:
        plant(patch, tmp_path_factory.mktemp("planted"), lucky=LUCKY, honest=HONEST, far=far, wrong=wrong)
        yield


def tuned_suite(folder: Path, **changes: Any) -> Path:
    """A suite of two planted methods by default and tuned, beside vanilla, which has nothing to tune."""
    keys: dict[str, Any] = {
        "n": 40,
        "guidance_batch": 40,
        "seeds": [1, 2],
        "sampler": {"name": "ddim", "steps": 1},
        "tasks": [{"attributes": ["eyeglasses"]}],
        "methods": [
            {"name": "vanilla"},
            {"name": "vanilla", "tuned": True},
            {"name": "lucky"},
            {"name": "lucky", "tuned": True},
            {"name": "honest", "tuned": True},
        ],
        "features": ["efficientnet_lite0"],
        "references": {"avatars-balanced": 12},
        "metrics": ["fairness_discrepancy", "frechet"],
        "tuning": {"trials": 6, "n": 40, "seeds": [SEED]},
    }
    return small_suite(folder, **{**keys, **changes})


@contextmanager
def noted(stop: int = 0) -> Iterator[list[CellJob]]:
    """The jobs that are sampled, in this process; the last of `stop` jobs is interrupted."""
    drawn: list[CellJob] = []
    draw = worker._draw

    def note(resources: Resources, job: CellJob, *shard: Any) -> Any:
        drawn.append(job)
        if len(drawn) == stop:
            raise KeyboardInterrupt
        return draw(resources, job, *shard)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker, "_draw", note)
        yield drawn


@dataclass(frozen=True)
class Finished:
    """A suite that was tuned and run: its file, its folder, tuning.csv before the run, and what tuning sampled."""

    suite: Path
    folder: Path
    before: bytes
    drawn: Sequence[CellJob]
    text: str


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    folder = tmp_path_factory.mktemp("tuned")
    suite = tuned_suite(folder)
    with noted() as drawn:
        tuned = bench.tune(suite, out=folder / "out", workers=1)
    before = tuned.file.read_bytes()
    bench.run(suite, out=folder / "out", workers=1)
    return Finished(suite, folder / "out" / "small", before, drawn, tuned.note)


def test_a_method_that_overfits_its_tuning_seed_shows_the_gap(finished: Finished, tmp_path: Path) -> None:
    (tmp_path / "before.csv").write_bytes(finished.before)
    assert all(row.evaluation is None and row.gap is None for row in read_tuning(tmp_path / "before.csv"))
    rows = read_tuning(finished.folder / "tuning.csv")
    chosen = {row.method: row for row in rows if row.chosen}
    assert list(chosen) == ["vanilla (tuned)", "lucky (tuned)", "honest (tuned)"]

    lucky = chosen["lucky (tuned)"]
    assert json.loads(lucky.setting) == {"number": SEED % 5}
    assert lucky.value is not None
    assert lucky.value.value < 0.1
    assert lucky.evaluation is not None
    assert lucky.evaluation.value == pytest.approx(0.5**0.5, abs=0.05), "all of one class"
    assert lucky.gap is not None
    assert lucky.gap.value == pytest.approx(lucky.evaluation.value - lucky.value.value)
    assert lucky.gap.low is not None
    assert lucky.gap.low > 0.3, "beyond the noise of both"

    honest = chosen["honest (tuned)"]
    assert honest.trial > 1
    assert honest.value is not None
    assert honest.gap is not None
    assert honest.value.value < 0.3, "six trials come closer than the default share, 0.1"
    assert abs(honest.gap.value) < 0.1

    vanilla = chosen["vanilla (tuned)"]
    assert (vanilla.trial, vanilla.setting, vanilla.frechet_ratio) == (1, "{}", 1.0)
    default = next(row for row in rows if row.method == "lucky (tuned)" and row.trial == 1)
    assert json.loads(default.setting) == {"number": 0}
    assert default.evaluation is not None, "its default stands on the board too"
    assert {row.run for row in rows} == {"small-tuning-eyeglasses-uniform"}


def test_default_and_tuned_rows_stand_beside_each_other(call: Call, finished: Finished) -> None:
    fields = {r["method"]: json.loads(r["fields"]) for r in read_rows(finished.folder / "results.csv")}
    assert fields["lucky (tuned)"] == {"number": 3}
    assert fields["lucky"] == {"number": 0}
    board = {r["method"] for r in read_rows(finished.folder / "leaderboard.csv")}
    assert {"lucky", "lucky (tuned)", "vanilla", "vanilla (tuned)", "honest (tuned)"} == board
    recorded = read_suite(str(finished.folder / "run.json"))
    assert recorded.methods[3].chosen == {"eyeglasses uniform": {"number": 3}}
    again = ("--out", finished.folder.parent, "--workers", "1")
    before = (finished.folder / "tuning.csv").read_bytes()
    code, text, error = call("tune", finished.suite, *again)
    assert code == 0
    assert "number 3" in text
    assert f"Settings were chosen on seed {SEED}" in text
    assert error.count("nothing to do") == 2, error
    assert (finished.folder / "tuning.csv").read_bytes() == before, "with the evaluation that it had"
    results = (finished.folder / "results.csv").read_bytes()
    assert "nothing to do" in call("run", finished.suite, *again)[2]
    with noted() as drawn:
        assert call("run", finished.folder / "run.json", *again)[0] == 0
    assert not drawn, "the record holds the chosen settings"
    assert (finished.folder / "results.csv").read_bytes() == results


def test_every_method_gets_the_same_budget_and_no_evaluation_noise(finished: Finished) -> None:
    assert {job.cell.seed for job in finished.drawn} == {SEED}
    rows = read_tuning(finished.folder / "tuning.csv")
    assert {row.n for row in rows} == {40}
    assert {row.seeds for row in rows} == {str(SEED)}
    assert max(row.trial for row in rows if row.method == "honest (tuned)") == 6, "every suggestion of a range differs"
    assert [row.trial for row in rows if row.method == "vanilla (tuned)"] == [1]
    assert all(row.denoiser_calls == 40 for row in rows if row.method == "vanilla (tuned)"), "40 images, one step"
    assert all(row.denoiser_calls == 0 for row in rows if row.method == "lucky (tuned)"), "it calls no network"


def test_an_interrupted_tuning_goes_on_where_it_was(call: Call, finished: Finished, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with noted(stop=8) as drawn:
        code, _, error = call("tune", finished.suite, "--out", out, "--workers", "1")
    assert code == 130
    assert "interrupted; run the same command to resume" in error
    assert not (out / "small" / "tuning.csv").exists(), "an unfinished tuning chooses nothing"
    assert "has methods to tune and no finished tuning" in refusal(call("run", finished.suite, "--out", out))
    with noted() as resumed:
        assert call("tune", finished.suite, "--out", out, "--workers", "1")[0] == 0
    assert len(drawn[:-1]) + len(resumed) == len(finished.drawn), "what was sampled is not sampled again"
    assert (out / "small" / "tuning.csv").read_bytes() == finished.before
    with noted() as repeated:
        assert call("tune", finished.suite, "--out", out, "--workers", "1")[0] == 0
    assert not repeated


def test_tasks_get_their_own_settings_or_one_for_all(call: Call, tmp_path: Path) -> None:
    methods = [{"name": "vanilla"}, {"name": "honest", "tuned": True}]
    tasks = [{"attributes": ["eyeglasses"], "target": [1, 0]}, {"attributes": ["eyeglasses"], "target": [0, 1]}]
    out, settings = tmp_path / "out", {}
    for per in ("task", "suite"):
        tuning = {"trials": 3, "n": 30, "seeds": [SEED], "per": per}
        suite = tuned_suite(
            tmp_path, suite=per, n=30, guidance_batch=30, seeds=[1], methods=methods, tasks=tasks, tuning=tuning
        )
        assert call("tune", suite, "--out", out, "--workers", "1")[0] == 0
        rows = read_tuning(out / per / "tuning.csv")
        assert {row.run for row in rows} == RUNS[per]
        chosen = [row for row in rows if row.chosen]
        assert [row.task for row in chosen] == ["eyeglasses 100/0", "eyeglasses 0/100"]
        settings[per] = [json.loads(row.setting)["share"] for row in chosen]
    assert settings["task"][0] < 0.3
    assert settings["task"][1] > 0.5
    assert len(set(settings["suite"])) == 1

    suite = tuned_suite(
        tmp_path,
        suite="task",
        n=30,
        guidance_batch=30,
        seeds=[1],
        methods=methods,
        tasks=tasks,
        tuning=tuning | {"per": "task"},
    )
    assert call("run", suite, "--out", out, "--workers", "1")[0] == 0
    ran = read_rows(out / "task" / "results.csv")
    shares = {r["target"]: json.loads(r["fields"])["share"] for r in ran if r["method"] == "honest (tuned)"}
    assert list(shares.values()) == settings["task"]
    (keys,) = [check for check in bench.verify(out / "task").checks if check.name == "sample keys"]
    assert keys.verdict == "ok", keys.what


def point(title: str, fairness: float | None, quality: float | None, task: str = "t") -> Point:
    values = [None if number is None else Value(number) for number in (fairness, quality)]
    return Point(task, "s", title, title, {}, values[0], values[1], 20.0, 0.0, None, 100, 1, "ok", "")


def candidate(fairness: float | None, *ratios: float | None) -> Candidate:
    tasks = [f"t{i}" for i in range(len(ratios))]
    return Candidate(tuple(point("m", fairness, 1.0, task) for task in tasks), dict(zip(tasks, ratios, strict=True)))


@pytest.mark.parametrize(
    ("candidates", "chosen", "note"),
    [
        ([(0.3, 1.0), (0.2, 1.1), (0.1, 1.2)], 1, ""),
        ([(0.3, 1.0), (0.2, 1.15)], 1, ""),
        ([(0.2, 1.0), (0.2, 0.9)], 0, ""),
        ([(0.3, 1.0), (0.2, 1.0, 1.3)], 0, ""),
        ([(0.3, 1.5), (0.1, 1.4)], 1, "no setting is within 1.15 of vanilla's Frechet distance; the nearest, 1.4 of"),
        ([(None, 1.0), (0.1, None)], 0, "no trial has both"),
        ([(None, 1.0), (0.4, 1.0)], 1, ""),
    ],
)
def test_the_rule_of_choice(candidates: list[tuple[float | None, ...]], chosen: int, note: str) -> None:
    index, text = choose([candidate(*numbers) for numbers in candidates], 1.15)
    assert index == chosen
    assert text.startswith(note)
    assert bool(text) == bool(note)


def test_several_tasks_count_by_the_mean_value_and_the_worst_ratio() -> None:
    from bench.config.suite import MethodChoice
    from bench.sweeps.grid import Variant

    points = [point("vanilla", 0.5, 100.0), point("vanilla", 0.5, 200.0, "u")]
    points += [
        point("m (guided by its classifier)", 0.1, 110.0),
        point("m (guided by its classifier)", 0.4, 260.0, "u"),
    ]
    measured = measure(points, Variant(MethodChoice(name="vanilla", label="m").model_copy(update={"name": "m"}), {}))
    assert measured.value == pytest.approx(0.25)
    assert measured.ratio == pytest.approx(1.3)
    assert measured.objectives(1.15) == pytest.approx((0.25, 0.15))
    assert measured.objectives(1.5) == pytest.approx((0.25, 0.0))


def test_the_interval_of_a_gap_joins_those_of_both_values() -> None:
    gap = difference(Value(0.5, 0.2, 0.6), Value(0.1, 0.0, 0.5))
    assert (gap.value, gap.low, gap.high) == pytest.approx((0.4, 0.4 - 0.5, 0.4 + (0.01 + 0.01) ** 0.5))
    assert difference(Value(0.5), Value(0.1, 0.0, 0.2)) == Value(0.4)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"tuning": {"trials": 4, "n": 40}},
            "tuning.trials must be at least 5, the smallest grid of field number in the",
        ),
        ({"tuning": {"trials": 0, "n": 40}}, "tuning.trials: input should be greater than or equal to 1, got 0"),
        ({"seeds": [SEED, 7]}, f"tuning: its seeds must not be among the suite's, got [{SEED}] in both"),
        ({"tuning": {"trials": 8, "n": 39}}, "tuning: its n must be at least guidance_batch = 40"),
        ({"tuning": None}, "tuning: method 'vanilla (tuned)' needs it; add the budget, such as `tuning: {trials: 20"),
        ({"methods": [{"name": "vanilla"}]}, "suite small tunes nothing; add `tuned: true` to the methods to tune"),
        ({"metrics": ["fairness_discrepancy"]}, "a trade-off needs fairness and quality"),
        ({"tuning": {"trials": 8, "n": 40, "seeds": [-1]}}, "the seeds must be different and >= 0, got [-1]"),
        ({"tuning": {"trials": 8, "n": 40, "per": "seed"}}, "tuning.per: input should be 'task' or 'suite'"),
        (
            {"methods": [{"name": "vanilla", "chosen": {"eyeglasses uniform": {"a": 1}}}]},
            "these fields are those that a tuning chose; add `tuned: true`, or use `with`",
        ),
        (
            {"methods": [{"name": "vanilla"}, {"name": "wrong", "tuned": True}]},
            "unknown field in the search space of method wrong 'shere'; did you mean 'share'?",
        ),
        (
            {"methods": [{"name": "vanilla"}, {"name": "far", "tuned": True}]},
            "the search space of method far must hold the default of share, 0.1, got 0.5..1; add it, or widen the "
            "range",
        ),
    ],
)
def test_what_cannot_be_tuned_is_refused(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], sentence: str
) -> None:
    monkeypatch.setattr("bench.engine.worker._draw", lambda *_: pytest.fail("sampled before the input was checked"))
    out = tmp_path / "out"
    assert sentence in refusal(call("tune", tuned_suite(tmp_path, **changes), "--out", out))
    assert not out.exists()


def test_a_run_without_its_own_tuning_is_refused(call: Call, finished: Finished, tmp_path: Path) -> None:
    tree, out = yaml.safe_load(finished.suite.read_text()), tmp_path / "out"

    def changed(**keys: object) -> Path:
        path = tmp_path / "changed.yaml"
        path.write_text(yaml.safe_dump({**tree, **keys}))
        return path

    assert "suite small has methods to tune and no finished tuning in" in refusal(call("run", changed(), "--out", out))
    assert not out.exists()
    vanilla = Options(out, only={"method": {"vanilla"}})
    assert with_chosen(read_suite(str(changed())), vanilla).methods[1].chosen == {}, "left out, so not asked for"

    file = out / "small" / "tuning.csv"
    file.parent.mkdir(parents=True)
    file.write_bytes(finished.before)
    seeds = with_chosen(read_suite(str(changed(seeds=[5]))), Options(out))
    assert seeds.methods[3].chosen["eyeglasses uniform"] == {"number": 3}, "the evaluation's seeds decide no setting"
    budget = changed(tuning={"trials": 7, "n": 40, "seeds": [SEED]})
    assert "is the tuning of another suite, or its methods, spaces or budget have changed since; run" in refusal(
        call("run", budget, "--out", out)
    )
    text = file.read_text()
    for damaged, sentence in (
        (text.replace(",yes,", ",maybe,"), "column chosen: must be yes or blank, got 'maybe'"),
        (text.replace(",yes,", ",,"), "has no chosen setting on eyeglasses uniform; run `tune` again"),
        (text.replace('{""', "{", 1), "column setting: must be an object in JSON, got"),
        (text.splitlines()[0] + "\n", "holds no rows"),
    ):
        file.write_text(damaged)
        assert sentence in refusal(call("run", changed(), "--out", out))


def test_fields_that_the_suite_sets_are_not_searched(tmp_path: Path) -> None:
    path = tuned_suite(
        tmp_path, methods=[{"name": "vanilla"}, {"name": "honest", "tuned": True, "with": {"share": 0.2}}]
    )
    plan = plan_tuning(read_suite(str(path)))
    assert plan.spaces == {"honest (tuned)": []}
    assert plan.choices["honest (tuned)"].fields == {"share": 0.2}
    tree = yaml.safe_load(path.read_text())
    keys = {plan_tuning(Suite.model_validate({**tree, "seeds": seeds})).key for seeds in ([0], [1, 2])}
    assert keys == {plan.key}
    assert plan_tuning(Suite.model_validate({**tree, "guidance_batch": 20})).key != plan.key


def test_a_tuned_method_never_runs_with_its_defaults_by_mistake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bench.engine import runner

    suite = read_suite(str(tuned_suite(tmp_path)))
    with pytest.raises(ConfigError, match=r"method 'vanilla \(tuned\)' has no chosen setting; tune the suite first"):
        runner.run(suite, Options(tmp_path / "out"))
