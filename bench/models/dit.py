"""Class-conditional diffusion transformers over latents, as diffusers' DiTPipeline saves them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

from bench.core.errors import ConfigError, UnknownName
from bench.core.json_text import read_object
from bench.models import INDEX
from bench.models.adapter import middle_block
from bench.models.classifier_free import ClassifierFree, check_guidance_scale
from bench.models.configs import token_shape, transformer_config
from bench.models.fields import LatentFields
from bench.models.latent import Autoencoder, LatentModel
from bench.models.pretrained import SAVED, SCHEDULE, component, pipeline_digest, read_config, read_schedule


class DiT(ClassifierFree, LatentModel):
    """A `DiTTransformer2DModel` as a denoiser; "none" is its null class. Source: Peebles & Xie 2023, arXiv 2212.09748.

    The bottleneck is the output of one transformer block, tokens by width. Output channels beyond those of the latents
    are a learnt variance; they are ignored.
    """

    def __init__(
        self,
        transformer: nn.Module,
        autoencoder: Autoencoder,
        scheduler_config: Mapping[str, object],
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
            labels: condition to its class, without "none".
            guidance_scale: of classifier-free guidance, >= 1.
            bottleneck: "transformer_blocks.K", by default the middle one.
            name: public name.
            digest: hash of everything that decides the model's output.

        Raises:
            UnknownName: no such block.
            ConfigError: the errors of `LatentModel`.
        """
        config = transformer_config(transformer)
        middle = middle_block(transformer, bottleneck)
        conditions = ("none", *labels)
        super().__init__(transformer, middle, autoencoder, scheduler_config, conditions, name, digest)
        self.guidance_scale = guidance_scale
        self.transformer = transformer
        self.bottleneck_shape = token_shape(config)
        null = config.num_embeds_ada_norm  # the class that replaces dropped labels in training
        self._classes = torch.tensor([null, *labels.values(), null], device=self.device)

    def output_for(self, x: Tensor, t: Tensor, indices: Tensor) -> Tensor:
        """Return the network's output without a learnt variance."""
        out: Tensor = self.transformer(x, timestep=t, class_labels=self._classes[indices], return_dict=False)[0]
        return out[:, : self.shape[0]]


@dataclass(frozen=True)
class Model(LatentFields):
    """A class-conditional diffusion transformer.

    Attributes:
        guidance_scale: of classifier-free guidance, >= 1; 1 turns it off.
        conditions: condition, such as "breed=terrier", to one of the pipeline's labels or its number; by default
            "label=NAME" for every label.
        bottleneck: the block whose output is the bottleneck, "transformer_blocks.K", by default the middle one.
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
        transformer, vae, scheduler = (component(folder, key) for key in ("transformer", "vae", "scheduler"))
        config = read_config(transformer / "config.json", ("DiTTransformer2DModel", "Transformer2DModel"))
        names = read_labels(folder / INDEX, config["num_embeds_ada_norm"])
        labels = {f"label={first}": k for k, (first, *_) in enumerate(names)} if self.conditions is None else {}
        for condition, label in (self.conditions or {}).items():
            labels[condition] = number_of(label, names)
        schedule = read_schedule(scheduler / SCHEDULE)
        model = DiT(
            self.network(transformer, "DiTTransformer2DModel", device),
            self.autoencoder(vae, device),
            schedule,
            labels,
            self.guidance_scale,
            self.bottleneck,
            name,
            pipeline_digest(folder, {**self.settings(), "labels": labels}),
        )
        return self.ready(model)


def read_labels(index: Path, n: int) -> list[Sequence[str]]:
    """Return the names of n classes; the first of each is unique: its first word, or all words if classes share that.

    Raises:
        ConfigError: the index names classes that do not exist.
    """
    labels = read_object(index, SAVED).get("id2label") or {str(k): str(k) for k in range(n)}
    if sorted(labels) != sorted(map(str, range(n))):
        raise ConfigError(f"{index}: id2label must name the classes 0 to {n - 1}, got {len(labels)}; copy it again")
    words = [[word.strip() for word in str(labels[str(k)]).split(",")] for k in range(n)]
    shared = Counter(first for first, *_ in words)
    full = [", ".join(w) for w in words]
    shown = [w[0] if shared[w[0]] == 1 else whole for w, whole in zip(words, full, strict=True)]
    counts = Counter(shown)
    unique = [name if counts[name] == 1 else f"{name} ({k})" for k, name in enumerate(shown)]
    return [(name, whole, *w) for name, whole, w in zip(unique, full, words, strict=True)]


def number_of(label: str | int, names: list[Sequence[str]]) -> int:
    """Return the class of a label's name or number.

    Raises:
        UnknownName: no such label.
        ConfigError: several classes have that name.
    """
    if isinstance(label, int):
        if not 0 <= label < len(names):
            raise ConfigError(f"a label's number must be 0 to {len(names) - 1}, got {label}")
        return label
    by_first = [k for k, (first, *_) in enumerate(names) if first == label]
    matches = by_first or [k for k, synonyms in enumerate(names) if label in synonyms]
    if not matches:
        raise UnknownName("label", label, [first for first, *_ in names])
    if len(matches) > 1:
        raise ConfigError(f"label {label!r} is the name of classes {', '.join(map(str, matches))}; give the number")
    return matches[0]
