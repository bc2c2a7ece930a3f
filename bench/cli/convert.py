"""`convert`: a checkpoint of guided-diffusion or P2-weighting to a pipeline's folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.cli import screen
from bench.core.errors import ConfigError


def convert(
    checkpoint: Annotated[Path, typer.Argument(help="A state dict, such as ffhq_p2.pt; no code in it is run.")],
    out: Annotated[Path, typer.Option(help="The folder to write; `model: path:FOLDER` reads it.")],
    image_size: Annotated[int, typer.Option(help="Side of the images, in pixels.")] = 256,
    num_channels: Annotated[int, typer.Option(help="Width of the first level.")] = 128,
    num_res_blocks: Annotated[int, typer.Option(help="Residual blocks per level.")] = 1,
    channel_mult: Annotated[
        str | None, typer.Option(help="Widths of the levels, such as 1,2,3,4; the release's own unless given.")
    ] = None,
    attention_resolutions: Annotated[str, typer.Option(help="Sides with attention, such as 32,16,8.")] = "16",
    num_head_channels: Annotated[int, typer.Option(help="Width of an attention head; -1 for --num-heads.")] = 64,
    num_heads: Annotated[int, typer.Option(help="Attention heads, with --num-head-channels -1.")] = 4,
    learn_sigma: Annotated[bool, typer.Option(help="The network gives a variance as well.")] = True,
    use_scale_shift_norm: Annotated[bool, typer.Option(help="The time scales and shifts a norm.")] = True,
    resblock_updown: Annotated[bool, typer.Option(help="Residual blocks change the size.")] = True,
    use_new_attention_order: Annotated[bool, typer.Option(help="q, k and v are split before the heads.")] = False,
    noise_schedule: Annotated[str, typer.Option(help="linear or cosine.")] = "linear",
    diffusion_steps: Annotated[int, typer.Option(help="Training timesteps.")] = 1000,
) -> None:
    """Convert a checkpoint of guided-diffusion; the options are those it was trained with, by the same names."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"--out must be a new or empty folder, got {out}; nothing is written over")
    if noise_schedule not in ("linear", "cosine"):
        raise ConfigError(f"--noise-schedule must be linear or cosine, got {noise_schedule!r}")
    multiples = None if channel_mult is None else _numbers("--channel-mult", channel_mult)
    sides = _numbers("--attention-resolutions", attention_resolutions)

    from bench.models.guided_diffusion import Hyperparameters, read_checkpoint, save

    chosen = Hyperparameters(
        image_size,
        num_channels,
        num_res_blocks,
        multiples,
        sides,
        num_head_channels,
        num_heads,
        learn_sigma,
        use_scale_shift_norm,
        resblock_updown,
        use_new_attention_order,
        "cosine" if noise_schedule == "cosine" else "linear",
        diffusion_steps,
    )
    save(read_checkpoint(checkpoint), chosen, out)
    screen.out.print(f"{out}: a DDPMPipeline; model: path:{out}", markup=False, highlight=False, soft_wrap=True)


def _numbers(option: str, text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise ConfigError(f"{option} must be whole numbers with commas between them, got {text!r}") from error
