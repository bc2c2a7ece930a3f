"""Fields that families of models share: how a network is held and run, and what of that is part of its digest.

What changes numbers is in the digest (`dtype`, `compile`, `vae_tiling`). What changes none, or none beyond the rounding
that another compute batch brings, is not (`decode_batch`, `attention_slicing`, `offload`).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

from torch import nn

from bench.core.errors import ConfigError
from bench.models.adapter import Adapter
from bench.models.classifier_free import check_guidance_scale
from bench.models.compiled import compile_blocks
from bench.models.kept import once
from bench.models.latent import Autoencoder, load_autoencoder
from bench.models.offload import Offload, check_offload, visit
from bench.models.pretrained import Precision, load_network
from bench.models.prompts import conditions_of

M = TypeVar("M", bound=Adapter)
WITHOUT_EFFECT = ("decode_batch", "attention_slicing", "offload")


@dataclass(frozen=True)
class NetworkFields:
    """Fields of every family.

    Attributes:
        dtype: of the denoiser's weights; samples, text encoders and the autoencoder stay in fp32.
        compile: whether the denoiser's blocks go through torch.compile when the model is loaded.
        recorded: fields that are in the digest at their defaults too, as when digests of the family were first kept.
    """

    dtype: Precision = "fp32"
    compile: bool = False
    recorded: ClassVar[tuple[str, ...]] = ()

    def settings(self) -> dict[str, Any]:
        """The fields that decide results, for the digest."""
        values = dataclasses.asdict(self)
        changed = {f.name for f in dataclasses.fields(self) if values[f.name] != f.default} - set(WITHOUT_EFFECT)
        return {k: None if k in WITHOUT_EFFECT else values[k] for k in values if k in changed or k in self.recorded}

    def network(self, folder: Path, name: str, device: str) -> nn.Module:
        """The denoiser's network of a component's folder; raises as `load_network`."""
        return load_network(folder, name, device, self.dtype)

    def ready(self, model: M) -> M:
        """The model, compiled where that is asked for.

        Raises:
            ConfigError: it cannot be compiled here.
        """
        if self.compile:
            compile_blocks(model)
        return model


@dataclass(frozen=True)
class LatentFields(NetworkFields):
    """Fields of families with an autoencoder.

    Attributes:
        decode_batch: images that the autoencoder looks at at once.
        vae_tiling: whether the autoencoder looks at images beyond its own size in overlapping tiles, blended.
        offload: what waits on the CPU; see `bench.models.offload`.
    """

    decode_batch: int = 8
    vae_tiling: bool = False
    offload: Offload = "none"

    def __post_init__(self) -> None:
        """Refuse values out of range.

        Raises:
            ConfigError: `decode_batch` is below 1, or weights that come and go would be compiled in.
        """
        if self.decode_batch < 1:
            raise ConfigError(f"decode_batch must be at least 1, got {self.decode_batch}")
        if self.compile and self.offload == "sequential":
            raise ConfigError(
                "compile must be false with offload: sequential, which moves a block's weights as it runs"
            )

    def network(self, folder: Path, name: str, device: str) -> nn.Module:
        """As of `NetworkFields`, offloaded.

        Raises:
            ConfigError: as `load_network`, or there is no accelerator to offload from.
        """
        check_offload(self.offload, device)
        if self.offload != "sequential":
            return super().network(folder, name, device)
        return visit(super().network(folder, name, "cpu"), device)

    def autoencoder(self, folder: Path, device: str) -> Autoencoder:
        """The autoencoder of a component's folder: on the CPU, if the two take turns on the device.

        Raises:
            ConfigError: as `load_network`, or it cannot be tiled.
        """
        made = load_autoencoder(folder, device if self.offload == "none" else "cpu", self.decode_batch)
        if self.vae_tiling:
            made.tile()
        if self.offload == "sequential":
            visit(made.network, device)
        return made


@once(most=2)
def kept_network(folder: Path, name: str, device: str, fields: NetworkFields) -> nn.Module:
    """As `fields.network`; models that differ in words alone share it. `fields` must be one that can be hashed."""
    return fields.network(folder, name, device)


@once(most=2)
def _kept_autoencoder(folder: Path, device: str, fields: LatentFields) -> Autoencoder:
    return fields.autoencoder(folder, device)


@dataclass(frozen=True)
class TextFields(LatentFields):
    """Fields of text-to-image families.

    Attributes:
        prompts: condition to what it says; "none", which asks for no class, must be among them.
        guidance_scale: of classifier-free guidance, >= 1; 1 turns it off.
    """

    prompts: dict[str, str] = dataclasses.field(default_factory=dict)
    guidance_scale: float = 7.0
    recorded: ClassVar[tuple[str, ...]] = ("dtype", "decode_batch", "prompts", "guidance_scale", "negative_prompt")

    def __post_init__(self) -> None:
        """Refuse values out of range.

        Raises:
            ConfigError: as of `LatentFields`, "none" has no prompt, or the scale is below 1.
        """
        conditions_of(self.prompts)
        check_guidance_scale(self.guidance_scale)
        super().__post_init__()

    @property
    def _held(self) -> LatentFields:
        """What decides how the networks are held: all but the words."""
        return LatentFields(self.dtype, self.compile, self.decode_batch, self.vae_tiling, self.offload)

    def network(self, folder: Path, name: str, device: str) -> nn.Module:
        """As of `LatentFields`; models that differ in words alone share it."""
        return kept_network(folder, name, device, self._held)

    def autoencoder(self, folder: Path, device: str) -> Autoencoder:
        """As of `LatentFields`; models that differ in words alone share it."""
        return _kept_autoencoder(folder, device, self._held)


AttentionSlicing = Literal["auto", "max"] | bool


def slice_attention(network: Any, slicing: AttentionSlicing) -> None:
    """Let a U-Net attend to a few heads at a time: half of them ("auto", or true), or one ("max").

    It replaces torch's fused attention, which needs no memory for the scores: it helps where that kernel is missing.
    """
    heads: list[int] = [m.sliceable_head_dim for m in network.modules() if hasattr(m, "sliceable_head_dim")]
    if slicing:
        network.set_attention_slice([1 if slicing == "max" else max(1, n // 2) for n in heads])
