"""Closed-loop editing: move the samples that must change class in h-space, only while they head for another.

A method of this project, after the baseline "latent editing" of Parihar et al. 2024, arXiv 2402.18206, which moves a
fixed set of samples at every step (`methods/latent_editing.py`).

1. The model's own class shares p are those that the attribute predictor (ADP) gives for `calibration` samples drawn
   without guidance, at the last timestep (`methods.hspace.shares`).
2. Each sample is left alone or gets a class, with probabilities that meet the target r and leave as many samples alone
   as possible (`methods.targeting.edits.edit_probabilities`).
3. In every step the ADP predicts the class that a sample heads for, with p as its prior: the class that the model alone
   would most likely give it. (With equal shares as its prior, the ADP would stop moving a sample that the model then
   moves back.)
4. A sample that has a class and heads for another moves by strength (mu_class - mu_other), the difference of the class
   means of h (`direction`). Other samples are not touched. No samples are coupled and no gradient is taken.

Assigning a class to every sample, as sample guidance does, would meet the target too, but leave fewer samples alone:
with shares 0.8 and 0.2 and a uniform target, half of the majority would move, where 0.375 of it must. With three or
more classes, moving only the surplus of the over-represented classes would need fewer moves still, but requires knowing
a sample's class while it is undecided.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from bench.core.attributes import product
from bench.core.errors import ConfigError
from bench.protocols.method import Batch, Guided, SearchSpace, Task, Traits, micro_batches, timestep
from bench.protocols.model import Bottleneck
from methods.hspace.adp import Heads, load_or_fit
from methods.hspace.guidance import check_fields, check_finite
from methods.hspace.shares import class_shares, smoothed, unguided
from methods.targeting.edits import Ints, edit_probabilities, edited_class, stratified


def direction(heads: Heads, step: int, source: Tensor, goal: Tensor, kind: str) -> Tensor:
    """Return the change of h that moves it from class `source` to class `goal` by one gap between class means.

    Args:
        heads: the ADP.
        step: index of the sampling step.
        source: int64 [n], the class of each sample.
        goal: int64 [n], the class to move it to.
        kind: "means": mu_goal - mu_source. "normal": along the normal w_goal - w_source of the border between the two
            classes, as far as the means lie apart along it, so that the logits change as much as with "means".

    Returns:
        [n, D]; 0 where the two classes are the same.
    """
    gap = heads.shift[step, goal] - heads.shift[step, source]
    if kind == "means":
        return gap
    normal = heads.weight[step, goal] - heads.weight[step, source]
    length = normal.square().sum(1, keepdim=True).clamp(min=torch.finfo(normal.dtype).tiny)
    return (gap * normal).sum(1, keepdim=True) / length * normal


@dataclass(frozen=True)
class Method:
    """Some samples get a class; while they head for another, h moves by strength (mu_class - mu_other).

    A method of this project, after Parihar et al. 2024, arXiv 2402.18206; the file's docstring lists the steps.

    Attributes:
        strength: of a move, in gaps between class means; 0 gives the base model exactly. On the analytic mixture 2
            suffice; a U-Net, whose skip connections carry much of the class, needs about ten.
        direction: "means" (their difference) or "normal" (of the linear classifier), per pair of classes and step.
        window: the part of sampling where samples are moved, as fractions of the training timesteps, low < high.
        labels_per_class: labelled images for each class of the ADP.
        calibration: number of samples drawn without guidance.
    """

    traits: ClassVar[Traits] = Traits(
        paper="this project, after Parihar et al. 2024, arXiv 2402.18206",
        stage="sampling",
        needs=frozenset({"bottleneck", "labelled", "target"}),
        neutral={"strength": 0.0},
    )
    search_space: ClassVar[SearchSpace] = {"strength": "2..128:log", "direction": ["means", "normal"]}
    strength: float = 16.0
    direction: Literal["means", "normal"] = "means"
    window: tuple[float, float] = (0.0, 1.0)
    labels_per_class: int = 300
    calibration: int = 100

    def __post_init__(self) -> None:
        """Check the ranges of the fields."""
        check_finite("strength", self.strength)
        check_fields(self.window, self.labels_per_class)
        if self.direction not in ("means", "normal"):
            raise ConfigError(f"direction must be means or normal, got {self.direction!r}")
        if self.calibration < 1:
            raise ConfigError(f"calibration must be at least 1, got {self.calibration}")

    def build(self, task: Task, seed: int) -> Guided:
        """Fit the ADP and draw the calibration samples, or read both from the cache; then choose who is moved."""
        joint, model = product(task.attributes), task.model
        heads = load_or_fit(task, joint, self.labels_per_class, seed)
        h, calibration_cost = unguided(task, self.calibration, seed)
        shares = class_shares(heads, h, task.timesteps[-1])
        keep, edit = edit_probabilities(shares, task.target)
        heads = heads.with_prior(smoothed(shares, self.calibration))
        low, high = (round(fraction * len(model.alphas_cumprod)) for fraction in self.window)

        def assigned(index: Ints) -> Ints:
            return edited_class(keep, edit, stratified(seed, index))

        def denoise(x: Tensor, t: int, batch: Batch) -> Tensor:
            classes = torch.from_numpy(assigned(batch.index.cpu().numpy()))
            active = self.strength != 0 and low <= t < high
            rows = []
            for piece in micro_batches(len(x), batch.micro):
                move = self._move(heads, t, classes[piece].to(x.device)) if active else None
                steps = timestep(t, len(x[piece]), x.device)
                rows.append(model.denoise(x[piece], steps, batch.condition[piece], move))
            return torch.cat(rows)

        notes = {"shares": shares.tolist(), "kept": keep, "given": edit.tolist(), **heads.notes()}
        return Guided(denoise, assigned, cost=heads.cost + calibration_cost, notes={joint.name: notes})

    def _move(self, heads: Heads, t: int, classes: Tensor) -> Bottleneck:
        """Return the move of h at timestep t, for the classes int64 [n] that the rows get (-1 for none)."""
        step = heads.at(t)

        def move(h: Tensor) -> Tensor:
            ahead = heads.logits(h, step).argmax(1)
            goal = torch.where(classes < 0, ahead, classes)
            change = self.strength * direction(heads, step, ahead, goal, self.direction)
            return h + change.to(h.dtype).reshape(h.shape)

        return move
