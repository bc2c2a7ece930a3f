"""Fields that families of models share, and their part in the model's digest.

Fields that change numbers are in the digest (`dtype`, `compile`, `vae_tiling`). Fields that change none, or only the
rounding, as another compute batch does, are not (`decode_batch`, `attention_slicing`, `offload`).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, Protocol, TypeVar, cast

from torch import nn

from bench.core.errors import ConfigError
from bench.models.adapter import Adapter
from bench.models.classifier_free import check_guidance_scale
from bench.models.compiled import compile_blocks
from bench.models.folder_cache import cached_by_folder
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
        compile: compile the denoiser's blocks with torch.compile at loading.
        recorded: fields that are in the digest at their defaults too, so that the digests of earlier runs stay valid.
    """

    dtype: Precision = "fp32"
    compile: bool = False
    recorded: ClassVar[tuple[str, ...]] = ()

    def settings(self) -> dict[str, object]:
        """Return the fields that decide results, for the digest."""
        values = dataclasses.asdict(self)
        changed = {f.name for f in dataclasses.fields(self) if values[f.name] != f.default} - set(WITHOUT_EFFECT)
        return {k: None if k in WITHOUT_EFFECT else values[k] for k in values if k in changed or k in self.recorded}

    def network(self, folder: Path, name: str, device: str) -> nn.Module:
        """Load the denoiser's network of a component's folder; raises the errors of `load_network`."""
        return load_network(folder, name, device, self.dtype)

    def ready(self, model: M) -> M:
        """Return the model, compiled if `compile` is set.

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
        decode_batch: images per call of the autoencoder.
        vae_tiling: process images larger than the autoencoder's size in overlapping, blended tiles.
        offload: networks that wait on the CPU; see `bench.models.offload`.
    """

    decode_batch: int = 8
    vae_tiling: bool = False
    offload: Offload = "none"

    def __post_init__(self) -> None:
        """Refuse values out of range.

        Raises:
            ConfigError: `decode_batch` is below 1, or `compile` is set with sequential offloading.
        """
        if self.decode_batch < 1:
            raise ConfigError(f"decode_batch must be at least 1, got {self.decode_batch}")
        if self.compile and self.offload == "sequential":
            raise ConfigError(
                "compile must be false with offload: sequential, which moves a block's weights as it runs"
            )

    def network(self, folder: Path, name: str, device: str) -> nn.Module:
        """Load the denoiser's network, offloaded if `offload` is set.

        Raises:
            ConfigError: the errors of `load_network`, or `device` is the CPU.
        """
        check_offload(self.offload, device)
        if self.offload != "sequential":
            return super().network(folder, name, device)
        return visit(super().network(folder, name, "cpu"), device)

    def autoencoder(self, folder: Path, device: str) -> Autoencoder:
        """Load the autoencoder of a component's folder, on the CPU if `offload` is set.

        Raises:
            ConfigError: the errors of `load_network`, or it cannot be tiled.
        """
        autoencoder = load_autoencoder(folder, device if self.offload == "none" else "cpu", self.decode_batch)
        if self.vae_tiling:
            autoencoder.tile()
        if self.offload == "sequential":
            visit(autoencoder.network, device)
        return autoencoder


@cached_by_folder(size=2)
def cached_network(folder: Path, name: str, device: str, fields: NetworkFields) -> nn.Module:
    """Load a network by `fields.network`, shared by models that differ in prompts only; `fields` must be hashable."""
    return fields.network(folder, name, device)


@cached_by_folder(size=2)
def _cached_autoencoder(folder: Path, device: str, fields: LatentFields) -> Autoencoder:
    return fields.autoencoder(folder, device)


@dataclass(frozen=True)
class TextFields(LatentFields):
    """Fields of text-to-image families.

    Attributes:
        prompts: condition to its prompt; "none", the unconditional prompt, is required.
        guidance_scale: of classifier-free guidance, >= 1; 1 turns it off.
    """

    prompts: dict[str, str] = dataclasses.field(default_factory=dict)
    guidance_scale: float = 7.0
    recorded: ClassVar[tuple[str, ...]] = ("dtype", "decode_batch", "prompts", "guidance_scale", "negative_prompt")

    def __post_init__(self) -> None:
        """Refuse values out of range.

        Raises:
            ConfigError: the errors of `LatentFields`, "none" has no prompt, or the scale is below 1.
        """
        conditions_of(self.prompts)
        check_guidance_scale(self.guidance_scale)
        super().__post_init__()

    @property
    def _without_prompts(self) -> LatentFields:
        """The fields that decide how the networks are loaded."""
        return LatentFields(self.dtype, self.compile, self.decode_batch, self.vae_tiling, self.offload)

    def network(self, folder: Path, name: str, device: str) -> nn.Module:
        """Load the denoiser's network, shared by models that differ in prompts only."""
        return cached_network(folder, name, device, self._without_prompts)

    def autoencoder(self, folder: Path, device: str) -> Autoencoder:
        """Load the autoencoder, shared by models that differ in prompts only."""
        return _cached_autoencoder(folder, device, self._without_prompts)


AttentionSlicing = Literal["auto", "max"] | bool


class _Sliceable(Protocol):
    def set_attention_slice(self, slice_size: list[int]) -> None: ...


def slice_attention(network: nn.Module, slicing: AttentionSlicing) -> None:
    """Let a U-Net attend to a few heads at a time: half of them ("auto", or true), or one ("max").

    This replaces torch's fused attention, which needs no memory for the scores; it helps where that kernel is missing.
    """
    heads = [cast(int, m.sliceable_head_dim) for m in network.modules() if hasattr(m, "sliceable_head_dim")]
    if slicing:
        cast(_Sliceable, network).set_attention_slice([1 if slicing == "max" else max(1, n // 2) for n in heads])
