"""Train a text-conditional score model in pixel space on images with captions made from their labels.

A caption names a subject, states attributes, both, or neither. The recipe sets the class shares of each subject's
images, so the distribution that the model should learn for a prompt is known; uneven shares are a bias to learn.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bench.assets import asset_folder
from bench.core.attributes import product
from bench.core.errors import ConfigError
from bench.core.progress import console
from bench.data import load_data, print_left_out
from bench.models import INDEX
from bench.models.pixel_text import PIPELINE, PixelTextUNet
from bench.models.prompts import TextEncoder
from bench.models.unet import load_unet
from bench.protocols.images import LabelledImages
from bench.recipes.cycles import train_cycles
from bench.recipes.recipe import Record, Subjects, TextToImageRecipe
from bench.recipes.text_tower import text_tower
from bench.storage.files import write_json
from bench.training.loop import summary
from bench.training.score_matching import prediction_target, stratified_steps
from evaluators.contrastive.prompts import check_covers


def class_shares(captions: Subjects, subject: str) -> np.ndarray:
    """Return the class shares of the joint of all attributes for one subject, float64 [K], last attribute fastest."""
    joint = np.ones(1)
    for shares in captions.shares[subject].values():
        joint = np.outer(joint, shares).ravel()
    return joint


def caption(captions: Subjects, subject: str | None, stated: list[str]) -> str:
    """Return a caption such as "a portrait of a baker with glasses, with dark skin"; `nobody` without a subject."""
    who = subject or captions.nobody
    return captions.template.replace("{}", f"{who} {', '.join(stated)}" if stated else who)


def draw_pairs(
    captions: Subjects, rows_of: list[np.ndarray], n: int, g: torch.Generator
) -> tuple[np.ndarray, list[str]]:
    """Draw images and captions that are true of them.

    Args:
        captions: the words.
        rows_of: indices of the images of every class of the joint of all attributes.
        n: number of pairs.
        g: the source of every draw.

    Returns:
        int64 [n], indices of images, and n captions.
    """
    rng = np.random.default_rng(int(torch.randint(2**62, (), generator=g)))
    subjects = list(captions.shares)
    shapes = [len(classes) for classes in captions.phrases.values()]
    phrases = [list(classes.values()) for classes in captions.phrases.values()]
    shares = [class_shares(captions, subject) for subject in subjects]
    rows, texts = [], []
    for _ in range(n):
        who = int(rng.integers(len(subjects)))
        joint = int(rng.choice(len(rows_of), p=shares[who]))
        rows.append(rng.choice(rows_of[joint]))
        labels = np.unravel_index(joint, shapes)
        named = rng.random() < captions.named_frac
        is_stated = np.zeros(len(shapes), dtype=bool)
        if rng.random() < captions.stated_frac:
            is_stated = rng.random(len(shapes)) < captions.stated_frac
            is_stated[rng.integers(len(shapes))] = True
        stated = [phrases[j][labels[j]] for j in np.flatnonzero(is_stated)]
        texts.append(caption(captions, subjects[who] if named else None, stated))
    return np.array(rows), texts


def start_from(network: nn.Module, name: str) -> int:
    """Copy the tensors of a shipped score model into the tensors of the same name that are as large or larger.

    A smaller tensor fills the corner of a larger one at index 0.

    Returns:
        The number of copied values.
    """
    state, copied = network.state_dict(), 0
    for key, value in load_unet(asset_folder(name)).unet.state_dict().items():
        larger = state.get(key)
        if (
            larger is not None
            and larger.ndim == value.ndim
            and all(a >= b for a, b in zip(larger.shape, value.shape, strict=True))
        ):
            larger[tuple(slice(0, side) for side in value.shape)] = value
            copied += value.numel()
    return copied


def rows_by_class(data: LabelledImages) -> list[np.ndarray]:
    """Return the indices of the images of every class of the joint of all attributes.

    Raises:
        ConfigError: a class has no image.
    """
    joint = product(data.attributes)
    labels = np.ravel_multi_index(np.array(data.labels).T, [a.n_classes for a in data.attributes])
    rows_of = [np.flatnonzero(labels == k) for k in range(joint.n_classes)]
    for name, rows in zip(joint.classes, rows_of, strict=True):
        if not len(rows):
            raise ConfigError(f"{data.name} must have images of every class of {joint.name}, got none of {name}")
    return rows_of


def train_text_to_image(recipe: TextToImageRecipe, folder: Path) -> Record:
    """Train from `recipe`, or resume; write a pipeline's folder, weights in half precision.

    Returns:
        The record of the training: steps, losses, and the data's name and hash.

    Raises:
        ConfigError: the captions do not cover the data's attributes, or a class of the data has no image.
    """
    from diffusers import DDPMScheduler, UNet2DConditionModel

    data = load_data(recipe.data)
    print_left_out([data])
    check_covers(recipe.captions, data.attributes, "captions")
    rows_of = rows_by_class(data)
    encoder, tokenizer = text_tower(recipe.text)
    torch.manual_seed(recipe.training.seed)  # diffusers initialises from the global generator
    unet: Any = UNet2DConditionModel(
        sample_size=recipe.data.size,
        in_channels=3,
        out_channels=6,  # its pipeline expects a learnt variance as the second half, which is not used
        cross_attention_dim=encoder.config.hidden_size,
        **recipe.unet,
    )
    if recipe.start:
        console.print(f"{start_from(unet, recipe.start):,} numbers taken from {recipe.start}")
    unet = unet.to(memory_format=torch.channels_last)
    both = nn.ModuleDict({"unet": unet, "text": encoder}).train()
    scheduler: Any = DDPMScheduler(**recipe.scheduler)
    none = {"prompts": torch.zeros(2, tokenizer.model_max_length, encoder.config.hidden_size)}
    model = PixelTextUNet(unet, dict(scheduler.config), ("none",), none, 1.0)
    read = TextEncoder(tokenizer, encoder, tokenizer.model_max_length)
    images = torch.from_numpy(np.array(data.images))
    settings, alphas = recipe.training, model.alphas_cumprod.float()

    def loss(g: torch.Generator) -> Tensor:
        n = settings.batch
        rows, captions = draw_pairs(recipe.captions, rows_of, n, g)
        x0 = model.encode(images[rows])
        if settings.flips:
            x0 = torch.where(torch.rand(n, 1, 1, 1, generator=g) < 0.5, x0.flip(-1), x0)
        empty = torch.rand(n, generator=g) < recipe.unconditional_frac
        tokens = read.tokens(["" if drop else text for drop, text in zip(empty.tolist(), captions, strict=True)])
        t = stratified_steps(n, len(alphas), g)
        eps = torch.randn(x0.shape, generator=g)
        a = alphas[t].reshape(-1, 1, 1, 1)
        x = (a.sqrt() * x0 + (1 - a).sqrt() * eps).contiguous(memory_format=torch.channels_last)
        words = encoder(tokens.input_ids, attention_mask=tokens.attention_mask).last_hidden_state
        out: Tensor = unet(x, t, encoder_hidden_states=words, return_dict=False)[0]
        return (out[:, :3] - prediction_target(model.prediction, x0, eps, a)).square().mean()

    losses = train_cycles(
        both, loss, settings.budgets(), folder / "checkpoint.pt", f"text-to-image model {folder.name}"
    )
    write_pipeline(folder, unet.half(), encoder.half(), tokenizer, scheduler)
    return {**summary(losses), "data": data.name, "data_sha256": data.digest, "n": len(data)}


def write_pipeline(folder: Path, unet: Any, encoder: Any, tokenizer: Any, scheduler: Any) -> None:
    """Write a text-to-image pipeline as diffusers lays it out."""
    from transformers.utils import logging as transformers_logging

    logging: Any = transformers_logging
    logging.disable_progress_bar()  # transformers shows one for a file of 200 kB
    unet.save_pretrained(folder / "unet", safe_serialization=True)
    encoder.save_pretrained(folder / "text_encoder", safe_serialization=True)
    tokenizer.save_pretrained(folder / "tokenizer")
    scheduler.save_pretrained(folder / "scheduler")
    write_json(folder / INDEX, PIPELINE)
    console.print(f"wrote {folder}")
