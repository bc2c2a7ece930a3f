"""What every method promises, measured on every method that is found: those of methods/ and those of other packages."""

from __future__ import annotations

import importlib.metadata
import sys
import types
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest

from bench.core import plugins
from bench.plugin_checks.methods import CHECKS, NO_CHANGE, Subject, check_applies, check_search_space
from bench.plugin_checks.outcome import NotApplicable
from bench.plugin_checks.worlds import WORLDS
from methods.reweighting.settings import FineTuning, Settings

ELSEWHERE = "smallest"  # the method of another package, below
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
        installed = plugins.entry_points
        patch.setattr(
            plugins, "entry_points", lambda group: [*installed(group=group), *([entry] if group == entry.group else [])]
        )
        assert ELSEWHERE in plugins.names("method")
        yield
    del sys.modules["another_package"]


NAMES = [*plugins.names("method"), ELSEWHERE]
every_method = pytest.mark.parametrize("name", NAMES)
everywhere = pytest.mark.parametrize("world", WORLDS)


def fields_of(name: str) -> dict[str, object]:
    """Fields in which a method differs from its defaults: one of the bench that trains a model trains for a moment."""
    if plugins.package_of("method", name) is not None or name == ELSEWHERE:
        return {}
    method, fields = plugins.load("method", name, "Method"), dict[str, object]()
    if method().traits.stage == "training" and "training" in method.__dataclass_fields__:
        fields |= {"training": MOMENT, "reference_frac": 0.25}
    if "fine_tuning" in method.__dataclass_fields__:
        fields |= {"fine_tuning": FineTuning(steps=2)}
    if name == "dsm_obs":  # from the model it is vanilla, which it refuses
        fields |= {"init": "scratch"}
    return fields


def method_of(name: str, **fields: object) -> Any:
    """A method with its default fields, except that one that trains a model trains it for a moment."""
    return plugins.load("method", name, "Method")(**{**fields_of(name), **fields})


MOMENT = Settings(steps=3, discriminator_steps=3, batch=8, channels=(8, 16), discriminator_channels=(8,), width=8)


@pytest.fixture(scope="module")
def subjects(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Subject]:
    """A method on a task, built once."""
    tasks = cache(lambda world: WORLDS[world](tmp_path_factory.mktemp(f"cache-{world}")))
    return cache(lambda name, world: Subject(name, world, tasks(world), fields_of(name)))


@every_method
def test_a_method_applies_somewhere(name: str, subjects: Callable[[str, str], Subject]) -> None:
    check_applies([subjects(name, world) for world in WORLDS])


@every_method
@everywhere
@pytest.mark.parametrize("check", CHECKS)
def test_contract(name: str, world: str, check: str, subjects: Callable[[str, str], Subject]) -> None:
    try:
        CHECKS[check](subjects(name, world))
    except NotApplicable as error:
        reason = str(error)
    else:
        return
    assert reason != NO_CHANGE or plugins.package_of("method", name) is not None
    pytest.skip(reason)


@every_method
def test_the_search_space_names_fields_and_holds_their_defaults(name: str) -> None:
    try:
        check_search_space(name)
    except NotApplicable:
        assert name != ELSEWHERE
