"""Stable Diffusion 3: a flow brought to the denoiser protocol by its scheduler's own shift."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel, StableDiffusion3Pipeline
from transformers import T5Config, T5EncoderModel, T5TokenizerFast

from bench.core.errors import BenchError
from bench.models import load_model
from bench.models.flow import flow_scale, flow_time, read_flow_schedule
from bench.models.pretrained import SCHEDULE
from methods.attribute_switching import Method as AttributeSwitching
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


def long_encoder() -> tuple[T5TokenizerFast, T5EncoderModel]:
    """T5's, of letters, and of width 24."""
    torch.manual_seed(4)
    pieces = ["<pad>", "</s>", "<unk>", "\u2581", *"abcdefghijklmnopqrstuvwxyz"]
    tokenizer = T5TokenizerFast(vocab=[(piece, -1.0) for piece in pieces], extra_ids=0)
    config = T5Config(vocab_size=30, d_model=24, d_kv=8, d_ff=16, num_layers=2, num_heads=2)
    return tokenizer, T5EncoderModel(config).eval()


def pipeline(folder: Path, shift: float = 3.0, third: bool = False) -> StableDiffusion3Pipeline:
    torch.manual_seed(0)
    transformer = SD3Transformer2DModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        num_layers=4,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=24,
        caption_projection_dim=16,
        pooled_projection_dim=16,
        pos_embed_max_size=8,
    )
    tokenizer, encoder = long_encoder() if third else (None, None)
    made = StableDiffusion3Pipeline(
        transformer=transformer.eval(),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=shift),
        vae=tiny_autoencoder(shift_factor=0.1),
        text_encoder=tiny_text_encoder(projected=True),
        tokenizer=tiny_tokenizer(folder / "words"),
        text_encoder_2=tiny_text_encoder(projected=True, seed=3),
        tokenizer_2=tiny_tokenizer(folder / "words_2"),
        text_encoder_3=encoder,
        tokenizer_3=tokenizer,
    )
    made.save_pretrained(folder / "saved")
    return quiet(made)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sd3")
    pipeline(folder)
    return folder / "saved"


def read(folder: Path, **fields: Any) -> Any:
    return load_model(f"path:{folder}", fields={"prompts": PROMPTS, **fields})


@pytest.mark.parametrize(("shift", "third", "scale"), [(3.0, False, 7.0), (1.0, True, 1.0)])
def test_samples_are_those_of_the_pipeline_along_its_own_path(
    tmp_path: Path, shift: float, third: bool, scale: float
) -> None:
    """Its steps are Euler's in s; DDIM's are the same where both are at the same noise levels, evenly spaced in u."""
    theirs = pipeline(tmp_path, shift, third)
    model = read(tmp_path / "saved", guidance_scale=scale)
    for prompt, condition in (("the cat", 0), ("a dog", 2)):
        images = theirs(
            [prompt] * 3,
            num_inference_steps=STEPS,
            sigmas=np.linspace(1, 1 / STEPS, STEPS).tolist(),
            guidance_scale=scale,
            generator=noise_sources(),
            output_type="np",
        ).images
        same_images(model, samples(model, condition=condition), images)


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_a_straight_path_is_the_protocols_on_another_scale(tmp_path: Path, shift: float) -> None:
    scheduler = FlowMatchEulerDiscreteScheduler(shift=shift)
    scheduler.save_pretrained(tmp_path)
    config = read_flow_schedule(tmp_path / SCHEDULE)
    s = scheduler.sigmas.flip(0).double()
    a = (1 - torch.tensor(config["trained_betas"], dtype=torch.float64)).cumprod(0)
    assert torch.allclose(flow_time(a), s, atol=1e-6)
    r = flow_scale(a)
    assert torch.allclose(r * a.sqrt(), 1 - s, atol=1e-6)  # x' = r x_t = (1 - s) x_0 + s eps
    assert torch.allclose(r * (1 - a).sqrt(), s, atol=1e-6)
    assert float(a[-1]) == 0


def test_a_transformer_that_predicts_rightly_is_denoised_to_x0(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = read(saved)
    x0, eps = torch.randn(2, 2, *model.shape, generator=torch.Generator().manual_seed(0))
    t = torch.tensor([300, 999])
    a = model.alphas_cumprod[t].float().reshape(-1, 1, 1, 1)
    seen: list[torch.Tensor] = []

    def right(**given: Any) -> tuple[torch.Tensor]:
        seen.extend((given["hidden_states"], given["timestep"]))
        return (torch.cat([eps - x0] * 2),)

    monkeypatch.setattr(model.transformer, "forward", right)  # other models of the process share it
    found = model.denoise(a.sqrt() * x0 + (1 - a).sqrt() * eps, t, torch.tensor([0, 1]))
    assert torch.allclose(found, x0, atol=1e-5)
    u = (t + 1) / 1000
    s = 3 * u / (1 + 2 * u)
    assert torch.allclose(seen[1], torch.cat([s, s]) * 1000, atol=1e-2)
    assert torch.allclose(seen[0][:2], (1 - s).reshape(-1, 1, 1, 1) * x0 + s.reshape(-1, 1, 1, 1) * eps, atol=1e-5)


def test_the_bottleneck_is_the_images_tokens_of_the_conditional_rows_alone(saved: Path) -> None:
    model = read(saved)
    assert model.bottleneck_shape == (16, 16)
    after: list[tuple[torch.Tensor, torch.Tensor]] = []
    following = model.transformer.transformer_blocks[2]
    hook = following.register_forward_pre_hook(
        lambda _module, _args, kwargs: after.append((kwargs["hidden_states"], kwargs["encoder_hidden_states"])),
        with_kwargs=True,
    )
    x = torch.randn(3, *model.shape, generator=torch.Generator().manual_seed(0))
    t, asked = torch.full((3,), 400), torch.tensor([1, 0, 2])
    seen: list[torch.Tensor] = []

    def shift(h: torch.Tensor) -> torch.Tensor:
        seen.append(h.clone())
        return h + torch.linspace(-1, 1, 16)

    plain, pushed = model.denoise(x, t, asked), model.denoise(x, t, asked, shift)
    hook.remove()
    (before, text), (changed, same) = after
    assert torch.equal(changed[:3], before[:3])  # the null rows
    assert torch.equal(text, same)
    assert torch.allclose(changed[3:] - before[3:], torch.linspace(-1, 1, 16).expand(3, 16, 16), atol=1e-5)
    assert torch.allclose(model.encode_bottleneck(x, t, asked), seen[0], atol=1e-5)
    assert not torch.allclose(pushed, plain, atol=1e-3)


@pytest.mark.parametrize("method", [*H_SPACE, AttributeSwitching(minibatch=4, minibatches=1)])
def test_methods_run(saved: Path, method: Any) -> None:
    model = read(saved)
    assert float((samples(model, method=method) - samples(model)).abs().max()) > 1e-3


def test_half_of_the_weights_memory_gives_nearly_the_same(saved: Path) -> None:
    half, whole = (read(saved, dtype=d) for d in ("bf16", "fp32"))
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


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            rewrite(f"scheduler/{SCHEDULE}", _class_name="DDIMScheduler"),
            "scheduler DDIMScheduler is not supported here",
        ),
        (rewrite(f"scheduler/{SCHEDULE}", use_dynamic_shifting=True), "use_dynamic_shifting is not supported; set it"),
        (rewrite(f"scheduler/{SCHEDULE}", shift=0), "must hold num_train_timesteps >= 2 and shift > 0, got 1000 and 0"),
        (rewrite("model_index.json", text_encoder_3=["transformers", "T5EncoderModel"]), "no folder .*_3, which model"),
        (rewrite("transformer/config.json", pooled_projection_dim=8), "does not fit its config.json"),
        (lambda folder: shutil.rmtree(folder / "text_encoder_2"), "no folder .*text_encoder_2, which model_index"),
    ],
)
def test_a_pipeline_that_cannot_be_read_is_refused_in_a_sentence(
    saved: Path, tmp_path: Path, change: Any, message: str
) -> None:
    folder = Path(shutil.copytree(saved, tmp_path / "sd3"))
    change(folder)
    with pytest.raises(BenchError, match=message) as caught:
        read(folder)
    assert "\n" not in str(caught.value)
