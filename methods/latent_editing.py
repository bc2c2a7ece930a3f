"""Latent editing: samples that must change class are moved along a fixed direction in h-space."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bench.core.attributes import product
from bench.core.errors import ConfigError
from bench.protocols.method import Batch, Guided, Task, Traits, micro_batches, timestep
from bench.protocols.model import Bottleneck
from methods.hspace.adp import Heads, load_or_fit
from methods.hspace.guidance import check_fields
from methods.hspace.shares import class_shares, possible, unguided
from methods.targeting.assigned_classes import BLOCK

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


def keep_and_give(p: Floats, r: Floats) -> tuple[float, Floats]:
    """Write the target as r = keep p + given, with the largest keep there is.

    A sample is left alone with probability keep, and otherwise given class k with probability given_k. The choice
    does not look at the class that the sample would have had, which is not known before it is drawn; so, if every
    edit succeeds, a share keep p_k + given_k = r_k ends in class k. given >= 0 bounds keep by r_k / p_k.

    Args:
        p: [K], the model's own class shares.
        r: [K], the target.

    Returns:
        keep in [0, 1] and given [K] >= 0, summing to 1 - keep.
    """
    occurs = p > 0
    keep = min(1.0, float((r[occurs] / p[occurs]).min()))
    return keep, np.maximum(r - keep * p, 0.0)


def stratified(seed: int, index: Ints) -> Floats:
    """A uniform number in [0, 1) for each sample, by (seed, i); each BLOCK has one in every 1 / BLOCK of [0, 1).

    So each block of samples meets any probability within one sample, and all together meet it exactly.
    """
    blocks, places = np.divmod(index, BLOCK)
    numbers = {}
    for block in np.unique(blocks).tolist():
        rng = np.random.default_rng([seed, block, 1])
        numbers[block] = (rng.permutation(BLOCK) + rng.random(BLOCK)) / BLOCK
    return np.array([numbers[b][i] for b, i in zip(blocks.tolist(), places.tolist(), strict=True)])


def given_class(keep: float, given: Floats, u: Floats) -> Ints:
    """The class that each sample is given, int64 [n], by its uniform number u [n]; -1 where it is left alone."""
    borders = np.cumsum([keep, *given])[:-1]
    return np.searchsorted(borders, u, side="right").astype(np.int64) - 1


def direction(heads: Heads, step: int, of: Tensor, to: Tensor, kind: str) -> Tensor:
    """What moves h from class `of` to class `to` by one gap between class means.

    Args:
        heads: the ADP.
        step: index of the sampling step.
        of: int64 [n], the class of each sample.
        to: int64 [n], the class wanted.
        kind: "means": mu_to - mu_of. "normal": along the normal w_to - w_of of the border between the two classes,
            as far as the means lie apart along it, so that the logits move as much as with "means".

    Returns:
        [n, D]; 0 where `to` is `of`.
    """
    gap = heads.shift[step, to] - heads.shift[step, of]
    if kind == "means":
        return gap
    normal = heads.weight[step, to] - heads.weight[step, of]
    length = normal.square().sum(1, keepdim=True).clamp(min=torch.finfo(normal.dtype).tiny)
    return (gap * normal).sum(1, keepdim=True) / length * normal


@dataclass(frozen=True)
class Method:
    """Some samples are given a class; while they head for another, h moves by strength (mu_given - mu_other).

    Source: the baseline "latent editing" of Parihar et al. 2024, arXiv 2402.18206. Which samples must change, and
    how many, is found so that the target is met (`keep_and_give`): the model's own class shares are those that the
    ADP sees in `calibration` samples drawn without guidance, at the last timestep. A sample heads for the class that
    is likeliest by the ADP and those shares together, as the model left alone would take it (the ADP by itself holds
    all classes for equally frequent, and would let go of a sample that the model then takes back). A sample that
    heads for its class, or is given none, is not touched. No samples are coupled, and there is no gradient.

    Giving every sample a class, as sample guidance does, would meet the target too, but leave fewer samples alone:
    with shares 0.8 and 0.2 and a uniform target, a half of the majority would move and not the 0.375 that must.
    Moving a surplus out of over-represented classes alone can do with fewer still where there are three classes or
    more, but has to know the class of a sample while it is undecided.

    Attributes:
        strength: of a move, in gaps between class means; 0 gives the base model exactly. On the analytic mixture 2
            are enough; in a U-Net, where much of the class goes by the skip connections, it takes about ten.
        direction: "means" (their difference) or "normal" (of the linear classifier), one for each pair and step.
        window: the part of sampling where samples are moved, as fractions of the training timesteps, low < high.
        labels_per_class: labelled images for each class of the ADP.
        calibration: samples drawn without guidance.
    """

    traits: ClassVar[Traits] = Traits(
        paper="Parihar et al. 2024, arXiv 2402.18206",
        stage="sampling",
        needs=frozenset({"bottleneck", "labelled", "target"}),
        neutral={"strength": 0.0},
    )
    strength: float = 16.0
    direction: Literal["means", "normal"] = "means"
    window: tuple[float, float] = (0.0, 1.0)
    labels_per_class: int = 300
    calibration: int = 100

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        check_fields(self.strength, self.window, self.labels_per_class)
        if self.direction not in ("means", "normal"):
            raise ConfigError(f"direction must be means or normal, got {self.direction!r}")
        if self.calibration < 1:
            raise ConfigError(f"calibration must be at least 1, got {self.calibration}")

    def build(self, task: Task, seed: int) -> Guided:
        """Fit the ADP and draw the calibration samples (or take them from the cache), then settle who is moved."""
        joint, model = product(task.attributes), task.model
        heads = load_or_fit(task, joint, self.labels_per_class, seed)
        h, drawn = unguided(task, self.calibration, seed)
        shares = class_shares(heads, h, task.timesteps[-1])
        keep, given = keep_and_give(shares, task.target)
        heads = heads.with_prior(possible(shares, self.calibration))
        low, high = (round(fraction * len(model.alphas_cumprod)) for fraction in self.window)

        def denoise(x: Tensor, t: int, batch: Batch) -> Tensor:
            wanted = torch.from_numpy(given_class(keep, given, stratified(seed, batch.index.cpu().numpy())))
            active = self.strength != 0 and low <= t < high
            rows = []
            for part in micro_batches(len(x), batch.micro):
                move = self._move(heads, t, wanted[part].to(x.device)) if active else None
                now = timestep(t, len(x[part]), x.device)
                rows.append(model.denoise(x[part], now, batch.condition[part], move))
            return torch.cat(rows)

        found = {"shares": shares.tolist(), "kept": keep, "given": given.tolist(), **heads.notes()}
        return Guided(denoise, cost=heads.cost + drawn, notes={joint.name: found})

    def _move(self, heads: Heads, t: int, wanted: Tensor) -> Bottleneck:
        step = heads.at(t)

        def move(h: Tensor) -> Tensor:
            ahead = heads.logits(h, step).argmax(1)
            to = torch.where(wanted < 0, ahead, wanted)
            change = self.strength * direction(heads, step, ahead, to, self.direction)
            return h + change.to(h.dtype).reshape(h.shape)

        return move
