"""Memory and speed of every method on networks of the true size with random weights, as a Markdown table.

    python -m tests.benchmarks.gpu --device cuda --shape sd15 --shape sdxl --out gpu.md

Nothing is downloaded: a network's time and memory depend on its shape alone. The shapes are the published
configurations of Stable Diffusion 1.5 and SDXL's base model; prompts stand as random embeddings, since text encoders
read each prompt once, before sampling. Methods are drawn through the bench's own sampling loop, with short fits, which
are not timed.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel

from bench.core.errors import Incompatible
from bench.core.units import GIB
from bench.estimate.memory import estimate_memory
from bench.models.latent import Autoencoder
from bench.models.pretrained import DTYPES
from bench.models.stable_diffusion import TextUNet
from bench.profiling.memory import MIB, peak_device, peak_rss, reset_peaks
from bench.protocols.method import Batch, Method, Task
from bench.sampling.loop import Sampler, sample_batch
from bench.sampling.timing import now_on
from bench.storage.files import write_bytes
from methods.attribute_switching import Method as AttributeSwitching
from methods.distribution_guidance import Method as DistributionGuidance
from methods.sample_guidance import Method as SampleGuidance
from methods.universal_guidance import Method as UniversalGuidance
from methods.vanilla import Method as Vanilla
from tests.support.pipelines import GROUPS, latent_scheduler, patterns

METHODS: dict[str, Method] = {  # vanilla first: the others are told in its units
    "vanilla": Vanilla(),
    "distribution_guidance": DistributionGuidance(labels_per_class=6),
    "sample_guidance": SampleGuidance(labels_per_class=6),
    "attribute_switching": AttributeSwitching(tau=0.5),
    "universal_guidance": UniversalGuidance(),
}
CONDITIONS = ("none", "pattern=rows", "pattern=columns")


@dataclass(frozen=True)
class Shape:
    """The arguments of a pipeline's networks that differ from diffusers' defaults, which are those of SD 1.4.

    Attributes:
        unet: of `UNet2DConditionModel`.
        vae: of `AutoencoderKL`.
        tokens: of a prompt.
        guidance_scale: of classifier-free guidance.
        pooled: width of SDXL's pooled embedding; 0 without it.
    """

    unet: dict[str, Any]
    vae: dict[str, Any]
    tokens: int = 77
    guidance_scale: float = 7.5
    pooled: int = 0


VAE = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
}
SHAPES = {
    "sd15": Shape({"sample_size": 64, "cross_attention_dim": 768}, VAE),
    "sdxl": Shape(
        {
            "sample_size": 128,
            "block_out_channels": (320, 640, 1280),
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            "transformer_layers_per_block": (1, 2, 10),
            "attention_head_dim": (5, 10, 20),
            "cross_attention_dim": 2048,
            "use_linear_projection": True,
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 256,
            "projection_class_embeddings_input_dim": 2816,
        },
        {**VAE, "scaling_factor": 0.13025},
        guidance_scale=5.0,
        pooled=1280,
    ),
    "tiny": Shape(
        {
            "sample_size": 8,
            "block_out_channels": (16, 16),
            "layers_per_block": 1,
            "norm_num_groups": 4,
            "attention_head_dim": 2,
            "cross_attention_dim": 16,
            "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
            "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
        },
        {
            "block_out_channels": (8, 8),
            "down_block_types": ("DownEncoderBlock2D",) * 2,
            "up_block_types": ("UpDecoderBlock2D",) * 2,
            "norm_num_groups": 4,
        },
    ),
}


@dataclass(frozen=True)
class Row:
    """What one method took.

    Attributes:
        shape: of the model.
        method: its name.
        batch: images drawn together.
        seconds: an image, noise to picture; the median of the rounds.
        peak: bytes at most, of the device or of this process; None where the method does not run.
        reason: why it does not.
    """

    shape: str
    method: str
    batch: int
    seconds: float = float("nan")
    peak: float | None = None
    reason: str = ""


def build(shape: Shape, device: str, dtype: str, decode_batch: int) -> TextUNet:
    """The model of a shape, with random weights, made on the device."""
    torch.manual_seed(0)
    with torch.device(device):
        unet = UNet2DConditionModel(**shape.unet).eval().requires_grad_(False).to(DTYPES[dtype])
        vae: Any = AutoencoderKL(**{"latent_channels": 4, **shape.vae}).eval().requires_grad_(False)
    side = shape.unet["sample_size"] * 2 ** (len(shape.vae["block_out_channels"]) - 1)
    n = len(CONDITIONS) + 1
    said = {"prompts": torch.randn(n, shape.tokens, shape.unet["cross_attention_dim"])}
    if shape.pooled:
        ids = torch.tensor([side, side, 0, 0, side, side]).float().repeat(n, 1)
        said |= {"text_embeds": torch.randn(n, shape.pooled), "time_ids": ids}
    unet = unet.to(memory_format=torch.channels_last)
    config = dict(latent_scheduler().config)
    return TextUNet(unet, Autoencoder(vae, decode_batch), config, CONDITIONS, said, shape.guidance_scale)


def measure(name: str, model: TextUNet, batch: int, steps: int, rounds: int) -> list[Row]:
    """Time and memory of every method, after a round that warms up."""
    sampler = Sampler("ddim", steps)
    target, visited = np.array([0.5, 0.5]), sampler.timesteps(model)
    task = Task(model, (GROUPS,), target, visited, labelled=patterns(model.image_size, 12))
    rows = []
    for title, method in METHODS.items():
        try:
            guided = method.build(task, 0)
        except Incompatible as error:
            rows.append(Row(name, title, batch, reason=str(error)))
            continue
        drawn = Batch(torch.arange(batch), torch.zeros(batch, dtype=torch.int64, device=model.device), batch)

        def draw(guided: Any = guided, drawn: Batch = drawn) -> float:
            start = now_on(model.device)
            model.decode(sample_batch(model, guided.denoise, sampler, drawn, 0, guided.repeats)).cpu()
            return now_on(model.device) - start

        draw()
        reset_peaks(model.device)
        seconds = statistics.median(draw() for _ in range(rounds)) / batch
        mib = peak_device(model.device)
        rows.append(Row(name, title, batch, seconds, (peak_rss() if mib is None else mib) * MIB))
    return rows


def markdown(rows: list[Row], told: dict[str, float], heading: str) -> str:
    """The table, with what it was measured on above it and the reasons of what did not run below it."""
    lines = [
        heading,
        "",
        "| shape | method | batch | images/s | seconds/image | times vanilla | peak GiB |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    vanilla = {row.shape: row.seconds for row in rows if row.method == "vanilla"}
    for row in (row for row in rows if row.peak is not None):
        cells = (row.shape, row.method, row.batch, f"{1 / row.seconds:.3g}", f"{row.seconds:.3g}")
        ratio = f"{row.seconds / vanilla[row.shape]:.2f}"
        lines.append("| " + " | ".join(map(str, (*cells, ratio, f"{row.peak / GIB:.2f}"))) + " |")  # type: ignore[operator]
    lines += ["", *(f"{s}: the memory estimate tells {b / GIB:.2f} GiB for vanilla's batch." for s, b in told.items())]
    lines += [f"{row.shape}, {row.method}: does not run: {row.reason}" for row in rows if row.reason]
    return "\n".join(lines) + "\n"


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description="Memory and speed of every method at full size, random weights.")
    parser.add_argument("--shape", action="append", choices=sorted(SHAPES), required=True)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--dtype", choices=sorted(DTYPES), default="bf16", help="of the U-Net's weights")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--decode-batch", type=int, default=2)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args(arguments)
    rows: list[Row] = []
    told: dict[str, float] = {}
    for name in given.shape:
        model = build(SHAPES[name], given.device, given.dtype, given.decode_batch)
        told[name] = estimate_memory(model, gradient=False).peak(given.batch)
        rows += measure(name, model, given.batch, given.steps, given.rounds)
        del model
        if given.device.startswith("cuda"):
            torch.cuda.empty_cache()
        where = torch.cuda.get_device_name(given.device) if given.device.startswith("cuda") else given.device
        heading = (
            f"On {where}, torch {torch.__version__}, U-Net in {given.dtype}, autoencoder in fp32, {given.steps} DDIM "
            f"steps, classifier-free guidance, {given.rounds} rounds; random weights. Made by "
            f"`python -m tests.benchmarks.gpu {' '.join(arguments)}`."
        )
        write_bytes(given.out, markdown(rows, told, heading).encode())  # whatever an interrupt leaves is whole
    print(given.out.read_text())


if __name__ == "__main__":
    main(sys.argv[1:])
