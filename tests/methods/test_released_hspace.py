"""Distribution guidance, sample guidance and latent editing as released: what they do on the mixture and a U-Net.

Their formulas are held by tests/parity/test_balancing_act.py.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench.core.attributes import product
from bench.core.errors import ConfigError, Incompatible
from bench.models.classifier_free import ClassifierFree
from bench.models.mixture import GaussianMixture
from bench.protocols.counting import Counted
from bench.protocols.method import Batch, Task
from bench.protocols.model import BothRows
from bench.storage.fits import FitCache
from methods import distribution_guidance, latent_editing, sample_guidance, vanilla
from methods.hspace.inversion import load_or_train
from methods.targeting.assigned_classes import assign_classes
from tests.methods.test_hspace import STEPS, draw, four_groups, mixture_task, shares, tiny_unet, unet_task
from tests.support.mixtures import GROUP, labelled, pictures

EVERY = pytest.mark.parametrize("module", [distribution_guidance, sample_guidance, latent_editing])
SKEWED = pictures((0.8, 0.2))


def off_target(x: torch.Tensor) -> float:
    return float(np.linalg.norm(shares(SKEWED, x) - 0.5))


@EVERY
def test_scale_zero_is_vanilla_and_the_first_step_is_left_alone(module: Any) -> None:
    for task in (mixture_task(), unet_task()):
        neutral = draw(task, module.Method(scale=0.0).build(task, 0), 8)
        assert torch.equal(neutral, draw(task, vanilla.Method().build(task, 0), 8))
        guided, plain = module.Method().build(task, 0), vanilla.Method().build(task, 0)
        assert not torch.equal(draw(task, guided, 8), neutral)
        x = torch.randn(8, *task.model.shape, generator=torch.Generator().manual_seed(0)).to(task.model.dtype)
        batch = Batch(torch.arange(8), torch.zeros(8, dtype=torch.long), 8)
        first = task.timesteps[0]
        assert torch.equal(guided.denoise(x, first, batch), plain.denoise(x, first, batch))
        with pytest.raises(Incompatible, match="not fitted for timestep 123"):
            guided.denoise(x, 123, batch)


@EVERY
def test_the_unet_runs_once_a_step_and_never_backwards(module: Any) -> None:
    model = Counted(tiny_unet())
    task = unet_task(model)
    guided = module.Method().build(task, 0)
    assert guided.cost.forward_rows == model.counts.forward_rows
    model.counts.forward_rows = 0
    draw(task, guided, 8)
    assert (model.counts.forward_rows, model.counts.backward_rows) == (8 * STEPS.steps, 0)
    assert json.loads(json.dumps(guided.notes, allow_nan=False)) == guided.notes


@pytest.mark.parametrize("loss", ["chi_square", "kl"])
def test_distribution_guidance_brings_the_mixture_to_the_target(loss: str) -> None:
    task = mixture_task(SKEWED)
    before = off_target(draw(task, vanilla.Method().build(task, 0), 200))
    scale = {"chi_square": 5000.0, "kl": 10000.0}[loss]
    after = off_target(draw(task, distribution_guidance.Method(scale=scale, loss=loss).build(task, 0), 200))
    assert after < before / 3


def test_sample_guidance_and_latent_editing_bring_the_mixture_to_the_target() -> None:
    task = mixture_task(SKEWED)
    before = off_target(draw(task, vanilla.Method().build(task, 0), 240))
    assert off_target(draw(task, latent_editing.Method(scale=0.5).build(task, 0), 240)) < before / 3
    guided = sample_guidance.Method(scale=0.7).build(task, 0)
    wanted = assign_classes(task.target, 0, np.arange(240))
    assert guided.assigned_classes is not None
    assert np.array_equal(wanted, guided.assigned_classes(np.arange(240)))
    none = torch.zeros(240, dtype=torch.long)
    agree, chance = (
        (SKEWED.posterior(draw(task, g, 240), none).argmax(1).numpy() == wanted).mean()
        for g in (guided, vanilla.Method().build(task, 0))
    )
    assert agree > chance + 0.1  # standard error 0.04; the released heads are hardly trained on so wide an h


def test_latent_editing_leaves_the_samples_that_it_does_not_move_as_they_are() -> None:
    task = mixture_task(SKEWED)
    guided = latent_editing.Method(scale=0.5).build(task, 0)
    moved = (draw(task, guided, 60) != draw(task, vanilla.Method().build(task, 0), 60)).flatten(1).any(1)
    notes: Any = guided.notes
    assert moved.double().mean() == pytest.approx(sum(notes["edits"]["given"]), abs=1 / 60)


@pytest.mark.parametrize("rows", ["both", "conditional"])
def test_micro_batches_give_the_samples_of_one_batch(rows: str) -> None:
    """A batch that is drawn in pieces costs an extra pass: half a call, or a whole one where both rows are guided."""
    task = unet_task(Counted(tiny_unet()))
    guided = distribution_guidance.Method(rows=rows, scale=1e4).build(task, 0)
    task.model.counts.forward_rows = 0
    whole = draw(task, guided, 12)
    assert task.model.counts.forward_rows == 12 * STEPS.steps
    parts = draw(task, guided, 12, micro=5)
    extra = (1.0 if rows == "both" else 0.5) * 12 * (STEPS.steps - 1)
    assert task.model.counts.forward_rows == 2 * 12 * STEPS.steps + extra
    assert torch.allclose(whole, parts, atol=1e-4)
    alone = torch.cat([draw(task, guided, 6), draw(task, guided, 6, start=6)])
    assert not torch.allclose(whole, alone, atol=1e-4)


class Doubled(ClassifierFree):
    """Classifier-free guidance of a map of rows to rows, whose bottleneck is the middle of it."""

    conditions, guidance_scale = ("none", "one"), 3.0

    def output_for(self, x: torch.Tensor, t: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
        return self.change(x * (1 + indices[:, None]))

    def change(self, h: torch.Tensor) -> torch.Tensor:
        return h


def test_both_rows_of_classifier_free_guidance_are_changed_on_request() -> None:
    x, model = torch.arange(6.0).reshape(3, 2), Doubled()
    arguments = x, torch.zeros(3), torch.zeros(3, dtype=torch.long)
    u, c = 3 * x, x  # the null condition's index is 2
    changes = {"both": BothRows(lambda h: h + 1), "conditional": lambda h: h + 1}
    for name, moved in (("both", u + 1 + 3 * (c - u)), ("conditional", u + 3 * (c + 1 - u))):
        model.change = lambda h, name=name: model.apply_bottleneck(h, changes[name])  # type: ignore[method-assign]
        assert torch.equal(model.predict(*arguments), moved)
        model.guidance_scale = 1.0  # no unconditional rows: the same
        assert torch.equal(model.predict(*arguments), c + 1)
        model.guidance_scale = 3.0


def test_several_attributes_are_guided_by_their_marginals() -> None:
    model, data, attributes = four_groups()
    task = Task(model, attributes, np.full(4, 0.25), STEPS.timesteps(model), data)
    plain = draw(task, vanilla.Method().build(task, 0), 20)
    for module in (distribution_guidance, sample_guidance):
        guided = [module.Method(scale=9.0, scales=s).build(task, 0) for s in (None, {"a": 0.0}, {"b": 0.0})]
        assert list(guided[0].notes or {}) == ["a", "b"]
        both, without_a, without_b = (draw(task, g, 20) for g in guided)
        pairs = itertools.combinations((plain, both, without_a, without_b), 2)
        assert not any(torch.equal(*pair) for pair in pairs), "each attribute has its own push"
    edited: Any = latent_editing.Method().build(task, 0).notes
    assert edited["edits"]["joint"] == product(attributes).name
    assert sum(edited["edits"]["shares"]) == pytest.approx(1)
    assert len(edited["edits"]["given"]) == 4


def test_heads_are_cached_by_content(tmp_path: Path) -> None:
    task = mixture_task(cache=FitCache(tmp_path))
    (first,), (second,) = load_or_train(task, 40, 0), load_or_train(task, 40, 0)
    assert torch.equal(first.weight, second.weight)
    assert first.cost == second.cost
    assert not second.held_out
    for other in (load_or_train(task, 40, 1), load_or_train(task, 41, 0)):
        assert not torch.equal(first.weight, other[0].weight)


# --- refusals ------------------------------------------------------------------------------------------------------


@EVERY
@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"scale": float("nan")}, "scale must be a finite number, got nan"),
        ({"window": (0.6, 0.4)}, "window must be two fractions"),
        ({"labels_per_class": 1}, "labels_per_class must be at least 2"),
    ],
)
def test_fields_out_of_range_are_refused(module: Any, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        module.Method(**fields)


@pytest.mark.parametrize("module", [distribution_guidance, sample_guidance])
def test_scales_and_temperatures_out_of_range_are_refused(module: Any) -> None:
    with pytest.raises(ConfigError, match="scale of group must be a finite number, got inf"):
        module.Method(scales={"group": float("inf")})
    with pytest.raises(ConfigError, match="temperature must be > 0"):
        module.Method(temperature=0.0)
    with pytest.raises(ConfigError, match="gamma_power must be a finite number"):
        module.Method(gamma_power=float("inf"))
    with pytest.raises(Incompatible, match="scales names grup, which is no attribute here; known: group"):
        module.Method(scales={"grup": 3.0}).build(mixture_task(), 0)


@EVERY
def test_needs_that_are_not_met_are_refused_with_the_reason(module: Any) -> None:
    method = module.Method()
    with pytest.raises(Incompatible, match="no labelled images"):
        method.build(mixture_task(labelled=None), 0)
    model: GaussianMixture = pictures()
    model.bottleneck_shape = None
    with pytest.raises(Incompatible, match="no bottleneck"):
        method.build(mixture_task(model), 0)
    with pytest.raises(Incompatible, match="take 2 steps or more"):
        method.build(mixture_task(timesteps=(999,)), 0)
    data = labelled(pictures())
    one_sided = dataclasses.replace(data, labels=np.zeros_like(data.labels))
    with pytest.raises(Incompatible, match="fewer than 2 of group=1"):
        method.build(mixture_task(labelled=one_sided), 0)
    renamed = dataclasses.replace(data, attributes=(dataclasses.replace(GROUP, name="team"),))
    with pytest.raises(Incompatible, match="not labelled by group"):
        method.build(mixture_task(labelled=renamed), 0)
