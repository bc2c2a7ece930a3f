"""A method that breaks the protocol is named in one sentence, in every run; one that keeps it sees no difference."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench.api import run_suite as run
from bench.config.suite import read_suite
from bench.core import plugins
from bench.core.errors import ConfigError, UnknownName
from bench.engine.method_boundary import GIVEN_BY, build_checked, declared_task
from bench.engine.options import Options
from bench.protocols.method import Batch, Cost, Guided, Task, Traits
from bench.results.tables import read_records
from bench.sampling.loop import Sampler, sample_batch
from methods import vanilla
from methods.reweighting.settings import Settings
from tests.support.mixtures import GROUP, Posterior, labelled, line, pictures
from tests.support.planted import plant
from tests.support.small import small_suite

N, STEPS = 6, Sampler("ddim", 3)
MODEL = line()
TASK = Task(MODEL, (GROUP,), np.array([0.5, 0.5]), STEPS.timesteps(MODEL), classifier=lambda _: Posterior(MODEL))
PLAIN = vanilla.Method().build(TASK, 0)


@dataclass(frozen=True)
class Given:
    """A method that returns what a test hands it."""

    result: Callable[[Task], Any]
    needs: frozenset[Any] = frozenset()
    classifier: str = "this"

    @property
    def traits(self) -> Traits:
        return Traits(paper="none", stage="sampling", needs=self.needs)

    @property
    def search_space(self) -> Any:
        return {}

    def build(self, task: Task, seed: int) -> Guided:
        result: Guided = self.result(task)
        return result


def draw(guided: Guided, model: Any = MODEL) -> torch.Tensor:
    batch = Batch(torch.arange(N), torch.zeros(N, dtype=torch.int64), 4)
    return sample_batch(model, guided.denoise, STEPS, batch, 0, guided.repeats)


def denoised_as(change: Callable[[torch.Tensor], Any]) -> Callable[[Task], Guided]:
    """A build whose denoiser returns a change of the base model's prediction."""
    return lambda task: Guided(lambda x, t, batch: change(PLAIN.denoise(x, t, batch)))


def after(act: Callable[[torch.Tensor, Batch], object]) -> Callable[[Task], Guided]:
    """A build whose denoiser does something, and then returns the base model's prediction."""

    def build(task: Task) -> Guided:
        def denoise(x: torch.Tensor, t: int, batch: Batch) -> torch.Tensor:
            prediction = PLAIN.denoise(x, t, batch)
            act(x, batch)
            return prediction

        return Guided(denoise)

    return build


PREDICTIONS: dict[str, tuple[Callable[[Task], Any], str]] = {
    "one row": (denoised_as(lambda d: d[:1]), "method NAME returned float64 [1, 2] from the denoiser at timestep 999, "
                "expected float64 [6, 2], as x is, on cpu"),
    "a row too many": (denoised_as(lambda d: torch.cat([d, d[:1]])), "returned float64 [7, 2] from the denoiser"),
    "a number": (denoised_as(lambda d: d.mean()), "returned float64 [] from the denoiser"),
    "turned": (denoised_as(lambda d: d.T), "returned float64 [2, 6] from the denoiser"),
    "whole numbers": (denoised_as(lambda d: d.long()), "returned int64 [6, 2] from the denoiser"),
    "complex numbers": (denoised_as(lambda d: d + 0j), "returned complex128 [6, 2] from the denoiser"),
    "an array": (denoised_as(lambda d: d.numpy()), "returned float64 [6, 2] from the denoiser"),
    "nothing": (denoised_as(lambda d: None), "returned NoneType from the denoiser at timestep 999"),
    "x in place": (after(lambda x, _: x.mul_(0.9)), "method NAME wrote into x in the denoiser at timestep 999"),
    "x by its data": (after(lambda x, _: x.data.clamp_(-0.1, 0.1)), "method NAME wrote into x in the denoiser"),
    "conditions in place": (after(lambda _, b: b.condition.fill_(1)), "method NAME wrote into batch.condition"),
    "numbers in place": (after(lambda _, b: b.index.add_(1)), "method NAME wrote into batch.index in the denoiser"),
    "PyTorch's generator": (after(lambda x, _: torch.randn_like(x)), "changed the global generator of PyTorch in `den"),
    "PyTorch's seed": (after(lambda x, _: torch.manual_seed(0)), "changed the global generator of PyTorch"),
    "NumPy's generator": (after(lambda *_: np.random.rand()), "changed the global generator of NumPy"),  # noqa: NPY002
    "Python's generator": (after(lambda *_: random.random()), "changed the global generator of Python"),
}  # fmt: skip


@pytest.mark.parametrize(("build", "sentence"), PREDICTIONS.values(), ids=PREDICTIONS.keys())
def test_a_denoiser_that_breaks_the_protocol_is_refused(build: Callable[[Task], Any], sentence: str) -> None:
    guided = build_checked("mine", Given(build), TASK, 0)
    with pytest.raises(ConfigError) as caught:
        draw(guided)
    assert sentence.replace("NAME", "mine") in str(caught.value)
    assert "\n" not in str(caught.value)


BUILDS: dict[str, tuple[Callable[[Task], Any], str]] = {
    "no Guided": (lambda _: PLAIN.denoise, "method mine returned function from `build`, expected a Guided"),
    "no denoiser": (lambda _: Guided(None), "returned NoneType as `denoise`"),  # type: ignore[arg-type]
    "no step": (lambda _: Guided(PLAIN.denoise, repeats=0), "returned 0 as `repeats`, expected a whole number of at "),
    "half a step": (lambda _: Guided(PLAIN.denoise, repeats=1.5), "returned 1.5 as `repeats`"),  # type: ignore[arg-type]
    "a cost of nan": (lambda _: Guided(PLAIN.denoise, cost=Cost(float("nan"))), "as `cost`, expected a Cost of finite"),
    "tensors as notes": (lambda _: Guided(PLAIN.denoise, notes={"a": torch.ones(1)}), "`notes` that JSON cannot hold"),
    "a global generator": (lambda _: (torch.rand(1), PLAIN)[1], "changed the global generator of PyTorch in `build`"),
    "classes without a need": (
        lambda _: Guided(PLAIN.denoise, lambda i: i % 2),
        'method mine assigns classes, and must declare "target" or "conditions" or "classifier" among its needs',
    ),
}


@pytest.mark.parametrize(("build", "sentence"), BUILDS.values(), ids=BUILDS.keys())
def test_a_build_that_returns_something_else_is_refused(build: Callable[[Task], Any], sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build_checked("mine", Given(build), TASK, 0)
    assert sentence in str(caught.value)


CLASSES: dict[str, tuple[Callable[[Any], Any], str]] = {
    "one too few": (lambda i: i[1:] % 2, "method mine returned int64 [5] as assigned classes, expected int64 [6]"),
    "one for all": (lambda _: np.int64(1), "returned int64 as assigned classes"),
    "a list": (lambda i: [0] * len(i), "returned list as assigned classes"),
    "a tensor": (lambda i: torch.from_numpy(i) % 2, "returned int64 [6] as assigned classes"),
    "shares": (lambda i: i / 6, "returned float64 [6] as assigned classes"),
    "a class that is none": (lambda i: i % 3, "returned the assigned class 2, expected int64 [6], from 0 to 1, or -1"),
    "below -1": (lambda i: i % 2 - 2, "method mine returned the assigned class -2"),
}


@pytest.mark.parametrize(("classes", "sentence"), CLASSES.values(), ids=CLASSES.keys())
def test_assigned_classes_of_the_wrong_number_type_or_range_are_refused(
    classes: Callable[[Any], Any], sentence: str
) -> None:
    method = Given(lambda _: Guided(PLAIN.denoise, classes), frozenset({"target"}))
    guided = build_checked("mine", method, TASK, 0)
    assert guided.assigned_classes is not None
    with pytest.raises(ConfigError) as caught:
        guided.assigned_classes(np.arange(N))
    assert sentence in str(caught.value)


MOMENT = Settings(steps=3, discriminator_steps=3, batch=8, channels=(8, 16), discriminator_channels=(8,), width=8)
FIRST = {"training": MOMENT, "reference_frac": 0.25, "init": "scratch"}  # fields of methods that train a model


@pytest.fixture(scope="module")
def whole() -> Task:
    """A task with everything that a suite can offer."""
    model = pictures((0.8, 0.2), (0.02, 0.03))
    even = labelled(pictures((0.5, 0.5), (0.02, 0.03)), 240, 1)
    return Task(
        model, (GROUP,), np.array([0.5, 0.5]), STEPS.timesteps(model), labelled(model), lambda _: Posterior(model),
        observed=labelled(model, 400, 2), unbiased=even,
    )  # fmt: skip


@pytest.mark.parametrize("name", plugins.names("method"))
def test_every_method_passes_and_its_samples_are_the_same_bit_for_bit(name: str, whole: Task) -> None:
    cls = plugins.load("method", name, "Method")
    method = cls(**{field: value for field, value in FIRST.items() if field in cls.__dataclass_fields__})
    guided, plain = build_checked(name, method, whole, 0), method.build(whole, 0)
    assert torch.equal(draw(guided, whole.model), draw(plain, whole.model))
    if plain.assigned_classes is not None:
        assert guided.assigned_classes is not None
        assert np.array_equal(guided.assigned_classes(np.arange(N)), plain.assigned_classes(np.arange(N)))


@pytest.mark.parametrize("field", GIVEN_BY)
def test_what_a_method_does_not_declare_is_withheld(field: str) -> None:
    method = Given(lambda task: getattr(task, field))
    with pytest.raises(ConfigError, match=rf"method mine reads task\.{field} without declaring it, so .*; add \"") as e:
        build_checked("mine", method, TASK, 0)
    for need in GIVEN_BY[field]:
        assert f'"{need}"' in str(e.value)
        task = declared_task("mine", Given(lambda _: None, frozenset({need})), TASK)
        getattr(task, field)
    assert declared_task("mine", method, TASK).timesteps == TASK.timesteps


def test_a_method_guides_with_the_classifier_that_its_field_names() -> None:
    task = declared_task("mine", Given(lambda _: None, frozenset({"classifier"}), "this"), TASK)
    assert task.classifier is not None
    assert task.classifier("this").attributes == (GROUP,)
    with pytest.raises(ConfigError, match=r"method mine asks for the classifier 'that', expected that of its field"):
        task.classifier("that")


def test_a_need_that_does_not_exist_is_refused() -> None:
    with pytest.raises(UnknownName, match=r"unknown need of a method 'tagret'; did you mean 'target'\?"):
        Given(lambda _: PLAIN, frozenset({"tagret"})).traits  # noqa: B018
    with pytest.raises(ConfigError, match=r"the needs of a method must be a set, .* got \['target'\]"):
        Traits(paper="none", stage="sampling", needs=["target"])  # type: ignore[arg-type]


BROADCAST = '''
from dataclasses import dataclass
from typing import ClassVar

from bench.protocols.method import Guided, Task, Traits, timestep


@dataclass(frozen=True)
class Method:
    """Predicts the first sample for all."""

    traits: ClassVar[Traits] = Traits(paper="none", stage="sampling")

    def build(self, task, seed):
        def denoise(x, t, batch):
            return task.model.denoise(x[:1], timestep(t, 1, x.device), batch.condition[:1])

        return Guided(denoise)
'''
FORGETFUL = BROADCAST.replace("def denoise(", "share = task.target[0]\n\n        def denoise(")


def test_in_a_run_the_cell_fails_with_the_sentence_and_the_others_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch, tmp_path, broadcast=BROADCAST, forgetful=FORGETFUL)
    methods = [{"name": name} for name in ("vanilla", "broadcast", "forgetful")]
    suite = small_suite(tmp_path, n=4, guidance_batch=4, methods=methods, tasks=[{"attributes": ["eyeglasses"]}])
    outcome = run(read_suite(str(suite)), Options(tmp_path / "out", workers=1))
    assert outcome.failed
    rows = {row["method"]: row for row in read_records(tmp_path / "out" / "small" / "leaderboard.csv", ())}
    assert {name: row["status"] for name, row in rows.items()} == {
        "vanilla": "ok",
        "broadcast": "failed",
        "forgetful": "failed",
    }
    assert rows["broadcast"]["reason"].startswith("method broadcast returned float32 [1, 3, 32, 32] from the denoiser")
    assert 'add "target" to the needs of its traits' in rows["forgetful"]["reason"]


def test_a_need_that_does_not_exist_stops_the_run_before_it_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    misspelt = BROADCAST.replace('stage="sampling"', 'stage="sampling", needs=frozenset({"tagret"})')
    plant(monkeypatch, tmp_path, misspelt=misspelt)
    suite = small_suite(tmp_path, methods=[{"name": "vanilla"}, {"name": "misspelt"}])
    with pytest.raises(ConfigError, match=r"method 'misspelt' .*unknown need of a method 'tagret'; did you mean 'targ"):
        run(read_suite(str(suite)), Options(tmp_path / "out", workers=1))
    assert not (tmp_path / "out").exists()
