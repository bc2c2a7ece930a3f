"""Convert checkpoints of guided-diffusion and its descendants, such as P2-weighting, to pipelines of diffusers.

Source: the architecture of Dhariwal & Nichol 2021, arXiv 2105.05233, appendix A and their release (its names of modules
    and
options); Choi et al. 2022, arXiv 2204.00227, whose options for 256 x 256 images are the defaults here.

A checkpoint converts if a diffusers `UNet2DModel` can express it: no class labels, attention at whole levels and in the
middle, one width of a head throughout, a first level as wide as the time embedding's input (`channel_mult` begins with
1). The
weights keep their values, so the network computes the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Literal

import torch
from torch import Tensor

from bench.core.errors import ConfigError

GROUPS = 32  # of every group normalisation
MULTIPLES = {  # of the release, by the side of the images
    256: (1, 1, 2, 2, 4, 4),
    128: (1, 1, 2, 3, 4),
    64: (1, 2, 3, 4),
}
BLOCK = {  # of a residual block: ours to theirs
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
ENDS = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}


@dataclass(frozen=True)
class Hyperparameters:
    """The options that a checkpoint was trained with; the defaults are P2-weighting's for 256 x 256 images.

    Attributes:
        image_size: side of the images, in pixels.
        num_channels: width of the first level.
        num_res_blocks: residual blocks per level.
        channel_mult: width of every level, in units of `num_channels`; by default the release's for the size.
        attention_resolutions: sides of the feature maps, in pixels, at which there is attention.
        num_head_channels: width of an attention head; -1 for `num_heads` heads instead.
        num_heads: heads, where `num_head_channels` is -1.
        learn_sigma: the network predicts a variance as well.
        use_scale_shift_norm: the time embedding scales and shifts a norm; otherwise it is added before it.
        resblock_updown: residual blocks change the size; otherwise separate convolutions do.
        use_new_attention_order: q, k and v are split before the heads.
        noise_schedule: "linear" or "cosine".
        diffusion_steps: training timesteps.
    """

    image_size: int = 256
    num_channels: int = 128
    num_res_blocks: int = 1
    channel_mult: tuple[int, ...] | None = None
    attention_resolutions: tuple[int, ...] = (16,)
    num_head_channels: int = 64
    num_heads: int = 4
    learn_sigma: bool = True
    use_scale_shift_norm: bool = True
    resblock_updown: bool = True
    use_new_attention_order: bool = False
    noise_schedule: Literal["linear", "cosine"] = "linear"
    diffusion_steps: int = 1000

    def __post_init__(self) -> None:
        """Refuse options that a `UNet2DModel` cannot express, and values out of range."""
        least = min(self.image_size, self.num_channels, self.num_res_blocks, self.num_heads, self.diffusion_steps - 1)
        if least < 1 or self.num_channels % GROUPS:
            raise ConfigError(
                "sizes, blocks, heads and steps must be at least 1, and channels a multiple of "
                f"{GROUPS}, got {self.image_size}, {self.num_res_blocks}, {self.num_heads}, {self.diffusion_steps} and "
                f"{self.num_channels}"
            )
        if self.channel_mult is None and self.image_size not in MULTIPLES:
            sizes = ", ".join(map(str, MULTIPLES))
            raise ConfigError(
                f"channel_mult must be given for images of other sides than {sizes}, got {self.image_size}"
            )
        if self.multiples[0] != 1 or min(self.multiples) < 1:
            raise ConfigError(
                "channel_mult must be whole numbers that begin with 1, where a UNet2DModel takes the width of the time "
                f"embedding from, got {', '.join(map(str, self.multiples))}; other networks cannot be converted"
            )
        sides = [self.image_size // 2**i for i in range(len(self.multiples))]
        odd = [side for side in self.attention_resolutions if side not in sides]
        if odd or self.image_size % 2 ** (len(sides) - 1):
            raise ConfigError(
                f"attention_resolutions must be among the sides of the levels, {', '.join(map(str, sides))}, each half "
                f"of the one before, got {', '.join(map(str, self.attention_resolutions))} of {self.image_size} pixels"
            )
        if len(self.head_widths) > 1:
            raise ConfigError(
                "a UNet2DModel has attention heads of one width throughout, got "
                f"{', '.join(map(str, sorted(self.head_widths)))} from num_heads {self.num_heads}; such a network "
                "cannot be converted"
            )

    @property
    def multiples(self) -> tuple[int, ...]:
        """The widths of the levels, in units of `num_channels`."""
        return self.channel_mult or MULTIPLES[self.image_size]

    @property
    def widths(self) -> tuple[int, ...]:
        """The widths of the levels."""
        return tuple(self.num_channels * m for m in self.multiples)

    @property
    def attending(self) -> list[bool]:
        """For each level, True if it has attention."""
        return [self.image_size // 2**i in self.attention_resolutions for i in range(len(self.multiples))]

    @property
    def head_widths(self) -> set[int]:
        """The widths of all heads; the middle always has attention."""
        if self.num_head_channels != -1:
            return {self.num_head_channels}
        attended = [w for w, here in zip(self.widths, self.attending, strict=True) if here]
        return {width // self.num_heads for width in (*attended, self.widths[-1])}

    def config(self) -> dict[str, Any]:
        """Return the arguments of the equivalent `UNet2DModel`."""
        down, up, kind = "DownBlock2D", "UpBlock2D", "conv"
        if self.resblock_updown:
            down, up, kind = "ResnetDownsampleBlock2D", "ResnetUpsampleBlock2D", "resnet"
        return {
            "sample_size": self.image_size,
            "in_channels": 3,
            "out_channels": 6 if self.learn_sigma else 3,
            "down_block_types": tuple("AttnDownBlock2D" if here else down for here in self.attending),
            "up_block_types": tuple("AttnUpBlock2D" if here else up for here in reversed(self.attending)),
            "block_out_channels": self.widths,
            "layers_per_block": self.num_res_blocks,
            "downsample_type": kind,
            "upsample_type": kind,
            "attention_head_dim": next(iter(self.head_widths)),
            "norm_num_groups": GROUPS,
            "attn_norm_num_groups": GROUPS,
            "resnet_time_scale_shift": "scale_shift" if self.use_scale_shift_norm else "default",
        }

    def schedule(self) -> dict[str, Any]:
        """Return the arguments of the `DDPMScheduler` with the same noise schedule."""
        betas: dict[str, Any] = {"beta_schedule": "squaredcos_cap_v2"}
        if self.noise_schedule == "linear":
            scale = 1000 / self.diffusion_steps
            betas = {"beta_schedule": "linear", "beta_start": scale * 0.0001, "beta_end": scale * 0.02}
        variance = "learned_range" if self.learn_sigma else "fixed_large"
        return {"num_train_timesteps": self.diffusion_steps, "variance_type": variance, **betas}


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Return the state dict of a checkpoint's file, without running code from it.

    Raises:
        ConfigError: the file cannot be read, or does not hold a state dict.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise ConfigError(f"no file {path}; give a checkpoint such as ffhq_p2.pt") from None
    except (OSError, RuntimeError, EOFError, UnpicklingError, LookupError, ValueError) as error:
        raise ConfigError(
            f"cannot read {path}: it is damaged, or holds more than tensors; give a state dict"
        ) from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ConfigError(
            f"{path} must hold a state dict, names to tensors, got {type(state).__name__} of other things"
        )
    return state


def convert(state: Mapping[str, Tensor], chosen: Hyperparameters) -> dict[str, Tensor]:
    """Return the weights of a checkpoint under diffusers' names, float32.

    Raises:
        ConfigError: the checkpoint was trained with other options; the error names a parameter that differs.
    """
    if "label_emb.weight" in state:
        raise ConfigError("a class-conditional checkpoint has no class that stands for none, and cannot be converted")
    weights: dict[str, Tensor] = {}
    left = dict(state)
    for ours, theirs, kind in _modules(chosen):
        if kind == "attention":
            weights |= _attention(left, ours, theirs, chosen)
            continue
        for parameter in ("weight", "bias"):
            if kind == "optional" and f"{theirs}.{parameter}" not in left:
                continue
            weights[f"{ours}.{parameter}"] = _take(left, f"{theirs}.{parameter}")
    if left:
        raise ConfigError(
            f"the checkpoint must have no more than these options make, got {min(left)!r} as well; say those it was "
            "trained with"
        )
    return weights


def save(state: Mapping[str, Tensor], chosen: Hyperparameters, out: Path) -> None:
    """Write a checkpoint as a DDPMPipeline's folder.

    Raises:
        ConfigError: the errors of `convert`, or a tensor does not have the shape that the options imply.
    """
    from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel

    weights = convert(state, chosen)
    network: Any = UNet2DModel(**chosen.config())
    expected = network.state_dict()
    for name in sorted({*expected} | {*weights}):
        shapes = [list(tensors[name].shape) if name in tensors else None for tensors in (expected, weights)]
        if shapes[0] != shapes[1]:
            raise ConfigError(
                f"the checkpoint's {name} must be {shapes[0]} with these options, got {shapes[1]}; say those it was "
                "trained with"
            )
    network.load_state_dict(weights)
    pipeline: Any = DDPMPipeline(network, DDPMScheduler(**chosen.schedule()))
    pipeline.save_pretrained(out)


def _modules(chosen: Hyperparameters) -> Iterator[tuple[str, str, str]]:
    """Yield the name in diffusers, the name in the checkpoint and the kind of every module."""
    yield from ((ours, theirs, "") for ours, theirs in ENDS.items())
    yield from _residual("mid_block.resnets.0", "middle_block.0")
    yield "mid_block.attentions.0", "middle_block.1", "attention"
    yield from _residual("mid_block.resnets.1", "middle_block.2")
    number, levels = 1, len(chosen.multiples)
    for i, attends in enumerate(chosen.attending):
        for j in range(chosen.num_res_blocks):
            yield from _layer(f"down_blocks.{i}", j, f"input_blocks.{number}", attends)
            number += 1
        if i < levels - 1:
            yield from _resize(chosen, f"down_blocks.{i}.downsamplers.0", f"input_blocks.{number}.0", "op")
            number += 1
    number = 0
    for i, attends in enumerate(reversed(chosen.attending)):
        for j in range(chosen.num_res_blocks + 1):
            yield from _layer(f"up_blocks.{i}", j, f"output_blocks.{number}", attends)
            if j == chosen.num_res_blocks and i < levels - 1:
                upsampler = f"output_blocks.{number}.{2 if attends else 1}"
                yield from _resize(chosen, f"up_blocks.{i}.upsamplers.0", upsampler, "conv")
            number += 1


def _layer(ours: str, j: int, theirs: str, attends: bool) -> Iterator[tuple[str, str, str]]:
    yield from _residual(f"{ours}.resnets.{j}", f"{theirs}.0")
    if attends:
        yield f"{ours}.attentions.{j}", f"{theirs}.1", "attention"


def _residual(ours: str, theirs: str) -> Iterator[tuple[str, str, str]]:
    for name, their_name in BLOCK.items():
        yield f"{ours}.{name}", f"{theirs}.{their_name}", "optional" if name == "conv_shortcut" else ""


def _resize(chosen: Hyperparameters, ours: str, theirs: str, name: str) -> Iterator[tuple[str, str, str]]:
    if chosen.resblock_updown:
        yield from _residual(ours, theirs)
    else:
        yield f"{ours}.conv", f"{theirs}.{name}", ""


def _attention(left: dict[str, Tensor], ours: str, theirs: str, chosen: Hyperparameters) -> dict[str, Tensor]:
    """Split the convolution that computes q, k and v, head by head or, in the new order, for all heads at once."""
    weights = {f"{ours}.group_norm.{p}": _take(left, f"{theirs}.norm.{p}") for p in ("weight", "bias")}
    head = next(iter(chosen.head_widths))
    for parameter in ("weight", "bias"):
        mixed, last = (_take(left, f"{theirs}.{name}.{parameter}") for name in ("qkv", "proj_out"))
        if parameter == "weight":  # of convolutions with a kernel of one pixel
            mixed, last = mixed.flatten(1), last.flatten(1)
        if len(mixed) % (3 * head):
            raise ConfigError(
                f"{theirs}.qkv of the checkpoint has {len(mixed)} rows, which heads of {head} do not divide"
            )
        if chosen.use_new_attention_order:
            projections = mixed.unflatten(0, (3, -1))
        else:
            projections = mixed.unflatten(0, (-1, 3, head)).transpose(0, 1).flatten(1, 2)
        weights |= {f"{ours}.to_{name}.{parameter}": p.clone() for name, p in zip("qkv", projections, strict=True)}
        weights[f"{ours}.to_out.0.{parameter}"] = last
    return weights


def _take(left: dict[str, Tensor], name: str) -> Tensor:
    if name not in left:
        raise ConfigError(f"the checkpoint must hold {name!r} with these options; say those it was trained with")
    return left.pop(name).float()
