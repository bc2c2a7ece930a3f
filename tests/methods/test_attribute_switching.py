"""Attribute switching: the search against the integral that it stands for, the switched samples against their law."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.core.attributes import Attribute
from bench.core.errors import ConfigError, Incompatible
from bench.models.mixture import SCHEDULER, GaussianMixture
from bench.models.schedule import alphas_cumprod
from bench.protocols.counting import Counted
from bench.protocols.method import Batch, Guided, Task
from bench.protocols.model import noise_of
from bench.sampling.loop import Sampler, sample_batch
from bench.storage.fits import FitCache
from methods import attribute_switching, vanilla
from methods.attribute_switching import Method, imbalance, minimum, noise_trajectory, search, step_betas, switch_points
from methods.targeting.assigned_classes import BLOCK
from tests.support.mixtures import GROUP, line, pictures

# The schedule of Ho et al. 2020, which the paper's models have: at T a trace of the signal is left.
LINEAR = {
    **SCHEDULER,
    **{"beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02, "rescale_betas_zero_snr": False},
}
T = 1000
FEW = {"minibatch": 8, "minibatches": 2}


def paired_baselines(variance: float, gap: float = 3.0) -> GaussianMixture:
    """Two groups of one covariance v I, `gap` standard deviations apart, under the linear schedule."""
    means = gap * math.sqrt(variance) * np.array([[-0.4, 0.3], [0.4, -0.3]])
    return GaussianMixture((0.5, 0.5), means, np.stack([variance * np.eye(2)] * 2), scheduler_config=LINEAR)


def task_of(model: object, sampler: Sampler, groups: Attribute = GROUP, **more: object) -> Task:
    k = groups.n_classes
    return Task(model, (groups,), np.full(k, 1 / k), sampler.timesteps(model), **more)  # type: ignore[arg-type]


def draw(task: Task, guided: Guided, sampler: Sampler, rows: range, condition: torch.Tensor | None = None):
    asked = torch.zeros(len(rows), dtype=torch.long) if condition is None else condition
    return sample_batch(task.model, guided.denoise, sampler, Batch(torch.tensor(rows), asked, len(rows)), seed=0)


def rho(model: GaussianMixture, variance: float) -> np.ndarray:
    """Correlation of x_0 and x_t within a group, at every training timestep [T]."""
    a = model.alphas_cumprod.numpy()
    return np.sqrt(a * variance / (a * variance + 1 - a))


def halving_point(model: GaussianMixture, variance: float) -> float:
    """tau at which the sum of beta_t sqrt((1 - a_t) / c_t) over t >= tau is half of the whole, on every timestep."""
    a = model.alphas_cumprod.numpy()
    beta = 1 - a / np.concatenate([[1.0], a[:-1]])
    weights = beta * np.sqrt((1 - a) / (a * variance + 1 - a))
    above = weights[::-1].cumsum()[::-1]  # over t >= tau
    return float(np.abs(2 * above - weights.sum()).argmin()) / T


def equal_point(model: GaussianMixture, variance: float) -> float:
    """tau at which rho(tau) = (1 + rho(T)) / 2; sampling is at t when all that lies above t is behind it."""
    r = rho(model, variance)
    return float(np.abs(r - (1 + r[-1]) / 2).argmin() + 1) / T


# --- the parts -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("config", [SCHEDULER, LINEAR])
def test_the_weight_of_a_step_is_the_sum_of_the_betas_that_it_covers(config: dict) -> None:
    a = alphas_cumprod(config)
    beta = 1 - a.numpy() / np.concatenate([[1.0], a.numpy()[:-1]])
    assert np.allclose(step_betas(tuple(range(T - 1, -1, -1)), a), beta[::-1])
    visited = (999, 700, 40, 3)
    covered = [beta[701:].sum(), beta[41:701].sum(), beta[4:41].sum(), beta[:4].sum()]
    assert np.allclose(step_betas(visited, a), covered)
    assert np.isfinite(covered).all()


def test_before_a_switch_point_lie_exactly_so_many_steps() -> None:
    visited = (999, 700, 40, 3)
    taus = switch_points(visited, T)
    assert taus.tolist() == [1.0, 0.701, 0.041, 0.004, 0.0]
    assert [sum(t >= float(tau) * T for t in visited) for tau in taus] == [0, 1, 2, 3, 4]


def test_the_imbalance_is_a_norm_over_the_numbers_of_a_sample() -> None:
    """Sample 0 (10 long) is balanced after one step, sample 1 (20 long) after three: the longer one decides.

    Over the batch, the hundred small numbers of sample 0 would outvote the one large number of sample 1.
    """
    d = torch.zeros(4, 2, 100)
    d[:, 0] = torch.tensor([3.0, 1, 1, 1])[:, None]
    d[:, 1, 0] = 20 * torch.tensor([1.0, 1, 1, 3])
    norms = imbalance(d)
    assert norms[:, 0].tolist() == [60, 0, 20, 40, 60]
    assert norms[:, 1].tolist() == [120, 80, 40, 0, 120]
    assert int(norms.mean(1).argmin()) == 3
    before = torch.cat([torch.zeros(1, 2, 100), d.cumsum(0)])
    assert int((2 * before - d.sum(0)).norm(dim=1).mean(1).argmin()) == 1


def test_the_spread_is_that_of_the_minima_and_tau_that_of_the_mean_curve() -> None:
    curves = np.array([[4.0, 0, 1, 9], [4.0, 3, 1, 9], [4.0, 9, 1, 0]])
    found = minimum(np.array([1.0, 0.6, 0.3, 0.0]), curves)
    assert found["tau"] == 0.3
    assert (found["tau_min"], found["tau_max"]) == (0.0, 0.6)
    assert found["tau_std"] == pytest.approx(np.std([0.6, 0.3, 0.0]))
    assert found["curve"] == [4, 4, 1, 6]


def test_the_search_is_the_criterion_written_out() -> None:
    """Groups of different shapes: every sum and norm by hand, from the same noise."""
    model, visited = line(), (999, 640, 320, 90)
    (curve,) = search(model, [1, 2], visited, (5, 1), seed=3)[0]
    x = attribute_switching._noise(model, 5, 3, 0)
    a = model.alphas_cumprod
    beta = 1 - a / torch.cat([torch.ones(1), a[:-1]])
    d, points = {}, {1: x, 2: x}
    for t, following in zip(visited, (*visited[1:], -1), strict=True):
        eps = {}
        for c, at in points.items():
            denoised = model.denoise(at, torch.full((5,), t), torch.full((5,), c))
            eps[c] = noise_of(at, denoised, a[[t]])
            points[c] = a[following].sqrt() * denoised + (1 - a[following]).sqrt() * eps[c]
        d[t] = beta[following + 1 : t + 1].sum() * (eps[1] - eps[2])
    for j in range(5):
        signed = sum(d[t] if i < j else -d[t] for i, t in enumerate(visited))
        assert curve[j] == pytest.approx(float(signed.norm(dim=1).mean()), rel=1e-9)
    assert int(curve.argmin()) not in (0, 4)


def test_the_noise_comes_from_the_seed_and_the_number_of_the_minibatch_alone(monkeypatch) -> None:
    arguments = (line(), [1, 2], (999, 640, 320, 90))
    first = search(*arguments, (8, 2), seed=0)
    torch.manual_seed(1)
    monkeypatch.setattr(attribute_switching, "CHUNK", 3)
    assert np.allclose(first, search(*arguments, (8, 2), seed=0), rtol=1e-12)
    assert np.allclose(first[:1], search(*arguments, (8, 1), seed=0), rtol=1e-12)
    assert not np.allclose(first[0], first[1], rtol=1e-3)
    assert not np.allclose(first, search(*arguments, (8, 2), seed=1), rtol=1e-3)


def test_where_nothing_is_left_of_the_signal_the_noise_prediction_is_x() -> None:
    model, x = line(), torch.randn(4, 2, dtype=torch.float64)
    assert float(model.alphas_cumprod[-1]) == 0
    eps = noise_trajectory(model, x, 1, (999, 500))
    assert torch.equal(eps[0], x)
    assert torch.isfinite(eps).all()


# --- two groups of one covariance, whose answer is known -----------------------------------------------------------


@pytest.mark.parametrize("steps", [50, 100])
@pytest.mark.parametrize("variance", [0.05, 1.0, 30.0, 1461.0])
def test_the_search_finds_the_numerically_integrated_transition_point(variance: float, steps: int) -> None:
    model = paired_baselines(variance)
    guided = Method(**FEW).build(task_of(model, Sampler("ddim", steps)), 0)
    for pair in guided.notes["pairs"]:
        assert abs(pair["tau"] - halving_point(model, variance)) <= 1 / steps
        assert pair["tau_std"] == 0  # with one covariance, every sample has the same d_t


def test_the_whole_curve_is_the_integrated_one() -> None:
    variance, steps = 1.0, 100
    model = paired_baselines(variance)
    (one, _) = Method(**FEW).build(task_of(model, Sampler("ddim", steps)), 0).notes["pairs"]
    a = model.alphas_cumprod.numpy()
    weights = (1 - a / np.concatenate([[1.0], a[:-1]])) * np.sqrt((1 - a) / (a * variance + 1 - a))
    above = np.concatenate([weights[::-1].cumsum()[::-1], [0.0]])
    exact = np.abs(2 * above - weights.sum())[np.arange(T, -1, -T // steps)]
    exact *= rho(model, variance)[-1] * float((model.means[0] - model.means[1]).norm()) / math.sqrt(variance)
    assert np.abs(np.array(one["curve"]) - exact).max() < 0.03 * exact.max()


def switched_gap(model: GaussianMixture, tau: float, sampler: Sampler) -> float:
    """(x_0 of a switch from 0 to 1 less that from 1 to 0, of one noise) along m_0 - m_1, in units of it."""
    task = task_of(model, sampler)
    guided = Method(tau=tau).build(task, 0)
    start = guided.assigned_classes(np.arange(BLOCK))
    ends = [draw(task, guided, sampler, range(i, i + 1))[0] for i in (int(start.argmin()), int(start.argmax()))]
    # The same noise for both: what a sample is, less what x_T adds to it, the same linear map for either group.
    noise = [_x_t(model, i) for i in (int(start.argmin()), int(start.argmax()))]
    delta = model.means[0] - model.means[1]
    gain = _gain(model, sampler, 0, sampler.steps)
    difference = (ends[0] - gain * noise[0]) - (ends[1] - gain * noise[1])
    along = float(difference @ delta / (delta @ delta))
    assert float((difference - along * delta).norm()) < 1e-5 * float(delta.norm())
    return along


def _x_t(model: GaussianMixture, i: int) -> torch.Tensor:
    from bench.sampling.loop import draw_noise, generators

    return draw_noise(generators(0, torch.tensor([i])), model)[0]


def _gain(model: GaussianMixture, sampler: Sampler, first: int, last: int) -> float:
    """What the DDIM steps first..last - 1 make of x - sqrt(a) m: one factor for every group and sample."""
    v = float(model.covariances[0, 0, 0])
    a = [float(model.alphas_cumprod[t]) for t in sampler.timesteps(model)] + [1.0]
    steps = [
        (math.sqrt(a[j] * a[j + 1]) * v + math.sqrt((1 - a[j]) * (1 - a[j + 1]))) / (a[j] * v + 1 - a[j])
        for j in range(first, last)
    ]
    return math.prod(steps)


@pytest.mark.parametrize("variance", [0.25, 1.0, 1461.0])
def test_switched_samples_differ_by_what_is_derived_for_ddim_steps_and_for_the_flow(variance: float) -> None:
    model, sampler = paired_baselines(variance), Sampler("ddim", 50)
    r, visited = rho(model, variance), sampler.timesteps(model)
    for j in (0, 10, 30, 40, 50):
        tau = float(switch_points(visited, T)[j])
        gap = switched_gap(model, tau, sampler)
        a_tau = float(model.alphas_cumprod[visited[j]]) if j < 50 else 1.0
        after, whole = _gain(model, sampler, j, 50), _gain(model, sampler, 0, 50)
        ends = math.sqrt(float(model.alphas_cumprod[visited[0]])) * whole
        assert gap == pytest.approx(
            2 * after * math.sqrt(a_tau) - 1 - ends, abs=1e-5
        )  # exact, but for the scheduler's float32
        flow = 2 * (r[visited[j]] if j < 50 else 1.0) - 1 - r[-1]
        assert gap == pytest.approx(flow, abs=0.06)  # for infinitely many


def test_the_found_tau_is_not_where_the_switched_distributions_agree() -> None:
    """The paper's criterion on the paper's schedule: most of the gap is left, though a tau closes it."""
    variance = 1.0
    model, sampler = paired_baselines(variance), Sampler("ddim", 50)
    found = Method(**FEW).build(task_of(model, sampler), 0).notes["pairs"][0]["tau"]
    equal = equal_point(model, variance)
    assert found - equal > 0.3
    assert switched_gap(model, found, sampler) == pytest.approx(
        2 * rho(model, variance)[round(found * T)] - 1, abs=0.06
    )
    assert switched_gap(model, found, sampler) < -0.8
    assert abs(switched_gap(model, equal, sampler)) < 0.06
    assert switched_gap(model, 1.0, sampler) == pytest.approx(-1, abs=0.02)
    assert switched_gap(model, 0.0, sampler) == pytest.approx(1, abs=0.02)


def test_where_both_points_are_one_the_found_tau_makes_the_switched_distributions_agree() -> None:
    """The samples of either start class have one mean at tau*, and not at either end."""
    low, high = 1.0, 1e6  # between these spreads of the data the points change places
    for _ in range(30):
        variance = math.sqrt(low * high)
        model = paired_baselines(variance, gap=4.0)
        earlier = halving_point(model, variance) > equal_point(model, variance)
        low, high = (variance, high) if earlier else (low, variance)
    correlation = float(rho(model, variance)[-1])
    assert correlation == pytest.approx(math.sqrt(5) - 2, abs=0.04)
    sampler = Sampler("ddim", 250)
    task = task_of(model, sampler)
    delta = (model.means[0] - model.means[1]).numpy()

    def shift(**fields: object) -> tuple[float, float]:
        """Mean of those that started from 0 less mean of the others, in gaps, and its standard error."""
        guided = Method(**fields).build(task, 0)
        x = draw(task, guided, sampler, range(600)).numpy() @ delta / (delta @ delta)
        start = guided.assigned_classes(np.arange(600))
        sides = [x[start == k] for k in (0, 1)]
        return sides[0].mean() - sides[1].mean(), math.sqrt(sum(s.var(ddof=1) / len(s) for s in sides))

    for tau, whole in ((0.0, 1 - correlation), (1.0, correlation - 1)):
        gap, error = shift(tau=tau)
        assert gap == pytest.approx(whole, abs=4 * error)
    gap, error = shift(**FEW)
    assert abs(gap) < 4 * error
    assert error < 0.03


def test_groups_that_differ_by_their_means_alone_are_invisible_where_the_signal_ends_at_zero() -> None:
    """Two translates have the same noise predictions from the same x_T: the search says so, a tau may be given."""
    task = task_of(pictures((0.5, 0.5)), Sampler("ddim", 10))
    with pytest.raises(Incompatible, match="sees no difference between group=0 and group=1"):
        Method(**FEW).build(task, 0)
    Method(tau=0.5).build(task, 0)
    shaped = task_of(line(), Sampler("ddim", 10))
    assert 0 < Method(**FEW).build(shaped, 0).notes["pairs"][0]["tau"] < 1


# --- what the model is asked for -----------------------------------------------------------------------------------


class Asked:
    """A mixture that remembers the conditions it was asked for: {t: [n]}."""

    def __init__(self, model: GaussianMixture) -> None:
        self.model, self.asked = model, {}

    def __getattr__(self, name: str):
        return getattr(self.model, name)

    def denoise(self, x: torch.Tensor, t: torch.Tensor, condition: torch.Tensor, bottleneck=None) -> torch.Tensor:
        self.asked[int(t[0])] = condition.numpy().copy()
        return self.model.denoise(x, t, condition, bottleneck)


def three() -> tuple[GaussianMixture, Attribute]:
    means = [[-1.0, 0.0], [1.0, 0.0], [0.0, 2.0]]
    covariances = np.stack([np.diag(d) for d in ([0.1, 0.3], [0.3, 0.1], [0.2, 0.5])])
    return GaussianMixture((0.5, 0.3, 0.2), means, covariances), Attribute("group", ("0", "1", "2"))


def conditions_by_step(groups: Attribute, model: GaussianMixture, rows: range, **fields: object):
    watched, sampler = Asked(model), Sampler("ddim", 10)
    task = task_of(watched, sampler, groups)
    guided = Method(**fields).build(task, 0)
    watched.asked.clear()
    draw(task, guided, sampler, rows)
    return watched.asked, guided


@pytest.mark.parametrize("tau", [0.0, 0.2, 0.599, 0.6, 0.601, 1.0])
def test_the_start_class_is_asked_for_at_tau_and_above_and_the_other_below(tau: float) -> None:
    """Sampling visits 999, 899, ..., 99; one tau lies on a visited timestep, give or take one."""
    asked, guided = conditions_by_step(GROUP, line(), range(20), tau=tau)
    start = guided.assigned_classes(np.arange(20))
    assert list(asked) == list(range(999, 0, -100))
    for t, condition in asked.items():
        assert condition.tolist() == (1 + (start if t >= round(tau * T) else 1 - start)).tolist()


def test_a_tau_on_a_visited_timestep_still_asks_for_the_start_class() -> None:
    asked, guided = conditions_by_step(GROUP, line(), range(20), tau=0.599)
    start = guided.assigned_classes(np.arange(20))
    assert asked[599].tolist() == (1 + start).tolist()
    assert asked[499].tolist() == (2 - start).tolist()


def test_the_found_tau_gives_the_start_class_the_steps_that_the_minimum_counts() -> None:
    asked, guided = conditions_by_step(GROUP, line(), range(20), **FEW)
    pair = guided.notes["pairs"][0]
    first = int(np.argmin(pair["curve"]))
    start = guided.assigned_classes(np.arange(20))
    early = [condition.tolist() == (1 + start).tolist() for condition in asked.values()]
    assert early == [True] * first + [False] * (10 - first)
    assert 0 < first < 10


def test_start_classes_are_uniform_whatever_the_target_and_are_what_is_asked_for_first() -> None:
    model, groups = three()
    asked, guided = conditions_by_step(groups, model, range(BLOCK), tau=0.5)
    start = guided.assigned_classes(np.arange(BLOCK))
    assert np.bincount(start).tolist() == [20, 20, 20]
    assert asked[999].tolist() == (1 + start).tolist()
    skewed = dataclasses.replace(task_of(model, Sampler("ddim", 10), groups), target=np.array([0.8, 0.1, 0.1]))
    assert np.array_equal(Method(tau=0.5).build(skewed, 0).assigned_classes(np.arange(BLOCK)), start)


def test_three_groups_switch_in_a_circle_or_to_any_other_by_the_number_of_the_sample() -> None:
    model, groups = three()
    asked, guided = conditions_by_step(groups, model, range(BLOCK), tau=0.5)
    start = guided.assigned_classes(np.arange(BLOCK))
    assert (asked[99] - 1).tolist() == ((start + 1) % 3).tolist()
    asked, _ = conditions_by_step(groups, model, range(BLOCK), tau=0.5, pairs="random")
    end = asked[99] - 1
    assert not (end == start).any()
    seen = {tuple(pair) for pair in np.stack([start, end], 1).tolist()}
    assert seen == set(itertools.permutations(range(3), 2))
    assert np.bincount((end - start) % 3)[1:].min() > 0.3 * BLOCK
    part, _ = conditions_by_step(groups, model, range(7, 30), tau=0.5, pairs="random")
    assert (part[99] - 1).tolist() == end[7:30].tolist()


@pytest.mark.parametrize("pairs", ["cyclic", "random"])
def test_every_ordered_pair_has_its_own_tau_and_is_switched_at_it(pairs: str) -> None:
    model, groups = three()
    asked, guided = conditions_by_step(groups, model, range(BLOCK), pairs=pairs, **FEW)
    names = [f"group={k}" for k in range(3)]
    taus = {(p["from"], p["to"]): p["tau"] for p in guided.notes["pairs"]}
    wanted = {(a, b) for a in names for b in names if a != b}
    if pairs == "cyclic":
        wanted = {(names[k], names[(k + 1) % 3]) for k in range(3)}
    assert set(taus) == wanted
    assert len(set(taus.values())) > 1
    start, end = asked[999] - 1, asked[99] - 1
    for t, condition in asked.items():
        early = np.array([t >= taus[names[s], names[e]] * T for s, e in zip(start, end, strict=True)])
        assert (condition - 1).tolist() == np.where(early, start, end).tolist()


# --- as any method -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("tau", "end"), [(0.0, False), (1.0, True)])
def test_a_tau_at_either_end_is_the_model_asked_for_one_class(tau: float, end: bool) -> None:
    sampler = Sampler("ddim", 10)
    task = task_of(line(), sampler)
    guided = Method(tau=tau).build(task, 0)
    start = torch.from_numpy(guided.assigned_classes(np.arange(12)))
    asked = 1 + (1 - start if end else start)
    base = draw(task, vanilla.Method().build(task, 0), sampler, range(12), condition=asked)
    assert torch.equal(draw(task, guided, sampler, range(12)), base)


def test_a_batch_may_be_split_and_the_network_runs_once_a_step() -> None:
    sampler, model = Sampler("ddim", 10), Counted(line())
    task = task_of(model, sampler)
    guided = Method(tau=0.5, pairs="random").build(task, 0)
    whole = draw(task, guided, sampler, range(12))
    assert model.counts.forward_rows == 12 * 10
    parts = torch.cat([draw(task, guided, sampler, range(5)), draw(task, guided, sampler, range(5, 12))])
    assert torch.allclose(whole, parts, atol=1e-12)
    batch = Batch(torch.arange(12), torch.zeros(12, dtype=torch.long), 5)
    assert torch.allclose(whole, sample_batch(model, guided.denoise, sampler, batch, seed=0), atol=1e-12)


def test_the_search_has_arrays_by_content_and_its_cost_is_what_was_counted(tmp_path: Path) -> None:
    model = Counted(line())
    task = task_of(model, Sampler("ddim", 10), cache=FitCache(tmp_path))
    first = Method(**FEW).build(task, 0)
    rows = model.counts.forward_rows
    assert first.cost.forward_rows == rows == 8 * 2 * 2 * 10
    again = Method(**FEW).build(task, 0)
    assert model.counts.forward_rows == rows
    assert again.notes == first.notes
    assert again.cost == first.cost
    (stored,) = tmp_path.glob("*/attribute-switching-*/curves.npy")
    stored.write_bytes(stored.read_bytes()[:-8])
    assert Method(**FEW).build(task, 0).notes == first.notes
    assert model.counts.forward_rows == 2 * rows
    other = dataclasses.replace(task, timesteps=task.timesteps[1:])
    for kept, fields, seed in ((task, FEW, 1), (task, {**FEW, "minibatch": 9}, 0), (other, FEW, 0)):
        Method(**fields).build(kept, seed)
    assert len(list(tmp_path.glob("*/attribute-switching-*/curves.npy"))) == 4


def test_the_notes_hold_the_whole_curve_and_are_json() -> None:
    guided = Method(**FEW).build(task_of(line(), Sampler("ddim", 10)), 0)
    notes = json.loads(json.dumps(guided.notes, allow_nan=False))
    assert notes == guided.notes
    assert notes["taus"] == pytest.approx(np.arange(10, -1, -1) / 10)
    assert [(p["from"], p["to"]) for p in notes["pairs"]] == [("group=0", "group=1"), ("group=1", "group=0")]
    for pair in notes["pairs"]:
        assert len(pair["curve"]) == 11
        assert pair["tau"] == notes["taus"][int(np.argmin(pair["curve"]))]
        assert 0 <= pair["tau_min"] <= pair["tau_max"] <= 1
    (plot,) = guided.curves  # one line: the pair turned round has the same
    assert plot.x == notes["taus"]
    assert plot.lines == {"group=0, group=1": notes["pairs"][0]["curve"]}
    assert plot.marks == {"group=0, group=1": notes["pairs"][0]["tau"]}
    assert not Method(tau=0.5).build(task_of(line(), Sampler("ddim", 10)), 0).curves


@pytest.mark.parametrize("fields", [{"tau": 0.0}, {"tau": 1.0}, {"minibatch": 1}, {"minibatches": 1}])
def test_the_ends_of_the_fields_ranges_are_accepted(fields: dict) -> None:
    assert {name: getattr(Method(**fields), name) for name in fields} == fields


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"tau": 1.5}, "tau must be a fraction of the training timesteps, 0 to 1, got 1.5"),
        ({"tau": float("nan")}, "tau must be a fraction"),
        ({"pairs": "all"}, "pairs must be cyclic or random, got 'all'"),
        ({"minibatch": 0}, "minibatch must be at least 1"),
        ({"minibatches": 0}, "minibatches must be at least 1"),
    ],
)
def test_fields_out_of_range_are_refused(fields: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Method(**fields)


def test_a_class_that_the_model_cannot_be_asked_for_is_named() -> None:
    sampler = Sampler("ddim", 10)
    with pytest.raises(Incompatible, match="cannot be asked for group=2"):
        Method().build(task_of(line(), sampler, Attribute("group", ("0", "1", "2"))), 0)
    both = dataclasses.replace(
        task_of(line(), sampler), attributes=(GROUP, Attribute("size", ("s", "l"))), target=np.full(4, 0.25)
    )
    with pytest.raises(Incompatible, match=r"cannot be asked for group\+size=0\+s"):
        Method().build(both, 0)
