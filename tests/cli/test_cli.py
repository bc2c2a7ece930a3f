"""The command line: bad input ends in one sentence and exit code 2, before anything is written."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from bench import cli
from bench.cli import listing
from bench.config.suite import Suite
from bench.core import plugins
from bench.core.errors import ConfigError
from bench.core.provenance import bench_version
from bench.engine import worker
from bench.engine.options import Options
from bench.environment.doctor import Finding
from methods import sample_guidance
from tests.support.small import save_tiny_unet, small_suite

WEIGHTS = "diffusion_pytorch_model.safetensors"
VANILLA = [{"name": "vanilla"}]
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Run a command line in this process: exit code, standard output, standard error."""

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["run_bench.py", *map(str, arguments)])
        capsys.readouterr()
        try:
            cli.main()
            code: Any = 0
        except SystemExit as end:
            code = end.code or 0
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture
def refused(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Run a suite that must be refused before a sample is drawn or a byte is written; its one line on stderr."""
    monkeypatch.setattr("bench.engine.worker._draw", lambda *_: pytest.fail("sampled before the input was checked"))
    out = tmp_path / "out"

    def run(suite: str | Path, *options: str | Path) -> str:
        code, printed, said = call("run", suite, "--workers", "1", "--out", out, *options)
        assert_one_sentence(code, said)
        assert not printed
        assert not out.exists(), "nothing is written, not even the folder"
        return said

    return run


def assert_one_sentence(code: int, said: str) -> None:
    assert code == 2, said
    assert said.startswith("error: "), said
    assert said.count("\n") == 1, said
    assert said.endswith("\n")
    assert "Traceback" not in said


def with_model(folder: Path, **changes: Any) -> Path:
    """A suite file on vanilla alone, its model saved with `changes`."""
    save_tiny_unet(folder / "model", **changes)
    return small_suite(folder, methods=VANILLA)


def tiny(folder: Path, **changes: Any) -> Path:
    """A suite file of one task and vanilla, which runs in a moment and needs no labelled faces."""
    small = {"n": 4, "guidance_batch": 2, "sampler": {"steps": 1}, "tasks": [{"attributes": ["eyeglasses"]}]}
    return small_suite(folder, **{**small, "methods": VANILLA, "labelled": None, **changes})


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"methods": [{"name": "vanila"}]}, "methods.0.name: unknown method 'vanila'; did you mean 'vanilla'?"),
        ({"metrics": ["frechett"]}, "small.yaml, line 12: metrics: unknown metric 'frechett'; did you mean 'frechet'?"),
        ({"metrics": ["attribute_cnn"]}, "unknown metric 'attribute_cnn'; did you mean "),  # an extractor
        ({"tasks": [{"attributes": ["eyeglases"]}]}, "unknown attribute 'eyeglases'; did you mean 'eyeglasses'?"),
        ({"model": "avatars-une"}, "unknown model 'avatars-une'; did you mean 'avatars-unet' or 'avatars-text'?"),
        ({"model": "path:/no/such"}, "no folder /no/such; give one saved by diffusers"),
        ({"model": "path:~nobody-of-this-name/x"}, "no folder ~nobody-of-this-name/x"),
        ({"model": "hub:a//b"}, "cannot fetch a//b from the hub"),
        ({"labelled": "avatars-labeled"}, "unknown data set 'avatars-labeled'; did you mean 'avatars-labelled'"),
        (
            {"references": {"avatars-balance": 10}},
            "unknown data set 'avatars-balance'; did you mean 'avatars-balanced'",
        ),
        (
            {"classifier": "attribute_cn"},
            "classifier.name: unknown extractor 'attribute_cn'; did you mean 'attribute_cnn'",
        ),
        (
            {"classifier": "frechet"},
            "classifier.name: unknown extractor 'frechet'; did you mean 'facenet'? known: age_gender, attribute_cnn",
        ),
        (
            {"classifier": "efficientnet_lite0"},
            "an attribute classifier must give probabilities of attributes, got efficientnet_lite0",
        ),
        ({"features": ["efficientnet"]}, "unknown extractor 'efficientnet'; did you mean 'efficientnet_lite0'"),
        ({"labelled": None}, "learns from labelled images; add `labelled: NAME` to the suite"),
        (
            {"methods": [{"name": "universal_guidance", "with": {"classifier": "attribute_cnn"}}]},
            "method universal_guidance must not guide with attribute_cnn, which also classifies it",
        ),
        (
            {"methods": [{"name": "universal_guidance", "with": {"classifier": "efficientnet_lite0"}}]},
            "a method's classifier must be differentiable, with `logits`, got efficientnet_lite0",
        ),
        ({"methods": [{"name": "tiw_dsm"}]}, "learns from observed images; add `observed: NAME` to the suite"),
        ({"observed": "avatars-biassed"}, "unknown data set 'avatars-biassed'; did you mean 'avatars-biased'"),
        ({"sed": [1]}, "unknown key 'sed'; did you mean 'seeds'?"),
        ({"methods": [{"name": "class_gap_guidance", "with": {"strengh": 2}}]}, "did you mean 'strength'?"),
        (
            {"methods": [{"name": "class_gap_guidance", "with": {"strength": float("inf")}}]},
            "strength must be a finite",
        ),
        ({"tasks": [{"attributes": ["eyeglasses"], "target": [0.5, 0.6]}]}, "must sum to 1, got [0.5, 0.6]"),
        ({"tasks": [{"attributes": ["eyeglasses"], "target": [0.2, 0.3, 0.5]}]}, "must have 2 entries, one per class"),
        ({"tasks": [{"attributes": ["eyeglasses"], "target": [-0.5, 1.5]}]}, "must have entries >= 0"),
        ({"tasks": [{"attributes": ["eyeglasses"], "target": ["a", "b"]}]}, "a list of numbers, one per class"),
        ({"n": 0}, "n: input should be greater than or equal to 1, got 0"),
        ({"guidance_batch": 26}, "guidance_batch must be at most n = 25, got 26"),
        ({"sampler": {"steps": 0}}, "sampler.steps: input should be greater than or equal to 1, got 0"),
        ({"sampler": {"steps": 1001}}, "steps must be 1 to 1000, the model's training timesteps, got 1001"),
        ({"sampler": {"eta": 2}}, "sampler.eta: input should be less than or equal to 1, got 2"),
        ({"sampler": {"name": "ddpm", "eta": 0.5}}, "eta is a setting of ddim, got 0.5 for ddpm"),
        ({"seeds": [0, 0]}, "the seeds must be different and >= 0, got [0, 0]"),
    ],
)
def test_a_bad_suite_is_refused(
    refused: Callable[..., str], tmp_path: Path, changes: dict[str, Any], sentence: str
) -> None:
    assert sentence in refused(small_suite(tmp_path, **changes))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "cannot read FILE: No such file or directory"),
        (b"", "FILE: must hold a mapping of keys to values, got NoneType"),
        (b"- 1\n- 2\n", "FILE: must hold a mapping of keys to values, got list"),
        (b"a: 1\nb: [1, 2\nc: 3\n", "FILE, line 3: not valid YAML: "),
        (b"\xff\xfe\x00", "cannot read FILE: it is not UTF-8 text"),
        (b"a\x00b: 1", "FILE: not valid YAML: unacceptable character #x0000"),
        (b"[" * 5000, "FILE: not valid YAML: nested too deeply"),
        ("folder", "cannot read FILE: Is a directory"),
    ],
)
def test_what_is_no_suite_file_is_refused(
    refused: Callable[..., str], tmp_path: Path, content: bytes | str | None, sentence: str
) -> None:
    path = tmp_path / "s.yaml"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content:
        path.mkdir()
    assert sentence in refused(path).replace(str(path), "FILE")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--workers", "0"), "--workers must be at least 1, got 0"),
        (("--compute-batch", "0"), "--compute-batch must be at least 1, got 0"),
        (("--device", "nonsense"), "device 'nonsense' cannot be used here: Expected one of cpu, cuda,"),
        (("--device", "meta"), "device 'meta' cannot be used here: "),
        (("--device", "hpu"), "device 'hpu' cannot be used here: "),
        (("--device", ""), "device '' cannot be used here: "),
        (("--only", "method"), "--only must be key=value, got 'method'; for example --only method=vanilla"),
        (("--only", "methods=vanilla"), "unknown key of --only 'methods'; did you mean 'method'?"),
        (("--only", "method=vanila"), "unknown method of suite small 'vanila'; did you mean 'vanilla'?"),
        (("--only", "task=eyeglass"), "unknown task of suite small 'eyeglass'; did you mean 'eyeglasses'"),
        (("--only", "seed=7"), "unknown seed of suite small '7'; known: 0"),
    ],
)
def test_a_bad_option_is_refused(
    refused: Callable[..., str], tmp_path: Path, options: tuple[str, ...], sentence: str
) -> None:
    assert sentence in refused(small_suite(tmp_path), *options)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_cuda_where_there_is_none_is_refused(refused: Callable[..., str], tmp_path: Path) -> None:
    said = refused(small_suite(tmp_path), "--device", "cuda")
    assert "device 'cuda' cannot be used here: " in said
    assert said.endswith("; try --device cpu\n")


def edit(name: str, **changes: Any) -> Callable[[Path], None]:
    """A change of a JSON file of a model's folder."""

    def change(folder: Path) -> None:
        path = folder / name
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return change


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "no folder": (shutil.rmtree, "no folder MODEL"),
    "no config": (lambda m: (m / "config.json").unlink(), "no file MODEL/config.json"),
    "config no JSON": (lambda m: (m / "config.json").write_text("{"), "cannot read MODEL/config.json: Expecting prop"),
    "config no object": (lambda m: (m / "config.json").write_text("[]"), "must hold a JSON object, got list"),
    "another class": (edit("config.json", _class_name="VQModel"), "must describe a UNet2DModel, got 'VQModel'"),
    "another width": (edit("config.json", block_out_channels=[64, 64]), f"MODEL/{WEIGHTS}"),
    "another depth": (edit("config.json", layers_per_block=2), "is of another architecture than its config.json"),
    "no such block": (edit("config.json", down_block_types=["X", "Y"]), "does not fit its config.json"),
    "no whole groups": (edit("config.json", block_out_channels=[30, 30]), "does not fit its config.json"),
    "no size": (edit("config.json", sample_size=None), "sample_size must be one number, got None"),
    "no weights": (lambda m: (m / WEIGHTS).unlink(), f"no weights at MODEL/{WEIGHTS}; only safetensors are read"),
    "a pickle": (lambda m: (m / WEIGHTS).rename(m / "diffusion_pytorch_model.bin"), "only safetensors are read"),
    "weights cut short": (lambda m: os.truncate(m / WEIGHTS, 5000), "it is damaged or cut short: copy it again"),
    "weights cut late": (lambda m: os.truncate(m / WEIGHTS, 200_000), "it is damaged or cut short: copy it again"),
    "weights empty": (lambda m: os.truncate(m / WEIGHTS, 0), "it is damaged or cut short: copy it again"),
    "no schedule": (lambda m: (m / "scheduler_config.json").unlink(), "no file MODEL/scheduler_config.json"),
    "empty schedule": (lambda m: (m / "scheduler_config.json").write_text("{}"), "must hold num_train_timesteps"),
    "unknown betas": (edit("scheduler_config.json", beta_schedule="steep"), "does not describe a noise schedule"),
    "words as T": (edit("scheduler_config.json", num_train_timesteps="x"), "does not describe a noise schedule"),
    "no prediction": (edit("scheduler_config.json", prediction_type="x"), "prediction_type must be epsilon, v_pred"),
    "no conditions": (lambda m: (m / "conditions.json").write_text("{}"), "MODEL/conditions.json must hold"),
}


@pytest.mark.parametrize(("damage", "sentence"), DAMAGE.values(), ids=DAMAGE.keys())
def test_a_model_that_is_not_whole_is_refused(
    refused: Callable[..., str], tmp_path: Path, damage: Callable[[Path], object], sentence: str
) -> None:
    suite = with_model(tmp_path)
    damage(tmp_path / "model")
    assert sentence in refused(suite).replace(str(tmp_path / "model"), "MODEL")


def test_images_of_another_size_than_the_classifiers_are_refused(refused: Callable[..., str], tmp_path: Path) -> None:
    said = refused(with_model(tmp_path, sample_size=4))
    assert "attribute_cnn must be given uint8 images [n, 3, 32, 32]" in said
    assert "[1, 3, 16, 16]" in said


@pytest.mark.parametrize("place", ["out", "out/deeper/still", "out/small", "out/store"])
def test_an_output_folder_that_cannot_be_one_is_found_before_sampling(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.setattr("bench.engine.worker._draw", lambda *_: pytest.fail("sampled for nothing"))
    file = tmp_path / ("out" if place.startswith("out/deeper") else place)
    file.parent.mkdir(exist_ok=True)
    file.write_text("mine")
    out = tmp_path / (place if place.startswith("out/deeper") else "out")
    code, _, said = call("run", tiny(tmp_path), "--workers", "1", "--out", out)
    assert_one_sentence(code, said)
    assert said.startswith("error: cannot write ")
    assert "choose a folder that can be written" in said
    assert file.read_text() == "mine"


def test_a_cache_that_cannot_be_one_is_said(
    refused: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FAIRDIFF_CACHE", str(tmp_path / "file" / "cache"))
    assert "choose a folder that can be written" in refused(small_suite(tmp_path, references={"avatars-balanced": 7}))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("run", "quik"), "unknown suite 'quik'; did you mean 'quick'?"),
        (("list", "method"), "unknown list 'method'; did you mean 'methods'"),
        (("train", "avatars-cn"), "unknown recipe 'avatars-cn'; did you mean 'avatars-cnn'"),
        (("train", "absent.yaml"), "cannot read absent.yaml: No such file or directory"),
    ],
)
def test_an_unknown_name_offers_the_nearest(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, said = call(*arguments)
    assert_one_sentence(code, said)
    assert sentence in said
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("run", "--nope"), "--nope"),
        (("run", "--workers", "two"), "--workers"),
        (("run", "quick", "avatars"), "avatars"),
        (("run", "--out"), "--out"),
        (("list",), "what"),
        (("train",), "recipe"),
        (("frobnicate",), "frobnicate"),
    ],
)
def test_a_misuse_of_the_command_line_says_which(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], word: str
) -> None:
    monkeypatch.chdir(tmp_path)
    code, printed, said = call(*arguments)
    assert (code, printed) == (2, "")
    assert "Error" in said
    assert word.lower() in said.lower()
    assert "Traceback" not in said
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", [(), ("run",), ("list",), ("train",), ("doctor",)])
def test_help_shows_an_example(call: Call, command: tuple[str, ...]) -> None:
    code, printed, said = call(*command, "--help")
    assert (code, said) == (0, "")
    assert f"Example: python run_bench.py {' '.join(command)}".strip() in printed


@pytest.mark.parametrize(
    ("what", "some"),
    [
        ("methods", ("vanilla", "sample_guidance", "distribution_guidance")),
        ("evaluators", ("fairness_discrepancy", "frechet", "attribute_cnn", "efficientnet_lite0")),
        ("models", ("avatars-unet", "path:DIR", "hub:ID", "avatars-cnn", "avatars-clip")),
        ("data", ("avatars-labelled", "avatars-balanced")),
        ("suites", ("quick", "avatars")),
    ],
)
def test_list_names_what_there_is(call: Call, what: str, some: tuple[str, ...]) -> None:
    code, printed, said = call("list", what)
    assert (code, said) == (0, "")
    assert all(name in printed for name in some), printed


def test_doctor_fails_only_where_something_is_missing(call: Call) -> None:
    code, printed, said = call("doctor")
    assert said == ""
    assert "device cpu" in printed
    assert "extractor inception" in printed
    assert code == int("missing" in printed)


@pytest.mark.parametrize("error", ["missing", "ok"])
def test_doctors_exit_code_is_that_of_what_it_found(call: Call, monkeypatch: pytest.MonkeyPatch, error: str) -> None:
    findings = [Finding("torch", "9", "ok"), Finding("weights w", "", error)]  # type: ignore[arg-type]
    monkeypatch.setattr("bench.environment.doctor.examine", lambda: findings)
    assert call("doctor")[0] == int(error == "missing")


def scores(folder: Path) -> dict[str, tuple[str, str]]:
    """Seed to status and value of the ranking_metric."""
    with (folder / "results.csv").open(newline="") as f:
        return {r["seed"]: (r["status"], r["value"]) for r in csv.DictReader(f) if r["metric"] in ("fd_l2_hard", "")}


def test_failed_cells_are_named_the_others_keep_their_results_and_the_code_is_1(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    draw = worker._draw

    def breaks(resources: Any, job: Any, *more: Any) -> Any:
        if job.cell.seed == 1:
            raise ZeroDivisionError("a defect [of ours]")
        return draw(resources, job, *more)

    suite = tiny(tmp_path, seeds=[0, 1, 2])
    with monkeypatch.context() as patch:
        patch.setattr(worker, "_draw", breaks)
        code, printed, said = call("run", suite, "--workers", "1", "--out", tmp_path / "out")
    assert (code, "Traceback" in printed + said) == (1, False)
    assert "failed: eyeglasses uniform, vanilla, seed 1: ZeroDivisionError: a defect [of ours]" in printed
    assert printed.count("failed: ") == 1
    assert "some cells failed; whole reasons: " in printed
    folder = tmp_path / "out" / "small"
    assert "Traceback" in (folder / "failures.log").read_text()
    found = scores(folder)
    assert {seed: status for seed, (status, _) in found.items()} == {"0": "ok", "1": "failed", "2": "ok"}

    code, printed, _ = call("run", suite, "--workers", "1", "--out", tmp_path / "out")  # mended: it goes on
    assert (code, "failed: " in printed) == (0, False)
    assert scores(folder)["0"] == found["0"]
    assert scores(folder)["1"][0] == "ok"
    assert not (folder / "failures.log").exists()


@pytest.mark.parametrize("where", ["bench.api.run_suite", "bench.engine.worker.sample_shard"])
def test_ctrl_c_says_how_to_go_on(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(where, interrupted)
    suite = tiny(tmp_path)
    code, printed, said = call("run", suite, "--workers", "1", "--out", tmp_path / "out")
    assert (code, printed) == (130, "")
    assert said == "interrupted; run the same command to resume\n"


def test_the_version_help_and_completion_are_offered(call: Call) -> None:
    code, printed, _ = call("--version")
    assert (code, printed.split()[:2]) == (0, ["fairdiff-bench", bench_version()])
    for command in ((), ("run",), ("compare",)):
        assert call(*command, "-h") == call(*command, "--help")
    assert "--install-completion" in call("-h")[1]


@pytest.mark.parametrize(
    "command", ["list evaluators", "table balancing_act leaderboards/quick --format markdown", "run no→such"]
)
def test_a_terminal_without_arrows_gets_all_other_characters(command: str) -> None:
    shown = subprocess.run(
        [sys.executable, "run_bench.py", *command.split()],
        cwd=plugins.ROOT,
        env={**os.environ, "PYTHONIOENCODING": "cp1252"},
        capture_output=True,
        check=False,
    )
    printed, said = shown.stdout.decode("cp1252"), shown.stderr.decode("cp1252")
    assert shown.returncode == (2 if "such" in command else 0), said
    assert "Traceback" not in said
    assert any(text in printed + said for text in ("abstained_share ?", "FD ?", "unknown suite 'no?such'"))


@pytest.mark.parametrize("function", ["os.fsync", "numpy.save"])
@pytest.mark.parametrize("good", [0, 3])
def test_a_full_disk_is_said_without_a_traceback(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str, good: int
) -> None:
    """The disk is full from the start, or after some writes; then what was written is whole, and the run goes on."""
    module = {"os.fsync": os, "numpy.save": __import__("numpy")}[function]
    name, left = function.split(".")[1], [good]
    whole = getattr(module, name)

    def full(*arguments: Any, **more: Any) -> Any:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return whole(*arguments, **more)

    suite = tiny(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(module, name, full)
        code, printed, said = call("run", suite, "--workers", "1", "--out", tmp_path / "out")
    assert "Traceback" not in printed + said
    assert "No space left on device" in printed + said
    if code != 1:
        assert_one_sentence(code, said)
    assert not [p for p in (tmp_path / "out").rglob(".*")], "no half-written file stays"
    code, printed, said = call("run", suite, "--workers", "1", "--out", tmp_path / "out")
    assert (code, said) == (0, "")


def test_a_defect_of_ours_keeps_its_traceback(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the user's errors are put in a sentence; a defect is not hidden."""
    monkeypatch.setattr("bench.engine.preflight.preflight", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        call("run", small_suite(tmp_path), "--out", tmp_path / "out")


def test_without_a_command_the_quick_suite_runs(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, Options]] = []

    def note(suite: Suite, options: Options) -> None:
        asked.append((suite.suite, options))
        raise ConfigError("asked")

    monkeypatch.setattr("bench.api.run_suite", note)
    assert call() == call("run") == (2, "", "error: asked\n")
    assert asked == [("quick", Options(Path("leaderboards"), None, "cpu", None, {}))] * 2


def test_an_error_of_several_lines_is_told_in_one(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bench.core.errors import ConfigError

    def fails(*_: Any) -> None:
        raise ConfigError("first [bold]line[/bold]\n  second line")

    monkeypatch.setattr("bench.api.run_suite", fails)
    code, _, said = call("run", small_suite(tmp_path))
    assert_one_sentence(code, said)
    assert said == "error: first [bold]line[/bold] second line\n"


def test_brackets_of_a_docstring_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample_guidance.Method, "__doc__", "Ascend softmax(logits_i / T)[c_i].")
    table = io.StringIO()
    Console(file=table, width=400).print(listing._methods())
    assert "softmax(logits_i / T)[c_i]" in table.getvalue()
