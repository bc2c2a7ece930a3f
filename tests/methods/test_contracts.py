"""What every method promises, measured on every method that is found: those of methods/ and those of other packages."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import sys
import types
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench.config.suite import MethodChoice
from bench.core import plugins
from bench.core.attributes import product
from bench.core.errors import Incompatible
from bench.data import load_data
from bench.models import load_model
from bench.protocols.cache import NoCache
from bench.protocols.counting import Counted
from bench.protocols.method import Batch, Guided, Task
from bench.sampling.loop import Sampler, sample_batch
from bench.storage.fits import FitCache
from bench.sweeps.space import first_setting, space_of
from methods.reweighting.settings import FineTuning, Settings
from tests.support.mixtures import GROUP, Posterior, labelled, pictures

N, STEPS = 6, Sampler("ddim", 4)
WORLDS = ("mixture", "avatars-unet")
ELSEWHERE = "smallest"  # the method of another package, below


def mixture_task(folder: Path) -> Task:
    # Groups of unequal spread: where only their means differ, the search for a transition point sees nothing.
    model = pictures((0.8, 0.2), (0.02, 0.03))
    even = labelled(pictures((0.5, 0.5), (0.02, 0.03)), 240, 1)
    return Task(
        model, (GROUP,), np.array([0.5, 0.5]), STEPS.timesteps(model), labelled(model), lambda _: Posterior(model),
        observed=labelled(model, 400, 2), unbiased=even, cache=FitCache(folder),
    )  # fmt: skip


def avatars_task(folder: Path) -> Task:
    from bench.engine.resources import Resources

    model = load_model("avatars-unet")
    faces = load_data("avatars-labelled", 400)
    glasses = next(a for a in faces.attributes if a.name == "eyeglasses")
    return Task(
        model, (glasses,), np.array([0.5, 0.5]), STEPS.timesteps(model), faces, Resources().guide,
        observed=load_data("avatars-heldout", 120), unbiased=load_data("avatars-labelled", 120), cache=FitCache(folder),
    )  # fmt: skip


MAKERS: dict[str, Callable[[Path], Task]] = {"mixture": mixture_task, "avatars-unet": avatars_task}
SMALLEST = '''
from dataclasses import dataclass
from typing import ClassVar

from bench.protocols.method import Guided, Task, Traits, timestep


@dataclass(frozen=True)
class Method:
    """Twice as far from the origin: D(x, t) scaled."""

    traits: ClassVar[Traits] = Traits(paper="none", stage="sampling", neutral={"scale": 1.0})
    search_space: ClassVar = {"scale": "1..4"}
    scale: float = 2.0

    def build(self, task, seed):
        def denoise(x, t, batch):
            return self.scale * task.model.denoise(x, timestep(t, len(x), x.device), batch.condition)

        return Guided(denoise)
'''


@pytest.fixture(scope="module", autouse=True)
def another_package() -> Any:
    """A method that an installed package offers under the entry point group of methods."""
    module = types.ModuleType("another_package")
    sys.modules["another_package"] = module  # dataclasses look their module up
    exec(SMALLEST, module.__dict__)
    entry = importlib.metadata.EntryPoint(ELSEWHERE, "another_package", plugins.GROUPS["method"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plugins, "entry_points", lambda group: [entry] if group == entry.group else [])
        assert ELSEWHERE in plugins.names("method")
        yield
    del sys.modules["another_package"]


NAMES = [*plugins.names("method"), ELSEWHERE]
every_method = pytest.mark.parametrize("name", NAMES)
everywhere = pytest.mark.parametrize("world", WORLDS)


def method_of(name: str, **fields: object) -> Any:
    """A method with its default fields, except that one that trains a model trains it for a moment."""
    method = plugins.load("method", name, "Method")
    if method().traits.stage == "training" and "training" in method.__dataclass_fields__:
        fields = {"training": MOMENT, "reference_frac": 0.25, **fields}
    if "fine_tuning" in method.__dataclass_fields__:
        fields = {"fine_tuning": FineTuning(steps=2), **fields}
    if name == "dsm_obs":  # from the model it is vanilla, which it refuses
        fields = {"init": "scratch", **fields}
    return method(**fields)


MOMENT = Settings(steps=3, discriminator_steps=3, batch=8, channels=(8, 16), discriminator_channels=(8,), width=8)


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Task]:
    return cache(lambda world: MAKERS[world](tmp_path_factory.mktemp(f"cache-{world}")))


@pytest.fixture(scope="module")
def built(worlds: Callable[[str], Task]) -> Callable[[str, str], Guided]:
    """The guided denoiser of a method with its default fields, built once a world; skips where it cannot be."""

    @cache
    def build(name: str, world: str) -> Guided | str:
        try:
            return method_of(name).build(worlds(world), 0)
        except Incompatible as error:
            return str(error)

    def get(name: str, world: str) -> Guided:
        found = build(name, world)
        if isinstance(found, str):
            pytest.skip(f"{name} does not apply to {world}: {found}")
        return found

    return get


def draw(task: Task, guided: Guided, rows: range = range(N), condition: torch.Tensor | None = None) -> torch.Tensor:
    asked = torch.zeros(len(rows), dtype=torch.long) if condition is None else condition
    batch = Batch(torch.tensor(rows), asked, len(rows))
    return sample_batch(task.model, guided.denoise, STEPS, batch, 0, guided.repeats)


@every_method
def test_a_method_applies_somewhere(name: str, worlds: Callable[[str], Task]) -> None:
    refusals = []
    for world in WORLDS:
        try:
            method_of(name).build(worlds(world), 0)
        except Incompatible as error:
            refusals.append(f"{world}: {error}")
    assert len(refusals) < len(WORLDS), refusals


@every_method
@everywhere
def test_the_neutral_setting_is_the_base_model_bit_for_bit(
    name: str, world: str, worlds: Callable[[str], Task], built: Callable[[str, str], Guided]
) -> None:
    guided, task = built(name, world), worlds(world)
    traits = method_of(name).traits
    if traits.neutral is None:
        assert traits.stage == "training", "a method that acts while sampling has a setting in which it does nothing"
        pytest.skip("trains a model of its own")
    neutral = method_of(name, **traits.neutral).build(task, 0)
    condition = None
    if "conditions" in traits.needs:
        assert neutral.assigned_classes is not None
        joint = product(task.attributes)
        names = [f"{joint.name}={joint.classes[k]}" for k in neutral.assigned_classes(np.arange(N))]
        condition = torch.tensor([task.model.conditions.index(n) for n in names])
    base = draw(task, method_of("vanilla").build(task, 0), condition=condition)
    assert torch.equal(draw(task, neutral), base)
    if traits.neutral:  # without such a field, as plain sampling, the default is the base model
        assert not torch.equal(draw(task, guided), base), "the default setting does nothing"


@every_method
@everywhere
def test_shapes_dtypes_and_inputs_are_left_as_they_are(
    name: str, world: str, worlds: Callable[[str], Task], built: Callable[[str, str], Guided]
) -> None:
    guided, task = built(name, world), worlds(world)
    x = torch.randn(N, *task.model.shape, generator=torch.Generator().manual_seed(1)).to(task.model.dtype)
    batch = Batch(torch.arange(N), torch.zeros(N, dtype=torch.long), N)
    kept, kept_condition = x.clone(), batch.condition.clone()
    with torch.no_grad():
        for t in task.timesteps:
            out = guided.denoise(x, t, batch)
            assert out.shape == x.shape
            assert out.dtype == x.dtype
            assert not out.requires_grad
            assert torch.isfinite(out).all()
    assert torch.equal(x, kept)
    assert torch.equal(batch.condition, kept_condition)


@every_method
@everywhere
def test_the_same_seed_gives_the_same_bytes(
    name: str, world: str, worlds: Callable[[str], Task], built: Callable[[str, str], Guided]
) -> None:
    guided, task = built(name, world), worlds(world)
    again = method_of(name).build(dataclasses.replace(task, cache=NoCache()), 0)
    assert torch.equal(draw(task, guided), draw(task, again))
    if guided.assigned_classes is not None:
        assert again.assigned_classes is not None
        assert np.array_equal(guided.assigned_classes(np.arange(N)), again.assigned_classes(np.arange(N)))


@every_method
@everywhere
def test_a_batch_may_be_split_unless_the_method_couples_it(
    name: str, world: str, worlds: Callable[[str], Task], built: Callable[[str, str], Guided]
) -> None:
    guided, task = built(name, world), worlds(world)
    whole = draw(task, guided)
    parts = torch.cat([draw(task, guided, range(2)), draw(task, guided, range(2, N))])
    traits = method_of(name).traits
    if traits.couples_batch:  # in four steps the mixture is pushed all the way, whatever the batch
        assert world == "mixture" or not torch.allclose(whole, parts, atol=1e-4)
    elif world == "mixture" and traits.stage == "sampling":
        assert torch.equal(whole, parts)
    else:  # a network's own arithmetic may differ in the last bits with the number of rows
        assert torch.allclose(whole, parts, atol=1e-3)


class Waiting(Exception):
    """A rank waits for the sums of the others."""


def spread(denoise: Callable[..., torch.Tensor], x: torch.Tensor, t: int, batch: Batch, parts: list[slice]) -> Any:
    """D of a guidance batch whose parts are drawn by ranks: each begins again until all sums it asks for are known."""
    totals: list[torch.Tensor] = []
    while True:
        asked, found = [], []
        for rows in parts:
            known = iter(totals)

            def total(sums: torch.Tensor, known: Any = known, asked: list[torch.Tensor] = asked) -> torch.Tensor:
                for answer in known:
                    return answer
                asked.append(sums)
                raise Waiting

            own = Batch(batch.index[rows], batch.condition[rows], batch.micro, len(batch.index), total)
            with suppress(Waiting):
                found.append(denoise(x[rows], t, own))
        if not asked:
            return torch.cat(found)
        assert len(asked) == len(parts), "a rank waits for a sum that another never adds to"
        totals.append(torch.stack(asked).sum(0))


@every_method
@everywhere
def test_a_batch_may_be_spread_unless_the_method_couples_it_otherwise_than_by_its_mean(
    name: str, world: str, worlds: Callable[[str], Task], built: Callable[[str, str], Guided]
) -> None:
    """Four rows in two compute batches in one place, two rows in one compute batch in the other."""
    guided, task = built(name, world), worlds(world)
    traits, t = method_of(name).traits, task.timesteps[len(task.timesteps) // 2]  # where h shows the class
    if traits.couples_batch and not traits.couples_by_mean:
        pytest.skip("refused under more than one rank")
    x = torch.randn(N, *task.model.shape, generator=torch.Generator().manual_seed(1)).to(task.model.dtype)
    batch, parts = Batch(torch.arange(N), torch.zeros(N, dtype=torch.long), 3), [slice(4), slice(4, N)]
    with torch.no_grad():
        whole = guided.denoise(x, t, batch)
        ranks = spread(guided.denoise, x, t, batch, parts)
        alone = torch.cat([guided.denoise(x[r], t, Batch(batch.index[r], batch.condition[r], 3)) for r in parts])
    tolerance = 1e-6 if world == "mixture" and traits.stage == "sampling" else 1e-4  # a network's last bits differ
    assert torch.allclose(ranks, whole, atol=tolerance)
    assert torch.allclose(alone, whole, atol=tolerance) != traits.couples_batch


@every_method
@everywhere
def test_calls_and_backward_passes_are_those_declared(
    name: str, world: str, worlds: Callable[[str], Task], built: Callable[[str, str], Guided]
) -> None:
    built(name, world)
    task, traits = worlds(world), method_of(name).traits
    model = Counted(task.model)
    guided = method_of(name).build(dataclasses.replace(task, model=model), 0)
    model.counts.forward_rows = model.counts.backward_rows = 0
    draw(dataclasses.replace(task, model=model), guided)
    assert model.counts.forward_rows == N * STEPS.steps * guided.repeats * traits.calls
    seeing = sum(float(model.alphas_cumprod[t]) > 0 for t in task.timesteps)  # at a_t = 0 there is nothing to guide
    assert seeing == STEPS.steps - 1
    assert model.counts.backward_rows == N * seeing * guided.repeats * traits.backward


class Without:
    """A model that lacks one thing."""

    def __init__(self, model: Any, **lacks: object) -> None:
        self.model = model
        self.__dict__.update(lacks)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)


LACKS: dict[str, Callable[[Task], Task]] = {
    "bottleneck": lambda task: dataclasses.replace(task, model=Without(task.model, bottleneck_shape=None)),
    "conditions": lambda task: dataclasses.replace(task, model=Without(task.model, conditions=("none",))),
    **{
        need: lambda task, need=need: dataclasses.replace(task, **{need: None})
        for need in ("classifier", "labelled", "observed", "unbiased")
    },
}


@every_method
@everywhere
def test_a_need_that_is_not_met_is_refused_with_a_reason(
    name: str, world: str, worlds: Callable[[str], Task], built: Callable[[str, str], Guided]
) -> None:
    built(name, world)
    for need in method_of(name).traits.needs - {"target"}:
        with pytest.raises(Incompatible) as refusal:
            method_of(name).build(LACKS[need](worlds(world)), 0)
        assert len(str(refusal.value)) > 20, need


@every_method
def test_the_search_space_names_fields_and_holds_their_defaults(name: str) -> None:
    """`space_of` builds the method with both ends of every range and with every listed value."""
    choice = MethodChoice(name=name)
    axes = space_of(choice)
    assert set(first_setting(choice, axes)) == {axis.name for axis in axes}
    assert bool(axes) or name != ELSEWHERE


def test_a_method_that_needs_a_target_depends_on_it(worlds: Callable[[str], Task]) -> None:
    """And the others do not, so that their samples may be shared among tasks."""
    task = worlds("mixture")
    other = dataclasses.replace(task, target=np.array([0.1, 0.9]))
    for name in NAMES:
        try:
            pair = [draw(t, method_of(name).build(t, 0), range(20)) for t in (task, other)]
        except Incompatible:
            continue
        assert torch.equal(*pair) == ("target" not in method_of(name).traits.needs), name
