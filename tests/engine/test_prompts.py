"""A suite with a prompt set from the first sample to the page: a tiny Stable Diffusion, stopped and resumed."""

from __future__ import annotations

import csv
import io
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from rich.console import Console

from bench.api import run_suite as run
from bench.config.build import build_extractor
from bench.config.suite import read_suite
from bench.core.errors import BenchError, ConfigError
from bench.core.specs import ExtractorSpec
from bench.engine.feature_statistics import of_run
from bench.engine.keys import joined_key
from bench.engine.options import Options
from bench.engine.preflight import preflight
from bench.estimate.forecast import forecast_run
from bench.report.markdown import leaderboard_markdown
from bench.report.plots import prompts
from bench.report.plots.finished import Finished
from bench.report.plots.style import style
from bench.report.terminal import show_leaderboard
from bench.results.key import Key
from bench.results.run import Run
from bench.storage.files import read_arrays
from bench.storage.store import Store
from bench.verification import keys
from tests.models.test_pipelines_text import stable_diffusion
from tests.support.runs import Call, caller, read_rows

call = pytest.fixture(caller)
SET: dict[str, Any] = {
    "templates": ["a portrait of {}"],
    "subjects": {"pilot": "a pilot", "baker": "a baker"},
    "phrases": {"eyeglasses": {"absent": "without glasses", "present": "with glasses"}},
}
METHODS = [
    {"name": "vanilla"},
    {"name": "distribution_guidance", "with": {"labels_per_class": 10}},
    {"name": "attribute_switching", "with": {"minibatch": 4, "minibatches": 1}},
]
N, BATCH, SHARDS = 5, 3, 2


class Killed(BaseException):
    """As Ctrl-C: nothing catches it."""


def suite_file(folder: Path, said: dict[str, Any] | None = None, **changes: Any) -> Path:
    """A suite with prompts in a folder that holds the model, in saved/."""
    (folder / "set.yaml").write_text(yaml.safe_dump(said or SET, sort_keys=False))
    suite = {
        "suite": "said",
        "model": {"name": f"path:{folder / 'saved'}", "label": "tiny", "with": {"guidance_scale": 3.0}},
        "prompts": str(folder / "set.yaml"),
        "n": N,
        "guidance_batch": BATCH,
        "sampler": {"name": "ddim", "steps": 2},
        "tasks": [{"attributes": ["eyeglasses"]}],
        "methods": METHODS,
        "labelled": "avatars-heldout",
        "features": ["clip_features"],
        "metrics": ["fairness_discrepancy", "prompt_discrepancy", "prompt_alignment", "paired_baseline"],
        **changes,
    }
    path = folder / "said.yaml"
    path.write_text(yaml.safe_dump({key: value for key, value in suite.items() if value is not None}))
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("said")
    stable_diffusion(made, sample_size=16)
    return made


@pytest.fixture(scope="module")
def finished(folder: Path) -> Path:
    """The run, killed after three shards and gone on with; what was there before the kill is as it was."""
    suite, options = read_suite(str(suite_file(folder))), Options(folder / "out", workers=1)
    assert [(row.stored, row.left, row.shared) for row in forecast_run(suite, options).rows] == [(0, 2 * N, False)] * 3
    written, write = list[Path](), Store.write
    with pytest.MonkeyPatch.context() as patched:

        def dying(store: Store, entry: Path, *rest: Any) -> None:
            if entry.is_relative_to(store.root / "samples"):
                if len(written) == 3:
                    raise Killed
                written.append(entry)
            write(store, entry, *rest)

        patched.setattr(Store, "write", dying)
        with pytest.raises(Killed):
            run(suite, options)
    assert [row.stored for row in forecast_run(suite, options).rows] == [N + BATCH, 0, 0]
    before = {entry: (entry / "images.npy").stat().st_mtime_ns for entry in written}
    assert not run(suite, options).problems
    assert {entry: (entry / "images.npy").stat().st_mtime_ns for entry in written} == before
    return folder / "out" / "said"


def test_a_cell_holds_every_prompt_and_a_prompt_is_a_work_of_its_own(folder: Path, finished: Path) -> None:
    plan = preflight(read_suite(str(suite_file(folder))), Options(folder / "out", workers=1))
    context = plan.context
    for job in plan.jobs:
        assert [part.prompt.name for part in job.parts if part.prompt] == ["pilot", "baker"]
        assert (job.n, [part.n for part in job.parts]) == (2 * N, [N, N])
        assert job.sample_key == joined_key([part.sample_key for part in job.parts])
        assert context.model_digest == joined_key([prompt.model_digest for prompt in context.prompts])
        assert len({part.cell.seed for part in job.parts} | {job.cell.seed}) == 3  # noises of their own
        assert len(job.folders) == 2 * SHARDS
    vanilla, guided = plan.jobs[0], plan.jobs[1]
    assert guided.paired_baseline is not None
    assert [part.sample_key for part in guided.paired_baseline.parts] == [part.sample_key for part in vanilla.parts]
    pilot, baker = (read_arrays(part.folders[0]) for part in vanilla.parts)
    assert pilot is not None
    assert baker is not None
    assert not np.array_equal(pilot["images"], baker["images"])


def test_a_prompt_alone_gives_the_same_samples_as_among_others(folder: Path, finished: Path) -> None:
    """Adding a prompt to a set re-samples nothing, and its place among the others decides nothing."""
    options = Options(folder / "out", workers=1, only={"method": {"vanilla"}})
    three = {**SET, "subjects": {"teacher": "a teacher", **SET["subjects"]}}
    (row,) = forecast_run(read_suite(str(suite_file(folder, three))), options).rows
    suite_file(folder)  # as it was
    assert (row.stored, row.left) == (2 * N, N)


def test_the_leaderboard_is_ordered_by_the_mean_over_prompts(finished: Path) -> None:
    rows = read_rows(finished / "leaderboard.csv")
    means = [float(row["fd_l2_prompt_mean"]) for row in rows]
    assert means == sorted(means)
    assert rows[0]["tied_best"] == "best"
    for row in rows:
        assert (row["n"], row["prompts"]) == (str(2 * N), "2")
        assert float(row["fd_l2_prompt_mean"]) <= float(row["fd_l2_prompt_p90"]) <= float(row["fd_l2_prompt_worst"])
        assert 0 <= float(row["clip_score_clip_features"]) <= 100
    scores = {(r["method"], r["attributes"], r["metric"], r["scope"]): r for r in read_rows(finished / "results.csv")}
    for row in rows:
        attribute = row["task"].split()[0]
        one = [
            float(scores[row["method"], attribute, "fd_l2_by_prompt", f"{attribute} at {name}"]["value"])
            for name in ("pilot", "baker")
        ]
        assert float(row["fd_l2_prompt_mean"]) == pytest.approx(sum(one) / 2)
        bound = scores[row["method"], attribute, "fd_l2_prompt_mean", attribute]["noise_floor"]
        assert row["fd_noise_floor"] == bound


def test_a_task_without_phrases_is_skipped_with_the_reason_and_verified_all_the_same(
    folder: Path, finished: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "sources_changed", lambda _commit: False)
    tasks = [{"attributes": ["eyeglasses"]}, {"attributes": ["facial_hair"]}]
    methods = [METHODS[0], METHODS[2]]
    file = suite_file(folder, suite="bearded", tasks=tasks, methods=methods, labelled=None)
    options = Options(folder / "out", workers=1)
    rows = forecast_run(read_suite(str(file)), options).rows
    assert [(row.stored, row.shared) for row in rows] == [(2 * N, False)] * 2 + [(2 * N, True), (0, False)]
    outcome = run(read_suite(str(file)), options)
    ((status, where, reason),) = outcome.problems
    assert (status, where) == ("skipped", "facial_hair uniform, attribute_switching, seed 0")
    assert "cannot be asked for facial_hair=" in reason
    assert call("verify", outcome.folder, "--suite", file)[0] == 0
    suite_file(folder)  # as it was


def test_the_predicted_classes_of_a_prompt_are_those_of_its_own_images(finished: Path) -> None:
    opened = Run.open(finished)
    classifier = build_extractor(read_suite(str(finished.parent.parent / "said.yaml")).classifier.spec)
    row = opened.cells[0]
    for part in opened.stored.parts(row):
        import torch

        folders = part.folders(Store(opened.store), BATCH)
        pictures = np.concatenate([(read_arrays(entry) or {})["images"] for entry in folders])
        present = (classifier.extract(torch.from_numpy(pictures))["eyeglasses"].argmax(1) == 1).mean()
        score = next(
            r for r in opened.rows.itertuples()
            if (r.method, r.metric, r.scope) == (row.method, "fd_l2_by_prompt", f"eyeglasses at {part.prompt}")
        )  # fmt: skip
        assert score.value == pytest.approx(np.sqrt(2) * abs(present - 0.5))


def test_pictures_are_of_every_prompt_with_their_own_labels(finished: Path) -> None:
    opened = Run.open(finished)
    row = opened.cells[0]
    first, second = (part.folders(Store(opened.store), BATCH) for part in opened.stored.parts(row))
    shown = opened.stored.images(row, 5)
    assert shown is not None
    wanted = [(read_arrays(f[0]) or {})["images"] for f in (first, second)]
    assert np.array_equal(shown, np.concatenate([wanted[0][:3], wanted[1][:2]]))
    every, some = opened.stored.labels(row, 2 * N), opened.stored.labels(row, 5)
    assert every is not None
    assert some is not None
    assert np.array_equal(some, every[[0, 1, 2, N, N + 1]])


def test_the_statistics_of_a_cell_are_those_of_all_prompts(finished: Path) -> None:
    extractor, opened = build_extractor(ExtractorSpec.plain("clip_features")), Run.open(finished)
    fitted = of_run(finished, extractor, "vanilla", "eyeglasses")
    row = opened.cells[0]
    of = [folder for part in opened.stored.parts(row) for folder in part.folders(Store(opened.store), BATCH)]
    seen = [read_arrays(Store(opened.store).features(extractor.name, extractor.digest, folder)) or {} for folder in of]
    rows = np.concatenate([arrays["features"] for arrays in seen])
    assert len(rows) == 2 * N
    np.testing.assert_allclose(fitted.mean, rows.mean(0), rtol=1e-4, atol=1e-4)


def test_verify_compare_report_table_page_and_plot_read_the_run(
    folder: Path, finished: Path, call: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(keys, "sources_changed", lambda _commit: False)
    file = suite_file(folder)
    code, said, _ = call("verify", finished, "--suite", file, "--resample", 3)
    assert code == 0, said
    assert "differs" not in said
    for name in ("sample keys", "prompts", "store", "numbers", "leaderboard.csv", "images"):
        assert f"{name}: ok" in said, said
    code, said, _ = call("compare", f"{finished}:vanilla", f"{finished}:distribution_guidance", "--task", "eyeglasses")
    assert code == 0
    assert "fd_l2_prompt_mean" in said
    assert "clip_score_clip_features" in said
    assert call("report", finished)[0] == 0
    assert '"ranking_metric":"fd_l2_prompt_mean"' in (finished / "page.html").read_text()
    console = Console(width=400, file=io.StringIO())
    show_leaderboard(finished, console)
    for text in (console.file.getvalue(), leaderboard_markdown(finished)):
        for name in ("fd_l2_prompt_mean", "fd_l2_prompt_worst", "fd_l2_prompt_p90", "fd_l2_hard", "CLIP score"):
            assert name in text
    assert call("table", "prompts", finished, "--format", "markdown")[0] == 0
    assert call("plot", finished, "--out", tmp_path / "plots", "--only", "prompts", "--only", "ties")[0] == 0


def test_a_planted_tampering_of_prompts_csv_is_found(
    folder: Path, finished: Path, tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "sources_changed", lambda _commit: False)
    shutil.copytree(finished, tmp_path / "out" / "said")
    (tmp_path / "out" / "store").symlink_to(folder / "out" / "store")
    path = tmp_path / "out" / "said" / "prompts.csv"
    rows = read_rows(path)
    for row in rows:
        row["text"] = row["text"].replace("a baker", "a cook")
    with path.open("w", newline="") as f:
        writer = csv.DictWriter(f, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    code, said, _ = call("verify", tmp_path / "out" / "said", "--suite", suite_file(folder))
    assert code == 1
    assert "sample keys: differs" in said  # another text has another seed
    assert "prompts: differs: text of prompt baker" in said
    path.unlink()
    code, _, said = call("verify", tmp_path / "out" / "said", "--suite", suite_file(folder))
    assert code == 2
    assert "prompts.csv" in said


LONG = {**SET, "subjects": {"x": "a " + "z" * 80}}
WRONG_CLASS = {**SET, "phrases": {"eyeglasses": {"none": "without", "some": "with"}}}


@pytest.mark.parametrize(
    ("said", "changes", "message"),
    [
        (None, {"prompts": "profesions"}, "unknown prompt set 'profesions'"),
        (None, {"prompts": "nowhere.yaml"}, "cannot read nowhere.yaml"),
        ({"templates": ["a {}"], "subjects": {"a": "x", "b": "x"}}, {}, "two prompts read 'a x'"),
        (WRONG_CLASS, {}, "unknown class of eyeglasses in the prompt set's phrases 'none'"),
        (LONG, {}, "a prompt must have at most 77 tokens, got"),
        (None, {"model": "avatars-unet"}, "must have a text-to-image model, got avatars-unet, which takes none"),
        (None, {"metrics": ["fairness_discrepancy"]}, "ranked by prompt_discrepancy; add it"),
        (
            None,
            {"model": {"name": "path:x", "with": {"prompts": {"none": "a"}}}},
            "prompts are given by the model's `with` too",
        ),
        (None, {"model": {"name": "path:SAVED", "with": {"dtype": "fp8"}}}, "dtype"),
    ],
)
def test_wrong_input_is_refused_in_a_sentence_before_anything_is_written(
    folder: Path, tmp_path: Path, said: dict[str, Any] | None, changes: dict[str, Any], message: str
) -> None:
    (tmp_path / "saved").symlink_to(folder / "saved")
    if changes.get("model") == {"name": "path:SAVED", "with": {"dtype": "fp8"}}:
        changes = {"model": {"name": f"path:{tmp_path / 'saved'}", "with": {"dtype": "fp8"}}}
    path = suite_file(tmp_path, said, **changes)
    with pytest.raises(BenchError, match=message) as caught:
        run(read_suite(str(path)), Options(tmp_path / "out", workers=1))
    assert isinstance(caught.value, ConfigError)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_network_is_loaded_once_for_all_prompts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import diffusers

    from bench.models import load_model

    made, loaded = diffusers.UNet2DConditionModel.from_pretrained, list[Any]()
    monkeypatch.setattr(
        diffusers.UNet2DConditionModel,
        "from_pretrained",
        classmethod(lambda cls, *a, **k: loaded.append(1) or made(*a, **k)),
    )
    copied = Path(shutil.copytree(folder / "saved", folder / "again"))
    first, second = (load_model(f"path:{copied}", fields={"prompts": {"none": text}}) for text in ("a", "b"))
    assert len(loaded) == 1
    assert first.digest != second.digest
    (copied / "unet" / "config.json").touch()
    load_model(f"path:{copied}", fields={"prompts": {"none": "a"}})
    assert len(loaded) == 2  # a folder that was written anew is read anew


def test_the_plot_of_prompts_has_each_at_its_discrepancy(finished: Path) -> None:
    drawn = Finished.open(finished)
    with style():
        ax = prompts.draw(drawn)["prompts"].axes[0]
    task = drawn.run.tasks[0]
    names = [label.get_text() for label in ax.get_yticklabels()]
    assert names == prompts.ranked(drawn, task)
    assert sorted(names) == ["baker", "pilot"]
    points = {line.get_label(): line for line in ax.containers}
    for title in drawn.methods(task):
        for name in names:
            x, y = points[f"{title}, {name}"].lines[0].get_data()
            score = drawn.run.value(Key(task, title, prompts.ONE, f"eyeglasses at {name}"))
            assert score is not None
            assert x[0] == score.value
            assert round(float(y[0])) == names.index(name)
