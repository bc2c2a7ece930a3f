"""The two tasks that methods are checked on: an analytic mixture with exact answers, and the embedded faces."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from bench.core.attributes import Attribute
from bench.data import load_data
from bench.engine.resources import Resources
from bench.models import load_model
from bench.models.mixture import GaussianMixture
from bench.protocols.images import LabelledImages
from bench.protocols.method import Task
from bench.sampling.loop import Sampler
from bench.storage.fits import FitCache

GROUP = Attribute("group", ("0", "1"))  # named as the mixture names its conditions
SAMPLER = Sampler("ddim", 4)


def pictures(weights: tuple[float, ...] = (0.8, 0.2), variances: tuple[float, float] = (0.02, 0.02)) -> GaussianMixture:
    """Return two groups of 3 x 2 x 2 "images" in [-1, 1], so that what learns from uint8 images can learn from it."""
    means = np.stack([np.full(12, -0.4), np.full(12, 0.4)])
    return GaussianMixture(weights, means, np.stack([v * np.eye(12) for v in variances]), shape=(3, 2, 2))


class Posterior:
    """The exact classifier of clean samples of a mixture."""

    def __init__(self, model: GaussianMixture) -> None:
        self.model, self.digest = model, f"posterior {model.digest}"
        self.attributes: tuple[Attribute, ...] = (GROUP,)

    def logits(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return, by attribute, log p(x, group) [n, K]."""
        return {"group": self.model.log_joint(x.double(), torch.zeros(len(x), dtype=torch.long))}


def labelled(model: GaussianMixture, n: int = 400, seed: int = 0) -> LabelledImages:
    """Return exact draws as uint8 images with their groups; equally many of each group."""
    x, group = model.sample(8 * n, torch.Generator().manual_seed(seed))
    rows = torch.cat([(group == k).nonzero()[: n // 2, 0] for k in (0, 1)])
    rows = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))]
    labels = group[rows].numpy()[:, None]
    return LabelledImages(
        "mixture", model.decode(x[rows]).numpy(), labels, (GROUP,), np.full(2, 0.5), f"mixture {n} {seed}"
    )


def mixture_task(folder: Path) -> Task:
    """Return the task on the mixture.

    Args:
        folder: of the cache for what `build` learns.
    """
    # Groups of unequal spread: where only their means differ, the search for a transition point sees nothing.
    model = pictures((0.8, 0.2), (0.02, 0.03))
    even = labelled(pictures((0.5, 0.5), (0.02, 0.03)), 240, 1)
    return Task(
        model,
        (GROUP,),
        np.array([0.5, 0.5]),
        SAMPLER.timesteps(model),
        labelled(model),
        lambda _: Posterior(model),
        observed=labelled(model, 400, 2),
        unbiased=even,
        cache=FitCache(folder),
    )


def avatars_task(folder: Path) -> Task:
    """Return the task on the embedded faces.

    Args:
        folder: of the cache for what `build` learns.
    """
    model = load_model("avatars-unet")
    faces = load_data("avatars-labelled", 400)
    glasses = next(a for a in faces.attributes if a.name == "eyeglasses")
    return Task(
        model,
        (glasses,),
        np.array([0.5, 0.5]),
        SAMPLER.timesteps(model),
        faces,
        Resources().guide,
        observed=load_data("avatars-heldout", 120),
        unbiased=load_data("avatars-labelled", 120),
        cache=FitCache(folder),
    )


WORLDS: dict[str, Callable[[Path], Task]] = {"mixture": mixture_task, "avatars-unet": avatars_task}
