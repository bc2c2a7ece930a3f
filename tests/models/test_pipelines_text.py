"""Text-to-image pipelines: prompts as conditions, classifier-free guidance in the denoiser, SDXL's second encoder."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline

from bench.core.errors import BenchError, ConfigError, Incompatible
from bench.models import load_model
from bench.models.pretrained import SCHEDULE, WEIGHTS
from methods.attribute_switching import Method as AttributeSwitching
from tests.support.pipelines import (
    H_SPACE,
    STEPS,
    latent_scheduler,
    noise_sources,
    quiet,
    rewrite,
    same_images,
    samples,
    tiny_autoencoder,
    tiny_text_encoder,
    tiny_text_unet,
    tiny_tokenizer,
)

PROMPTS = {"none": "the cat", "pattern=rows": "a dog", "pattern=columns": "two"}
ADDED = {"addition_embed_type": "text_time", "addition_time_embed_dim": 4, "cross_attention_dim": 24}
XL = {**ADDED, "projection_class_embeddings_input_dim": 6 * 4 + 8}


def stable_diffusion(folder: Path, sample_size: int = 8, **schedule: Any) -> StableDiffusionPipeline:
    parts = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    made = StableDiffusionPipeline(
        vae=tiny_autoencoder(),
        text_encoder=tiny_text_encoder(),
        tokenizer=tiny_tokenizer(folder / "words"),
        unet=tiny_text_unet(sample_size=sample_size),
        scheduler=latent_scheduler(**schedule),
        **parts,
    )
    made.save_pretrained(folder / "saved")
    return quiet(made)


def stable_diffusion_xl(folder: Path, **options: Any) -> StableDiffusionXLPipeline:
    made = StableDiffusionXLPipeline(
        vae=tiny_autoencoder(latents_mean=[0.1, 0.2, 0.0, -0.1], latents_std=[1.5, 0.5, 2.0, 1.0]),
        text_encoder=tiny_text_encoder(),
        text_encoder_2=tiny_text_encoder(projected=True, seed=3),
        tokenizer=tiny_tokenizer(folder / "words"),
        tokenizer_2=tiny_tokenizer(folder / "words_2"),
        unet=tiny_text_unet(**XL),
        scheduler=latent_scheduler(),
        add_watermarker=False,
        **options,
    )
    made.save_pretrained(folder / "saved")
    return quiet(made)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sd")
    stable_diffusion(folder)
    return folder / "saved"


@pytest.fixture(scope="module")
def saved_xl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("xl")
    stable_diffusion_xl(folder)
    return folder / "saved"


def read(folder: Path, **fields: Any) -> Any:
    return load_model(f"path:{folder}", fields={"prompts": PROMPTS, **fields})


def images(pipeline: Any, prompt: str, scale: float, **options: Any) -> Any:
    asked = {"num_inference_steps": STEPS, "guidance_scale": scale, "generator": noise_sources(), "output_type": "np"}
    return pipeline([prompt] * 3, **asked, **options).images


# --- the samples of the pipelines themselves -----------------------------------------------------------------------


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_samples_are_those_of_stable_diffusion(tmp_path: Path, prediction: str) -> None:
    pipeline = stable_diffusion(tmp_path, prediction_type=prediction)
    model = read(tmp_path / "saved")
    assert model.conditions == ("none", "pattern=columns", "pattern=rows")
    assert (model.shape, model.image_size, model.bottleneck_shape) == ((4, 8, 8), 16, (16, 4, 4))
    asked, other = samples(model), samples(model, condition=2)
    same_images(model, asked, images(pipeline, "the cat", 7.5))
    same_images(model, other, images(pipeline, "a dog", 7.5))
    assert float((asked - other).abs().max()) > 0.01  # the prompts matter


def test_guidance_off_and_a_negative_prompt_are_the_pipelines(tmp_path: Path) -> None:
    pipeline = stable_diffusion(tmp_path)
    off = read(tmp_path / "saved", guidance_scale=1.0)
    same_images(off, samples(off), images(pipeline, "the cat", 1.0))
    ugly = read(tmp_path / "saved", negative_prompt="ugly", guidance_scale=3.0)
    same_images(ugly, samples(ugly), images(pipeline, "the cat", 3.0, negative_prompt=["ugly"] * 3))
    assert float((samples(ugly) - samples(read(tmp_path / "saved", guidance_scale=3.0))).abs().max()) > 1e-3


@pytest.mark.parametrize("zeros", [True, False])
def test_samples_are_those_of_sdxl(tmp_path: Path, zeros: bool) -> None:
    pipeline = stable_diffusion_xl(tmp_path, force_zeros_for_empty_prompt=zeros)
    model = read(tmp_path / "saved")
    same_images(model, samples(model), images(pipeline, "the cat", 5.0))
    if zeros:
        same_images(model, samples(model, condition=2), images(pipeline, "a dog", 5.0))
        ugly = read(tmp_path / "saved", negative_prompt="ugly")
        same_images(ugly, samples(ugly), images(pipeline, "the cat", 5.0, negative_prompt=["ugly"] * 3))


# --- the bottleneck and the methods --------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [7.5, 1.0])
def test_the_bottleneck_is_of_the_conditional_rows_alone(saved: Path, scale: float) -> None:
    model = read(saved, guidance_scale=scale)
    after: list[torch.Tensor] = []
    seen: list[torch.Tensor] = []
    hook = model.unet.up_blocks[0].register_forward_pre_hook(
        lambda _module, args, kwargs: after.append(kwargs["hidden_states"] if kwargs else args[0]), with_kwargs=True
    )
    x = torch.randn(3, *model.shape, generator=torch.Generator().manual_seed(0))
    t, asked = torch.full((3,), 400), torch.tensor([1, 0, 2])

    def shift(h: torch.Tensor) -> torch.Tensor:
        seen.append(h.clone())
        return h + 1

    plain, pushed = model.denoise(x, t, asked), model.denoise(x, t, asked, shift)
    hook.remove()
    before, changed = after
    rows = 6 if scale > 1 else 3
    assert len(before) == len(changed) == rows
    assert torch.equal(changed[: rows - 3], before[: rows - 3])  # the null rows
    assert torch.allclose(changed[-3:], before[-3:] + 1, atol=1e-6)
    assert [tuple(h.shape) for h in seen] == [(3, *model.bottleneck_shape)]
    assert torch.allclose(model.encode_bottleneck(x, t, asked), seen[0], atol=1e-5)
    assert not torch.allclose(pushed, plain, atol=1e-3)


SWITCHING = AttributeSwitching(minibatch=4, minibatches=1)


@pytest.mark.parametrize(
    ("which", "method"), [*(("saved", method) for method in (*H_SPACE, SWITCHING)), ("saved_xl", H_SPACE[0])]
)
def test_methods_run(request: pytest.FixtureRequest, which: str, method: Any) -> None:
    model = read(request.getfixturevalue(which))
    assert float((samples(model, method=method) - samples(model)).abs().max()) > 1e-3


@pytest.mark.parametrize("which", ["saved", "saved_xl"])
def test_half_of_the_weights_memory_gives_nearly_the_same(request: pytest.FixtureRequest, which: str) -> None:
    half, whole = (read(request.getfixturevalue(which), dtype=d) for d in ("bf16", "fp32"))
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


def test_attribute_switching_is_refused_where_a_class_has_no_prompt(saved: Path) -> None:
    model = read(saved, prompts={"none": "the cat", "pattern=rows": "a dog"})
    with pytest.raises(Incompatible, match="cannot be asked for pattern=columns; choose a model conditioned"):
        samples(model, method=AttributeSwitching())


def test_the_digest_knows_the_prompts_and_the_vocabulary(saved: Path, tmp_path: Path) -> None:
    first = read(saved)
    assert read(saved, decode_batch=1).digest == first.digest
    assert read(saved, prompts={**PROMPTS, "none": "the cot"}).digest != first.digest
    assert read(saved, prompts=dict(reversed(PROMPTS.items()))).digest == first.digest
    copy = Path(shutil.copytree(saved, tmp_path / "sd"))
    rewrite("tokenizer/tokenizer_config.json", model_max_length=70)(copy)
    assert read(copy).digest != first.digest


# --- damage --------------------------------------------------------------------------------------------------------


def pickles_only(folder: Path) -> None:
    (folder / "text_encoder" / "model.safetensors").rename(folder / "text_encoder" / "pytorch_model.bin")


def cut(folder: Path) -> None:
    weights = folder / "text_encoder" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


def other_width(folder: Path) -> None:
    tiny_text_unet(cross_attention_dim=8).save_pretrained(folder / "unet")


def distilled(folder: Path) -> None:
    tiny_text_unet(time_cond_proj_dim=8).save_pretrained(folder / "unet")


def no_words(folder: Path) -> None:
    for path in (folder / "tokenizer").glob("*"):
        path.write_text("{")


@pytest.mark.parametrize(
    ("damage", "fields", "message"),
    [
        (None, {"prompts": {}}, 'prompts must hold one for "none", .* got prompts for none at all'),
        (None, {"prompts": {"a": "b"}}, 'prompts must hold one for "none", .* got prompts for a'),
        (None, {"prompts": {"none": None}}, r"model path:.*: prompts.none: input should be a valid string, got None"),
        (None, {"prompts": {"none": "ab " * 40}}, "at most 77 tokens, got 82; shorten 'ab ab"),
        (None, {"guidance_scale": 0.0}, "guidance_scale must be a number >= 1"),
        (pickles_only, {}, r"no weights at .*text_encoder.*; only safetensors are read"),
        (cut, {}, r"cannot read .*text_encoder.*; give a folder saved by diffusers"),
        (no_words, {}, r"cannot read .*tokenizer"),
        (
            lambda folder: shutil.rmtree(folder / "tokenizer"),
            {},
            r"no folder .*tokenizer, which model_index.json names",
        ),
        (lambda folder: (folder / "vae" / WEIGHTS).unlink(), {}, r"no weights at .*vae"),
        (rewrite(f"scheduler/{SCHEDULE}", _class_name="LCMScheduler"), {}, "scheduler LCMScheduler is not supported"),
        (other_width, {}, "must read embeddings of the text encoder's width 16, got cross_attention_dim 8"),
        (distilled, {}, "must not take the guidance scale as an input"),
    ],
)
def test_what_cannot_be_read_or_asked_is_refused_in_a_sentence(
    saved: Path, tmp_path: Path, damage: Any, fields: dict[str, Any], message: str
) -> None:
    folder = saved
    if damage is not None:
        folder = Path(shutil.copytree(saved, tmp_path / "sd"))
        damage(folder)
    with pytest.raises(BenchError, match=message) as caught:
        read(folder, **fields)
    assert isinstance(caught.value, ConfigError)
    assert "\n" not in str(caught.value)


def test_an_encoder_that_lacks_a_layer_is_refused(saved: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(saved, tmp_path / "sd"))
    rewrite("text_encoder/config.json", num_hidden_layers=4)(folder)
    with pytest.raises(ConfigError, match=r"of another architecture than its config.json: it lacks"):
        read(folder)
