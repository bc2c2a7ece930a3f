"""Stable Diffusion XL: two text encoders, pooled embeddings and time ids, as StableDiffusionXLPipeline saves it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from bench.core.json_text import read_object
from bench.models import INDEX
from bench.models.configs import unet_config
from bench.models.fields import AttentionSlicing, TextFields, slice_attention
from bench.models.pretrained import SAVED, pipeline_digest
from bench.models.prompts import TextEncoder, cached_text_encoder, conditions_of
from bench.models.stable_diffusion import TextUNet, load_components


@dataclass(frozen=True)
class Model(TextFields):
    """Stable Diffusion XL, its base model; images of the size it was trained on, not cropped.

    Attributes:
        negative_prompt: of the null condition; by default the pipeline's choice, embeddings of zeros or of "".
        attention_slicing: number of heads per step of the attention; see `slice_attention`.
    """

    guidance_scale: float = 5.0
    decode_batch: int = 2
    negative_prompt: str | None = None
    attention_slicing: AttentionSlicing = False

    def load(self, folder: Path, device: str, name: str) -> TextUNet:
        """Load the folder of a StableDiffusionXLPipeline.

        Raises:
            Incompatible: transformers is not installed.
            ConfigError: a component is missing, damaged, or does not fit the others.
        """
        conditions = conditions_of(self.prompts)
        unet, autoencoder, schedule = load_components(folder, device, self)
        slice_attention(unet, self.attention_slicing)
        encoders = [cached_text_encoder(folder), cached_text_encoder(folder, "_2", "CLIPTextModelWithProjection")]
        texts = [*(self.prompts[c] for c in conditions), self.negative_prompt or ""]
        prompts, pooled = embed(encoders, texts)
        zeros = self.negative_prompt is None and read_object(folder / INDEX, SAVED).get(
            "force_zeros_for_empty_prompt", True
        )
        if zeros:
            prompts[-1], pooled[-1] = 0, 0
        config = unet_config(unet)
        side = float(config.sample_size * autoencoder.factor)
        ids = torch.tensor([side, side, 0, 0, side, side]).repeat(len(texts), 1)  # original size, crop, target size
        settings = {**self.settings(), "zeros": zeros}
        model = TextUNet(
            unet,
            autoencoder,
            schedule,
            conditions,
            {"prompts": prompts, "text_embeds": pooled, "time_ids": ids},
            self.guidance_scale,
            name,
            pipeline_digest(folder, settings),
        )
        return self.ready(model)


def embed(encoders: list[TextEncoder], prompts: list[str]) -> tuple[Tensor, Tensor]:
    """Return the penultimate hidden layers of both encoders [n, tokens, width], and the second's projection [n, d]."""
    outputs = [encoder.encode(prompts) for encoder in encoders]
    return torch.cat([out.hidden_states[-2] for out in outputs], dim=2), outputs[-1].text_embeds.clone()
