"""The two starts of a score network: random weights of a small network, or the weights of the model itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bench.core.errors import Incompatible
from bench.protocols.cache import Note
from bench.protocols.method import timestep
from bench.protocols.model import DiffusionModel, TrainableCopy
from bench.training.loop import Budget
from methods.reweighting.low_rank import add_low_rank
from methods.reweighting.networks import score_network
from methods.reweighting.settings import FineTuning, Settings
from methods.reweighting.weights import Differences, Packing, Weights


@dataclass(frozen=True)
class Start:
    """A score network before its training.

    Attributes:
        network: holds the parameters that are trained.
        prediction: what the network predicts: "epsilon", "v_prediction" or "sample" (x_0).
        predict: maps (x_t float32 [n, *shape], t int64 [n]) to the prediction [n, *shape].
        denoise: maps (x_t [n, *shape], t) to D = E[x_0 | x_t] [n, *shape].
        budget: number of steps and learning rate.
        packing: of the trained weights.
        recipe: everything that determines the start and its budget, JSON-able.
    """

    network: nn.Module
    prediction: str
    predict: Callable[[Tensor, Tensor], Tensor]
    denoise: Callable[[Tensor, int], Tensor]
    budget: Budget
    packing: Packing
    recipe: Note


def from_scratch(model: DiffusionModel, settings: Settings) -> Start:
    """Return a small network with random weights that predicts v on the model's noise schedule."""
    network = score_network(model.shape, len(model.alphas_cumprod), settings).to(model.device)

    def denoise(x: Tensor, t: int) -> Tensor:
        a = float(model.alphas_cumprod[t])
        v = network(x.to(torch.float32), timestep(t, len(x), x.device)).to(x.dtype)
        denoised: Tensor = a**0.5 * x - (1 - a) ** 0.5 * v
        return denoised

    recipe = {"training": settings.of_score()}
    return Start(network, "v_prediction", network, denoise, settings.score_budget(), Weights(network), recipe)


def from_model(model: DiffusionModel, settings: Settings, tuning: FineTuning) -> Start:
    """Return a copy of the model's own network, without a condition, with what it predicts.

    Raises:
        Incompatible: the model has no network, or one that cannot be trained.
    """
    copied = _copy(model)
    if tuning.rank:
        trained: nn.Module = add_low_rank(copied.network, tuning.rank, settings.seed)
        packing: Packing = Weights(trained)
    else:
        trained = copied.network.requires_grad_(True)
        packing = Differences(trained)

    def unconditional(x: Tensor) -> Tensor:
        return torch.zeros(len(x), dtype=torch.int64, device=x.device)

    def predict(x: Tensor, t: Tensor) -> Tensor:
        return copied.predict(x, t, unconditional(x))

    def denoise(x: Tensor, t: int) -> Tensor:
        return copied.denoise(x, timestep(t, len(x), x.device), unconditional(x))

    recipe: Note = {"training": settings.of_fine_tuning(), "model": model.digest, "fine_tuning": tuning.recipe()}
    return Start(trained, copied.prediction, predict, denoise, tuning.budget(settings), packing, recipe)


def _copy(model: DiffusionModel) -> TrainableCopy:
    trainable_copy: Callable[[], TrainableCopy] | None = getattr(model, "trainable_copy", None)
    if trainable_copy is None:
        raise Incompatible(f"model {model.name} has no network that a method can train; set init: scratch")
    return trainable_copy()
