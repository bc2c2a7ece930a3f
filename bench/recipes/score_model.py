"""Train a class-conditional score model on a labelled image set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.core.attributes import Attribute
from bench.core.progress import console
from bench.data import load_data, print_left_out
from bench.models.unet import CONDITIONS, PixelUNet
from bench.recipes.cycles import train_cycles
from bench.recipes.recipe import Record, ScoreModelRecipe
from bench.storage.files import write_json
from bench.training.loop import summary
from bench.training.score_matching import prediction_target, stratified_steps


def condition_names(attributes: tuple[Attribute, ...]) -> tuple[str, ...]:
    """Return "none", for no condition, then one condition per class of each attribute, e.g. "eyeglasses=present"."""
    return ("none", *(f"{a.name}={c}" for a in attributes for c in a.classes))


def train_score_model(recipe: ScoreModelRecipe, folder: Path) -> Record:
    """Train from `recipe`, or resume; write the weights as diffusers does, in half precision.

    Returns:
        The record of the training: steps, losses, and the data's name and hash.
    """
    from diffusers import DDIMScheduler, UNet2DModel

    data = load_data(recipe.data)
    print_left_out([data])
    conditions = condition_names(data.attributes)
    channels = 3 * recipe.block**2
    torch.manual_seed(recipe.training.seed)  # diffusers initialises from the global generator
    unet: Any = UNet2DModel(
        sample_size=recipe.data.size // recipe.block,
        in_channels=channels,
        out_channels=channels,
        num_class_embeds=len(conditions),
        **recipe.unet,
    )
    unet = unet.to(memory_format=torch.channels_last).train()
    scheduler: Any = DDIMScheduler(**recipe.scheduler)
    model = PixelUNet(unet, dict(scheduler.config), conditions)
    images = torch.from_numpy(np.array(data.images))
    labels = torch.from_numpy(np.array(data.labels))
    first = torch.tensor([1 + sum(a.n_classes for a in data.attributes[:j]) for j in range(len(data.attributes))])
    settings, alphas = recipe.training, model.alphas_cumprod.float()

    def loss(g: torch.Generator) -> Tensor:
        n = settings.batch
        rows = torch.randint(len(images), (n,), generator=g)
        x0 = model.encode(images[rows])
        if settings.flips:
            x0 = torch.where(torch.rand(n, 1, 1, 1, generator=g) < 0.5, x0.flip(-1), x0)
        attribute = torch.randint(len(data.attributes), (n,), generator=g)
        condition = first[attribute] + labels[rows, attribute]
        condition[torch.rand(n, generator=g) < recipe.unconditional_frac] = 0
        t = stratified_steps(n, len(alphas), g)
        eps = torch.randn(x0.shape, generator=g)
        a = alphas[t].reshape(-1, 1, 1, 1)
        x = (a.sqrt() * x0 + (1 - a).sqrt() * eps).contiguous(memory_format=torch.channels_last)
        goal = prediction_target(model.prediction, x0, eps, a)
        return (model.predict(x, t, condition) - goal).square().mean()

    losses = train_cycles(unet, loss, settings.budgets(), folder / "checkpoint.pt", f"score model {folder.name}")
    unet.half().save_pretrained(folder, safe_serialization=True)
    write_json(folder / "scheduler_config.json", {k: v for k, v in scheduler.config.items() if k[0] != "_"})
    write_json(folder / CONDITIONS, {"conditions": list(conditions)})
    console.print(f"wrote {folder}")
    return {**summary(losses), "data": data.name, "data_sha256": data.digest, "n": len(data)}
