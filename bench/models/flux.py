"""Flux: a flow-matching transformer over packed latents, as FluxPipeline saves it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from bench.core.errors import ConfigError
from bench.models.adapter import middle_block
from bench.models.classifier_free import check_guidance_scale
from bench.models.configs import transformer_config
from bench.models.fields import TextFields
from bench.models.flow import TokenFlow, flow_scale, flow_time, read_flow_schedule
from bench.models.latent import Autoencoder
from bench.models.pretrained import SCHEDULE, component, pipeline_digest, read_config
from bench.models.prompts import cached_text_encoder, conditions_of, load_text_encoder
from bench.protocols.model import broadcast

TRANSFORMER = "FluxTransformer2DModel"
BLOCKS = ("transformer_blocks", "single_transformer_blocks")
PACK = 2  # side of a token, in latents


class Flux(TokenFlow):
    """A `FluxTransformer2DModel` as a denoiser. Source: Esser et al. 2024, arXiv 2403.03206 (the flow and its blocks).

    A token is a 2 x 2 block of latents. The bottleneck is one block's output of image tokens, tokens by width.
    """

    def __init__(
        self,
        transformer: nn.Module,
        autoencoder: Autoencoder,
        scheduler_config: Mapping[str, object],
        conditions: tuple[str, ...],
        embeddings: tuple[Tensor, Tensor],
        image_size: int,
        guidance_scale: float = 3.5,
        true_cfg_scale: float = 1.0,
        bottleneck: str | None = None,
        name: str = "flux",
        digest: str = "",
    ) -> None:
        """Wrap networks in memory.

        Args:
            transformer: the network.
            autoencoder: of the latents.
            scheduler_config: of `read_flow_schedule`.
            conditions: names, "none" first; K of them.
            embeddings: of the prompts [K + 1, tokens, width] and pooled [K + 1, d], the last for the null condition.
            image_size: side of an image, in pixels.
            guidance_scale: input of the network, if it was trained with one.
            true_cfg_scale: of classifier-free guidance, >= 1.
            bottleneck: "transformer_blocks.K" or "single_transformer_blocks.K", by default the middle one of all.
            name: public name.
            digest: hash of everything that decides the model's output.

        Raises:
            UnknownName: no such block.
            ConfigError: the errors of `LatentModel`, or the network reads embeddings of another width.
        """
        config = transformer_config(transformer)
        self._side = image_size // autoencoder.factor
        middle = middle_block(transformer, bottleneck, BLOCKS)
        super().__init__(transformer, middle, autoencoder, scheduler_config, conditions, name, digest)
        self.guidance_scale = true_cfg_scale
        self.set_embeddings(embeddings)
        self.transformer = transformer
        side = self._side // PACK
        self.bottleneck_shape = (side * side, config.num_attention_heads * config.attention_head_dim)
        rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
        positions = torch.stack([torch.zeros_like(rows), rows, columns], dim=-1).reshape(-1, 3)
        self._image_positions = positions.to(self.device, self._weights)
        self._text_positions = torch.zeros(self._prompts.shape[1], 3, device=self.device, dtype=self._weights)
        self._embedded_scale = guidance_scale if config.guidance_embeds else None

    def latents(self, network: nn.Module) -> tuple[int, int]:
        """Return channels, a quarter of the network's, and side of the latents; the suite chooses the side."""
        return transformer_config(network).in_channels // PACK**2, self._side

    def output_for(self, x: Tensor, t: Tensor, indices: Tensor) -> Tensor:
        """Return eps - x_0, predicted for the prompts of the conditions."""
        a, scale = self._a[t], self._embedded_scale
        packed = pixel_unshuffle(x * broadcast(flow_scale(a), x), PACK).flatten(2).transpose(1, 2)
        out: Tensor = self.transformer(
            hidden_states=packed,
            timestep=flow_time(a).to(x.dtype),
            guidance=None if scale is None else torch.full((len(x),), scale, device=x.device),
            encoder_hidden_states=self._prompts[indices],
            pooled_projections=self._pooled[indices],
            txt_ids=self._text_positions,
            img_ids=self._image_positions,
            return_dict=False,
        )[0]
        side = self._side // PACK
        return pixel_shuffle(out.transpose(1, 2).unflatten(2, (side, side)), PACK)


@dataclass(frozen=True)
class Model(TextFields):
    """Flux, of both kinds: trained with a guidance scale as an input ("dev"), or without ("schnell").

    Attributes:
        guidance_scale: input of the network, >= 1; without effect on a network that has no such input.
        true_cfg_scale: of classifier-free guidance, >= 1; 1 turns it off.
        negative_prompt: of the null condition, for classifier-free guidance.
        image_size: side of an image, in pixels.
        max_sequence_length: tokens that the second text encoder reads; networks of the "schnell" kind take 256.
        bottleneck: the block whose output is the bottleneck, "transformer_blocks.K" or "single_transformer_blocks.K",
            by default the middle one of all.
    """

    guidance_scale: float = 3.5
    true_cfg_scale: float = 1.0
    decode_batch: int = 2
    negative_prompt: str = ""
    image_size: int = 1024
    max_sequence_length: int = 512
    bottleneck: str | None = None

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        super().__post_init__()
        check_guidance_scale(self.true_cfg_scale)
        if not 1 <= self.max_sequence_length <= 512:
            raise ConfigError(f"max_sequence_length must be 1 to 512, got {self.max_sequence_length}")

    def load(self, folder: Path, device: str, name: str) -> Flux:
        """Load the folder of a FluxPipeline.

        Raises:
            Incompatible: transformers is not installed.
            UnknownName: a block that the transformer does not have.
            ConfigError: a component is missing, damaged, or does not fit the others, or `image_size` is no multiple of
                a token's side.
        """
        conditions = conditions_of(self.prompts)
        transformer, vae, scheduler = (component(folder, key) for key in ("transformer", "vae", "scheduler"))
        read_config(transformer / "config.json", (TRANSFORMER,))
        autoencoder = self.autoencoder(vae, device)
        token = PACK * autoencoder.factor
        if self.image_size < token or self.image_size % token:
            raise ConfigError(f"image_size must be a multiple of {token}, a token's side, got {self.image_size}")
        schedule = read_flow_schedule(scheduler / SCHEDULE, (self.image_size // token) ** 2)
        texts = [*(self.prompts[c] for c in conditions), self.negative_prompt]
        model = Flux(
            self.network(transformer, TRANSFORMER, device),
            autoencoder,
            schedule,
            conditions,
            embed(folder, texts, self.max_sequence_length),
            self.image_size,
            self.guidance_scale,
            self.true_cfg_scale,
            self.bottleneck,
            name,
            pipeline_digest(folder, self.settings()),
        )
        return self.ready(model)


def embed(folder: Path, prompts: list[str], length: int) -> tuple[Tensor, Tensor]:
    """Return T5's embeddings of the prompts [n, tokens, width], and CLIP's pooled ones [n, d]."""
    pooled: Tensor = cached_text_encoder(folder).encode(prompts).pooler_output
    long: Tensor = load_text_encoder(folder, "_2", "T5EncoderModel", length).encode(prompts).last_hidden_state
    return long, pooled
