"""Closed-loop editing: who is moved, how far and along what, against plans and class means that are known exactly."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.core.attributes import Attribute
from bench.core.errors import ConfigError, Incompatible
from bench.models.mixture import GaussianMixture
from bench.protocols.counting import Counted
from bench.protocols.images import LabelledImages
from bench.protocols.method import Batch, Guided, Task
from bench.sampling.loop import Sampler, sample_batch
from bench.storage.fits import FitCache
from methods import vanilla
from methods.closed_loop_editing import Method, direction
from methods.hspace.adp import Heads, fit_heads, load_or_fit
from methods.hspace.shares import class_shares, smoothed, unguided_bottleneck
from methods.targeting.assigned_classes import BLOCK
from methods.targeting.edits import edit_probabilities, edited_class, stratified
from tests.support.mixtures import GROUP, labelled, pictures

STEPS = Sampler("ddim", 10)
UNIFORM = np.array([0.5, 0.5])


def task_of(model: GaussianMixture | Counted | None = None, target: np.ndarray = UNIFORM, **more: object) -> Task:
    model = model or pictures((0.8, 0.2))
    task = Task(model, (GROUP,), target, STEPS.timesteps(model), labelled(pictures((0.8, 0.2))))
    return dataclasses.replace(task, **more)


def draw(task: Task, guided: Guided, n: int, start: int = 0, micro: int | None = None) -> torch.Tensor:
    batch = Batch(torch.arange(start, start + n), torch.zeros(n, dtype=torch.long), micro or n)
    return sample_batch(task.model, guided.denoise, STEPS, batch, seed=0)


def groups(model: GaussianMixture, x: torch.Tensor) -> np.ndarray:
    """The group of clean samples."""
    return model.posterior(x, torch.zeros(len(x), dtype=torch.long)).argmax(1).numpy()


def unguided(task: Task, n: int) -> torch.Tensor:
    return draw(task, vanilla.Method().build(task, 0), n)


# --- who is moved --------------------------------------------------------------------------------------------------


def test_shares_of_80_and_20_move_three_eighths_of_the_majority_to_become_uniform() -> None:
    keep, given = edit_probabilities(np.array([0.8, 0.2]), UNIFORM)
    assert keep == pytest.approx(0.625)
    assert given == pytest.approx([0, 0.375])
    assert 0.8 * (1 - given[1]) == pytest.approx(0.5)  # of the majority that much moves, and a half is left


@pytest.mark.parametrize(
    ("p", "r", "keep", "given"),
    [
        ((0.7, 0.3), (0.7, 0.3), 1, (0, 0)),
        ((0.7, 0.2, 0.1), (1 / 3,) * 3, 10 / 21, (0, 1 / 3 - 2 / 21, 1 / 3 - 1 / 21)),
        ((0.7, 0.2, 0.1), (0.1, 0.2, 0.7), 1 / 7, (0, 0.2 - 0.2 / 7, 0.7 - 0.1 / 7)),
        ((0.6, 0.4), (0.0, 1.0), 0, (0, 1)),  # nothing may stay
        ((1.0, 0.0), (0.25, 0.75), 0.25, (0, 0.75)),  # a class that the model never draws
    ],
)
def test_the_target_is_the_untouched_share_plus_the_edits(p: tuple, r: tuple, keep: float, given: tuple) -> None:
    found, shares = edit_probabilities(np.array(p), np.array(r))
    assert found == pytest.approx(keep)
    assert shares == pytest.approx(given, abs=1e-12)
    assert found * np.array(p) + shares == pytest.approx(np.array(r))
    if found < 1:  # nobody could be kept more often: some class would be given less than nothing
        assert (np.array(r) - (found + 1e-6) * np.array(p)).min() < 0


def test_the_uniform_numbers_fill_every_block_evenly_and_belong_to_their_samples() -> None:
    u = stratified(3, np.arange(2 * BLOCK))
    for block in (u[:BLOCK], u[BLOCK:]):
        assert np.sort(np.floor(block * BLOCK)).tolist() == list(range(BLOCK))
    assert not np.allclose(u[:BLOCK], u[BLOCK:])
    assert np.array_equal(u[50:70], stratified(3, np.arange(50, 70)))
    assert not np.array_equal(u, stratified(4, np.arange(2 * BLOCK)))
    within = np.concatenate([stratified(seed, np.arange(10 * BLOCK)) for seed in range(20)]) * BLOCK % 1
    assert within.mean() == pytest.approx(0.5, abs=4 * math.sqrt(1 / 12 / len(within)))


def test_a_uniform_number_gives_each_class_with_its_probability() -> None:
    given = np.array([0.125, 0.25, 0.0])
    u = (np.arange(80) + 0.5) / 80
    found = edited_class(0.625, given, u)
    assert np.bincount(found + 1, minlength=4).tolist() == [50, 10, 20, 0]
    assert (edited_class(1.0, np.zeros(2), u) == -1).all()
    assert (edited_class(0.0, np.array([0.0, 1.0]), u) == 1).all()


def test_the_share_of_samples_given_a_class_is_the_plans() -> None:
    keep, given = edit_probabilities(np.array([0.8, 0.2]), UNIFORM)
    found = edited_class(keep, given, stratified(0, np.arange(20 * BLOCK)))
    assert (found == 1).mean() == pytest.approx(0.375, abs=0.01)
    assert (found == 0).sum() == 0


def heading(heads: Heads, h: torch.Tensor, t: int, guided: Guided) -> np.ndarray:
    """The class that the ADP and the shares in the notes hold for the likeliest."""
    shares = np.array(guided.notes["group"]["shares"])
    return heads.with_prior(smoothed(shares, 400)).logits(h, heads.at(t)).argmax(1).numpy()


@pytest.mark.parametrize("place", [4, 6, 8])
def test_the_class_that_a_sample_heads_for_is_the_likeliest_under_the_model(place: int) -> None:
    """By the exact posterior; the ADP by itself calls some samples the minority's that the model does not."""
    task = task_of()
    guided, t = Method().build(task, 0), task.timesteps[place]
    heads = load_or_fit(task, GROUP, 300, 0)
    x0, _ = pictures((0.5, 0.5)).sample(2000, torch.Generator().manual_seed(3))
    a = float(task.model.alphas_cumprod[t])
    noise = torch.randn(x0.shape, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    x, at = math.sqrt(a) * x0 + math.sqrt(1 - a) * noise, torch.full((2000,), t)
    exact = task.model.posterior(x, at).argmax(1).numpy()
    h = task.model.encode_bottleneck(x, at, torch.zeros(2000, dtype=torch.long))
    with_shares = (heading(heads, h, t, guided) != exact).mean()
    alone = (heads.logits(h, heads.at(t)).argmax(1).numpy() != exact).mean()
    assert with_shares < 0.05
    assert with_shares <= alone


def test_a_class_that_was_never_drawn_is_held_for_smoothed() -> None:
    assert smoothed(np.array([0.75, 0.25, 0.0]), 4).tolist() == pytest.approx([4 / 7, 2 / 7, 1 / 7])


# --- along what, and how far ---------------------------------------------------------------------------------------


def heads_of(n_classes: int = 3, d: int = 5) -> Heads:
    g = torch.Generator().manual_seed(0)
    weight, shift = torch.randn(2, 1, n_classes, d, generator=g)
    bias = torch.randn(1, n_classes, generator=g)
    attribute = Attribute("a", tuple(map(str, range(n_classes))))
    return Heads(attribute, torch.tensor([4]), weight, bias, shift, torch.ones(1))


@pytest.mark.parametrize("kind", ["means", "normal"])
def test_a_move_closes_the_gap_between_the_means_as_the_classifier_sees_it(kind: str) -> None:
    heads = heads_of()
    of, to = torch.tensor([0, 0, 2, 1]), torch.tensor([1, 2, 0, 1])
    moved = direction(heads, 0, of, to, kind)
    for row, (j, k) in enumerate(zip(of.tolist(), to.tolist(), strict=True)):
        gap = heads.shift[0, k] - heads.shift[0, j]
        normal = heads.weight[0, k] - heads.weight[0, j]
        assert torch.allclose(moved[row] @ normal, gap @ normal, atol=1e-5)
        if kind == "means":
            assert torch.equal(moved[row], gap)
        else:  # nothing of it lies off the normal
            assert torch.allclose(moved[row] * normal.norm() ** 2, (moved[row] @ normal) * normal, atol=1e-5)
    assert not moved[3].any()


def test_a_classifier_that_knows_nothing_has_no_normal_and_moves_nothing() -> None:
    heads = dataclasses.replace(heads_of(), weight=torch.zeros(1, 3, 5))
    moved = direction(heads, 0, torch.tensor([0]), torch.tensor([1]), "normal")
    assert torch.equal(moved, torch.zeros(1, 5))


def test_only_samples_that_are_given_another_class_than_the_one_seen_are_moved() -> None:
    """Sample by sample: h changes by strength (mu_given - mu_seen), and by nothing where one is kept or has it."""
    strength, n = 0.7, 2 * BLOCK
    task = task_of()
    guided = Method(strength=strength, labels_per_class=100).build(task, 0)
    notes = guided.notes["group"]
    given = edited_class(notes["kept"], np.array(notes["given"]), stratified(0, np.arange(n)))
    heads = load_or_fit(task, GROUP, 100, 0)
    t = task.timesteps[6]
    step = heads.at(t)
    x = torch.randn(n, *task.model.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    x = x + torch.tensor([-0.3, 0.3], dtype=torch.float64)[torch.arange(n) % 2].reshape(n, 1, 1, 1)
    h = task.model.encode_bottleneck(x, torch.full((n,), t), torch.zeros(n, dtype=torch.long))
    seen = heading(heads, h, t, guided)
    assert {(s, g) for s, g in zip(seen.tolist(), given.tolist(), strict=True)} == {(0, -1), (1, -1), (0, 1), (1, 1)}
    expected = h.clone()
    for i in range(n):
        if given[i] >= 0:
            expected[i] += strength * (heads.shift[step, given[i]] - heads.shift[step, seen[i]])
    out = guided.denoise(x, t, Batch(torch.arange(n), torch.zeros(n, dtype=torch.long), n))
    arguments = (torch.full((n,), t), torch.zeros(n, dtype=torch.long))
    assert torch.allclose(out, task.model.denoise(x, *arguments, lambda _: expected), atol=1e-6)
    untouched = (given < 0) | (given == seen)
    assert torch.equal(out[untouched], task.model.denoise(x, *arguments)[untouched])
    assert not torch.allclose(out[~untouched], task.model.denoise(x, *arguments)[~untouched], atol=1e-3)


@pytest.mark.parametrize("place", [3, 5, 7, 9])
def test_the_direction_is_the_difference_of_the_exact_class_means(place: int) -> None:
    """h_j = log w_j N(x; sqrt(a) m_j, c I): its mean in class k holds -a |m_j - m_k|^2 / 2c, and else no k."""
    model = pictures((0.5, 0.5))
    t = STEPS.timesteps(model)[place]
    x0, group = model.sample(1000, torch.Generator().manual_seed(0))
    (heads,) = fit_heads(model, x0, {GROUP: group}, (t,), seed=0)
    a = float(model.alphas_cumprod[t])
    c = 0.02 * a + 1 - a
    gap = a * float((model.means[0] - model.means[1]).square().sum()) / (2 * c)
    moved = direction(heads, heads.at(t), torch.tensor([0]), torch.tensor([1]), "means")[0]
    # Standard errors of the two means: the difference of h has variance 2 gap in a class, their common part 12 / 2.
    log_odds = float(moved[1] - moved[0])
    assert log_odds == pytest.approx(2 * gap, abs=4 * math.sqrt(2 * gap * 2 / 500))
    common = float(moved.sum()) / 2
    assert common == pytest.approx(0, abs=4 * math.sqrt((6 + gap / 2) * 2 / 500))


def test_a_move_of_strength_s_is_a_reweighting_by_the_exact_odds() -> None:
    """On the mixture h is the log joint, so a moved sample's denoiser is that of the groups at other odds."""
    strength, task = 1.5, task_of(target=np.array([0.0, 1.0]))
    guided = Method(strength=strength).build(task, 0)
    heads = load_or_fit(task, GROUP, 300, 0)
    t = task.timesteps[5]
    x = torch.randn(40, *task.model.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    arguments = (torch.full((40,), t), torch.zeros(40, dtype=torch.long))
    seen = heading(heads, task.model.encode_bottleneck(x, *arguments), t, guided)
    gap = heads.shift[heads.at(t), 1] - heads.shift[heads.at(t), 0]
    odds = torch.tensor([1.0, math.exp(strength * float(gap[1] - gap[0]))], dtype=torch.float64)
    weights = task.model.weights * odds / (task.model.weights * odds).sum()
    other = GaussianMixture(weights, task.model.means, task.model.covariances, shape=task.model.shape)
    out = guided.denoise(x, t, Batch(torch.arange(40), torch.zeros(40, dtype=torch.long), 40))
    assert 0 < (seen == 0).sum() < 40
    assert torch.allclose(out[seen == 0], other.denoise(x, *arguments)[seen == 0], atol=1e-5)
    assert torch.equal(out[seen == 1], task.model.denoise(x, *arguments)[seen == 1])


# --- the calibration -----------------------------------------------------------------------------------------------


def test_the_class_shares_are_those_of_the_model() -> None:
    task, n = task_of(), 2000
    heads = load_or_fit(task, GROUP, 200, 0)
    h = unguided_bottleneck(task, n, seed=0)
    shares = class_shares(heads, h, task.timesteps[-1])
    drawn = groups(task.model, unguided(task, n))  # the sampler's own shares, whose few steps are not quite the model's
    assert shares.sum() == pytest.approx(1)
    assert shares[1] == pytest.approx(np.mean(drawn == 1), abs=4 * math.sqrt(2 * 0.2 * 0.8 / n))
    assert shares[1] == pytest.approx(0.2, abs=0.06)


def test_the_calibration_has_noise_of_its_own_from_the_seed_alone() -> None:
    task = task_of()
    first = unguided_bottleneck(task, 40, seed=0)
    torch.manual_seed(5)
    assert torch.equal(first, unguided_bottleneck(task, 40, seed=0))
    assert not torch.allclose(first, unguided_bottleneck(task, 40, seed=1))
    plain, seen = vanilla.Method().build(task, 0), []

    def watch(x: torch.Tensor, t: int, batch: Batch) -> torch.Tensor:
        if t == task.timesteps[-1]:
            seen.append(task.model.encode_bottleneck(x, torch.full((40,), t), batch.condition).float())
        return plain.denoise(x, t, batch)

    draw(task, Guided(watch), 40)
    assert not torch.isclose(first[:, None], seen[0], rtol=1e-3).all(2).any()  # no sample of the evaluation is in it


def test_it_has_arrays_by_content_and_costs_what_was_counted(tmp_path: Path) -> None:
    model = Counted(pictures((0.8, 0.2)))
    task = task_of(model, cache=FitCache(tmp_path))
    method = Method(labels_per_class=50, calibration=30)
    first = method.build(task, 0)
    rows = model.counts.forward_rows
    assert first.cost.forward_rows == rows == 100 * 10 / 2 + 30 * 9.5
    again = method.build(task, 0)
    assert model.counts.forward_rows == rows
    assert (again.notes, again.cost) == (first.notes, first.cost)
    (stored,) = tmp_path.glob("*/unguided-*/h.npy")
    stored.write_bytes(stored.read_bytes()[:-8])
    assert method.build(task, 0).notes == first.notes
    assert model.counts.forward_rows == rows + 30 * 9.5
    method.build(dataclasses.replace(task, target=np.array([0.1, 0.9])), 0)  # another target needs no other samples
    assert model.counts.forward_rows == rows + 30 * 9.5
    dataclasses.replace(method, calibration=31).build(task, 0)
    method.build(task, 1)
    assert len(list(tmp_path.glob("*/unguided-*/h.npy"))) == 3


def test_the_notes_say_what_was_found_and_are_json() -> None:
    notes = Method(labels_per_class=50).build(task_of(), 0).notes
    assert json.loads(json.dumps(notes, allow_nan=False)) == notes
    found = notes["group"]
    assert found["kept"] * np.array(found["shares"]) + found["given"] == pytest.approx([0.5, 0.5])
    assert len(found["adp_accuracy"]) == STEPS.steps


# --- the method ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["means", "normal"])
@pytest.mark.parametrize("target", [(0.5, 0.5), (0.1, 0.9), (1.0, 0.0)])
def test_the_target_is_met_and_the_samples_that_are_kept_are_the_models_own(kind: str, target: tuple) -> None:
    n = 10 * BLOCK
    task = task_of(target=np.array(target))
    guided = Method(direction=kind, calibration=400).build(task, 0)
    notes = guided.notes["group"]
    given = edited_class(notes["kept"], np.array(notes["given"]), stratified(0, np.arange(n)))
    base, x = unguided(task, n), draw(task, guided, n)
    assert torch.equal(x[given < 0], base[given < 0])
    reached = groups(task.model, x)
    assert (reached == given)[given >= 0].mean() > 0.97
    error = 4 * math.sqrt(0.16 / n + notes["kept"] ** 2 * 0.16 / 400)  # of these samples, and of the calibration's
    assert (reached == 1).mean() == pytest.approx(target[1], abs=error + 0.03)
    if target == (0.5, 0.5):
        moved = (groups(task.model, base) == 0) & (reached == 1)
        assert moved.sum() / (groups(task.model, base) == 0).sum() == pytest.approx(0.375, abs=0.05)
        assert not ((groups(task.model, base) == 1) & (reached == 0)).any()


def test_three_classes_reach_a_target_that_asks_for_more_of_two() -> None:
    attribute = Attribute("group", ("0", "1", "2"))
    means = 0.5 * np.eye(3).repeat(4, 1)
    covariances = np.stack([0.02 * np.eye(12)] * 3)
    model = GaussianMixture((0.7, 0.2, 0.1), means, covariances, shape=(3, 2, 2))
    even = GaussianMixture((1 / 3,) * 3, means, covariances, shape=(3, 2, 2))
    x0, group = even.sample(900, torch.Generator().manual_seed(0))
    data = LabelledImages(
        "three", even.decode(x0).numpy(), group.numpy()[:, None], (attribute,), np.full(3, 1 / 3), "three"
    )
    target, n = np.array([0.2, 0.3, 0.5]), 10 * BLOCK
    task = Task(model, (attribute,), target, STEPS.timesteps(model), data)
    guided = Method().build(task, 0)
    notes = guided.notes["group"]
    assert notes["given"][0] == 0  # so nobody is moved into the majority
    x = draw(task, guided, n)
    reached = groups(model, x)
    given = edited_class(notes["kept"], np.array(notes["given"]), stratified(0, np.arange(n)))
    assert (reached == given)[given >= 0].mean() > 0.97
    assert np.bincount(reached, minlength=3) / n == pytest.approx(target, abs=0.07)


@pytest.mark.parametrize("kind", ["means", "normal"])
def test_strength_zero_is_the_model_bit_for_bit(kind: str) -> None:
    task = task_of()
    neutral = draw(task, Method(strength=0.0, direction=kind).build(task, 0), BLOCK)
    assert torch.equal(neutral, unguided(task, BLOCK))
    assert not torch.equal(neutral, draw(task, Method(direction=kind).build(task, 0), BLOCK))


def test_strength_one_moves_and_the_window_holds_its_lower_border() -> None:
    task, plain = task_of(), vanilla.Method().build(task_of(), 0)
    x = torch.randn(BLOCK, *task.model.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    batch = Batch(torch.arange(BLOCK), torch.zeros(BLOCK, dtype=torch.long), BLOCK)
    t = task.timesteps[-2]
    border = t / len(task.model.alphas_cumprod)
    for window, on in (((border, 1.0), True), ((0.0, border), False)):
        moved = Method(strength=1.0, window=window).build(task, 0).denoise(x, t, batch)
        assert torch.equal(moved, plain.denoise(x, t, batch)) != on


def test_the_window_leaves_the_rest_of_sampling_alone() -> None:
    task = task_of()
    off = Method(window=(0.0, 0.001)).build(task, 0)
    assert torch.equal(draw(task, off, BLOCK), unguided(task, BLOCK))
    late, early = Method(window=(0.0, 0.5)).build(task, 0), Method(window=(0.5, 1.0)).build(task, 0)
    plain = vanilla.Method().build(task, 0)
    x = torch.randn(BLOCK, *task.model.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    batch = Batch(torch.arange(BLOCK), torch.zeros(BLOCK, dtype=torch.long), BLOCK)
    for t in task.timesteps:
        inside = late if t < 500 else early
        outside = early if t < 500 else late
        assert torch.equal(outside.denoise(x, t, batch), plain.denoise(x, t, batch))
        if t < 900:  # at first, nothing is known of the class and there is nowhere to go
            assert not torch.equal(inside.denoise(x, t, batch), plain.denoise(x, t, batch))


def test_a_sample_does_not_depend_on_its_batch_and_the_network_runs_once_a_step() -> None:
    model = Counted(pictures((0.8, 0.2)))
    task = task_of(model)
    guided = Method().build(task, 0)
    model.counts.forward_rows = 0
    whole = draw(task, guided, 24)
    assert model.counts.forward_rows == 24 * STEPS.steps
    assert model.counts.backward_rows == 0
    parts = torch.cat([draw(task, guided, 10), draw(task, guided, 14, start=10)])
    assert torch.allclose(whole, parts, atol=1e-12)
    assert torch.allclose(whole, draw(task, guided, 24, micro=7), atol=1e-12)


# --- refusals ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"strength": float("inf")}, "strength must be a finite number"),
        ({"window": (0.6, 0.4)}, "window must be two fractions"),
        ({"labels_per_class": 1}, "labels_per_class must be at least 2"),
        ({"direction": "up"}, "direction must be means or normal, got 'up'"),
        ({"calibration": 0}, "calibration must be at least 1"),
    ],
)
def test_fields_out_of_range_are_refused(fields: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Method(**fields)


def test_needs_that_are_not_met_are_refused_with_the_reason() -> None:
    with pytest.raises(Incompatible, match="no labelled images"):
        Method().build(task_of(labelled=None), 0)
    model = pictures()
    model.bottleneck_shape = None
    with pytest.raises(Incompatible, match="no bottleneck"):
        Method().build(task_of(model), 0)
