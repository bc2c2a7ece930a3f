"""Stable Diffusion 3 and 3.5: a flow-matching transformer over latents, as StableDiffusion3Pipeline saves it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

from bench.core.errors import ConfigError
from bench.core.json_text import read_object
from bench.models import INDEX
from bench.models.adapter import middle_block
from bench.models.configs import token_shape, transformer_config
from bench.models.fields import TextFields
from bench.models.flow import TokenFlow, flow_scale, flow_time, read_flow_schedule
from bench.models.latent import Autoencoder
from bench.models.pretrained import SAVED, SCHEDULE, component, pipeline_digest, read_config
from bench.models.prompts import cached_text_encoder, conditions_of, load_text_encoder
from bench.protocols.model import broadcast

TRANSFORMER = "SD3Transformer2DModel"
LONG = 256  # tokens of the third text encoder, the pipeline's default


class FlowTransformer(TokenFlow):
    """An `SD3Transformer2DModel` as a denoiser. Source: Esser et al. 2024, arXiv 2403.03206.

    The bottleneck is the image tokens of one transformer block's output, tokens by width.
    """

    def __init__(
        self,
        transformer: nn.Module,
        autoencoder: Autoencoder,
        scheduler_config: Mapping[str, object],
        conditions: tuple[str, ...],
        embeddings: tuple[Tensor, Tensor],
        guidance_scale: float = 7.0,
        bottleneck: str | None = None,
        name: str = "stable_diffusion_3",
        digest: str = "",
    ) -> None:
        """Wrap networks in memory.

        Args:
            transformer: the network.
            autoencoder: of the latents.
            scheduler_config: result of `read_flow_schedule`.
            conditions: names, "none" first; K of them.
            embeddings: of the prompts [K + 1, tokens, width] and pooled [K + 1, d], the last for the null condition.
            guidance_scale: of classifier-free guidance, >= 1.
            bottleneck: "transformer_blocks.K", by default the middle one.
            name: public name.
            digest: hash of everything that decides the model's output.

        Raises:
            UnknownName: no such block.
            ConfigError: the errors of `LatentModel`, or the network reads embeddings of another width.
        """
        config = transformer_config(transformer)
        middle = middle_block(transformer, bottleneck)
        super().__init__(transformer, middle, autoencoder, scheduler_config, conditions, name, digest)
        self.guidance_scale = guidance_scale
        self.set_embeddings(embeddings)
        self.transformer = transformer
        self.bottleneck_shape = token_shape(config)

    def output_for(self, x: Tensor, t: Tensor, indices: Tensor) -> Tensor:
        """Return eps - x_0, predicted for the prompts of the conditions."""
        a = self._a[t]
        out: Tensor = self.transformer(
            hidden_states=x * broadcast(flow_scale(a), x),
            timestep=(flow_time(a) * len(self._a)).float(),
            encoder_hidden_states=self._prompts[indices],
            pooled_projections=self._pooled[indices],
            return_dict=False,
        )[0]
        return out


@dataclass(frozen=True)
class Model(TextFields):
    """Stable Diffusion 3 or 3.5, with its third text encoder or without.

    Attributes:
        negative_prompt: of the null condition.
        bottleneck: the block whose output is the bottleneck, "transformer_blocks.K", by default the middle one.
    """

    decode_batch: int = 2
    negative_prompt: str = ""
    bottleneck: str | None = None
    recorded: ClassVar[tuple[str, ...]] = (*TextFields.recorded, "bottleneck")

    def load(self, folder: Path, device: str, name: str) -> FlowTransformer:
        """Load the folder of a StableDiffusion3Pipeline.

        Raises:
            Incompatible: transformers is not installed.
            UnknownName: a block that the transformer does not have.
            ConfigError: a component is missing, damaged, or does not fit the others.
        """
        conditions = conditions_of(self.prompts)
        transformer, vae, scheduler = (component(folder, key) for key in ("transformer", "vae", "scheduler"))
        config = read_config(transformer / "config.json", (TRANSFORMER,))
        schedule = read_flow_schedule(scheduler / SCHEDULE)
        texts = [*(self.prompts[c] for c in conditions), self.negative_prompt]
        model = FlowTransformer(
            self.network(transformer, TRANSFORMER, device),
            self.autoencoder(vae, device),
            schedule,
            conditions,
            embed(folder, texts, config["joint_attention_dim"]),
            self.guidance_scale,
            self.bottleneck,
            name,
            pipeline_digest(folder, self.settings()),
        )
        return self.ready(model)


def embed(folder: Path, prompts: list[str], width: int) -> tuple[Tensor, Tensor]:
    """Return the prompts' embeddings [n, tokens, width], CLIP's and then T5's, and both CLIPs' pooled ones [n, d].

    For a pipeline saved without the third encoder, by far the largest, T5's embeddings are zeros.

    Raises:
        ConfigError: the encoders are wider than the transformer reads.
    """
    clips = [
        cached_text_encoder(folder, suffix, "CLIPTextModelWithProjection").encode(prompts) for suffix in ("", "_2")
    ]
    short = torch.cat([out.hidden_states[-2] for out in clips], dim=2)
    pooled = torch.cat([out.text_embeds for out in clips], dim=1)
    if read_object(folder / INDEX, SAVED).get("text_encoder_3") == [None, None]:
        long = torch.zeros(len(prompts), LONG, width)
    else:
        long = load_text_encoder(folder, "_3", "T5EncoderModel", LONG).encode(prompts).last_hidden_state
    if short.shape[2] > long.shape[2]:
        raise ConfigError(
            f"the third text encoder must be at least as wide as the first two together, {short.shape[2]}, got "
            f"{long.shape[2]}; take all from one pipeline"
        )
    short = torch.nn.functional.pad(short, (0, long.shape[2] - short.shape[2]))
    return torch.cat([short, long], dim=1), pooled
