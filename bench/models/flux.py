"""Flux: a flow-matching transformer over packed latents, as FluxPipeline saves it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from bench.core.errors import ConfigError
from bench.models.adapter import middle_block
from bench.models.classifier_free import check_guidance_scale
from bench.models.fields import TextFields
from bench.models.flow import TokenFlow, flow_scale, flow_time, read_flow_schedule
from bench.models.latent import Autoencoder
from bench.models.pretrained import SCHEDULE, component, pipeline_digest, read_config
from bench.models.prompts import conditions_of, kept_text_encoder, load_text_encoder
from bench.protocols.model import broadcast

TRANSFORMER = "FluxTransformer2DModel"
BLOCKS = ("transformer_blocks", "single_transformer_blocks")
PACK = 2  # latents of a side to one token


class Flux(TokenFlow):
    """A `FluxTransformer2DModel` as a denoiser. Source: Esser et al. 2024, arXiv 2403.03206 (the flow and its blocks).

    A token is a 2 x 2 block of latents. The bottleneck is the image's tokens that one block gives, tokens by width.
    """

    def __init__(
        self,
        transformer: nn.Module,
        autoencoder: Autoencoder,
        scheduler_config: Mapping[str, Any],
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
            image_size: the side of one image, in pixels.
            guidance_scale: that the network is told, if it was trained to be told one.
            true_cfg_scale: of classifier-free guidance, >= 1.
            bottleneck: "transformer_blocks.K" or "single_transformer_blocks.K"; the middle one of all unless given.
            name: the public name.
            digest: hash of everything that decides what it computes.

        Raises:
            UnknownName: the network has no such block.
            ConfigError: as of `LatentModel`, or the network reads embeddings of another width.
        """
        config: Any = transformer.config
        self._side = image_size // autoencoder.factor
        middle = middle_block(transformer, bottleneck, BLOCKS)
        super().__init__(transformer, middle, autoencoder, scheduler_config, conditions, name, digest)
        self.guidance_scale = true_cfg_scale
        self.read_from(embeddings)
        self.transformer: Any = transformer
        side = self._side // PACK
        self.bottleneck_shape = (side * side, config.num_attention_heads * config.attention_head_dim)
        rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
        places = torch.stack([torch.zeros_like(rows), rows, columns], dim=-1).reshape(-1, 3)
        self._places = places.to(self.device, self._weights)
        self._no_places = torch.zeros(self._prompts.shape[1], 3, device=self.device, dtype=self._weights)
        self._told = guidance_scale if config.guidance_embeds else None

    def latents(self, config: Any) -> tuple[int, int]:
        """Four channels of the network are one of the latents'; the side is the suite's choice."""
        return config.in_channels // PACK**2, self._side

    def ask(self, x: Tensor, t: Tensor, asked: Tensor) -> Tensor:
        """eps - x_0, predicted for the prompts of the conditions."""
        a = self._a[t]
        packed = pixel_unshuffle(x * broadcast(flow_scale(a), x), PACK).flatten(2).transpose(1, 2)
        out: Tensor = self.transformer(
            hidden_states=packed,
            timestep=flow_time(a).to(x.dtype),
            guidance=None if self._told is None else torch.full((len(x),), self._told, device=x.device),
            encoder_hidden_states=self._prompts[asked],
            pooled_projections=self._pooled[asked],
            txt_ids=self._no_places,
            img_ids=self._places,
            return_dict=False,
        )[0]
        side = self._side // PACK
        return pixel_shuffle(out.transpose(1, 2).unflatten(2, (side, side)), PACK)


@dataclass(frozen=True)
class Model(TextFields):
    """Flux, of both kinds: trained to be told a guidance scale ("dev"), or not ("schnell").

    Attributes:
        guidance_scale: that the network is told, >= 1; of no effect on a network that is told none.
        true_cfg_scale: of classifier-free guidance, >= 1; 1 turns it off.
        negative_prompt: of the null condition, for classifier-free guidance.
        image_size: the side of one image, in pixels.
        max_sequence_length: tokens that the second text encoder reads; networks of the "schnell" kind take 256.
        bottleneck: the block whose output is the bottleneck, "transformer_blocks.K" or "single_transformer_blocks.K";
            the middle one of all unless given.
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
        transformer, vae, scheduler = (component(folder, part) for part in ("transformer", "vae", "scheduler"))
        read_config(transformer / "config.json", (TRANSFORMER,))
        autoencoder = self.autoencoder(vae, device)
        token = PACK * autoencoder.factor
        if self.image_size < token or self.image_size % token:
            raise ConfigError(f"image_size must be a multiple of {token}, a token's side, got {self.image_size}")
        schedule = read_flow_schedule(scheduler / SCHEDULE, (self.image_size // token) ** 2)
        said = [*(self.prompts[c] for c in conditions), self.negative_prompt]
        made = Flux(
            self.network(transformer, TRANSFORMER, device),
            autoencoder,
            schedule,
            conditions,
            read(folder, said, self.max_sequence_length),
            self.image_size,
            self.guidance_scale,
            self.true_cfg_scale,
            self.bottleneck,
            name,
            pipeline_digest(folder, self.settings()),
        )
        return self.ready(made)


def read(folder: Path, prompts: list[str], length: int) -> tuple[Tensor, Tensor]:
    """The prompts' embeddings [n, tokens, width], T5's, and CLIP's pooled ones [n, d]."""
    pooled: Tensor = kept_text_encoder(folder).encode(prompts).pooler_output
    long: Tensor = load_text_encoder(folder, "_2", "T5EncoderModel", length).encode(prompts).last_hidden_state
    return long, pooled
