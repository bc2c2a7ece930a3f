"""Latent editing: move a fixed set of samples along a fixed direction in h-space, at every step.

Source: the baseline "latent editing" of Parihar et al. 2024, arXiv 2402.18206. Their repository
rishubhpar/debiasing_gen_models at commit aeb2d96 has only a remnant of it, h_classification.py:147-153, in a comment:
h <- h + scale direction_t, with one fixed direction per timestep.

1. Which samples are moved is set before sampling (`methods.targeting.edits`): each is left alone or gets a class, so
   that the target is met if every edit succeeds. The model's own class shares, which this takes, are those that the
   attribute distribution predictor (ADP) gives for `calibration` samples drawn without guidance.
2. In every step but the first, a sample that has class k moves by scale (mu_k - mean of the other mu_j), the class
   means of h along the inversion that the ADP is trained on (`methods.hspace.inversion`); over several attributes, by
   the sum of these. No sample's own class is looked at: the edit is open-loop.

The choice of samples, and the class means as the direction, are this project's: the repository has neither.
`methods/closed_loop_editing.py` moves a sample only while it heads for another class.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from bench.core.attributes import product
from bench.core.errors import ConfigError
from bench.protocols.method import Batch, Guided, SearchSpace, Task, Traits, micro_batches, timestep
from bench.protocols.model import Bottleneck
from methods.hspace.adp import Heads
from methods.hspace.guidance import check_fields, check_finite
from methods.hspace.inversion import load_or_train
from methods.hspace.shares import joint_shares, unguided
from methods.targeting.edits import Ints, edit_probabilities, edited_class, stratified


def direction(heads: list[Heads], t: int) -> Tensor:
    """Return the change of h per class of the joint, [K, D]: mu_k - mean of the other mu_j, summed over attributes."""
    apart = []
    for head in heads:
        k = head.attribute.n_classes
        apart.append(head.shift[head.at(t)] * k / (k - 1))  # the shift is mu_k less the mean of all K
    total, *others = apart
    for other in others:
        total = (total[:, None] + other[None]).flatten(0, 1)
    return total


@dataclass(frozen=True)
class Method:
    """Some samples get a class, and h moves towards it by a fixed step at every timestep.

    The baseline "latent editing" of Parihar et al. 2024, arXiv 2402.18206; the file's docstring lists the steps.

    Attributes:
        scale: of the edit, in gaps between class means; 0 gives the base model exactly. Of 2, 8, 16 and 32, 16
            leaves the least discrepancy on the embedded faces, seed 1000, with a Fréchet distance within 1.15 of
            vanilla's.
        window: the part of sampling where samples are moved, as fractions of the training timesteps, low < high.
        labels_per_class: labelled images for each class of the ADP.
        calibration: number of samples drawn without guidance.
    """

    traits: ClassVar[Traits] = Traits(
        paper="Parihar et al. 2024, arXiv 2402.18206",
        stage="sampling",
        needs=frozenset({"bottleneck", "labelled", "target"}),
        neutral={"scale": 0.0},
    )
    search_space: ClassVar[SearchSpace] = {"scale": "0.5..64:log", "window": [[0.0, 1.0], [0.4, 1.0]]}
    scale: float = 16.0
    window: tuple[float, float] = (0.0, 1.0)
    labels_per_class: int = 150
    calibration: int = 100

    def __post_init__(self) -> None:
        """Check the ranges of the fields."""
        check_finite("scale", self.scale)
        check_fields(self.window, self.labels_per_class)
        if self.calibration < 1:
            raise ConfigError(f"calibration must be at least 1, got {self.calibration}")

    def build(self, task: Task, seed: int) -> Guided:
        """Train the ADP and draw the calibration samples, or read both from the cache; then choose who is moved."""
        joint, model = product(task.attributes), task.model
        heads = load_or_train(task, self.labels_per_class, seed)
        h, calibration_cost = unguided(task, self.calibration, seed)
        shares = joint_shares(heads, h, task.timesteps[-1])
        keep, edit = edit_probabilities(shares, task.target)
        low, high = (round(fraction * len(model.alphas_cumprod)) for fraction in self.window)

        def assigned(index: Ints) -> Ints:
            return edited_class(keep, edit, stratified(seed, index))

        def denoise(x: Tensor, t: int, batch: Batch) -> Tensor:
            classes = torch.from_numpy(assigned(batch.index.cpu().numpy())).to(x.device)
            active = self.scale != 0 and low <= t < high and t != task.timesteps[0]
            rows = []
            for piece in micro_batches(len(x), batch.micro):
                move = self._move(heads, t, classes[piece]) if active else None
                steps = timestep(t, len(x[piece]), x.device)
                rows.append(model.denoise(x[piece], steps, batch.condition[piece], move))
            return torch.cat(rows)

        notes: dict[str, object] = {head.attribute.name: head.notes() for head in heads}
        notes["edits"] = {"shares": shares.tolist(), "kept": keep, "given": edit.tolist(), "joint": joint.name}
        cost = heads[0].cost + calibration_cost
        return Guided(denoise, assigned_classes=assigned, cost=cost, notes=notes)

    def _move(self, heads: list[Heads], t: int, classes: Tensor) -> Bottleneck:
        """Return the move of h at timestep t, for the classes int64 [n] that the rows get (-1 for none)."""

        def move(h: Tensor) -> Tensor:
            change = self.scale * direction(heads, t)[classes.clamp(min=0)] * (classes >= 0)[:, None]
            return h + change.to(h.dtype).reshape(h.shape)

        return move
