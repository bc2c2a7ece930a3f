"""Train a text-conditional score model in pixel space on images with captions made from their labels.

A caption names a subject, states attributes, both, or neither. Images of a subject are drawn by the recipe's shares,
so that what the model should draw for a prompt is known; a share that is not even is a bias that it should learn.
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
from bench.storage.files import write_json
from bench.training.loop import summary, train_cycles
from bench.training.recipe import Subjects, TextToImageRecipe
from bench.training.score_model import stratified_steps, target
from bench.training.text_tower import text_tower
from evaluators.contrastive.prompts import check_covers


def class_shares(captions: Subjects, subject: str) -> np.ndarray:
    """Shares of the classes of the joint of all attributes for one subject, float64 [K], the last attribute fastest."""
    joint = np.ones(1)
    for shares in captions.shares[subject].values():
        joint = np.outer(joint, shares).ravel()
    return joint


def caption(captions: Subjects, subject: str | None, stated: list[str]) -> str:
    """Such as "a portrait of a baker with glasses, with dark skin"; somebody where no subject is named."""
    who = subject or captions.nobody
    return captions.template.replace("{}", f"{who} {', '.join(stated)}" if stated else who)


def draw_pairs(
    captions: Subjects, rows_of: list[np.ndarray], n: int, g: torch.Generator
) -> tuple[np.ndarray, list[str]]:
    """Images and captions that fit them.

    Args:
        captions: the words.
        rows_of: rows of the images of every class of the joint of all attributes.
        n: pairs.
        g: where every draw comes from.

    Returns:
        int64 [n] rows, and n captions.
    """
    rng = np.random.default_rng(int(torch.randint(2**62, (), generator=g)))
    subjects = list(captions.shares)
    shapes = [len(classes) for classes in captions.phrases.values()]
    phrases = [list(classes.values()) for classes in captions.phrases.values()]
    shares = [class_shares(captions, subject) for subject in subjects]
    rows, said = [], []
    for _ in range(n):
        who = int(rng.integers(len(subjects)))
        joint = int(rng.choice(len(rows_of), p=shares[who]))
        rows.append(rng.choice(rows_of[joint]))
        labels = np.unravel_index(joint, shapes)
        named = rng.random() < captions.named_frac
        kept = np.zeros(len(shapes), dtype=bool)
        if rng.random() < captions.stated_frac:
            kept = rng.random(len(shapes)) < captions.stated_frac
            kept[rng.integers(len(shapes))] = True
        stated = [phrases[j][labels[j]] for j in np.flatnonzero(kept)]
        said.append(caption(captions, subjects[who] if named else None, stated))
    return np.array(rows), said


def start_from(network: nn.Module, name: str) -> int:
    """Copy the tensors of a shipped score model into those of one name that are as large or larger, from their corner.

    Returns:
        How many numbers were copied.
    """
    own, copied = network.state_dict(), 0
    for key, value in load_unet(asset_folder(name)).unet.state_dict().items():
        mine = own.get(key)
        if (
            mine is not None
            and mine.ndim == value.ndim
            and all(a >= b for a, b in zip(mine.shape, value.shape, strict=True))
        ):
            mine[tuple(slice(0, side) for side in value.shape)] = value
            copied += value.numel()
    return copied


def train_text_to_image(recipe: TextToImageRecipe, folder: Path) -> dict[str, Any]:
    """Train from `recipe`, or go on where `folder` stopped; write a pipeline's folder, weights in half precision.

    Returns:
        The record of the training: steps and losses, and the data's name and hash.

    Raises:
        ConfigError: captions are not about the data's attributes, or have no image to be of.
    """
    from diffusers import DDPMScheduler, UNet2DConditionModel
    from transformers.utils import logging as transformers_logging

    data = load_data(recipe.data)
    print_left_out([data])
    check_covers(recipe.captions, data.attributes, "captions")
    joint = product(data.attributes)
    labels = np.array(data.labels)
    flat = np.ravel_multi_index(labels.T, [a.n_classes for a in data.attributes])
    rows_of = [np.flatnonzero(flat == k) for k in range(joint.n_classes)]
    for name, rows in zip(joint.classes, rows_of, strict=True):
        if not len(rows):
            raise ConfigError(f"{data.name} must have images of every class of {joint.name}, got none of {name}")
    encoder, tokenizer = text_tower(recipe.text)
    torch.manual_seed(recipe.training.seed)  # diffusers initialises from the global generator
    unet: Any = UNet2DConditionModel(
        sample_size=recipe.data.size,
        in_channels=3,
        out_channels=6,  # as its pipeline takes it: the second half would be a learnt variance, and is not looked at
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
        said = read.tokens(["" if left_out else text for left_out, text in zip(empty.tolist(), captions, strict=True)])
        t = stratified_steps(n, len(alphas), g)
        eps = torch.randn(x0.shape, generator=g)
        a = alphas[t].reshape(-1, 1, 1, 1)
        x = (a.sqrt() * x0 + (1 - a).sqrt() * eps).contiguous(memory_format=torch.channels_last)
        words = encoder(said.input_ids, attention_mask=said.attention_mask).last_hidden_state
        out: Tensor = unet(x, t, encoder_hidden_states=words, return_dict=False)[0]
        return (out[:, :3] - target(model.prediction, x0, eps, a)).square().mean()

    checkpoint = folder / "checkpoint.pt"
    losses = train_cycles(both, loss, settings.budgets(), checkpoint, f"text-to-image model {folder.name}")
    logging: Any = transformers_logging
    logging.disable_progress_bar()  # one of its own for a file of 200 kB
    unet.half().save_pretrained(folder / "unet", safe_serialization=True)
    encoder.half().save_pretrained(folder / "text_encoder", safe_serialization=True)
    tokenizer.save_pretrained(folder / "tokenizer")
    scheduler.save_pretrained(folder / "scheduler")
    write_json(folder / INDEX, PIPELINE)
    console.print(f"wrote {folder}")
    return {**summary(losses), "data": data.name, "data_sha256": data.digest, "n": len(data)}
