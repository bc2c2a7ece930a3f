"""Prompts of text-to-image models, one per condition, and the text encoders that encode them at loading."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from bench.core.errors import ConfigError, Incompatible
from bench.models import TEXT_WEIGHTS
from bench.models.folder_cache import cached_by_folder
from bench.models.pretrained import SAVED, component, variant_of, weight_files

SMALLEST_VOCABULARY = 0.9  # of the text encoder's embeddings; T5 has 32,128 for 32,100 tokens


def conditions_of(prompts: Mapping[str, str]) -> tuple[str, ...]:
    """Return the conditions of the prompts, "none" first.

    Raises:
        ConfigError: "none", the unconditional prompt, is missing.
    """
    if "none" not in prompts:
        conditions = ", ".join(sorted(prompts)) or "none at all"
        raise ConfigError(
            'prompts must hold one for "none", which asks for no class, such as "a photo of a face"; '
            f"got prompts for {conditions}"
        )
    return ("none", *sorted(set(prompts) - {"none"}))


class Tokens(Protocol):
    """Output of a tokenizer: int64 [n, length]."""

    input_ids: Tensor
    attention_mask: Tensor


class TextOutput(Protocol):
    """Output of a text encoder; `text_embeds` of a projected CLIP, `pooler_output` of a CLIP."""

    last_hidden_state: Tensor
    hidden_states: tuple[Tensor, ...]
    text_embeds: Tensor
    pooler_output: Tensor


@dataclass(frozen=True)
class TextEncoder:
    """A text encoder of CLIP or T5 with its tokenizer.

    Attributes:
        tokenizer: of transformers.
        network: of transformers, in evaluation mode.
        length: tokens to which prompts are padded, and their limit.
        masked: mask the padding.
    """

    tokenizer: Callable[..., Tokens]
    network: Callable[..., TextOutput]
    length: int
    masked: bool = False

    def tokens(self, prompts: list[str]) -> Tokens:
        """Return `input_ids` and `attention_mask` int64 [n, length], padded as diffusers' pipelines do.

        Raises:
            ConfigError: a prompt has more than `length` tokens; the tokenizer would silently cut it.
        """
        length = self.length
        for prompt in prompts:
            n = len(self.tokenizer(prompt).input_ids)
            if n > length:
                raise ConfigError(f"a prompt must have at most {length} tokens, got {n}; shorten {prompt!r:.60}")
        return self.tokenizer(prompts, padding="max_length", max_length=length, return_tensors="pt")

    @torch.no_grad()
    def encode(self, prompts: list[str]) -> TextOutput:
        """Return the network's output for n prompts."""
        tokens = self.tokens(prompts)
        mask = tokens.attention_mask if self.masked else None
        return self.network(tokens.input_ids, attention_mask=mask, output_hidden_states=True)


def load_text_encoder(
    folder: Path, suffix: str = "", kind: str = "CLIPTextModel", length: int | None = None, masked: bool = False
) -> TextEncoder:
    """Load the text encoder and tokenizer of a pipeline's folder, in float32 on the CPU.

    Args:
        folder: of the pipeline.
        suffix: of the components' names: "", "_2" or "_3".
        kind: "CLIPTextModel", "CLIPTextModelWithProjection" (which also outputs `text_embeds`) or "T5EncoderModel".
        length: tokens to which prompts are padded, by default the tokenizer's limit, at most the network's positions.
        masked: mask the padding, as the network's configuration may require too.

    Raises:
        Incompatible: transformers is not installed, or sentencepiece where the vocabulary needs it.
        ConfigError: a component is missing or damaged, or the vocabulary is not that of the text encoder.
    """
    from safetensors import SafetensorError

    try:
        import transformers
    except ImportError as error:
        raise Incompatible(
            "text-to-image models need transformers: pip install 'fairdiff-bench[transformers]'"
        ) from error
    words, text = component(folder, f"tokenizer{suffix}"), component(folder, f"text_encoder{suffix}")
    _check_vocabulary_files(words, kind)
    files = weight_files(text, TEXT_WEIGHTS)
    weights = files[0]
    logging: Any = transformers.utils.logging
    verbosity, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()  # missing weights are reported below, in one sentence
    logging.disable_progress_bar()
    try:
        reader = getattr(transformers, "T5TokenizerFast" if kind.startswith("T5") else "CLIPTokenizer")
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
    _check_vocabulary(len(tokenizer), network.config.vocab_size, words)
    hidden = masked or getattr(network.config, "use_attention_mask", False)
    # A tokenizer whose file names no limit has one of 1e30.
    positions = getattr(network.config, "max_position_embeddings", None) or tokenizer.model_max_length
    limit = length or min(tokenizer.model_max_length, positions)
    return TextEncoder(tokenizer, network.eval().requires_grad_(False), limit, hidden)


def _check_vocabulary_files(folder: Path, kind: str) -> None:
    """Refuse a tokenizer's folder without a vocabulary: transformers would make one of a few tokens in silence.

    Raises:
        Incompatible: the vocabulary needs sentencepiece, which is not installed.
        ConfigError: there is no vocabulary.
    """
    if (folder / "tokenizer.json").is_file():
        return
    names = ("spiece.model",) if kind.startswith("T5") else ("vocab.json", "merges.txt")
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise ConfigError(
            f"{folder} must hold the tokenizer's vocabulary, tokenizer.json or {' and '.join(names)}, got no "
            f"{' and no '.join(missing)}; copy the folder again"
        )
    if names == ("spiece.model",) and importlib.util.find_spec("sentencepiece") is None:
        raise Incompatible(
            f"{folder / 'spiece.model'} needs sentencepiece: pip install 'fairdiff-bench[sentencepiece]'; or save the "
            "tokenizer again where that is installed, which writes tokenizer.json"
        )


def _check_vocabulary(n_tokens: int, n_embeddings: int, folder: Path) -> None:
    """Refuse a tokenizer of another vocabulary than the text encoder's, which is padded to a round number at most."""
    if not SMALLEST_VOCABULARY * n_embeddings <= n_tokens <= n_embeddings:
        raise ConfigError(
            f"the tokenizer of {folder} must have the vocabulary of its text encoder, {n_embeddings:,} tokens, got "
            f"{n_tokens:,}; its vocabulary is missing, cut short or of another model: copy the folder again"
        )


# Many prompts share one encoder of CLIP; T5 is too large to stay in memory.
cached_text_encoder = cached_by_folder(size=2)(load_text_encoder)
