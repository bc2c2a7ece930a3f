"""Requirements of a suite: listed, fetched from a mirror, and refused in one sentence. No network is used."""

from __future__ import annotations

import shutil
import socket
from pathlib import Path
from typing import Any, NoReturn

import pytest
import yaml

from bench.assets import asset_folder
from bench.config.suite import Suite, list_suites, read_suite
from bench.core.attributes import Attribute
from bench.core.digest import file_digest
from bench.core.errors import ConfigError, Incompatible
from bench.engine.cells import cells
from bench.environment import requirements
from bench.environment.requirements import examine, takes_from_elsewhere
from bench.models import MODEL_FILES
from bench.storage import hub
from bench.storage.downloads import Downloads, downloads
from bench.storage.files import cache_root
from evaluators.contrastive.prompts import read_prompts
from tests.support.runs import Call, caller, refusal
from tests.support.small import save_tiny_unet, small_suite

PLACE = "tests/tiny@0123abc"
WEIGHTS = "diffusion_pytorch_model.safetensors"
PRESETS = [name for name in list_suites() if takes_from_elsewhere(read_suite(name))]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Call:
    monkeypatch.chdir(tmp_path)  # relative folders of presets are looked for here
    return caller(monkeypatch, capsys)


@pytest.fixture(autouse=True)
def refused_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No name is resolved and nothing is connected to; caches are this test's own."""
    from huggingface_hub import constants

    def refuse(*_: Any, **__: Any) -> NoReturn:
        raise OSError("Network is unreachable")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _: None)  # between its attempts
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))
    monkeypatch.setenv("FAIRDIFF_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A mirror with one model, whose files are on record."""
    folder = save_tiny_unet(tmp_path / "mirror" / "tests" / "tiny" / "0123abc")
    (folder / "model.bin").write_bytes(b"a pickle, which nobody asks for")
    size = (folder / WEIGHTS).stat().st_size
    files: dict[str, Any] = {
        "config.json": {},
        "scheduler_config.json": {},
        WEIGHTS: {"bytes": size, "sha256": file_digest(folder / WEIGHTS)},
    }
    known = Downloads.model_validate({"hub": {PLACE: {"licence": "none", "files": files}}})
    for module in (hub, requirements):
        monkeypatch.setattr(module, "downloads", lambda: known)
    return tmp_path / "mirror"


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    folder = tmp_path / "suite"
    (folder / "model").mkdir(parents=True)  # so that none is made
    return small_suite(folder, model=f"hub:{PLACE}", methods=[{"name": "vanilla"}], labelled=None)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file()}


def test_without_a_network_it_says_what_to_bring_and_from_where(call: Call, suite: Path, mirror: Path) -> None:
    code, shown, _ = call("prepare", suite)
    assert code == 1
    assert f"missing: model at hub:{PLACE}: cannot fetch {PLACE} from the hub" in shown
    files = f"config.json scheduler_config.json {WEIGHTS}"
    assert f"hf download tests/tiny --revision 0123abc {files} --local-dir MIRROR/tests/tiny/0123abc" in shown
    assert "--mirror MIRROR" in shown


def test_from_a_mirror_all_comes_to_hand_and_the_suite_can_run(call: Call, suite: Path, mirror: Path) -> None:
    code, shown, _ = call("prepare", suite, "--mirror", mirror)
    assert code == 0, shown
    assert "available" in shown
    kept = cache_root() / "hub" / "tests" / "tiny" / "0123abc"
    assert names(kept) == {"config.json", "scheduler_config.json", WEIGHTS, hub.DONE}
    shutil.rmtree(mirror)
    assert call("prepare", suite)[0] == 0, "what was copied needs no mirror any more"
    code, shown, _ = call("run", suite, "--dry-run", "--workers", 1)
    assert code == 0
    assert "75 denoiser calls" in shown


def test_a_copy_that_was_stopped_goes_on(mirror: Path) -> None:
    source, kept = mirror / "tests/tiny/0123abc", cache_root() / "hub" / "tests" / "tiny" / "0123abc"
    kept.mkdir(parents=True)
    shutil.copyfile(source / "config.json", kept / "config.json")
    (kept / f"{WEIGHTS}.part").write_bytes((source / WEIGHTS).read_bytes()[:1000])
    whole = (kept / "config.json").stat().st_mtime_ns
    assert hub.available(PLACE, MODEL_FILES) is None
    assert (
        hub.copy_from_mirror(PLACE, mirror, MODEL_FILES)
        == kept
        == hub.available(PLACE, MODEL_FILES)
        == hub.fetch(PLACE, MODEL_FILES)
    )
    assert (kept / "config.json").stat().st_mtime_ns == whole
    assert file_digest(kept / WEIGHTS) == file_digest(source / WEIGHTS)
    assert names(kept) == {"config.json", "scheduler_config.json", WEIGHTS, hub.DONE}
    (kept / WEIGHTS).write_bytes(b"cut short")
    assert hub.available(PLACE, MODEL_FILES) is None


def test_a_damaged_mirror_is_refused_and_nothing_of_it_counts(call: Call, suite: Path, mirror: Path) -> None:
    weights = mirror / "tests/tiny/0123abc" / WEIGHTS
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    code, shown, _ = call("prepare", suite, "--mirror", mirror)
    assert code == 1
    assert f"{weights} of {PLACE} must have the SHA-256 " in shown
    assert hub.available(PLACE, MODEL_FILES) is None
    weights.unlink()
    code, shown, _ = call("prepare", suite, "--mirror", mirror)
    assert code == 1
    assert f"the mirror must hold {weights.parent} with {WEIGHTS}" in shown


def test_a_full_disk_is_seen_before_the_first_file(
    call: Call, suite: Path, mirror: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requirements.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 9, 1))
    said = refusal(call("prepare", suite, "--mirror", mirror))
    assert "make room, or name another folder in $FAIRDIFF_CACHE" in said
    assert not (cache_root() / "hub").exists()
    assert "a mirror holds OWNER/NAME/REVISION" in refusal(call("prepare", suite, "--mirror", mirror / "no"))


@pytest.mark.parametrize("place", ["../a/b", "a/../b", "a", "a/b/c", "/a/b", "a/b@../../c"])
def test_a_repository_is_no_path_out_of_the_mirror(place: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="must be OWNER/NAME"):
        hub.mirror_folder(place, tmp_path)
    assert hub.available(place, MODEL_FILES) is None
    with pytest.raises(Incompatible, match="cannot fetch"):
        hub.fetch(place, MODEL_FILES)


def test_a_repository_that_no_record_knows_is_there_when_it_has_weights(mirror: Path) -> None:
    other = mirror / "tests" / "other" / "main"
    other.mkdir(parents=True)
    (other / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match=rf"other.main cannot be used: tests/other must hold {WEIGHTS}"):
        hub.copy_from_mirror("tests/other", mirror, MODEL_FILES)
    for name in (WEIGHTS, "scheduler_config.json"):
        shutil.copyfile(mirror / "tests/tiny/0123abc" / name, other / name)
    assert hub.available("tests/other", MODEL_FILES) is None
    hub.copy_from_mirror("tests/other", mirror, MODEL_FILES)
    assert hub.available("tests/other", MODEL_FILES) == cache_root() / "hub" / "tests" / "other" / "main"
    with pytest.raises(Incompatible, match="cannot ask the hub for tests/unknown"):
        hub.bytes_to_fetch("tests/unknown", MODEL_FILES)


def test_what_the_hub_s_own_cache_holds_whole_is_available(mirror: Path, tmp_path: Path) -> None:
    commit = "a" * 40
    kept = tmp_path / "hub-cache" / "models--tests--cached" / "snapshots" / commit
    shutil.copytree(mirror / "tests/tiny/0123abc", kept)
    assert hub.available(f"tests/cached@{commit}", MODEL_FILES) == kept
    (kept / WEIGHTS).unlink()
    assert hub.available(f"tests/cached@{commit}", MODEL_FILES) is None


def test_data_statistics_and_extractors_are_named_with_what_to_do(tmp_path: Path) -> None:
    root = tmp_path / "celeba"
    tree: dict[str, Any] = yaml.safe_load((small_suite(tmp_path)).read_text())
    tree["data"] = {"mine": {"name": "celeba", "root": str(root), "attributes": ["Male"]}}
    tree["features"] = ["efficientnet_lite0", {"name": "inception", "with": {"weights": str(tmp_path / "no.pt")}}]
    tree["statistics"] = {"kept": {"file": str(tmp_path / "kept.npz"), "features": "efficientnet_lite0"}}
    chosen = Suite.model_validate(tree)
    found = {item.what: item for item in examine(chosen)}
    assert found["data mine"].missing.startswith("put celeba there: img_align_celeba/*.jpg, list_attr_celeba.txt")
    assert "run_bench.py statistics DATA --features efficientnet_lite0 --out " in found["statistics kept"].missing
    assert found.keys() == {"model", "data mine", "statistics kept", "extractor inception"}, "what ships is not listed"
    assert not found["model"].missing
    assert "no.pt" in found["extractor inception"].missing
    assert not found["extractor inception"].needed
    root.mkdir()
    assert "list_attr_celeba.txt" in {i.what: i for i in examine(chosen)}["data mine"].missing


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_valid_and_all_that_it_needs_is_on_record(name: str) -> None:
    preset, known = read_suite(name), downloads()
    assert preset.suite == name
    assert list_suites()[name].endswith(".")
    assert "ncertain" in (hub_file := (asset_folder("suites") / f"{name}.yaml").read_text())
    assert "arXiv" in hub_file or "et al." in hub_file
    fields = preset.classifier.fields
    if preset.classifier.name == "clip":
        asked = read_prompts(fields["prompts"]).described
    else:
        asked = (Attribute(fields["attribute"], tuple(k for one in fields["classes"] for k in one)),)
    assert len(cells(preset, asked)) == len(preset.tasks) * len(preset.methods) * len(preset.seeds)
    for text in (preset.model.name, fields["model"]):
        kind, _, place = text.partition(":")
        assert place in (known.hub if kind == "hub" else known.folders)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_that_cannot_run_is_refused_with_all_that_is_missing(name: str, call: Call, tmp_path: Path) -> None:
    preset = read_suite(name)
    for options in ((), ("--dry-run",)):
        said = refusal(call("run", name, "--out", tmp_path / "out", *options))
        assert f"suite {name} needs what is not here: model at " in said
        wanted = [preset.model.name, preset.classifier.fields["model"], *(s.root or "" for s in preset.data.values())]
        for where in wanted:
            assert where.removeprefix("path:") in said
    assert not (tmp_path / "out").exists()


def test_a_preset_is_listed_as_one_that_needs_downloads(call: Call) -> None:
    shown = call("list", "suites")[1]
    for line in shown.splitlines():
        cells_ = [part.strip() for part in line.split("│")]
        if len(cells_) > 3 and cells_[1] in list_suites():
            assert ("downloads" in cells_[3]) == (cells_[1] in PRESETS)
    assert {"balancing_act_celebahq", "tiw_ffhq", "attribute_switching_sd15"} <= set(PRESETS)
    assert "quick" not in PRESETS
    code, shown, _ = call("prepare", "unguided")
    assert (code, "needs nothing" in shown) == (0, True)


def test_a_preset_is_prepared_item_by_item(call: Call) -> None:
    code, shown, _ = call("prepare", "balancing_act_sd15")
    assert code == 1
    assert (
        "hf download stable-diffusion-v1-5/stable-diffusion-v1-5 --revision 451f4fe16113bff5a5d2269ed5ad43b0592e9a14"
        in shown
    )
    assert "missing: data fairface at data/fairface: put fairface there: train/*.jpg" in shown
    assert "its columns are skipped" in shown  # inception
