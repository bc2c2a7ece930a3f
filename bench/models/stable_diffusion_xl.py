"""Stable Diffusion XL: two text encoders, pooled embeddings and time ids, as StableDiffusionXLPipeline saves it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.core.json_text import read_object
from bench.models import INDEX
from bench.models.fields import AttentionSlicing, TextFields, slice_attention
from bench.models.pretrained import SAVED, pipeline_digest
from bench.models.prompts import TextEncoder, conditions_of, kept_text_encoder
from bench.models.stable_diffusion import TextUNet, load_latent_parts


@dataclass(frozen=True)
class Model(TextFields):
    """Stable Diffusion XL, its base model; images of the size it was trained on, not cropped.

    Attributes:
        negative_prompt: of the null condition; the pipeline's own choice unless given, embeddings of zeros or of "".
        attention_slicing: heads that the U-Net attends to at a time; see `slice_attention`.
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
        unet, autoencoder, schedule = load_latent_parts(folder, device, self)
        slice_attention(unet, self.attention_slicing)
        encoders = [kept_text_encoder(folder), kept_text_encoder(folder, "_2", "CLIPTextModelWithProjection")]
        said = [*(self.prompts[c] for c in conditions), self.negative_prompt or ""]
        prompts, pooled = read(encoders, said)
        zeros = self.negative_prompt is None and read_object(folder / INDEX, SAVED).get(
            "force_zeros_for_empty_prompt", True
        )
        if zeros:
            prompts[-1], pooled[-1] = 0, 0
        config: Any = unet.config
        side = float(config.sample_size * autoencoder.factor)
        ids = torch.tensor([side, side, 0, 0, side, side]).repeat(len(said), 1)  # original size, crop, wanted size
        settings = {**self.settings(), "zeros": zeros}
        made = TextUNet(
            unet,
            autoencoder,
            schedule,
            conditions,
            {"prompts": prompts, "text_embeds": pooled, "time_ids": ids},
            self.guidance_scale,
            name,
            pipeline_digest(folder, settings),
        )
        return self.ready(made)


def read(encoders: list[TextEncoder], prompts: list[str]) -> tuple[Tensor, Tensor]:
    """The last hidden layer but one of both encoders side by side [n, tokens, width], and the second's projection."""
    outputs = [encoder.encode(prompts) for encoder in encoders]
    return torch.cat([out.hidden_states[-2] for out in outputs], dim=2), outputs[-1].text_embeds.clone()
