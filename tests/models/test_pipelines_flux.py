"""Flux: packed latents, a shift that the image's size decides, and a guidance scale that the network is told."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel

from bench.core.errors import BenchError, Incompatible
from bench.models import load_model
from bench.models.flow import flow_time, read_flow_schedule
from bench.models.pretrained import SCHEDULE
from methods.attribute_switching import Method as AttributeSwitching
from methods.universal_guidance import Method as UniversalGuidance
from tests.models.test_pipelines_flow import long_encoder
from tests.support.pipelines import (
    H_SPACE,
    STEPS,
    noise_sources,
    quiet,
    rewrite,
    same_images,
    samples,
    tiny_autoencoder,
    tiny_text_encoder,
    tiny_tokenizer,
)

PROMPTS = {"none": "the cat", "pattern=rows": "a dog", "pattern=columns": "two"}
DYNAMIC = {"use_dynamic_shifting": True, "shift": 3.0}


def pipeline(folder: Path, told: bool = True, **schedule: Any) -> FluxPipeline:
    torch.manual_seed(0)
    transformer = FluxTransformer2DModel(
        in_channels=16,
        num_layers=2,
        num_single_layers=3,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=24,
        pooled_projection_dim=16,
        guidance_embeds=told,
        axes_dims_rope=(4, 2, 2),
    )
    tokenizer, encoder = long_encoder()
    made = FluxPipeline(
        transformer=transformer.eval(),
        scheduler=FlowMatchEulerDiscreteScheduler(**(schedule or DYNAMIC)),
        vae=tiny_autoencoder(shift_factor=0.1),
        text_encoder=tiny_text_encoder(),
        tokenizer=tiny_tokenizer(folder / "words"),
        text_encoder_2=encoder,
        tokenizer_2=tokenizer,
    )
    made.save_pretrained(folder / "saved")
    return quiet(made)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("flux")
    pipeline(folder)
    return folder / "saved"


def read(folder: Path, **fields: Any) -> Any:
    asked = {"prompts": PROMPTS, "image_size": 16, "max_sequence_length": 32}
    return load_model(f"path:{folder}", fields={**asked, **fields})


@pytest.mark.parametrize(
    ("told", "schedule", "guidance", "cfg"),
    [
        (True, DYNAMIC, 3.5, 1.0),
        (True, {**DYNAMIC, "base_shift": 0.2, "max_shift": 3.0, "base_image_seq_len": 8}, 2.0, 4.0),
        (False, {"shift": 1.0}, 3.5, 1.0),
        (False, {**DYNAMIC, "time_shift_type": "linear"}, 3.5, 2.0),
    ],
)
def test_samples_are_those_of_the_pipeline_with_its_own_steps(
    tmp_path: Path, told: bool, schedule: dict[str, Any], guidance: float, cfg: float
) -> None:
    theirs = pipeline(tmp_path, told, **schedule)
    model = read(tmp_path / "saved", guidance_scale=guidance, true_cfg_scale=cfg)
    assert (model.shape, model.image_size) == ((4, 8, 8), 16)
    prompt, condition = ("the cat", 0) if cfg == 1 else ("a dog", 2)
    images = theirs(
        [prompt] * 3,
        negative_prompt=[""] * 3 if cfg > 1 else None,
        true_cfg_scale=cfg,
        guidance_scale=guidance,
        height=16,
        width=16,
        num_inference_steps=STEPS,
        max_sequence_length=32,
        generator=noise_sources(),
        output_type="np",
    ).images
    same_images(model, samples(model, condition=condition), images)


def test_the_shift_is_the_schedulers_for_the_images_tokens(tmp_path: Path) -> None:
    scheduler = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
    scheduler.save_pretrained(tmp_path)
    for tokens, mu in ((256, 0.5), (4096, 1.15), (1024, 0.63)):
        config = read_flow_schedule(tmp_path / SCHEDULE, tokens)
        a = (1 - torch.tensor(config["trained_betas"], dtype=torch.float64)).cumprod(0)
        scheduler.set_timesteps(sigmas=[1.0, 0.75, 0.5, 0.25], mu=mu)
        found = flow_time(a)[[999, 749, 499, 249]]
        assert torch.allclose(found, scheduler.sigmas[:-1].double(), atol=1e-6)


def test_the_network_is_told_the_guidance_scale_and_only_where_it_was_trained_to_be(
    saved: Path, tmp_path: Path
) -> None:
    low, high = (samples(read(saved, guidance_scale=s)) for s in (1.0, 6.0))
    assert float((low - high).abs().max()) > 1e-3
    pipeline(tmp_path, told=False)
    low, high = (samples(read(tmp_path / "saved", guidance_scale=s)) for s in (1.0, 6.0))
    assert torch.equal(low, high)


@pytest.mark.parametrize("name", [None, "transformer_blocks.0", "single_transformer_blocks.1"])
def test_the_bottleneck_is_the_images_tokens_of_a_named_block_and_of_the_conditional_rows(
    saved: Path, name: str | None
) -> None:
    model = read(saved, bottleneck=name, true_cfg_scale=3.0)
    assert model.bottleneck_shape == (16, 16)
    middle = {
        None: model.transformer.single_transformer_blocks[0],  # the third of five
        "transformer_blocks.0": model.transformer.transformer_blocks[0],
        "single_transformer_blocks.1": model.transformer.single_transformer_blocks[1],
    }[name]
    x = torch.randn(3, *model.shape, generator=torch.Generator().manual_seed(0))
    asked = x, torch.full((3,), 400), torch.tensor([1, 0, 2])
    given: list[tuple[torch.Tensor, torch.Tensor]] = []
    first = middle.register_forward_hook(lambda _module, _args, out: given.append(out))
    seen: list[torch.Tensor] = []
    plain = model.denoise(*asked)
    pushed = model.denoise(*asked, lambda h: seen.append(h.clone()) or h + torch.linspace(-1, 1, 16))
    first.remove()
    assert torch.equal(seen[0], given[0][1][3:])
    assert torch.allclose(model.encode_bottleneck(*asked), seen[0], atol=1e-5)
    assert not torch.allclose(pushed, plain, atol=1e-3)


@pytest.mark.parametrize("method", [*H_SPACE, AttributeSwitching(minibatch=4, minibatches=1)])
def test_methods_run(saved: Path, method: Any) -> None:
    model = read(saved)
    assert float((samples(model, method=method) - samples(model)).abs().max()) > 1e-3


def test_a_classifier_of_images_is_refused_with_the_reason(saved: Path) -> None:
    with pytest.raises(Incompatible, match="there are no classifiers to guide with"):
        samples(read(saved), method=UniversalGuidance())


def test_half_precision_is_nearly_the_same(saved: Path) -> None:
    half, whole = (read(saved, dtype=d) for d in ("bf16", "fp32"))
    x = torch.randn(3, *half.shape, generator=torch.Generator().manual_seed(0))
    asked = x, torch.full((3,), 100), torch.tensor([1, 0, 2])
    found, exact = half.denoise(*asked), whole.denoise(*asked)
    assert 0 < float((found - exact).norm() / exact.norm()) < 0.1
    assert half.digest != whole.digest


@pytest.mark.parametrize(
    ("change", "fields", "message"),
    [
        (None, {"image_size": 18}, "image_size must be a multiple of 4, a token's side, got 18"),
        (None, {"bottleneck": "transformer_blocks.2"}, "unknown bottleneck of a transformer 'transformer_blocks.2'"),
        (None, {"true_cfg_scale": 0.5}, "guidance_scale must be a number >= 1"),
        (None, {"max_sequence_length": 513}, "max_sequence_length must be 1 to 512, got 513"),
        (rewrite(f"scheduler/{SCHEDULE}", _class_name="DDIMScheduler"), {}, "scheduler DDIMScheduler is not supported"),
        (rewrite(f"scheduler/{SCHEDULE}", shift_terminal=0.02), {}, "shift_terminal is not supported; set it to"),
        (rewrite("transformer/config.json", pooled_projection_dim=8), {}, "does not fit its config.json"),
        (lambda folder: shutil.rmtree(folder / "text_encoder_2"), {}, "no folder .*text_encoder_2, which model_index"),
    ],
)
def test_what_cannot_be_read_is_refused_in_a_sentence(
    saved: Path, tmp_path: Path, change: Any, fields: dict[str, Any], message: str
) -> None:
    folder = saved
    if change:
        folder = Path(shutil.copytree(saved, tmp_path / "flux"))
        change(folder)
    with pytest.raises(BenchError, match=message) as caught:
        read(folder, **fields)
    assert "\n" not in str(caught.value)
