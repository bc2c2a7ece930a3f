"""Stable Diffusion 1.x and 2.x: a text-conditional U-Net over latents, as StableDiffusionPipeline saves it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from bench.core.errors import ConfigError
from bench.models.classifier_free import ClassifierFree
from bench.models.configs import check_labels, middle_of, middle_shape, unet_config
from bench.models.fields import AttentionSlicing, LatentFields, TextFields, slice_attention
from bench.models.latent import Autoencoder, LatentModel
from bench.models.pretrained import SCHEDULE, component, pipeline_digest, read_config, read_schedule
from bench.models.prompts import cached_text_encoder, conditions_of

CONDITIONED = "UNet2DConditionModel"


class TextUNet(ClassifierFree, LatentModel):
    """A `UNet2DConditionModel` over latents as a denoiser; a condition is a prompt, encoded at loading.

    Source: Rombach et al. 2022, arXiv 2112.10752; Podell et al. 2023, arXiv 2307.01952 (SDXL).
    """

    def __init__(
        self,
        unet: nn.Module,
        autoencoder: Autoencoder,
        scheduler_config: Mapping[str, object],
        conditions: tuple[str, ...],
        embeddings: Mapping[str, Tensor],
        guidance_scale: float = 7.5,
        name: str = "stable_diffusion",
        digest: str = "",
    ) -> None:
        """Wrap networks in memory.

        Args:
            unet: the network.
            autoencoder: of the latents.
            scheduler_config: of a diffusers scheduler.
            conditions: names, "none" first; K of them.
            embeddings: "prompts" [K + 1, tokens, width], the last for the null condition, and for SDXL "text_embeds"
                [K + 1, d] and "time_ids" [K + 1, 6].
            guidance_scale: of classifier-free guidance, >= 1.
            name: public name.
            digest: hash of everything that decides the model's output.

        Raises:
            ConfigError: the errors of `LatentModel`, or the network reads embeddings of another width, or
                takes class labels.
        """
        check_labels(unet)
        middle = middle_of(unet)
        config = unet_config(unet)
        super().__init__(unet, middle, autoencoder, scheduler_config, conditions, name, digest)
        self.guidance_scale = guidance_scale
        if config.cross_attention_dim != embeddings["prompts"].shape[2]:
            raise ConfigError(
                f"the U-Net must read embeddings of the text encoder's width {embeddings['prompts'].shape[2]}, got "
                f"cross_attention_dim {config.cross_attention_dim}; take both from one pipeline"
            )
        if config.time_cond_proj_dim is not None:
            raise ConfigError(
                "the U-Net must not take the guidance scale as an input, as distilled ones do; take the one it was "
                "distilled from"
            )
        self.unet = unet
        self.bottleneck_shape = None if middle is None else middle_shape(config)
        kinds = {"time_ids": torch.float32}  # numbers of pixels, which bfloat16 would round
        self._embeddings = {
            key: value.to(self.device, kinds.get(key, self._weights)) for key, value in embeddings.items()
        }

    def output_for(self, x: Tensor, t: Tensor, indices: Tensor) -> Tensor:
        """Return the network's output for the prompts of the conditions."""
        embeddings = {key: value[indices] for key, value in self._embeddings.items()}
        prompts = embeddings.pop("prompts")
        added = embeddings or None
        out: Tensor = self.unet(x, t, encoder_hidden_states=prompts, added_cond_kwargs=added, return_dict=False)[0]
        return out


@dataclass(frozen=True)
class Model(TextFields):
    """Stable Diffusion 1.x or 2.x.

    Attributes:
        negative_prompt: of the null condition.
        attention_slicing: number of heads per step of the attention; see `slice_attention`.
    """

    guidance_scale: float = 7.5
    negative_prompt: str = ""
    attention_slicing: AttentionSlicing = False

    def load(self, folder: Path, device: str, name: str) -> TextUNet:
        """Load the folder of a StableDiffusionPipeline; its safety checker is ignored.

        Raises:
            Incompatible: transformers is not installed.
            ConfigError: a component is missing, damaged, or does not fit the others.
        """
        conditions = conditions_of(self.prompts)
        unet, autoencoder, schedule = load_components(folder, device, self)
        slice_attention(unet, self.attention_slicing)
        texts = [*(self.prompts[c] for c in conditions), self.negative_prompt]
        embeddings = {"prompts": cached_text_encoder(folder).encode(texts).last_hidden_state}
        digest = pipeline_digest(folder, self.settings())
        model = TextUNet(unet, autoencoder, schedule, conditions, embeddings, self.guidance_scale, name, digest)
        return self.ready(model)


def load_components(
    folder: Path, device: str, fields: LatentFields
) -> tuple[nn.Module, Autoencoder, dict[str, object]]:
    """Load the U-Net, the autoencoder and the noise schedule of a pipeline's folder."""
    unet, vae, scheduler = (component(folder, key) for key in ("unet", "vae", "scheduler"))
    read_config(unet / "config.json", (CONDITIONED,))
    schedule = read_schedule(scheduler / SCHEDULE)
    network = fields.network(unet, CONDITIONED, device).to(memory_format=torch.channels_last)
    return network, fields.autoencoder(vae, device), schedule
