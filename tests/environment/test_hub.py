"""Suites with files of a hub, prepared and run with the hub's real client, against a hub on 127.0.0.1."""

from __future__ import annotations

import re
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDPMPipeline, StableDiffusionPipeline

from bench.core.digest import file_digest
from bench.environment import requirements
from bench.storage import hub as storage
from bench.storage.downloads import Downloads
from tests.support.hub import Hub, running_hub
from tests.support.pipelines import (
    ddpm_scheduler,
    latent_scheduler,
    tiny_autoencoder,
    tiny_text_encoder,
    tiny_text_unet,
    tiny_tokenizer,
    tiny_unet,
)
from tests.support.runs import Call, caller, refusal
from tests.support.small import small_suite

WEIGHTS = "diffusion_pytorch_model.safetensors"
PIPELINE = {"model_index.json", "unet/config.json", f"unet/{WEIGHTS}", "scheduler/scheduler_config.json"}
BY_SIZE = re.compile(r"me/model must have \d+ bytes, got 9; remove (\S+) and run `prepare` again")


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Call:
    monkeypatch.chdir(tmp_path)
    return caller(monkeypatch, capsys)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub; the client knows no other, and no other address than this machine's can be reached."""
    from huggingface_hub import constants

    look_up = socket.getaddrinfo

    def only_here(host: Any, *arguments: Any, **options: Any) -> Any:
        if host not in ("127.0.0.1", b"127.0.0.1"):
            raise OSError("Network is unreachable")
        return look_up(host, *arguments, **options)

    with running_hub(tmp_path / "hub") as server:
        monkeypatch.setattr(socket, "getaddrinfo", only_here)
        monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _: None)  # between its attempts
        monkeypatch.setattr(constants, "ENDPOINT", server.endpoint)
        template = server.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))
        for name, value in {"HF_ENDPOINT": server.endpoint, "HF_HUB_CACHE": tmp_path / "hub-cache"}.items():
            monkeypatch.setenv(name, str(value))  # for workers
        monkeypatch.setenv("FAIRDIFF_CACHE", str(tmp_path / "cache"))
        yield server


def save_pipeline(folder: Path) -> Path:
    """A tiny pixel pipeline among files that nothing reads: a card, pickles, copies, pictures."""
    DDPMPipeline(tiny_unet(sample_size=32), ddpm_scheduler()).save_pretrained(folder)
    for name in ("README.md", "model.ckpt", "whole.safetensors", f"unet/{WEIGHTS}".replace("safetensors", "bin")):
        (folder / name).write_bytes(b"not read")
    for name in ("unet/diffusion_pytorch_model.fp16.safetensors", "unet/diffusion_pytorch_model.non_ema.safetensors"):
        (folder / name).write_bytes(b"not read")
    (folder / "images").mkdir()
    (folder / "images" / "1.json").write_text("{}")
    return folder


@pytest.fixture
def model(hub: Hub) -> Path:
    return save_pipeline(hub.root / "me" / "model" / "main")


def suite_of(tmp_path: Path, model: str = "hub:me/model", **changes: Any) -> Path:
    """A suite that is treated as a preset: `run` refuses it while anything is missing."""
    (tmp_path / "model").mkdir(exist_ok=True)  # so that none is saved
    settings = {
        "n": 4,
        "guidance_batch": 4,
        "methods": [{"name": "vanilla"}],
        "tasks": [{"attributes": ["eyeglasses"]}],
    }
    return small_suite(tmp_path, suite="tiw_ffhq", model=model, **{**settings, "labelled": None, **changes})


def prepare(call: Call, suite: Path, *options: str | Path) -> str:
    """What a `prepare` shows that got everything."""
    code, shown, said = call("prepare", suite, *options)
    assert code == 0, shown + said
    assert "missing" not in shown
    return shown


def lacks(call: Call, suite: Path, *options: str | Path) -> str:
    """What a `prepare` shows that did not, without the ends of its lines."""
    code, shown, said = call("prepare", suite, *options)
    assert code == 1, shown + said
    assert "Traceback" not in shown + said
    return " ".join(shown.split())


def runs(call: Call, suite: Path, out: Path) -> None:
    """Assert that the suite's cells are foretold and drawn."""
    code, shown, said = call("run", suite, "--dry-run", "--workers", 1)
    assert code == 0, shown + said
    code, shown, said = call("run", suite, "--workers", 1, "--out", out)
    assert code == 0, shown + said
    assert (out / "tiw_ffhq" / "leaderboard.csv").is_file()


def test_prepared_it_runs_with_the_hub_and_without(call: Call, hub: Hub, model: Path, tmp_path: Path) -> None:
    suite = suite_of(tmp_path)
    assert "needs what is not here: model at hub:me/model (fetch it with `prepare`)" in refusal(call("run", suite))
    prepare(call, suite)
    assert hub.served() == {f"me/model/{name}" for name in PIPELINE}, "what loading reads, and nothing else"
    hub.requests.clear()
    runs(call, suite, tmp_path / "out")
    assert not hub.requests, "what is complete is not looked up again"
    hub.stop()
    prepare(call, suite)
    runs(call, suite, tmp_path / "offline")


def test_without_being_prepared_a_run_fetches_the_same(call: Call, hub: Hub, model: Path, tmp_path: Path) -> None:
    suite = suite_of(tmp_path)
    suite.write_text(suite.read_text().replace("tiw_ffhq", "mine"))  # no preset
    code, shown, said = call("run", suite, "--workers", 1, "--out", tmp_path / "out")
    assert code == 0, shown + said
    assert hub.served() == {f"me/model/{name}" for name in PIPELINE}


def test_text_to_image_and_a_classifier_come_from_the_hub(call: Call, hub: Hub, tmp_path: Path) -> None:
    folder, words = hub.root / "me" / "text" / "main", tiny_tokenizer(tmp_path / "words")
    parts = {"unet": tiny_text_unet(), "vae": tiny_autoencoder(), "text_encoder": tiny_text_encoder()}
    extra: dict[str, Any] = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    StableDiffusionPipeline(**parts, scheduler=latent_scheduler(), tokenizer=words, **extra).save_pretrained(folder)
    classifier = save_classifier(hub.root / "me" / "classifier" / "v1")
    for path in (folder / "v1-5-pruned.safetensors", folder / "vae" / "model.bin", classifier / "pytorch_model.bin"):
        path.write_bytes(b"not read")
    (classifier / "checkpoint-500").mkdir()
    (classifier / "checkpoint-500" / "model.safetensors").write_bytes(b"not read")
    fields = {"model": "hub:me/classifier@v1", "attribute": "kind", "classes": [{"cat": ["cat"]}, {"dog": ["dog"]}]}
    chosen = {"judge": {"name": "transformers_classifier", "with": fields}, "tasks": [{"attributes": ["kind"]}]}
    pipeline = {"name": "hub:me/text", "with": {"prompts": {"none": "a face"}}}
    suite = suite_of(tmp_path, **{"model": pipeline, **chosen})
    prepare(call, suite)
    unread = ("v1-5-pruned", ".bin", "checkpoint-500", "README")
    assert not [name for name in hub.served() if any(word in name for word in unread)]
    assert "me/classifier/model.safetensors" in hub.served()
    hub.stop()
    runs(call, suite, tmp_path / "out")


def save_classifier(folder: Path) -> Path:
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

    torch.manual_seed(0)
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = ViTConfig(
        image_size=32, patch_size=16, id2label={0: "cat", 1: "dog"}, label2id={"cat": 0, "dog": 1}, **sizes
    )
    ViTForImageClassification(config).save_pretrained(folder)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def cached(tmp_path: Path, name: str) -> Path:
    """The file of the hub's cache that a name of me/model links to."""
    return next((tmp_path / "hub-cache" / "models--me--model" / "snapshots").glob(f"*/{name}")).resolve()


def test_a_file_cut_short_is_named_and_mended(call: Call, hub: Hub, model: Path, tmp_path: Path) -> None:
    suite = suite_of(tmp_path)
    prepare(call, suite)
    cached(tmp_path, f"unet/{WEIGHTS}").write_bytes(b"cut short")
    assert "fetch it with `prepare`" in refusal(call("run", suite))
    advice = BY_SIZE.search(lacks(call, suite))
    assert advice, "the damaged file is named"
    Path(advice[1]).unlink()
    prepare(call, suite)
    runs(call, suite, tmp_path / "out")


def test_a_changed_file_is_named_and_mended(call: Call, hub: Hub, model: Path, tmp_path: Path) -> None:
    suite = suite_of(tmp_path)
    prepare(call, suite)
    weights = cached(tmp_path, f"unet/{WEIGHTS}")
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    shown = lacks(call, suite)
    assert f"must have the SHA-256 {weights.name}, got {file_digest(weights)}; remove {weights}" in shown
    weights.unlink()
    prepare(call, suite)
    assert file_digest(cached(tmp_path, f"unet/{WEIGHTS}")) == file_digest(model / "unet" / WEIGHTS)


def test_what_differs_from_the_record_is_refused(
    call: Call, hub: Hub, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files: dict[str, Any] = {name: {} for name in PIPELINE}
    files[f"unet/{WEIGHTS}"] = {"bytes": (model / "unet" / WEIGHTS).stat().st_size, "sha256": "0" * 64}
    record = Downloads.model_validate({"hub": {"me/model": {"licence": "none", "files": files}}})
    for module in (storage, requirements):
        monkeypatch.setattr(module, "downloads", lambda: record)
    shown = lacks(call, suite_of(tmp_path))
    assert f"must have the SHA-256 {'0' * 64}, got {file_digest(model / 'unet' / WEIGHTS)}" in shown
    assert hub.served() == {f"me/model/{name}" for name in PIPELINE}
    files[f"unet/{WEIGHTS}"] = {"bytes": 12}
    record = Downloads.model_validate({"hub": {"me/model": {"licence": "none", "files": files}}})
    assert "must have 12 bytes" in lacks(call, suite_of(tmp_path))


def test_a_revision_is_fetched_by_its_name_and_no_other(call: Call, hub: Hub, model: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(model, hub.root / "me" / "model" / "v1"))
    DDPMPipeline(tiny_unet(sample_size=32, block_out_channels=(16, 32)), ddpm_scheduler()).save_pretrained(other)
    suite = suite_of(tmp_path, "hub:me/model@v1")
    prepare(call, suite)
    assert cached(tmp_path, f"unet/{WEIGHTS}").read_bytes() == (other / "unet" / WEIGHTS).read_bytes()
    hub.stop()
    runs(call, suite, tmp_path / "out")
    assert "needs what is not here: model at hub:me/model (" in refusal(call("run", suite_of(tmp_path)))


@pytest.mark.parametrize(
    ("name", "message"),
    [("me/model@v9", "no such revision; name a commit"), ("nobody/nothing", "no such repository, or a private one")],
)
def test_what_the_hub_does_not_have(name: str, message: str, call: Call, hub: Hub, model: Path, tmp_path: Path) -> None:
    suite = suite_of(tmp_path, f"hub:{name}")
    shown = lacks(call, suite)
    assert f"missing: model at hub:{name}: cannot fetch {name} from the hub: " in shown
    assert message in shown
    assert "fetch it with `prepare`" in refusal(call("run", suite))


def test_pickles_only(call: Call, hub: Hub, model: Path, tmp_path: Path) -> None:
    for weights in (model / "unet").glob("*.safetensors"):
        weights.unlink()
    shown = lacks(call, suite_of(tmp_path))
    assert (
        f"me/model must hold unet/{WEIGHTS}, whole, in shards or as fp16, got unet/diffusion_pytorch_model.bin" in shown
    )
    assert "save it with save_pretrained, and give path:DIR" in shown
    assert not any(name.endswith((".bin", ".ckpt")) for name in hub.served())


def test_half_precision_is_fetched_where_there_is_no_other(call: Call, hub: Hub, model: Path, tmp_path: Path) -> None:
    half = "unet/diffusion_pytorch_model.fp16.safetensors"
    DDPMPipeline(tiny_unet(sample_size=32).half(), ddpm_scheduler()).save_pretrained(model, variant="fp16")
    (model / "unet" / WEIGHTS).unlink()
    suite = suite_of(tmp_path)
    prepare(call, suite)
    assert {name for name in hub.served() if name.endswith(".safetensors")} == {f"me/model/{half}"}
    hub.stop()
    runs(call, suite, tmp_path / "out")


def test_a_fetch_that_failed_goes_on(call: Call, hub: Hub, model: Path, tmp_path: Path) -> None:
    suite = suite_of(tmp_path)
    hub.broken.add(f"me/model/unet/{WEIGHTS}")
    assert "cannot fetch me/model from the hub: " in lacks(call, suite)
    assert "fetch it with `prepare`" in refusal(call("run", suite, "--dry-run"))
    hub.broken.clear()
    hub.requests.clear()
    prepare(call, suite)
    assert "me/model/model_index.json" not in hub.served(), "what came before is not fetched again"
    runs(call, suite, tmp_path / "out")


def test_a_mirror_filled_as_prepare_says(call: Call, hub: Hub, model: Path, tmp_path: Path) -> None:
    from huggingface_hub import snapshot_download

    suite, mirror = suite_of(tmp_path), tmp_path / "mirror"
    with_network = hub.endpoint
    hub.stop()
    command = re.search(r"hf download me/model (.*) --local-dir MIRROR/me/model/main;", lacks(call, suite))
    assert command, with_network
    patterns = re.findall(r"--include '([^']+)'", command[1])
    with running_hub(hub.root) as there:
        folder = mirror / "me" / "model" / "main"
        snapshot_download("me/model", allow_patterns=patterns, local_dir=folder, endpoint=there.endpoint)
    assert not [f for f in folder.rglob("*") if f.suffix in (".ckpt", ".bin") or f.name == "whole.safetensors"]
    prepare(call, suite, "--mirror", mirror)
    shutil.rmtree(mirror)
    runs(call, suite, tmp_path / "out")
    target = tmp_path / "cache" / "hub" / "me" / "model" / "main"
    copied = {str(f.relative_to(target)) for f in target.rglob("*") if f.is_file()}
    assert copied == PIPELINE | {storage.DONE}


def test_a_mirror_without_weights_is_named(call: Call, hub: Hub, model: Path, tmp_path: Path) -> None:
    hub.stop()
    mirror = tmp_path / "mirror"
    folder = Path(shutil.copytree(model, mirror / "me" / "model" / "main"))
    (folder / "unet" / WEIGHTS).unlink()
    (folder / "unet" / "diffusion_pytorch_model.fp16.safetensors").unlink()
    shown = lacks(call, suite_of(tmp_path), "--mirror", mirror)
    assert f"the mirror's {folder} cannot be used: me/model must hold unet/{WEIGHTS}" in shown


def test_room_is_counted_for_what_is_read(
    call: Call, hub: Hub, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (model / "whole.safetensors").write_bytes(bytes(2_000_000))
    need = sum((model / name).stat().st_size for name in PIPELINE)
    free = shutil._ntuple_diskusage(1 << 30, 0, need - 1000)
    monkeypatch.setattr(requirements.shutil, "disk_usage", lambda _: free)
    suite = suite_of(tmp_path)
    assert "make room, or name another folder in $HF_HUB_CACHE" in refusal(call("prepare", suite))
    assert not any(name.endswith(".safetensors") for name in hub.served())
    free = shutil._ntuple_diskusage(1 << 30, 0, need + 1000)
    prepare(call, suite)
