"""Low-rank differences of a network's weights: a few numbers to train for each layer, the others stay as they are."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from methods.reweighting.networks import initialised_from


class LowRank(nn.Module):
    """W + B A for a weight W [out, ...], with B [out, r] = 0 at first and A [r, numbers of W per output].

    Source: Hu et al. 2021, arXiv 2106.09685, Eq. 3 with alpha = r; a convolution's weight counts as [out, in k^2].
    """

    def __init__(self, weight: Tensor, rank: int) -> None:
        super().__init__()
        rows = weight.flatten(1)
        self.a = nn.Parameter(torch.randn(rank, rows.shape[1]).to(weight) / rows.shape[1] ** 0.5)
        self.b = nn.Parameter(torch.zeros(rows.shape[0], rank).to(weight))

    def forward(self, weight: Tensor) -> Tensor:
        """Return the changed weight, shaped as `weight`."""
        return weight + (self.b @ self.a).reshape(weight.shape)


def add_low_rank(network: nn.Module, rank: int, seed: int) -> nn.ModuleList:
    """Add a low-rank difference to the weight of every linear layer and convolution, which are frozen.

    Args:
        network: changed in place; it computes what it did before, until the differences are trained.
        rank: r >= 1.
        seed: of the differences' initial weights.

    Returns:
        The differences, in the network's order.
    """
    network.requires_grad_(False)
    layers = [module for module in network.modules() if isinstance(module, nn.Linear | nn.Conv2d)]
    with initialised_from(seed):
        differences = nn.ModuleList(LowRank(layer.weight, rank) for layer in layers)
    for layer, difference in zip(layers, differences, strict=True):
        parametrize.register_parametrization(layer, "weight", difference)
    return differences
