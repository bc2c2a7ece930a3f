"""Text-to-image in pixel space: a text-conditional U-Net, as diffusers' IFPipeline saves it, with CLIP or T5."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from bench.core.errors import ConfigError
from bench.core.json_text import read_object
from bench.models.adapter import Adapter
from bench.models.classifier_free import ClassifierFree, check_guidance_scale
from bench.models.configs import check_labels, middle_of, middle_shape, unet_config
from bench.models.fields import AttentionSlicing, NetworkFields, cached_network, slice_attention
from bench.models.pretrained import SAVED, SCHEDULE, component, pipeline_digest, read_config, read_schedule
from bench.models.prompts import cached_text_encoder, conditions_of, load_text_encoder

CONDITIONED = "UNet2DConditionModel"
PIPELINE = {
    "_class_name": "IFPipeline",
    "feature_extractor": [None, None],
    "requires_safety_checker": False,
    "safety_checker": [None, None],
    "scheduler": ["diffusers", "DDPMScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", CONDITIONED],
    "watermarker": [None, None],
}  # index of a pipeline with a text encoder of CLIP


class PixelTextUNet(ClassifierFree, Adapter):
    """A `UNet2DConditionModel` over pixels as a denoiser; a condition is a prompt, encoded at loading.

    If the network has twice as many output channels as input channels, the second half is a learnt variance; it is
    ignored. Source: Saharia et al. 2022, arXiv 2205.11487 (its base model).
    """

    def __init__(
        self,
        unet: nn.Module,
        scheduler_config: Mapping[str, object],
        conditions: tuple[str, ...],
        embeddings: Mapping[str, Tensor],
        guidance_scale: float = 7.0,
        name: str = "pixel_text",
        digest: str = "",
    ) -> None:
        """Wrap a network in memory.

        Args:
            unet: the network.
            scheduler_config: of a diffusers scheduler.
            conditions: names, "none" first; K of them.
            embeddings: "prompts" [K + 1, tokens, width], the last for the null condition.
            guidance_scale: of classifier-free guidance, >= 1.
            name: public name.
            digest: hash of everything that decides the model's output.

        Raises:
            ConfigError: the errors of `Adapter`, or the network is not over pixels, takes class labels, or
                reads embeddings of another width.
        """
        check_labels(unet)
        config = unet_config(unet)
        if config.in_channels != 3 or config.out_channels not in (3, 6) or not isinstance(config.sample_size, int):
            raise ConfigError(
                "a text-to-image U-Net over pixels must take 3 channels, give 3 or 6 and have one sample_size, got "
                f"{config.in_channels}, {config.out_channels} and {config.sample_size}; those that enlarge images are "
                "not supported"
            )
        width = config.encoder_hid_dim or config.cross_attention_dim
        if width != embeddings["prompts"].shape[2]:
            raise ConfigError(
                f"the U-Net must read embeddings of the text encoder's width {embeddings['prompts'].shape[2]}, got "
                f"{width}; take both from one pipeline"
            )
        middle = middle_of(unet)
        super().__init__(unet, middle, scheduler_config, conditions, name, digest)
        self.unet = unet
        self.guidance_scale = guidance_scale
        self.image_size = config.sample_size
        self.shape = (3, config.sample_size, config.sample_size)
        self.bottleneck_shape = None if middle is None else middle_shape(config)
        self._embeddings = embeddings["prompts"].to(self.device, self._weights)

    def output_for(self, x: Tensor, t: Tensor, indices: Tensor) -> Tensor:
        """Return the network's output for the prompts of the conditions, without a learnt variance."""
        out: Tensor = self.unet(x, t, encoder_hidden_states=self._embeddings[indices], return_dict=False)[0]
        return out[:, :3]


@dataclass(frozen=True)
class Model(NetworkFields):
    """Text-to-image in pixel space.

    Attributes:
        prompts: condition to its prompt; "none", the unconditional prompt, is required.
        guidance_scale: of classifier-free guidance, >= 1; 1 turns it off.
        negative_prompt: of the null condition.
        attention_slicing: number of heads per step of the attention; see `slice_attention`.
    """

    prompts: dict[str, str] = dataclasses.field(default_factory=dict)
    guidance_scale: float = 7.0
    negative_prompt: str = ""
    attention_slicing: AttentionSlicing = False

    def __post_init__(self) -> None:
        """Refuse values out of range.

        Raises:
            ConfigError: "none" has no prompt, or the scale is below 1.
        """
        conditions_of(self.prompts)
        check_guidance_scale(self.guidance_scale)

    def load(self, folder: Path, device: str, name: str) -> PixelTextUNet:
        """Load the folder of an IFPipeline; its safety checker and watermarker are left out.

        Raises:
            Incompatible: transformers is not installed.
            ConfigError: a component is missing, damaged, or does not fit the others.
        """
        conditions = conditions_of(self.prompts)
        unet, scheduler, text = (component(folder, key) for key in ("unet", "scheduler", "text_encoder"))
        read_config(unet / "config.json", (CONDITIONED,))
        schedule = read_schedule(scheduler / SCHEDULE)
        network_fields = NetworkFields(self.dtype, self.compile)
        network = cached_network(unet, CONDITIONED, device, network_fields).to(memory_format=torch.channels_last)
        slice_attention(network, self.attention_slicing)
        kinds = read_object(text / "config.json", SAVED).get("architectures")
        kind = kinds[0] if isinstance(kinds, list) and kinds else None
        if kind not in ("CLIPTextModel", "T5EncoderModel"):
            raise ConfigError(f"{text / 'config.json'} must be of a CLIPTextModel or a T5EncoderModel, got {kind!r}")
        load, length = (cached_text_encoder, None) if kind.startswith("CLIP") else (load_text_encoder, 77)
        encoder = load(folder, kind=kind, length=length, masked=True)
        texts = [*(self.prompts[c] for c in conditions), self.negative_prompt]
        lower = [prompt.lower().strip() for prompt in texts]  # as its pipeline does; T5 distinguishes capitals
        embeddings = {"prompts": encoder.encode(lower).last_hidden_state}
        digest = pipeline_digest(folder, self.settings())
        model = PixelTextUNet(network, schedule, conditions, embeddings, self.guidance_scale, name, digest)
        return self.ready(model)
