"""Checks of a method: what its traits declare, measured on two tasks (`bench.plugin_checks.worlds`)."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping

import numpy as np
import torch

from bench.config.build import build_method
from bench.config.suite import MethodChoice
from bench.core.attributes import product
from bench.core.errors import Incompatible
from bench.engine.method_boundary import build_checked
from bench.plugin_checks.outcome import Complaint, NotApplicable, require
from bench.plugin_checks.spreading import spread
from bench.plugin_checks.worlds import SAMPLER
from bench.protocols.cache import NoCache
from bench.protocols.counting import Counted
from bench.protocols.method import Batch, Guided, Method, Task, Traits
from bench.sampling.loop import draw_batch
from bench.sweeps.space import first_setting, space_of

N = 6  # samples of a guidance batch
NO_CHANGE = "the neutral setting is the base model, and the default fields change nothing on this task"


class Subject:
    """A method on a task, built once.

    Attributes:
        name: public name of the method.
        world: name of the task, a key of `bench.plugin_checks.worlds.WORLDS`.
        task: the task.
        fields: values of the method's fields that differ from their defaults.
    """

    def __init__(self, name: str, world: str, task: Task, fields: Mapping[str, object]) -> None:
        self.name, self.world, self.task, self.fields = name, world, task, fields

    def build(self, task: Task, **fields: object) -> Guided:
        """Build the method with some fields changed as a run does, which withholds what it does not declare.

        Raises:
            ConfigError: it breaks the protocol, see `bench.engine.method_boundary`; so do the calls of the result.
            Incompatible: the task lacks something that the method needs.
        """
        return build_checked(self.name, self.method(**fields), task, 0)

    def method(self, **fields: object) -> Method:
        """Return the method with its fields, some of them changed."""
        method: Method = build_method(self.name, {**self.fields, **fields})
        return method

    @property
    def traits(self) -> Traits:
        """The method's traits."""
        return self.method().traits

    @functools.cached_property
    def exact(self) -> bool:
        """Return whether equal samples are equal bit for bit: a network's last bits differ with the number of rows."""
        return self.world == "mixture" and self.traits.stage == "sampling"

    @functools.cached_property
    def guided(self) -> Guided:
        """The guided denoiser.

        Raises:
            NotApplicable: the method does not apply to the task.
        """
        built = self._built
        if isinstance(built, str):
            raise NotApplicable(f"{self.name} does not apply to {self.world}: {built}")
        return built

    @functools.cached_property
    def _built(self) -> Guided | str:
        try:
            return self.build(self.task)
        except Incompatible as error:
            return str(error)

    def refusal(self) -> str:
        """Return why the method does not apply to the task; empty if it does."""
        return self._built if isinstance(self._built, str) else ""


def draw(task: Task, guided: Guided, rows: range = range(N), condition: torch.Tensor | None = None) -> torch.Tensor:
    """Return samples [n, *shape] of one guidance batch, without a condition unless given."""
    conditions = torch.zeros(len(rows), dtype=torch.long) if condition is None else condition
    batch = Batch(torch.tensor(rows), conditions, len(rows))
    return draw_batch(task.model, guided, SAMPLER, batch, 0)


def check_traits(subject: Subject) -> None:
    """Check that the traits are of the type that the bench reads, and name a neutral setting."""
    traits = subject.traits
    require(isinstance(traits, Traits), f"traits must be a bench.protocols.method.Traits, got {type(traits).__name__}")
    require(
        traits.neutral is not None or traits.stage == "training",
        "traits.neutral must name the fields with which a method that acts while sampling equals the base model, got "
        "None; that is for methods that train a model",
    )


def check_neutral(subject: Subject) -> None:
    """Check that the neutral setting is the base model bit for bit, and that the default is not."""
    guided, task, traits = subject.guided, subject.task, subject.traits
    if traits.neutral is None:
        raise NotApplicable("trains a model of its own")
    neutral = subject.build(task, **traits.neutral)
    condition = None
    if "conditions" in traits.needs:
        require(neutral.assigned_classes is not None, 'a method that needs "conditions" must give assigned_classes')
        assert neutral.assigned_classes is not None
        joint = product(task.attributes)
        names = [f"{joint.name}={joint.classes[k]}" for k in neutral.assigned_classes(np.arange(N))]
        condition = torch.tensor([task.model.conditions.index(n) for n in names])
    vanilla: Method = build_method("vanilla", {})
    base = draw(task, vanilla.build(task, 0), condition=condition)
    require(
        torch.equal(draw(task, neutral), base),
        f"with traits.neutral = {dict(traits.neutral)} the samples must equal the base model's bit for bit, got others",
    )
    if traits.neutral and torch.equal(draw(task, guided), base):  # without such a field, the default is the base model
        if subject.world == "mixture":  # of two points with symmetries, which a method may leave as they are
            raise NotApplicable(NO_CHANGE)
        raise Complaint("the default fields must change the samples, got the base model's")


def check_shapes(subject: Subject) -> None:
    """Check what the denoiser returns at every step; shapes and writes into its inputs are checked by every run too."""
    guided, task, name = subject.guided, subject.task, subject.name
    x = torch.randn(N, *task.model.shape, generator=torch.Generator().manual_seed(1)).to(task.model.dtype)
    batch = Batch(torch.arange(N), torch.zeros(N, dtype=torch.long), N)
    with torch.no_grad():
        for t in task.timesteps:
            out = guided.denoise(x, t, batch)
            require(out.dtype == x.dtype, f"method {name} returned {out.dtype} at t = {t}, expected {x.dtype}")
            require(not out.requires_grad, f"method {name} returned a tensor with a gradient at t = {t}; detach it")
            require(bool(torch.isfinite(out).all()), f"method {name} returned NaN or infinity at t = {t}")


def check_seed(subject: Subject) -> None:
    """Check that the same seed gives the same bytes, without the cache too."""
    guided, task = subject.guided, subject.task
    again = subject.build(dataclasses.replace(task, cache=NoCache()))
    require(torch.equal(draw(task, guided), draw(task, again)), "the same seed must give the same samples, got others")
    if guided.assigned_classes is not None:
        require(again.assigned_classes is not None, "the same seed must give the same assigned classes, got none")
        assert again.assigned_classes is not None
        same = np.array_equal(guided.assigned_classes(np.arange(N)), again.assigned_classes(np.arange(N)))
        require(same, "the same seed must give the same assigned classes, got others")


def check_assigned_classes(subject: Subject) -> None:
    """Check that an assigned class depends on the sample's number alone; every run checks number, type and range."""
    guided = subject.guided
    if guided.assigned_classes is None:
        raise NotApplicable("assigns no classes")
    classes, few = (guided.assigned_classes(index) for index in (np.arange(20), np.arange(7, 13)))
    require(np.array_equal(few, classes[7:13]), "an assigned class must depend on the sample's number alone")


def check_split(subject: Subject) -> None:
    """Check that a guidance batch may be split without changing a sample, unless the method couples it."""
    guided, task, traits = subject.guided, subject.task, subject.traits
    whole = draw(task, guided)
    halves = torch.cat([draw(task, guided, range(2)), draw(task, guided, range(2, N))])
    if traits.couples_batch:  # in four steps the mixture is pushed all the way, whatever the batch
        coupled = subject.world == "mixture" or not torch.allclose(whole, halves, atol=1e-4)
        require(coupled, "couples_batch is declared, but no sample depends on the others; leave it out")
        return
    same = torch.equal(whole, halves) if subject.exact else torch.allclose(whole, halves, atol=1e-3)
    require(same, "a sample depends on the others of its guidance batch; declare couples_batch, or take each alone")


def check_spread(subject: Subject) -> None:
    """Check that several processes may share a guidance batch, unless the method couples it otherwise than by its mean.

    Four rows in two compute batches in one process, two rows in one compute batch in the other.
    """
    guided, task, traits = subject.guided, subject.task, subject.traits
    t = task.timesteps[len(task.timesteps) // 2]  # where h shows the class
    if traits.couples_batch and not traits.couples_by_mean:
        raise NotApplicable("refused under more than one rank")
    x = torch.randn(N, *task.model.shape, generator=torch.Generator().manual_seed(1)).to(task.model.dtype)
    batch, parts = Batch(torch.arange(N), torch.zeros(N, dtype=torch.long), 3), [slice(4), slice(4, N)]
    with torch.no_grad():
        whole = guided.denoise(x, t, batch)
        ranks = spread(guided.denoise, x, t, batch, parts)
        alone = torch.cat([guided.denoise(x[r], t, Batch(batch.index[r], batch.condition[r], 3)) for r in parts])
    tolerance = 1e-6 if subject.exact else 1e-4
    require(
        torch.allclose(ranks, whole, atol=tolerance),
        "rows of one guidance batch in two processes must give the samples of one process, got others; take means over "
        "the batch by batch.mean",
    )
    require(
        torch.allclose(alone, whole, atol=tolerance) != traits.couples_batch,
        f"couples_batch = {traits.couples_batch} is declared, but rows alone give "
        f"{'the same' if traits.couples_batch else 'other'} samples",
    )


def check_calls(subject: Subject) -> None:
    """Check the numbers of network calls and backward passes per sample and step."""
    task, traits, steps = subject.task, subject.traits, SAMPLER.steps
    repeats = subject.guided.repeats
    model = Counted(task.model)
    counted = dataclasses.replace(task, model=model)
    guided = subject.build(counted)
    model.counts.forward_rows = model.counts.backward_rows = 0
    draw(counted, guided)
    calls = model.counts.forward_rows / (N * steps * repeats)
    require(
        calls == traits.calls, f"traits.calls = {traits.calls:g} is declared, got {calls:g} calls per sample and step"
    )
    seeing = sum(float(model.alphas_cumprod[t]) > 0 for t in task.timesteps)  # at a_t = 0 there is nothing to guide
    assert seeing == steps - 1
    backward = model.counts.backward_rows / (N * seeing * repeats)
    require(
        backward == traits.backward,
        f"traits.backward = {traits.backward:g} is declared, got {backward:g} backward passes per sample and step",
    )


class Without:
    """A model that lacks one thing."""

    def __init__(self, model: object, **lacks: object) -> None:
        self.model = model
        self.__dict__.update(lacks)

    def __getattr__(self, name: str) -> object:
        return getattr(self.model, name)


def lacking(task: Task, need: str) -> Task:
    """Return a task that lacks one need of a method, other than "target"."""
    if need == "bottleneck":
        return dataclasses.replace(task, model=Without(task.model, bottleneck_shape=None))  # type: ignore[arg-type]
    if need == "conditions":
        return dataclasses.replace(task, model=Without(task.model, conditions=("none",)))  # type: ignore[arg-type]
    return dataclasses.replace(task, **{need: None})  # type: ignore[arg-type]


def check_needs(subject: Subject) -> None:
    """Check that a task without a declared need is refused with a reason."""
    _ = subject.guided
    needs = sorted(subject.traits.needs - {"target"})
    if not needs:
        raise NotApplicable("declares no need that a task may lack")
    for need in needs:
        try:
            subject.build(lacking(subject.task, need))
        except Incompatible as error:
            require(len(str(error)) > 20, f'a task without "{need}" must be refused with a reason, got {str(error)!r}')
        else:
            raise Complaint(f'traits.needs declares "{need}", but build accepts a task without it; raise Incompatible')


def check_target(subject: Subject) -> None:
    """Check that the samples depend on the target exactly where the method declares "target"."""
    if subject.world != "mixture":
        raise NotApplicable("measured on the mixture only")
    _ = subject.guided
    target = np.array([0.1, 0.9])
    tasks = subject.task, dataclasses.replace(subject.task, target=target)
    pair = [draw(task, subject.build(task), range(20)) for task in tasks]
    same, declared = torch.equal(*pair), "target" in subject.traits.needs
    require(
        same != declared,
        f'traits.needs {"declares" if declared else "does not declare"} "target", but the samples of two targets are '
        f"{'equal' if same else 'not equal'}",
    )


CHECKS: dict[str, Callable[[Subject], None]] = {
    "traits": check_traits,
    "shapes, types and inputs": check_shapes,
    "neutral setting": check_neutral,
    "same seed, same samples": check_seed,
    "assigned classes": check_assigned_classes,
    "split guidance batch": check_split,
    "spread guidance batch": check_spread,
    "calls and backward passes": check_calls,
    "needs": check_needs,
    "target": check_target,
}


def check_applies(subjects: list[Subject]) -> None:
    """Check that a method applies to at least one task."""
    refusals = [f"{subject.world}: {subject.refusal()}" for subject in subjects if subject.refusal()]
    require(len(refusals) < len(subjects), f"build must accept one of the tasks; it refused {'; '.join(refusals)}")


def check_search_space(name: str) -> None:
    """Check that the search space names fields, that the method accepts all of it, and that it holds the defaults."""
    choice = MethodChoice(name=name)
    axes = space_of(choice)  # builds the method with both ends of every range and with every listed value
    missing = {axis.name for axis in axes} - set(first_setting(choice, axes))
    require(
        not missing, f"search_space must hold the defaults of its fields, got none for {', '.join(sorted(missing))}"
    )
    if not axes:
        raise NotApplicable("declares no search space")
