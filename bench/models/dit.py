"""Class-conditional diffusion transformers over latents, as diffusers' DiTPipeline saves them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from bench.core.errors import ConfigError, UnknownName
from bench.core.json_text import read_object
from bench.models import INDEX
from bench.models.adapter import middle_block
from bench.models.classifier_free import ClassifierFree, check_guidance_scale
from bench.models.fields import LatentFields
from bench.models.latent import Autoencoder, LatentModel
from bench.models.pretrained import SAVED, SCHEDULE, component, pipeline_digest, read_config, read_schedule


class DiT(ClassifierFree, LatentModel):
    """A `DiTTransformer2DModel` as a denoiser; "none" is its null class. Source: Peebles & Xie 2023, arXiv 2212.09748.

    The bottleneck is the output of one transformer block, tokens by width. Output channels beyond the latents' are a
    learnt variance: they are left out.
    """

    def __init__(
        self,
        transformer: nn.Module,
        autoencoder: Autoencoder,
        scheduler_config: Mapping[str, Any],
        labels: Mapping[str, int],
        guidance_scale: float = 4.0,
        bottleneck: str | None = None,
        name: str = "dit",
        digest: str = "",
    ) -> None:
        """Wrap networks in memory.

        Args:
            transformer: the network.
            autoencoder: of the latents.
            scheduler_config: of a diffusers scheduler.
            labels: name of a condition to the class that it asks for, without "none".
            guidance_scale: of classifier-free guidance, >= 1.
            bottleneck: "transformer_blocks.K"; the middle one unless given.
            name: the public name.
            digest: hash of everything that decides what it computes.

        Raises:
            UnknownName: the network has no such block.
            ConfigError: as of `LatentModel`.
        """
        config: Any = transformer.config
        middle = middle_block(transformer, bottleneck)
        conditions = ("none", *labels)
        super().__init__(transformer, middle, autoencoder, scheduler_config, conditions, name, digest)
        self.guidance_scale = guidance_scale
        self.transformer: Any = transformer
        tokens = (config.sample_size // config.patch_size) ** 2
        self.bottleneck_shape = (tokens, config.num_attention_heads * config.attention_head_dim)
        null = config.num_embeds_ada_norm  # the class that training put in the place of one it left out
        self._classes = torch.tensor([null, *labels.values(), null], device=self.device)

    def ask(self, x: Tensor, t: Tensor, asked: Tensor) -> Tensor:
        """The network's output without a learnt variance."""
        out: Tensor = self.transformer(x, timestep=t, class_labels=self._classes[asked], return_dict=False)[0]
        return out[:, : self.shape[0]]


@dataclass(frozen=True)
class Model(LatentFields):
    """A class-conditional diffusion transformer.

    Attributes:
        guidance_scale: of classifier-free guidance, >= 1; 1 turns it off.
        conditions: condition, such as "breed=terrier", to one of the pipeline's labels or its number; "label=NAME" for
            every label unless given.
        bottleneck: the block whose output is the bottleneck, "transformer_blocks.K"; the middle one unless given.
    """

    guidance_scale: float = 4.0
    conditions: dict[str, str | int] | None = None
    bottleneck: str | None = None
    recorded: ClassVar[tuple[str, ...]] = ("guidance_scale", "dtype", "conditions", "bottleneck", "decode_batch")

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        super().__post_init__()
        check_guidance_scale(self.guidance_scale)
        if self.conditions is not None and "none" in self.conditions:
            raise ConfigError('conditions must leave "none" out, which is the model\'s null class')

    def load(self, folder: Path, device: str, name: str) -> DiT:
        """Load the folder of a DiTPipeline.

        Raises:
            UnknownName: a label or a block that the pipeline does not have.
            ConfigError: a component is missing, damaged, or does not fit the others.
        """
        transformer, vae, scheduler = (component(folder, part) for part in ("transformer", "vae", "scheduler"))
        config = read_config(transformer / "config.json", ("DiTTransformer2DModel", "Transformer2DModel"))
        names = read_labels(folder / INDEX, config["num_embeds_ada_norm"])
        labels = {f"label={one}": k for k, (one, *_) in enumerate(names)} if self.conditions is None else {}
        for condition, label in (self.conditions or {}).items():
            labels[condition] = number_of(label, names)
        schedule = read_schedule(scheduler / SCHEDULE)
        made = DiT(
            self.network(transformer, "DiTTransformer2DModel", device),
            self.autoencoder(vae, device),
            schedule,
            labels,
            self.guidance_scale,
            self.bottleneck,
            name,
            pipeline_digest(folder, {**self.settings(), "labels": labels}),
        )
        return self.ready(made)


def read_labels(index: Path, n: int) -> list[Sequence[str]]:
    """The names of n classes, each with what to call it first: its first name, or all of them where others share that.

    Raises:
        ConfigError: the index names classes that do not exist.
    """
    said = read_object(index, SAVED).get("id2label") or {str(k): str(k) for k in range(n)}
    if sorted(said) != sorted(map(str, range(n))):
        raise ConfigError(f"{index}: id2label must name the classes 0 to {n - 1}, got {len(said)}; copy it again")
    words = [[word.strip() for word in str(said[str(k)]).split(",")] for k in range(n)]
    shared = Counter(first for first, *_ in words)
    full = [", ".join(w) for w in words]
    shown = [w[0] if shared[w[0]] == 1 else whole for w, whole in zip(words, full, strict=True)]
    twice = Counter(shown)
    shown = [one if twice[one] == 1 else f"{one} ({k})" for k, one in enumerate(shown)]
    return [(one, whole, *w) for one, whole, w in zip(shown, full, words, strict=True)]


def number_of(label: str | int, names: list[Sequence[str]]) -> int:
    """The class of a label's name or number.

    Raises:
        UnknownName: there is none.
        ConfigError: several classes have that name.
    """
    if isinstance(label, int):
        if not 0 <= label < len(names):
            raise ConfigError(f"a label's number must be 0 to {len(names) - 1}, got {label}")
        return label
    found = [k for k, known in enumerate(names) if known[0] == label] or [
        k for k, known in enumerate(names) if label in known
    ]
    if not found:
        raise UnknownName("label", label, [known[0] for known in names])
    if len(found) > 1:
        raise ConfigError(f"label {label!r} is the name of classes {', '.join(map(str, found))}; give the number")
    return found[0]
