"""guided-diffusion's network by its formulas alone, in plain functions of a state dict of its layout.

Source: Dhariwal & Nichol 2021, arXiv 2105.05233, section 3 and appendix A; Ho et al. 2020 for the time embedding.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as f

from bench.models.guided_diffusion import Hyperparameters

Weights = Mapping[str, Tensor]


class Maker:
    """Random weights of the layout, made by walking the network as it runs."""

    def __init__(self, chosen: Hyperparameters, seed: int) -> None:
        self.chosen, self.state = chosen, dict[str, Tensor]()
        self.generator = torch.Generator().manual_seed(seed)
        self.width = chosen.num_channels  # of what has come this far
        self.kept = [self.width]

    def make(self, name: str, *shape: int) -> None:
        values = torch.randn(shape, generator=self.generator)
        is_norm = len(shape) == 1
        self.state[f"{name}.weight"] = 1 + 0.2 * values if is_norm else 0.5 * values / math.sqrt(math.prod(shape[1:]))
        self.state[f"{name}.bias"] = torch.randn(shape[0], generator=self.generator) * 0.1

    def residual(self, name: str, inside: int, outside: int) -> None:
        self.make(f"{name}.in_layers.0", inside)
        self.make(f"{name}.in_layers.2", outside, inside, 3, 3)
        said = outside * (2 if self.chosen.use_scale_shift_norm else 1)
        self.make(f"{name}.emb_layers.1", said, 4 * self.chosen.num_channels)
        self.make(f"{name}.out_layers.0", outside)
        self.make(f"{name}.out_layers.3", outside, outside, 3, 3)
        if inside != outside:
            self.make(f"{name}.skip_connection", outside, inside, 1, 1)

    def attention(self, name: str) -> None:
        self.make(f"{name}.norm", self.width)
        self.make(f"{name}.qkv", 3 * self.width, self.width, 1)
        self.make(f"{name}.proj_out", self.width, self.width, 1)

    def resize(self, name: str, own: str) -> None:
        if self.chosen.resblock_updown:
            self.residual(name, self.width, self.width)
        else:
            self.make(f"{name}.{own}", self.width, self.width, 3, 3)

    def layer(self, name: str, level: int, beside: int = 0) -> None:
        self.residual(f"{name}.0", self.width + beside, self.chosen.widths[level])
        self.width = self.chosen.widths[level]
        if self.chosen.attending[level]:
            self.attention(f"{name}.1")

    def down(self) -> None:
        number = 1
        for level in range(len(self.chosen.widths)):
            for _ in range(self.chosen.num_res_blocks):
                self.layer(f"input_blocks.{number}", level)
                self.kept.append(self.width)
                number += 1
            if level < len(self.chosen.widths) - 1:
                self.resize(f"input_blocks.{number}.0", "op")
                self.kept.append(self.width)
                number += 1

    def up(self) -> None:
        number = 0
        for level in reversed(range(len(self.chosen.widths))):
            for j in range(self.chosen.num_res_blocks + 1):
                self.layer(f"output_blocks.{number}", level, self.kept.pop())
                if level and j == self.chosen.num_res_blocks:
                    self.resize(f"output_blocks.{number}.{2 if self.chosen.attending[level] else 1}", "conv")
                number += 1


def random_weights(chosen: Hyperparameters, seed: int = 0) -> dict[str, Tensor]:
    """A state dict of the layout."""
    maker, first = Maker(chosen, seed), chosen.num_channels
    maker.make("time_embed.0", 4 * first, first)
    maker.make("time_embed.2", 4 * first, 4 * first)
    maker.make("input_blocks.0.0", first, 3, 3, 3)
    maker.down()
    for i in (0, 2):
        maker.residual(f"middle_block.{i}", maker.width, maker.width)
    maker.attention("middle_block.1")
    maker.up()
    maker.make("out.0", first)
    maker.make("out.2", 6 if chosen.learn_sigma else 3, first, 3, 3)
    return maker.state


def unet(w: Weights, chosen: Hyperparameters, x: Tensor, t: Tensor) -> Tensor:
    """The network's output for x [n, 3, side, side] at timesteps t [n]."""
    half = chosen.num_channels // 2
    angles = t[:, None].float() * torch.exp(-math.log(10000) * torch.arange(half) / half)
    time = linear(w, "time_embed.0", torch.cat([angles.cos(), angles.sin()], dim=1))
    time = linear(w, "time_embed.2", f.silu(time))
    kept = down(w, chosen, x, time)
    h = residual(w, "middle_block.0", chosen, kept[-1], time)
    h = attention(w, "middle_block.1", chosen, h)
    h = residual(w, "middle_block.2", chosen, h, time)
    h = up(w, chosen, h, kept, time)
    return conv(w, "out.2", f.silu(norm(w, "out.0", h)))


def down(w: Weights, chosen: Hyperparameters, x: Tensor, time: Tensor) -> list[Tensor]:
    """What every block of the way down gives, for the way up; the last goes on to the middle."""
    kept, number = [conv(w, "input_blocks.0.0", x)], 1
    for level in range(len(chosen.widths)):
        for _ in range(chosen.num_res_blocks):
            h = residual(w, f"input_blocks.{number}.0", chosen, kept[-1], time)
            if chosen.attending[level]:
                h = attention(w, f"input_blocks.{number}.1", chosen, h)
            kept.append(h)
            number += 1
        if level < len(chosen.widths) - 1:
            name = f"input_blocks.{number}.0"
            if chosen.resblock_updown:
                h = residual(w, name, chosen, kept[-1], time, lambda z: f.avg_pool2d(z, 2))
            else:
                h = f.conv2d(kept[-1], w[f"{name}.op.weight"], w[f"{name}.op.bias"], stride=2, padding=1)
            kept.append(h)
            number += 1
    return kept


def up(w: Weights, chosen: Hyperparameters, h: Tensor, kept: list[Tensor], time: Tensor) -> Tensor:
    """The way up, each block with what the way down kept beside it."""
    number = 0
    for level in reversed(range(len(chosen.widths))):
        for j in range(chosen.num_res_blocks + 1):
            h = residual(w, f"output_blocks.{number}.0", chosen, torch.cat([h, kept.pop()], dim=1), time)
            if chosen.attending[level]:
                h = attention(w, f"output_blocks.{number}.1", chosen, h)
            if level and j == chosen.num_res_blocks:
                name = f"output_blocks.{number}.{2 if chosen.attending[level] else 1}"
                if chosen.resblock_updown:
                    h = residual(w, name, chosen, h, time, doubled)
                else:
                    h = conv(w, f"{name}.conv", doubled(h))
            number += 1
    return h


def residual(w: Weights, name: str, chosen: Hyperparameters, x: Tensor, time: Tensor, resize=None) -> Tensor:
    """x + conv(silu(norm(conv(silu(norm(x)))))), with the time in between; both ways resized before the first conv."""
    h = f.silu(norm(w, f"{name}.in_layers.0", x))
    if resize:
        h, x = resize(h), resize(x)
    h = conv(w, f"{name}.in_layers.2", h)
    said = linear(w, f"{name}.emb_layers.1", f.silu(time))[:, :, None, None]
    if chosen.use_scale_shift_norm:
        scale, shift = said.chunk(2, dim=1)
        h = norm(w, f"{name}.out_layers.0", h) * (1 + scale) + shift
    else:
        h = norm(w, f"{name}.out_layers.0", h + said)
    h = conv(w, f"{name}.out_layers.3", f.silu(h))
    if f"{name}.skip_connection.weight" in w:
        x = f.conv2d(x, w[f"{name}.skip_connection.weight"], w[f"{name}.skip_connection.bias"])
    return x + h


def attention(w: Weights, name: str, chosen: Hyperparameters, x: Tensor) -> Tensor:
    """x + proj(softmax(q k / sqrt(d)) v) over the places, for each head."""
    n, width, side, _ = x.shape
    flat = norm(w, f"{name}.norm", x).flatten(2)
    mixed = f.conv1d(flat, w[f"{name}.qkv.weight"], w[f"{name}.qkv.bias"])  # [n, 3 width, places]
    heads = width // chosen.num_head_channels if chosen.num_head_channels != -1 else chosen.num_heads
    d = width // heads
    if chosen.use_new_attention_order:  # q of all heads, k of all heads, v of all heads
        q, k, v = mixed.reshape(n, 3, heads, d, -1).unbind(1)
    else:  # q, k and v of the first head, then of the second
        q, k, v = mixed.reshape(n, heads, 3, d, -1).unbind(2)
    weight = torch.einsum("nhdq,nhdk->nhqk", q, k).div(math.sqrt(d)).softmax(-1)
    read = torch.einsum("nhqk,nhdk->nhdq", weight, v).reshape(n, width, -1)
    out = f.conv1d(read, w[f"{name}.proj_out.weight"], w[f"{name}.proj_out.bias"])
    return x + out.reshape(n, width, side, side)


def doubled(x: Tensor) -> Tensor:
    return x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)


def norm(w: Weights, name: str, x: Tensor) -> Tensor:
    return f.group_norm(x, 32, w[f"{name}.weight"], w[f"{name}.bias"], eps=1e-5)


def conv(w: Weights, name: str, x: Tensor) -> Tensor:
    return f.conv2d(x, w[f"{name}.weight"], w[f"{name}.bias"], padding=1)


def linear(w: Weights, name: str, x: Tensor) -> Tensor:
    return f.linear(x, w[f"{name}.weight"], w[f"{name}.bias"])
