"""The files of a hub's repository that loading a model reads, decided from their names."""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection
from pathlib import Path

import pytest
from diffusers import DDPMPipeline

from bench.core.errors import ConfigError, UnknownName
from bench.models import MODEL_FILES, PIPELINES, load_model
from bench.models.pretrained import WEIGHTS
from bench.storage.hub import Listing
from tests.models.test_pipelines_flow import PROMPTS
from tests.models.test_pipelines_flow import pipeline as stable_diffusion_3
from tests.support.pipelines import ddim_scheduler, tiny_unet

STEM = "diffusion_pytorch_model"
SDXL = (
    *("model_index.json", "README.md", "sd_xl_base_1.0.safetensors", "sd_xl_base_1.0_0.9vae.safetensors"),
    *(f"unet/{name}" for name in ("config.json", f"{STEM}.safetensors", f"{STEM}.fp16.safetensors", "model.onnx")),
    *(f"vae/{name}" for name in ("config.json", f"{STEM}.safetensors", f"{STEM}.fp16.safetensors")),
    *("vae_1_0/config.json", f"vae_1_0/{STEM}.safetensors", "vae_decoder/config.json", "vae_decoder/model.onnx"),
    *(
        f"text_encoder{i}/{name}"
        for i in ("", "_2")
        for name in ("config.json", "model.safetensors", "flax_model.msgpack")
    ),
    *(f"text_encoder{i}/model.{kind}" for i in ("", "_2") for kind in ("fp16.safetensors", "onnx")),
    *(f"tokenizer{i}/{name}" for i in ("", "_2") for name in ("merges.txt", "vocab.json", "tokenizer_config.json")),
    "scheduler/scheduler_config.json",
)
SDXL_READ = {
    *("model_index.json", "unet/config.json", f"unet/{WEIGHTS}", "vae/config.json", f"vae/{WEIGHTS}"),
    *(f"text_encoder{i}/{name}" for i in ("", "_2") for name in ("config.json", "model.safetensors")),
    *(f"tokenizer{i}/{name}" for i in ("", "_2") for name in ("merges.txt", "vocab.json", "tokenizer_config.json")),
    "scheduler/scheduler_config.json",
}
UNET = ("model_index.json", "unet/config.json", "scheduler/scheduler_config.json")
FULL, HALF = [f"unet/{STEM}{s}-0000{i}-of-00002.safetensors" for s in ("", ".fp16") for i in (1, 2)], f"{STEM}.fp16"


def read(folder: Path, names: Collection[str], kind: str | None = "DDPMPipeline", **index: object) -> set[str]:
    """The names that are read of a repository with these names."""
    if kind:
        (folder / "model_index.json").write_text(json.dumps({"_class_name": kind, **index}))
    return set(MODEL_FILES.names(Listing("me/model", folder, dict.fromkeys(names, 1))))


def test_of_a_large_repository_one_copy_of_the_weights_is_read(tmp_path: Path) -> None:
    assert read(tmp_path, SDXL, "StableDiffusionXLPipeline") == SDXL_READ


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ([f"unet/{WEIGHTS}", f"unet/{HALF}.safetensors", f"unet/{STEM}.non_ema.safetensors"], [f"unet/{WEIGHTS}"]),
        ([f"unet/{WEIGHTS}.index.json", *FULL, f"unet/{HALF}.safetensors"], [f"unet/{WEIGHTS}.index.json", *FULL[:2]]),
        ([f"unet/{HALF}.safetensors", f"unet/{STEM}.bin"], [f"unet/{HALF}.safetensors"]),
        ([f"unet/{WEIGHTS}.index.fp16.json", *FULL[2:]], [f"unet/{WEIGHTS}.index.fp16.json", *FULL[2:]]),
        (
            [f"unet/{WEIGHTS}.index.fp16.json", f"unet/{STEM}-00001-of-00001.fp16.safetensors"],
            [f"unet/{WEIGHTS}.index.fp16.json", f"unet/{STEM}-00001-of-00001.fp16.safetensors"],
        ),
    ],
)
def test_weights_whole_in_shards_or_in_half_precision(tmp_path: Path, weights: list[str], expected: list[str]) -> None:
    assert read(tmp_path, (*UNET, *weights)) == {*UNET, *expected}


def test_pipelines_at_the_root_and_single_networks(tmp_path: Path) -> None:
    names = ("config.json", "scheduler_config.json", WEIGHTS, "conditions.json", "model.ckpt", "data.json")
    expected = {"config.json", "scheduler_config.json", WEIGHTS, "conditions.json"}
    assert read(tmp_path, names, None) == expected
    assert read(tmp_path, (*names, "model_index.json")) == {*expected, "model_index.json"}


def test_a_vocabulary_of_sentencepiece_is_read(tmp_path: Path) -> None:
    names = (
        *UNET,
        f"unet/{WEIGHTS}",
        "tokenizer/spiece.model",
        "text_encoder/model.safetensors",
        "text_encoder/config.json",
    )
    assert read(tmp_path, names, "IFPipeline") == set(names)


def test_a_component_that_the_index_leaves_out_is_not_needed(tmp_path: Path) -> None:
    family = PIPELINES["StableDiffusionXLPipeline"].components
    assert "tokenizer_2" in family
    names = [name for name in SDXL_READ if not name.startswith("tokenizer_2/")]
    assert read(tmp_path, names, "StableDiffusionXLPipeline", tokenizer_2=[None, None]) == set(names)
    with pytest.raises(
        ConfigError, match="me/model must hold tokenizer_2/, which its pipeline reads, got no such folder"
    ):
        read(tmp_path, names, "StableDiffusionXLPipeline")


@pytest.mark.parametrize(
    ("weights", "got"),
    [
        ([f"{STEM}.bin"], rf"got unet/{STEM}\.bin; no pickles"),
        ([f"{STEM}.bf16.safetensors"], rf"got unet/{STEM}\.bf16\.safetensors; no pickles and no other variants"),
        ([f"{STEM}.non_ema.safetensors"], r"got unet/.*non_ema"),
        ([], "got no weights"),
    ],
)
def test_weights_that_cannot_be_read_are_named(tmp_path: Path, weights: list[str], got: str) -> None:
    with pytest.raises(ConfigError, match=rf"me/model must hold unet/{WEIGHTS}, whole, in shards or as fp16, {got}"):
        read(tmp_path, (*UNET, *(f"unet/{name}" for name in weights)))


def test_a_pipeline_of_an_unknown_class(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="unknown pipeline 'AudioPipeline'"):
        read(tmp_path, UNET, "AudioPipeline")


@pytest.mark.parametrize("family", ["DDPMPipeline", "StableDiffusion3Pipeline"])
def test_what_is_read_is_all_that_loading_needs(tmp_path: Path, family: str) -> None:
    saved, copy = tmp_path / "saved", tmp_path / "copy"
    if family == "DDPMPipeline":
        DDPMPipeline(tiny_unet(), ddim_scheduler()).save_pretrained(saved)
    else:
        stable_diffusion_3(tmp_path / "tokenizers", third=True).save_pretrained(saved)
    (saved / "whole.safetensors").write_bytes(b"not read")
    sizes = {f.relative_to(saved).as_posix(): f.stat().st_size for f in saved.rglob("*") if f.is_file()}
    for name in MODEL_FILES.names(Listing("me/model", saved, sizes)):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(saved / name, copy / name)
    fields = {} if family == "DDPMPipeline" else {"prompts": PROMPTS}
    assert load_model(f"path:{copy}", fields=fields).digest == load_model(f"path:{saved}", fields=fields).digest
