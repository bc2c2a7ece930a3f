"""Tiny pipelines with random weights, as diffusers saves them, and what the bench makes of their folders."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, DDPMScheduler, UNet2DConditionModel, UNet2DModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from bench.core.attributes import Attribute
from bench.protocols.images import LabelledImages
from bench.protocols.method import Batch, Method, Task
from bench.protocols.model import DiffusionModel
from bench.sampling.loop import Sampler, generators, sample_batch
from methods.class_gap_guidance import Method as ClassGapGuidance
from methods.sample_guidance import Method as SampleGuidance
from methods.vanilla import Method as Vanilla

SEED, N, STEPS = 5, 3, 4
GROUPS = Attribute("pattern", ("rows", "columns"))
# What random networks draw is far from any image, and there a softmax is sure: a high temperature keeps its slope.
H_SPACE = (
    ClassGapGuidance(strength=1e6, temperature=1e4, calibration=4),
    SampleGuidance(scale=1e4, temperature=1e4),
)
# The betas of the first papers, as google/ddpm-celebahq-256 has them; a file that leaves out most of the keys.
LINEAR = {"num_train_timesteps": 1000, "beta_schedule": "linear", "beta_start": 0.0001, "beta_end": 0.02}


def tiny_unet(**changes: Any) -> UNet2DModel:
    """A U-Net whose middle block has attention, as those of the first papers do."""
    torch.manual_seed(0)
    arguments: dict[str, Any] = {
        "sample_size": 8,
        "block_out_channels": (16, 16),
        "layers_per_block": 1,
        "norm_num_groups": 4,
        "attention_head_dim": None,
        "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
        "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
        **changes,
    }
    return UNet2DModel(**arguments).eval()


def tiny_autoencoder(**changes: Any) -> AutoencoderKL:
    """Two pixels of a side to one latent."""
    torch.manual_seed(1)
    arguments: dict[str, Any] = {
        "block_out_channels": (8, 8),
        "down_block_types": ("DownEncoderBlock2D",) * 2,
        "up_block_types": ("UpDecoderBlock2D",) * 2,
        "norm_num_groups": 4,
        "latent_channels": 4,
        "scaling_factor": 3.0,  # random weights leave latents at a third
        "sample_size": 16,
        **changes,
    }
    return AutoencoderKL(**arguments).eval()


def tiny_text_unet(**changes: Any) -> UNet2DConditionModel:
    """A U-Net that reads embeddings of width 16."""
    torch.manual_seed(0)
    arguments: dict[str, Any] = {
        "sample_size": 8,
        "block_out_channels": (16, 16),
        "layers_per_block": 1,
        "norm_num_groups": 4,
        "attention_head_dim": 2,
        "cross_attention_dim": 16,
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
        **changes,
    }
    return UNet2DConditionModel(**arguments).eval()


def tiny_tokenizer(folder: Path) -> CLIPTokenizer:
    """CLIP's tokenizer with a vocabulary of letters, each alone and ending a word, and two merges."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = [*letters, *(f"{c}</w>" for c in letters), "th", "the</w>", "<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True)
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\nt h\nth e</w>\n")
    (folder / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 77, "pad_token": "<|endoftext|>"}))
    return CLIPTokenizer.from_pretrained(folder)


def tiny_text_encoder(projected: bool = False, seed: int = 2) -> CLIPTextModel | CLIPTextModelWithProjection:
    """For `tiny_tokenizer`, of width 16 (8 where it is projected, to 8)."""
    torch.manual_seed(seed)
    config = CLIPTextConfig(
        vocab_size=56,
        hidden_size=8 if projected else 16,
        intermediate_size=16,
        num_hidden_layers=3,
        num_attention_heads=2,
        max_position_embeddings=77,
        projection_dim=8,
        bos_token_id=54,
        eos_token_id=55,
        pad_token_id=55,
        initializer_range=0.5,  # or all prompts would be much the same
    )
    return (CLIPTextModelWithProjection if projected else CLIPTextModel)(config).eval()


def latent_scheduler(**changes: Any) -> DDIMScheduler:
    """As latent diffusion has it."""
    betas = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
    return DDIMScheduler(**{**betas, "clip_sample": False, "set_alpha_to_one": False, "steps_offset": 1, **changes})


def same_images(model: Any, ours: torch.Tensor, theirs: np.ndarray) -> None:
    """Samples are a pipeline's images [n, h, w, 3] in [0, 1]: to 1e-5 in [-1, 1], and as uint8 where no tie is near."""
    wanted = torch.from_numpy(theirs).permute(0, 3, 1, 2)
    found = model.autoencoder.pixels(ours).clamp(-1, 1)
    assert float((found - (wanted * 2 - 1)).abs().max()) <= 1e-5
    assert float((wanted - wanted[:1]).abs().max()) > 0.01  # the samples differ, so equality says something
    levels = wanted * 255
    sure = (levels - levels.floor() - 0.5).abs() > 2e-3  # what 1e-5 cannot round the other way
    pictures = levels.round().to(torch.uint8)  # as the pipelines' numpy_to_pil
    assert torch.equal(model.decode(ours)[sure], pictures[sure])
    assert float(sure.float().mean()) > 0.95


def noise_sources() -> list[torch.Generator]:
    """The generators of the bench's samples 0 to N - 1: pipelines draw their noise from them in the same way."""
    return generators(SEED, torch.arange(N))


def quiet(pipeline: Any) -> Any:
    """A pipeline without its bar."""
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def samples(
    model: DiffusionModel, sampler: Sampler | None = None, method: Method | None = None, condition: int = 0
) -> torch.Tensor:
    """x_0 [N, *shape] of a method, vanilla unless given, in two compute batches."""
    steps = sampler or Sampler("ddim", STEPS)
    task = Task(model, (GROUPS,), np.array([0.9, 0.1]), steps.timesteps(model), labelled=patterns(model.image_size))
    guided = (method or Vanilla()).build(task, SEED)
    batch = Batch(torch.arange(N), torch.full((N,), condition, dtype=torch.long), 2)
    return sample_batch(model, guided.denoise, steps, batch, SEED, guided.repeats)


def assert_same_model(model: Any, expected: Any) -> None:
    """Assert equal weights, bit for bit, and samples that differ by rounding alone (3.5e-6 on an AMD EPYC).

    Samples are not equal to the bit everywhere: weights are mapped from the file, at an alignment that depends on the
    length of its header, converted weights are aligned to 64 bytes, and MKL's product of a matrix and one row rounds
    differently at
    different alignments.
    """
    weights, expected_weights = model.network.state_dict(), expected.network.state_dict()
    assert weights.keys() == expected_weights.keys()
    assert all(torch.equal(value, expected_weights[key]) for key, value in weights.items())
    torch.testing.assert_close(samples(model), samples(expected), rtol=0, atol=1e-4)


def patterns(side: int, n: int = 24) -> LabelledImages:
    """Images striped in rows or in columns, under noise, and which is which; no normalisation takes that away."""
    rng = np.random.default_rng(0)
    labels = np.arange(n)[:, None] % 2
    rows = np.arange(side)[:, None].repeat(side, 1) // 2 % 2 * 160
    striped = np.where(labels[:, :, None, None] == 0, rows, rows.T)
    images = (rng.integers(0, 96, (n, 3, side, side)) + striped).astype(np.uint8)
    half = np.array([0.5, 0.5])
    return LabelledImages("patterns", images, labels.astype(np.int64), (GROUPS,), half, f"patterns {side}")


def rewrite(name: str, **changes: Any) -> Callable[[Path], None]:
    """A change of a JSON file of a folder; None removes a key."""

    def change(folder: Path) -> None:
        value = json.loads((folder / name).read_text()) | changes
        (folder / name).write_text(json.dumps({k: v for k, v in value.items() if v is not None}))

    return change


def ddim_scheduler(**changes: Any) -> DDIMScheduler:
    """The linear schedule of the first papers."""
    return DDIMScheduler(**{**LINEAR, **changes})


def ddpm_scheduler(**changes: Any) -> DDPMScheduler:
    """The same, for ancestral sampling."""
    return DDPMScheduler(**{**LINEAR, **changes})
