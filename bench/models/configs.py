"""Typed views of the networks of diffusers, whose attributes are otherwise untyped."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, cast

from torch import nn

from bench.core.errors import ConfigError


class UNetConfig(Protocol):
    """Configuration of a `UNet2DModel` or a `UNet2DConditionModel`; only a conditional one has the last three."""

    in_channels: int
    out_channels: int
    sample_size: int
    block_out_channels: tuple[int, ...]
    num_class_embeds: int | None
    cross_attention_dim: int
    encoder_hid_dim: int | None
    time_cond_proj_dim: int | None


class TransformerConfig(Protocol):
    """Configuration of a diffusion transformer; each class has some of the attributes below `attention_head_dim`."""

    in_channels: int
    sample_size: int
    num_attention_heads: int
    attention_head_dim: int
    patch_size: int
    num_embeds_ada_norm: int
    joint_attention_dim: int
    pooled_projection_dim: int
    guidance_embeds: bool


class AutoencoderConfig(Protocol):
    """Configuration of an `AutoencoderKL` or a `VQModel`."""

    latent_channels: int
    block_out_channels: tuple[int, ...]
    scaling_factor: float


def unet_config(unet: nn.Module) -> UNetConfig:
    """Return the configuration of a U-Net of diffusers."""
    return cast(UNetConfig, unet.config)


def check_labels(unet: nn.Module, labelled: bool = False) -> None:
    """Refuse a U-Net that must be given class labels in a form that no condition of the bench has.

    Args:
        unet: of diffusers.
        labelled: True if the family gives numbers of classes to a network with `num_class_embeds`.

    Raises:
        ConfigError: the network adds an embedding of labels, and would fail at its first call.
    """
    kind = getattr(unet.config, "class_embed_type", None)
    if kind is not None:
        raise ConfigError(
            f"a U-Net must take no class labels, or their numbers, got class_embed_type {kind!r}, whose labels are "
            "noise levels or vectors; networks for upscaling and such others are not supported"
        )
    n_labels = getattr(unet.config, "num_class_embeds", None)
    if n_labels is not None and not labelled:
        raise ConfigError(
            f"a U-Net of this pipeline must take no class labels, got num_class_embeds {n_labels}; a class-conditional "
            "one is a DDPMPipeline with conditions.json"
        )


def transformer_config(transformer: nn.Module) -> TransformerConfig:
    """Return the configuration of a diffusion transformer of diffusers."""
    return cast(TransformerConfig, transformer.config)


def middle_of(unet: nn.Module) -> nn.Module | None:
    """Return the middle block of a U-Net of diffusers, or None if it has none."""
    return cast("nn.Module | None", unet.mid_block)


def blocks_of(network: nn.Module, name: str) -> Iterable[nn.Module]:
    """Return the blocks of the list `name` of a network."""
    return cast("Iterable[nn.Module]", getattr(network, name))


def middle_shape(config: UNetConfig) -> tuple[int, ...]:
    """Return the shape of the middle block's output for one sample: every level but the last halves the sides."""
    side = config.sample_size // 2 ** (len(config.block_out_channels) - 1)
    return (config.block_out_channels[-1], side, side)


def token_shape(config: TransformerConfig) -> tuple[int, int]:
    """Return the shape of a block's output for one sample of `patch_size` patches: tokens and width."""
    tokens = (config.sample_size // config.patch_size) ** 2
    return (tokens, config.num_attention_heads * config.attention_head_dim)
