"""Latent pipelines without text: LDM, and class-conditional DiT with classifier-free guidance inside the denoiser."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DiTPipeline, DiTTransformer2DModel, LDMPipeline, VQModel

from bench.core.errors import BenchError, ConfigError, Incompatible, UnknownName
from bench.models import load_model
from bench.models.dit import number_of
from bench.models.pretrained import WEIGHTS
from methods.attribute_switching import Method as AttributeSwitching
from tests.support.pipelines import (
    H_SPACE,
    STEPS,
    latent_scheduler,
    noise_sources,
    patterns,
    quiet,
    rewrite,
    same_images,
    samples,
    tiny_autoencoder,
    tiny_unet,
)

LABELS = {str(k): {1: "tench, Tinca tinca", 2: "crane", 3: "crane, bird"}.get(k, f"thing {k}") for k in range(1000)}


def quantiser() -> VQModel:
    torch.manual_seed(1)
    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}
    made = VQModel(block_out_channels=(8, 8), norm_num_groups=4, num_vq_embeddings=32, sample_size=16, **blocks)
    torch.nn.init.normal_(made.quantize.embedding.weight, std=3.0)  # codes as far apart as latents are
    return made.eval()


def latent_diffusion(kind: str = "vq") -> LDMPipeline:
    channels = 3 if kind == "vq" else 4
    network = quantiser() if kind == "vq" else tiny_autoencoder()
    unet = tiny_unet(in_channels=channels, out_channels=channels)
    return quiet(LDMPipeline(network, unet, latent_scheduler()))


def transformer(**changes: Any) -> DiTTransformer2DModel:
    torch.manual_seed(0)
    arguments: dict[str, Any] = {"num_attention_heads": 2, "attention_head_dim": 8, "num_layers": 4, "sample_size": 8}
    return DiTTransformer2DModel(**{**arguments, "out_channels": 8, **changes}).eval()


def dit_pipeline(**changes: Any) -> DiTPipeline:
    return quiet(DiTPipeline(transformer(**changes), tiny_autoencoder(), latent_scheduler()))


@pytest.fixture(scope="module")
def ldm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ldm") / "kl"
    latent_diffusion("kl").save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def dit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dit") / "dit"
    dit_pipeline().save_pretrained(folder)
    rewrite("model_index.json", id2label=LABELS)(folder)
    return folder


def ldm_model(folder: Path, **fields: Any) -> Any:
    return load_model(f"path:{folder}", fields=fields)


# --- latent diffusion without conditions ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["vq", "kl"])
def test_samples_are_those_of_the_latent_pipeline(tmp_path: Path, kind: str) -> None:
    pipeline = latent_diffusion(kind)
    pipeline.save_pretrained(tmp_path / kind)
    model = ldm_model(tmp_path / kind, decode_batch=2)
    assert (model.shape[1:], model.image_size) == ((8, 8), 16)
    theirs = pipeline(3, noise_sources(), num_inference_steps=STEPS, output_type="np").images
    same_images(model, samples(model), theirs)


def test_images_are_encoded_and_decoded_a_few_at_a_time(ldm: Path) -> None:
    images = torch.from_numpy(patterns(16).images)
    seen: list[int] = []
    model = ldm_model(ldm, decode_batch=5)
    network = model.autoencoder.network
    network.encoder.register_forward_pre_hook(lambda _module, args: seen.append(len(args[0])))
    network.decoder.register_forward_pre_hook(lambda _module, args: seen.append(len(args[0])))
    x = model.encode(images)
    exact = network.encode(images.float() / 127.5 - 1).latent_dist.mode() * network.config.scaling_factor
    assert torch.allclose(x, exact, atol=1e-5)
    seen.clear()
    few = model.autoencoder.pixels(x)
    assert seen == [5, 5, 5, 5, 4]
    assert torch.allclose(few, network.decode(x / network.config.scaling_factor).sample, atol=1e-5)
    assert model.decode(x).dtype == torch.uint8


def test_latents_with_a_mean_of_their_own_are_normalised(tmp_path: Path) -> None:
    means, stds = [0.1, -0.2, 0.3, 0.4], [1.5, 0.5, 2.0, 1.0]
    pipeline = latent_diffusion("kl")
    pipeline.register_modules(vqvae=tiny_autoencoder(latents_mean=means, latents_std=stds, scaling_factor=0.5))
    pipeline.save_pretrained(tmp_path / "kl")
    model = ldm_model(tmp_path / "kl")
    raw = pipeline.vqvae.encode(torch.from_numpy(patterns(16).images).float() / 127.5 - 1).latent_dist.mode()
    wanted = (raw - torch.tensor(means).reshape(1, 4, 1, 1)) / torch.tensor(stds).reshape(1, 4, 1, 1) * 0.5
    x = model.encode(torch.from_numpy(patterns(16).images))
    assert torch.allclose(x, wanted, atol=1e-5)
    assert torch.allclose(model.autoencoder.pixels(x), pipeline.vqvae.decode(raw).sample, atol=1e-5)


@pytest.mark.parametrize("method", H_SPACE)
def test_h_space_methods_steer_latents(ldm: Path, method: Any) -> None:
    model = ldm_model(ldm)
    found = samples(model, method=method)
    assert found.shape == (3, *model.shape)
    assert float((found - samples(model)).abs().max()) > 1e-3


def test_a_latent_model_without_conditions_is_not_asked_for_any(ldm: Path) -> None:
    with pytest.raises(Incompatible, match="cannot be asked for pattern=rows"):
        samples(ldm_model(ldm), method=AttributeSwitching())


# --- class-conditional transformers --------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [4.0, 1.0])
def test_samples_are_those_of_the_dit_pipeline(dit: Path, scale: float) -> None:
    pipeline = dit_pipeline()
    model = ldm_model(dit, guidance_scale=scale)
    for condition, label in ((model.conditions.index("label=tench"), 1), (0, 1000)):
        theirs = pipeline([label] * 3, scale, noise_sources(), STEPS, output_type="np").images
        same_images(model, samples(model, condition=condition), theirs)


def test_a_transformer_without_a_learnt_variance_and_of_an_old_class_name_is_read(tmp_path: Path) -> None:
    pipeline = dit_pipeline(out_channels=4)
    pipeline.save_pretrained(tmp_path / "dit")
    rewrite("transformer/config.json", _class_name="Transformer2DModel")(tmp_path / "dit")
    model = ldm_model(tmp_path / "dit")
    assert model.conditions[:3] == ("none", "label=0", "label=1")
    theirs = pipeline([7] * 3, 4.0, noise_sources(), STEPS, output_type="np").images
    same_images(model, samples(model, condition=8), theirs)


def test_conditions_are_labels_each_by_a_name_of_its_own(dit: Path) -> None:
    model = ldm_model(dit)
    assert len(set(model.conditions)) == 1001
    assert model.conditions[:5] == ("none", "label=thing 0", "label=tench", "label=crane", "label=crane, bird")
    chosen = {"pattern=rows": "tench", "pattern=columns": "Tinca tinca", "pattern=dots": 5, "pattern=blank": "crane"}
    model = ldm_model(dit, conditions=chosen)
    assert model.conditions == ("none", *chosen)
    assert model._classes.tolist() == [1000, 1, 1, 5, 2, 1000]


def test_a_name_that_several_classes_have_is_refused() -> None:
    names = [("crane (0)", "crane", "crane"), ("crane (1)", "crane", "crane")]
    with pytest.raises(ConfigError, match="'crane' is the name of classes 0, 1; give the number"):
        number_of("crane", names)


def inputs(model: Any) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    x = torch.randn(3, *model.shape, generator=torch.Generator().manual_seed(0))
    return x, torch.full((3,), 400), torch.tensor([1, 2, 0])


@pytest.mark.parametrize("scale", [4.0, 1.0])
def test_the_bottleneck_is_the_middle_block_of_the_conditional_rows_alone(dit: Path, scale: float) -> None:
    model = ldm_model(dit, guidance_scale=scale)
    assert model.bottleneck_shape == (16, 16)
    seen: list[torch.Tensor] = []
    outputs: list[torch.Tensor] = []

    def shift(h: torch.Tensor) -> torch.Tensor:
        seen.append(h.clone())
        return h + torch.linspace(-1, 1, 16)

    x, t, asked = inputs(model)
    hook = model.transformer.transformer_blocks[2].register_forward_pre_hook(lambda _m, args: outputs.append(args[0]))
    plain = model.denoise(x, t, asked)
    assert torch.equal(model.denoise(x, t, asked, lambda h: h), plain)
    pushed = model.denoise(x, t, asked, shift)
    hook.remove()
    assert not torch.allclose(pushed, plain, atol=1e-3)
    assert [h.shape for h in seen] == [(3, 16, 16)]
    assert torch.allclose(model.encode_bottleneck(x, t, asked), seen[0], atol=1e-5)
    before, after = outputs[0], outputs[2]
    assert torch.equal(after[:-3], before[:-3])  # the null rows
    assert torch.allclose(after[-3:] - before[-3:], torch.linspace(-1, 1, 16).expand(3, 16, 16), atol=1e-5)
    assert len(after) == (6 if scale > 1 else 3)


def test_another_block_can_be_the_bottleneck(dit: Path) -> None:
    middle = ldm_model(dit)
    named = ldm_model(dit, bottleneck="transformer_blocks.1")
    last = ldm_model(dit, bottleneck="transformer_blocks.3")
    x = inputs(middle)
    assert torch.equal(middle.encode_bottleneck(*x), named.encode_bottleneck(*x))
    assert not torch.allclose(middle.encode_bottleneck(*x), last.encode_bottleneck(*x), atol=1e-3)
    assert middle.digest != last.digest


@pytest.mark.parametrize("method", [*H_SPACE, AttributeSwitching()])
def test_methods_run_on_a_transformer(dit: Path, method: Any) -> None:
    model = ldm_model(dit, conditions={"pattern=rows": "tench", "pattern=columns": 5})
    if isinstance(method, AttributeSwitching):
        method = dataclasses.replace(method, minibatch=4, minibatches=1)
    assert float((samples(model, method=method) - samples(model)).abs().max()) > 1e-3


def test_half_of_the_weights_memory_gives_nearly_the_same(dit: Path) -> None:
    half, whole = (ldm_model(dit, dtype=d) for d in ("bf16", "fp32"))
    assert {p.dtype for p in half._network.parameters()} == {torch.bfloat16}
    x = torch.randn(3, *half.shape, generator=torch.Generator().manual_seed(0))
    t, asked = torch.full((3,), 100), torch.tensor([1, 0, 2])
    found, exact = half.denoise(x, t, asked), whole.denoise(x, t, asked)
    assert found.dtype == torch.float32
    assert 0 < float((found - exact).norm() / exact.norm()) < 0.1
    assert not torch.equal(half.denoise(x, t, asked, lambda h: h + 1), found)
    assert half.encode_bottleneck(x, t, asked).dtype == torch.bfloat16
    assert half.decode(found).dtype == torch.uint8
    assert half.digest != whole.digest


def test_the_digest_knows_what_decides_the_samples(dit: Path, tmp_path: Path) -> None:
    first = ldm_model(dit)
    assert ldm_model(dit, decode_batch=1).digest == first.digest
    assert ldm_model(dit, guidance_scale=2.0).digest != first.digest
    copy = Path(shutil.copytree(dit, tmp_path / "dit"))
    rewrite("vae/config.json", scaling_factor=0.5)(copy)
    assert ldm_model(copy).digest != first.digest


# --- damage --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("damage", "fields", "error", "message"),
    [
        ("vae", {}, ConfigError, r"no folder .*vae, which model_index.json names"),
        (f"vae/{WEIGHTS}", {}, ConfigError, r"no weights at .*vae.*; only safetensors are read"),
        ("", {"guidance_scale": 0.5}, ConfigError, "guidance_scale must be a number >= 1"),
        ("", {"decode_batch": 0}, ConfigError, "decode_batch must be at least 1, got 0"),
        ("", {"bottleneck": "mid_block"}, UnknownName, "unknown bottleneck of a transformer 'mid_block'; .*blocks.0"),
        ("", {"conditions": {"a": "no such thing"}}, UnknownName, "unknown label 'no such thing'"),
        ("", {"conditions": {"a": 1000}}, ConfigError, "a label's number must be 0 to 999, got 1000"),
        ("", {"conditions": {"none": 1}}, ConfigError, 'conditions must leave "none" out'),
        ("", {"conditions": {"a": [1]}}, ConfigError, r"model path:.*: conditions.a"),
    ],
)
def test_what_cannot_be_read_or_asked_is_refused_in_a_sentence(
    dit: Path, tmp_path: Path, damage: str, fields: dict[str, Any], error: type[BenchError], message: str
) -> None:
    folder = dit
    if damage:
        folder = Path(shutil.copytree(dit, tmp_path / "dit"))
        place = folder / damage
        shutil.rmtree(place) if place.is_dir() else place.unlink()
    with pytest.raises(error, match=message) as caught:
        ldm_model(folder, **fields)
    assert "\n" not in str(caught.value)


def test_a_network_for_other_latents_and_labels_of_other_classes_are_refused(
    ldm: Path, dit: Path, tmp_path: Path
) -> None:
    wide = Path(shutil.copytree(ldm, tmp_path / "ldm"))
    tiny_unet(in_channels=9, out_channels=4).save_pretrained(wide / "unet")
    with pytest.raises(ConfigError, match="must take the autoencoder's 4 channels, got 9; networks for inpainting"):
        ldm_model(wide)
    few = Path(shutil.copytree(dit, tmp_path / "dit"))
    rewrite("model_index.json", id2label={"0": "tench"})(few)
    with pytest.raises(ConfigError, match="id2label must name the classes 0 to 999, got 1"):
        ldm_model(few)


def test_the_null_class_is_what_training_left_classes_out_for(dit: Path) -> None:
    """Without a condition, guidance has nothing to lead away from: the answer is the null class's own."""
    x, t, _ = inputs(ldm_model(dit))
    none = torch.zeros(3, dtype=torch.long)
    guided, bare = (ldm_model(dit, guidance_scale=s).denoise(x, t, none) for s in (4.0, 1.0))
    assert np.allclose(guided, bare, atol=1e-5)
