"""The analytic mixtures that the tests share, and exact labelled images of one of them."""

from __future__ import annotations

import numpy as np
import torch

from bench.core.attributes import Attribute
from bench.models.mixture import GaussianMixture
from bench.protocols.images import LabelledImages

GROUP = Attribute("group", ("0", "1"))  # named as the mixture names its conditions


def line(weights: tuple[float, ...] = (0.8, 0.2)) -> GaussianMixture:
    """Two well separated groups in the plane, of different shapes."""
    means = [[-1.5, 0.0], [1.5, 0.5]]
    covariances = [[[0.20, 0.05], [0.05, 0.30]], [[0.30, -0.10], [-0.10, 0.15]]]
    return GaussianMixture(weights, means, covariances)


def pictures(weights: tuple[float, ...] = (0.8, 0.2), variances: tuple[float, float] = (0.02, 0.02)) -> GaussianMixture:
    """Two groups of 3 x 2 x 2 "images" in [-1, 1], so that what learns from uint8 images can learn from it."""
    means = np.stack([np.full(12, -0.4), np.full(12, 0.4)])
    return GaussianMixture(weights, means, np.stack([v * np.eye(12) for v in variances]), shape=(3, 2, 2))


class Posterior:
    """The exact classifier of clean samples of a mixture."""

    def __init__(self, model: GaussianMixture) -> None:
        self.model, self.attributes, self.digest = model, (GROUP,), f"posterior {model.digest}"

    def logits(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """By group, log p(x, group) [n, K]."""
        return {"group": self.model.log_joint(x.double(), torch.zeros(len(x), dtype=torch.long))}


def labelled(model: GaussianMixture, n: int = 400, seed: int = 0) -> LabelledImages:
    """Exact draws as uint8 images with their groups; equally many of each group."""
    x, group = model.sample(8 * n, torch.Generator().manual_seed(seed))
    rows = torch.cat([(group == k).nonzero()[: n // 2, 0] for k in (0, 1)])
    rows = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))]
    labels = group[rows].numpy()[:, None]
    return LabelledImages(
        "mixture", model.decode(x[rows]).numpy(), labels, (GROUP,), np.full(2, 0.5), f"mixture {n} {seed}"
    )
