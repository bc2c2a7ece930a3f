"""Folders that load elsewhere and draw nonsense: refused at loading or sampling, in words that say what to do."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import DDPMPipeline, VQModel
from safetensors.torch import load_file, save_file

from bench.core.errors import ConfigError, Incompatible, NotFinite
from bench.models import load_model
from bench.models.latent import load_autoencoder
from bench.models.prompts import load_text_encoder
from bench.models.schedule import make_scheduler
from bench.protocols.model import encode_pixels
from tests.models.test_pipelines_text import PROMPTS, stable_diffusion
from tests.support.pipelines import ddpm_scheduler, rewrite, samples, tiny_text_encoder, tiny_text_unet, tiny_unet

LATENT = {"num_train_timesteps": 1000, "beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    stable_diffusion(folder)
    return folder / "saved"


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "copy"))


def test_an_autoencoder_that_overflows_draws_no_black_images(copy: Path) -> None:
    file = copy / "vae" / "diffusion_pytorch_model.safetensors"
    weights = load_file(file)
    weights["decoder.conv_out.weight"] = torch.full_like(weights["decoder.conv_out.weight"], float("inf"))
    save_file(weights, file)
    model = load_model(f"path:{copy}", fields={"prompts": PROMPTS})
    with pytest.raises(NotFinite, match="the autoencoder returned NaN or infinity for 3 of 3 images"):
        model.decode(samples(model))


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (("vocab.json", "merges.txt"), "no vocab.json and no merges.txt; copy"),
        (("merges.txt",), "got no merges.txt; copy"),
        (("vocab.json",), "got no vocab.json; copy"),
    ],
)
def test_a_tokenizer_without_its_vocabulary_is_refused(copy: Path, files: tuple[str, ...], message: str) -> None:
    write_old_tokenizer(copy)
    for name in files:
        (copy / "tokenizer" / name).unlink()
    with pytest.raises(ConfigError, match=message):
        load_model(f"path:{copy}", fields={"prompts": PROMPTS})


@pytest.mark.parametrize("n", [55, 100])
def test_a_vocabulary_of_another_size_is_refused(copy: Path, n: int) -> None:
    encoder = tiny_text_encoder()
    encoder.resize_token_embeddings(n)
    encoder.save_pretrained(copy / "text_encoder")
    with pytest.raises(ConfigError, match=r"must have the vocabulary of its text encoder, \d+ tokens, got 56"):
        load_text_encoder(copy)


def test_a_vocabulary_that_needs_sentencepiece_says_so(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(copy / "tokenizer")
    (copy / "tokenizer").mkdir()
    with pytest.raises(ConfigError, match=r"tokenizer.json or spiece.model, got no spiece.model"):
        load_text_encoder(copy, kind="T5EncoderModel")
    (copy / "tokenizer" / "spiece.model").write_bytes(b"a vocabulary")
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(Incompatible, match=r"pip install 'fairdiff-bench\[sentencepiece\]'"):
        load_text_encoder(copy, kind="T5EncoderModel")


@pytest.mark.parametrize("limit", [None, 10**30, 500])
def test_prompts_are_padded_to_the_positions_of_the_text_encoder(copy: Path, limit: int | None) -> None:
    rewrite("tokenizer/tokenizer_config.json", model_max_length=limit)(copy)
    encoder = load_text_encoder(copy)
    assert encoder.length == 77
    assert encoder.encode(["a dog"]).last_hidden_state.shape == (1, 77, 16)


def write_old_tokenizer(folder: Path) -> None:
    """Write the vocabulary as pipelines of 2022 have it, without tokenizer.json."""
    saved = json.loads((folder / "tokenizer" / "tokenizer.json").read_text())["model"]
    (folder / "tokenizer" / "tokenizer.json").unlink()
    (folder / "tokenizer" / "vocab.json").write_text(json.dumps(saved["vocab"]))
    merges = (" ".join(pair) if isinstance(pair, list) else pair for pair in saved["merges"])
    (folder / "tokenizer" / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]))


@pytest.mark.parametrize(
    ("sampler", "spacing", "offset", "steps", "message"),
    [
        ("ddim", "leading", 1, 501, r"starts at timestep 501, more than one stride \(1\).*take 500 or 998 steps"),
        ("ddim", "leading", 0, 300, r"starts at timestep 897, more than one stride \(3\).*take 250 or 333 steps"),
        ("ddpm", "leading", 1, 1000, "visits timestep 1000, and the model's are 0 to 999; take 999 steps"),
        ("dpmsolver++", "leading", 1, 1000, "visits timestep 1 more than once; take 998 steps"),
        ("dpmsolver++", "linspace", 0, 1000, "visits timestep 500 more than once; take 999 steps"),
        ("ddim", "trailing", 0, 61, "visits timestep -1, and the model's are 0 to 999; take 60 or 62 steps"),
    ],
)
def test_steps_that_leave_the_schedule_are_refused(
    sampler: str, spacing: str, offset: int, steps: int, message: str
) -> None:
    config = {**LATENT, "timestep_spacing": spacing, "steps_offset": offset}
    with pytest.raises(ConfigError, match=message):
        make_scheduler(sampler, config, steps)


@pytest.mark.parametrize("steps", [1, 4, 20, 50, 100, 250, 500])
@pytest.mark.parametrize("sampler", ["ddim", "ddpm"])
def test_steps_that_divide_the_schedule_stay(sampler: str, steps: int) -> None:
    for spacing in ("leading", "trailing", "linspace"):
        scheduler = make_scheduler(sampler, {**LATENT, "timestep_spacing": spacing, "steps_offset": 1}, steps)
        assert len(set(scheduler.timesteps.tolist())) == steps


@pytest.mark.parametrize(
    ("sampler", "steps", "first", "signal"),
    [
        ("ddim", 10, 901, 0.118),  # within one stride
        ("ddim", 30, 958, 0.087),  # more than one stride, and noisier than 10 steps
        ("ddpm", 60, 945, 0.093),
        ("dpmsolver++", 20, 941, 0.095),
        ("dpmsolver++", 25, 951, 0.090),
        ("dpmsolver++", 50, 951, 0.090),
        ("dpmsolver++", 100, 901, 0.118),
    ],
)
def test_steps_that_start_as_noisy_as_ten_steps_are_accepted(
    sampler: str, steps: int, first: int, signal: float
) -> None:
    config = {"num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    scheduler = make_scheduler(sampler, {**config, "timestep_spacing": "leading", "steps_offset": 1}, steps)
    assert int(scheduler.timesteps[0]) == first
    assert float(scheduler.alphas_cumprod[first].sqrt()) == pytest.approx(signal, abs=5e-4)


def test_a_start_more_than_a_tenth_of_the_schedule_from_its_end_is_refused() -> None:
    """The stride is 1: 900 steps start at 899, 100 before the last timestep, and 899 steps at 898, 101 before it."""
    config = {**LATENT, "timestep_spacing": "leading", "steps_offset": 0}
    assert int(make_scheduler("ddim", config, 900).timesteps[0]) == 899
    with pytest.raises(ConfigError, match=r"starts at timestep 898, more than one .* take 500 or 999 steps"):
        make_scheduler("ddim", config, 899)


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("diffusion_pytorch_model.bf16.safetensors", r"only the variant bf16 is there .*UNet2DConditionModel.from_pre"),
        ("diffusion_pytorch_model.non_ema.safetensors", r"only the variant non_ema is there .*variant='non_ema'"),
        ("diffusion_pytorch_model.bin", r"only a pickle is there \(diffusion_pytorch_model.bin\).*use_safetensors=Fa"),
    ],
)
def test_weights_in_another_form_are_named_with_their_conversion(copy: Path, file: str, message: str) -> None:
    (copy / "unet" / "diffusion_pytorch_model.safetensors").rename(copy / "unet" / file)
    with pytest.raises(ConfigError, match=f"no weights at .*; only safetensors are read.*{message}"):
        load_model(f"path:{copy}", fields={"prompts": PROMPTS})


def test_a_pickle_of_a_text_encoder_names_its_class(copy: Path) -> None:
    (copy / "text_encoder" / "model.safetensors").rename(copy / "text_encoder" / "pytorch_model.bin")
    with pytest.raises(ConfigError, match=r"only a pickle is there .*transformers.CLIPTextModel.from_pretrained"):
        load_model(f"path:{copy}", fields={"prompts": PROMPTS})


def test_pickles_only_at_the_root_of_an_old_pipeline(tmp_path: Path) -> None:
    DDPMPipeline(tiny_unet(), ddpm_scheduler()).save_pretrained(tmp_path)
    for name in ("unet", "scheduler"):
        for file in (tmp_path / name).iterdir():
            file.rename(tmp_path / file.name)
        (tmp_path / name).rmdir()
    load_model(f"path:{tmp_path}")
    (tmp_path / "diffusion_pytorch_model.safetensors").rename(tmp_path / "diffusion_pytorch_model.bin")
    with pytest.raises(ConfigError, match=r"only a pickle is there .*diffusers.UNet2DModel.from_pretrained"):
        load_model(f"path:{tmp_path}")


@pytest.mark.parametrize("fields", [{}, {"prompts": PROMPTS}])
def test_a_checkpoint_in_one_file_is_named_with_its_conversion(tmp_path: Path, fields: dict[str, object]) -> None:
    save_file({"model.diffusion_model.out.2.bias": torch.zeros(4)}, tmp_path / "v1-5-pruned.safetensors")
    with pytest.raises(ConfigError, match=r"a checkpoint in one file; convert it so: .*from_single_file"):
        load_model(f"path:{tmp_path}", fields=fields)


@pytest.mark.parametrize("kind", ["timestep", "identity"])
def test_a_network_that_needs_labels_of_another_kind_is_refused(tmp_path: Path, kind: str) -> None:
    DDPMPipeline(tiny_unet(class_embed_type=kind), ddpm_scheduler()).save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match=f"got class_embed_type '{kind}'"):
        load_model(f"path:{tmp_path}")


def test_a_text_network_that_needs_labels_is_refused(copy: Path) -> None:
    tiny_text_unet(num_class_embeds=3).save_pretrained(copy / "unet")
    with pytest.raises(ConfigError, match="must take no class labels, got num_class_embeds 3"):
        load_model(f"path:{copy}", fields={"prompts": PROMPTS})


@pytest.mark.parametrize(("stored", "scale"), [(None, 1.0), (0.5, 0.5)])
def test_a_vq_model_without_a_scale_has_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], stored: float | None, scale: float
) -> None:
    torch.manual_seed(0)
    network = VQModel(block_out_channels=(8, 8), down_block_types=("DownEncoderBlock2D",) * 2,
                      up_block_types=("UpDecoderBlock2D",) * 2, norm_num_groups=4, latent_channels=3)  # fmt: skip
    network.save_pretrained(tmp_path)
    rewrite("config.json", scaling_factor=stored)(tmp_path)
    images = torch.zeros(1, 3, 16, 16, dtype=torch.uint8)
    latents = load_autoencoder(tmp_path, "cpu", 8).encode(images)
    plain = network.encode(encode_pixels(images)).latents
    torch.testing.assert_close(latents, plain * scale)
    assert ("names no scaling_factor: 1.0 is used" in capsys.readouterr().err.replace("\n", " ")) == (stored is None)
