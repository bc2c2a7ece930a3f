"""The text tower of a shipped image-text model as transformers' CLIP, which the pipelines of diffusers read."""

from __future__ import annotations

import gzip
import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.assets import asset_folder
from evaluators.contrastive.checkpoint import load_checkpoint

START, END = "<|startoftext|>", "<|endoftext|>"
# open_clip's name of each layer component to that of transformers; open_clip has the three projections in one tensor.
PARTS = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}


def text_tower(name: str) -> tuple[Any, Any]:
    """Return the text tower of a shipped image-text model, and its tokenizer.

    Args:
        name: of an asset that was trained from a recipe of kind "clip".

    Returns:
        A `CLIPTextModel`, whose last hidden state is open_clip's after its last layer norm, and a `CLIPTokenizer` that
        gives the same tokens and pads with the token of the end.
    """
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    network = load_checkpoint(name).network
    state: dict[str, Tensor] = network.state_dict()
    vocabulary, merges = read_vocabulary((asset_folder(name) / "bpe.txt.gz").read_bytes())
    length, width = state["positional_embedding"].shape
    model: Any = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(vocabulary),
            hidden_size=width,
            intermediate_size=state["transformer.resblocks.0.mlp.c_fc.weight"].shape[0],
            num_hidden_layers=len(network.transformer.resblocks),
            num_attention_heads=network.transformer.resblocks[0].attn.num_heads,
            max_position_embeddings=length,
            hidden_act="gelu",
            projection_dim=state["text_projection"].shape[1],
            bos_token_id=vocabulary[START],
            eos_token_id=vocabulary[END],
            pad_token_id=vocabulary[END],
        )
    )
    prefix = "text_model." if any(key.startswith("text_model.") for key in model.state_dict()) else ""
    model.load_state_dict({prefix + key: value for key, value in as_transformers(state).items()})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        (path / "vocab.json").write_text(json.dumps(vocabulary))
        (path / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")
        tokenizer: Any = CLIPTokenizer.from_pretrained(path, model_max_length=length)
    return model.float(), tokenizer


def as_transformers(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of open_clip's text tower under transformers' names, without the projection."""
    renamed = {
        "embeddings.token_embedding.weight": state["token_embedding.weight"],
        "embeddings.position_embedding.weight": state["positional_embedding"],
        "final_layer_norm.weight": state["ln_final.weight"],
        "final_layer_norm.bias": state["ln_final.bias"],
    }
    layer = 0
    while f"transformer.resblocks.{layer}.ln_1.weight" in state:
        source, goal = f"transformer.resblocks.{layer}.", f"encoder.layers.{layer}."
        for kind in ("weight", "bias"):
            for old, new in PARTS.items():
                renamed[f"{goal}{new}.{kind}"] = state[f"{source}{old}.{kind}"]
            for letter, rows in zip("qkv", state[f"{source}attn.in_proj_{kind}"].chunk(3), strict=True):
                renamed[f"{goal}self_attn.{letter}_proj.{kind}"] = rows
        layer += 1
    return {key: value.to(torch.float32) for key, value in renamed.items()}


def read_vocabulary(merges: bytes) -> tuple[dict[str, int], list[str]]:
    """Return the numbers of all tokens, and the merges, of a file that `evaluators.contrastive.vocabulary` wrote."""
    from open_clip.tokenizer import bytes_to_unicode

    pairs = gzip.decompress(merges).decode().splitlines()[1:]
    letters = list(bytes_to_unicode().values())
    tokens = [
        *letters,
        *(f"{letter}</w>" for letter in letters),
        *(pair.replace(" ", "") for pair in pairs),
        START,
        END,
    ]
    return {token: number for number, token in enumerate(tokens)}, pairs
