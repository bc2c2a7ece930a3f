"""Prompts of text-to-image models: what each condition says, and the text encoders, which read it at loading."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bench.core.errors import ConfigError, Incompatible
from bench.models.kept import once
from bench.models.pretrained import SAVED, component, variant_of, weight_files

TEXT_WEIGHTS = "model.safetensors"


def conditions_of(prompts: Mapping[str, str]) -> tuple[str, ...]:
    """The conditions that prompts are given for, "none" first.

    Raises:
        ConfigError: "none" has no prompt: what is drawn where no class is asked for.
    """
    if "none" not in prompts:
        given = ", ".join(sorted(prompts)) or "none at all"
        raise ConfigError(
            'prompts must hold one for "none", which asks for no class, such as "a photo of a face"; '
            f"got prompts for {given}"
        )
    return ("none", *sorted(set(prompts) - {"none"}))


@dataclass(frozen=True)
class TextEncoder:
    """A text encoder of CLIP or T5 with its tokenizer.

    Attributes:
        tokenizer: of transformers.
        network: of transformers, in evaluation mode.
        length: tokens that a prompt is padded to, and may have.
        masked: whether the padding is hidden from the network.
    """

    tokenizer: Any
    network: Any
    length: int
    masked: bool = False

    def tokens(self, prompts: list[str]) -> Any:
        """`input_ids` and `attention_mask` int64 [n, length], padded as diffusers' pipelines do.

        Raises:
            ConfigError: a prompt is longer than the encoder reads; it would be cut short silently.
        """
        length = self.length
        for prompt in prompts:
            n = len(self.tokenizer(prompt).input_ids)
            if n > length:
                raise ConfigError(f"a prompt must have at most {length} tokens, got {n}; shorten {prompt!r:.60}")
        return self.tokenizer(prompts, padding="max_length", max_length=length, return_tensors="pt")

    @torch.no_grad()
    def encode(self, prompts: list[str]) -> Any:
        """What the network gives for n prompts: `last_hidden_state`, `hidden_states`, `text_embeds` where projected."""
        read = self.tokens(prompts)
        mask = read.attention_mask if self.masked else None
        return self.network(read.input_ids, attention_mask=mask, output_hidden_states=True)


def load_text_encoder(
    folder: Path, suffix: str = "", kind: str = "CLIPTextModel", length: int | None = None, masked: bool = False
) -> TextEncoder:
    """The text encoder and tokenizer of a pipeline's folder, in float32 on the CPU: each prompt is read once.

    Args:
        folder: of the pipeline.
        suffix: of the components' names: "", "_2" or "_3".
        kind: "CLIPTextModel", "CLIPTextModelWithProjection" (which gives `text_embeds` as well) or "T5EncoderModel".
        length: tokens that a prompt is padded to; the tokenizer's own limit unless given.
        masked: whether the padding is hidden from the network; its configuration may say so too.

    Raises:
        Incompatible: transformers is not installed.
        ConfigError: a component is missing or damaged.
    """
    from safetensors import SafetensorError

    try:
        import transformers
    except ImportError as error:
        raise Incompatible(
            "text-to-image models need transformers: pip install 'fairdiff-bench[transformers]'"
        ) from error
    words, text = component(folder, f"tokenizer{suffix}"), component(folder, f"text_encoder{suffix}")
    files = weight_files(text, TEXT_WEIGHTS)
    weights = files[0]
    logging: Any = transformers.utils.logging
    verbosity, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()  # what is missing is said below, in one sentence
    logging.disable_progress_bar()
    try:
        reader: Any = getattr(transformers, "T5TokenizerFast" if kind.startswith("T5") else "CLIPTokenizer")
        tokenizer = reader.from_pretrained(words)
        network, report = getattr(transformers, kind).from_pretrained(
            text, use_safetensors=True, dtype=torch.float32, output_loading_info=True, variant=variant_of(files)
        )
    except (OSError, ValueError, RuntimeError, TypeError, KeyError, SafetensorError) as error:
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ConfigError(f"cannot read {words} or {weights}: {first}; {SAVED}") from error
    finally:
        logging.set_verbosity(verbosity)
        if bar:
            logging.enable_progress_bar()
    missing = sorted(report["missing_keys"])
    if missing:
        raise ConfigError(f"{weights} is of another architecture than its config.json: it lacks {missing[0]!r}")
    hidden = masked or getattr(network.config, "use_attention_mask", False)
    return TextEncoder(tokenizer, network.eval().requires_grad_(False), length or tokenizer.model_max_length, hidden)


# A process that reads many prompts one after another loads an encoder of CLIP once; T5 is too large to stay.
kept_text_encoder = once(most=2)(load_text_encoder)
