"""Plug-ins of other packages: what they define is seen in their modules, and a broken one breaks nothing else."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint, PathDistribution
from pathlib import Path
from typing import Any

import pytest

from bench.cli import listing
from bench.config.suite import MethodChoice, Suite, read_suite
from bench.core import plugins
from bench.core.errors import ConfigError, UnknownName
from bench.environment.doctor import examine
from bench.report.metric_cards import project_cards
from bench.report.page.cards import cards
from bench.results import metric_info

METHOD = '''
from dataclasses import dataclass
from typing import ClassVar

from bench.protocols.method import Guided, Traits


@dataclass(frozen=True)
class Method:
    """Do nothing."""

    traits: ClassVar[Traits] = Traits("none", "sampling", neutral={})

    def build(self, task, seed):
        return Guided(task.model.denoise)


Renamed = Method
'''
CARD = """
from bench.protocols.evaluator import NO_INTERVAL, Column, MetricCard, Score

COLUMN = Column("NAME", "lower", 0.0, 1.0, "share", NO_INTERVAL)


class Evaluator:
    card = MetricCard("One.", "f", "ours", (COLUMN,), "none", "1", "none", "none", "all")

    def evaluate(self, sample, reference):
        return [Score("NAME", "all", 0.5, n=len(sample.assigned_class))]
"""
EXTRACTOR = """
class Extractor:
    name = "my_resnet"
    digest = "1"

    def extract(self, images):
        return {"features": images.float().mean((2, 3)).numpy()}
"""
Offer = Callable[..., None]


@pytest.fixture
def offer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Offer:
    """Write modules, and offer entry points (kind, name, value) of one distribution."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def of(modules: dict[str, str], *entries: tuple[plugins.Kind, str, str], package: str = "my-package") -> None:
        for name, source in modules.items():
            (tmp_path / f"{name}.py").write_text(source)
            monkeypatch.delitem(sys.modules, name, raising=False)
        importlib.invalidate_caches()
        info = tmp_path / f"{package}-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.2\n")
        distribution: Any = PathDistribution(info)
        points = [EntryPoint(n, value, plugins.GROUPS[kind])._for(distribution) for kind, n, value in entries]
        before = plugins.entry_points
        monkeypatch.setattr(
            plugins, "entry_points", lambda group: [*before(group=group), *(p for p in points if p.group == group)]
        )
        monkeypatch.setattr(metric_info, "_of_cards", inspect.unwrap(metric_info._of_cards))

    return of


def shown(table: Any) -> dict[str, tuple[str, ...]]:
    """First cell to the others of every row of a table."""
    return {name: cells for name, *cells in zip(*(column.cells for column in table.columns), strict=True)}


def test_an_extractor_and_a_metric_of_another_package_are_told_apart(offer: Offer) -> None:
    """Every entry point counted as both, so that cards were sought in extractors and extractors built from metrics."""
    both = CARD.replace("NAME", "both_share") + EXTRACTOR
    offer(
        {"far_resnet": EXTRACTOR, "far_share": CARD.replace("NAME", "my_share"), "far_both": both},
        ("evaluator", "my_resnet", "far_resnet"),
        ("evaluator", "my_share", "far_share"),
        ("evaluator", "my_both", "far_both"),
    )
    metrics, extractors = (plugins.with_member("evaluator", member) for member in ("Evaluator", "Extractor"))
    assert {"my_share", "my_both"} == set(metrics) & {"my_resnet", "my_share", "my_both"}
    assert {"my_resnet", "my_both"} == set(extractors) & {"my_resnet", "my_share", "my_both"}
    assert metric_info.metric("my_share").better == "lower"
    assert [card["name"] for card in cards(["my_share", "fd_l2_hard"])] == ["my_share", "fairness_discrepancy"]
    assert "my_share" not in project_cards()
    assert {f.what: f.state for f in examine()}["extractor my_resnet"] == "ok"
    rows = shown(listing._evaluators())
    assert {rows["my_resnet"][0], rows["my_share"][0]} == {"extractor", "metric"}
    with pytest.raises(ConfigError, match="unknown metric 'my_resnet'"):
        read_changed(metrics=["my_resnet"])
    with pytest.raises(ConfigError, match="unknown extractor 'my_share'"):
        read_changed(features=["my_share"])
    assert read_changed(metrics=["my_share"], features=["my_resnet"]).metrics == ("my_share",)


def read_changed(**changes: object) -> Suite:
    from bench.config.suite import suite_of

    return suite_of(read_suite("quick").model_dump(mode="json", by_alias=True) | changes)


def test_an_entry_point_may_name_the_class_itself(offer: Offer) -> None:
    offer(
        {"far_method": METHOD, "far_share": CARD.replace("NAME", "my_share"), "far_resnet": EXTRACTOR},
        ("method", "by_class", "far_method:Method"),
        ("method", "by_other_name", "far_method:Renamed"),
        ("evaluator", "my_share", "far_share:Evaluator"),
        ("evaluator", "my_resnet", "far_resnet:Extractor"),
    )
    for name in ("by_class", "by_other_name"):
        assert plugins.load("method", name, "Method")().traits.paper == "none"
        assert plugins.module_of("method", name).__name__ == "far_method"
    assert plugins.load("evaluator", "my_share", "Evaluator").card.columns[0].pattern == "my_share"
    assert plugins.load("evaluator", "my_resnet", "Extractor")().name == "my_resnet"
    with pytest.raises(UnknownName, match="unknown extractor 'my_share'"):
        plugins.load("evaluator", "my_share", "Extractor")
    assert plugins.package_of("method", "by_class") == ("my-package", "1.2")
    assert plugins.package_of("method", "vanilla") is None


BROKEN = {
    "far_syntax": ("class Method:\n  def\n", r"SyntaxError: .* \(.*far_syntax.py, line 2\)"),
    "far_import": ("import no_such_library\n", r"No module named 'no_such_library' \(.*far_import.py, line 1\)"),
    "far_exit": ("import sys\nsys.exit(3)\n", r"SystemExit: 3 \(.*line 2\)"),
    "far_error": ("x = 1\nx['a']\n", r"TypeError: .*\(.*far_error.py, line 2\)"),
    "far_empty": ("", r"far_empty defines no `class Method`; add one"),
    "far_protocol": ("from bench.protocols.method import Method\n", r"defines no `class Method`"),
    "far_bare": ("class Method:\n    traits = 1\n", r"class Method must have traits and build, got none called build"),
    "far_plain": ("class Method:\n    traits = 1\n    def build(self, task, seed): ...\n", r"must be a dataclass"),
    "far_value": ("Method = 3\n", r"Method must be a class, got 3"),
    "far_attribute:Gone": ("", r"module far_attribute has no Gone; correct the entry point"),
    "far_absent": (None, r"No module named 'far_absent'"),
}


def test_a_broken_plug_in_is_a_row_and_breaks_nothing_else(offer: Offer) -> None:
    modules = {value.partition(":")[0]: text for value, (text, _) in BROKEN.items() if text is not None}
    offer(
        {**modules, "far_card": "class Evaluator:\n    card = {}\n    def evaluate(self, sample, reference): ...\n"},
        *(("method", value.partition(":")[0], value) for value in BROKEN),
        ("evaluator", "far_card", "far_card"),
    )
    reasons, rows = plugins.broken("method"), shown(listing._methods())
    assert set(reasons) == {value.partition(":")[0] for value in BROKEN}
    findings = {f.what: f for f in examine()}
    for value, (_, sentence) in BROKEN.items():
        name = value.partition(":")[0]
        with pytest.raises(ConfigError, match=sentence):
            plugins.load("method", name, "Method")
        assert "my-package 1.2" in reasons[name]
        assert reasons[name] in rows[name][0]
        assert findings[f"method {name}"].state == "unavailable"
        with pytest.raises(ConfigError, match=r"line \d+|add one|must|correct|No module"):
            read_changed(methods=[{"name": name}])
    assert {"vanilla", "distribution_guidance"} <= set(rows)
    assert "must be a MetricCard, got {}" in shown(listing._evaluators())["far_card"][1]
    assert metric_info.metric("fd_l2_hard").better == "lower"
    assert read_changed(methods=[{"name": "vanilla"}]).methods == (MethodChoice(name="vanilla"),)


def test_a_name_of_the_bench_in_another_package_is_refused(offer: Offer) -> None:
    offer(
        {"far_method": METHOD, "far_share": CARD.replace("NAME", "fd_l2_hard")},
        ("method", "vanilla", "far_method"),
        ("evaluator", "fairness_discrepancy", "far_share"),
    )
    sentence = (
        r"method 'vanilla' is a name of the bench, and the installed package my-package 1.2 \(far_method\) offers"
    )
    with pytest.raises(ConfigError, match=sentence):
        plugins.load("method", "vanilla", "Method")
    with pytest.raises(ConfigError, match=sentence):
        read_changed(methods=[{"name": "vanilla"}])
    assert "cannot be used" in shown(listing._methods())["vanilla"][0]
    # Finished runs are read with the bench's own card.
    assert plugins.loaded("evaluator", "Evaluator")["fairness_discrepancy"].__module__.startswith("evaluators.")
    assert metric_info.metric("fd_l2_hard").scale.high > 1
    assert plugins.module_of("method", "vanilla").__name__ == "methods.vanilla"


def test_a_name_of_two_packages_is_refused(offer: Offer) -> None:
    offer({"far_method": METHOD}, ("method", "twice", "far_method"))
    offer({"far_other": METHOD}, ("method", "twice", "far_other"), package="second")
    sentence = r"offered twice, by my-package 1.2 \(far_method\) and second 1.2 \(far_other\); uninstall"
    with pytest.raises(ConfigError, match=sentence):
        plugins.load("method", "twice", "Method")
    assert "twice" not in plugins.loaded("method", "Method")


def test_a_helper_and_a_broken_file_in_the_folder_are_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "methods"
    folder.mkdir()
    for name, text in {"__init__": "", "mine": METHOD, "helper": "SHARE = 1\n", "torn": "class Method\n"}.items():
        (folder / f"{name}.py").write_text(f"{text}\nclass Method\n" if name == "torn" else text)
    monkeypatch.setattr(plugins, "ROOT", tmp_path)
    for cached in (plugins._files, plugins._shipped):
        monkeypatch.setattr(plugins, cached.__name__, cached.__wrapped__)
    for name in [n for n in sys.modules if n.partition(".")[0] == "methods"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert plugins.names("method") == ["mine", "torn"]
    assert set(plugins.loaded("method", "Method")) == {"mine"}
    reasons = plugins.broken("method")
    assert reasons["helper"].startswith("methods/helper.py defines no `class Method`, so it is no method; ")
    assert "torn.py, line 1" in reasons["torn"]
    with pytest.raises(ConfigError, match=r"methods/helper.py defines no `class Method`"):
        plugins.check_exists("method", "helper", "Method", "method")


def test_a_folder_of_the_users_in_place_of_methods_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "methods").mkdir()
    (tmp_path / "methods" / "__init__.py").write_text("")
    for name in [n for n in sys.modules if n.partition(".")[0] == "methods"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ConfigError, match=r"bench's package 'methods' in .*, got .*; rename that folder, or take"):
        plugins.load("method", "vanilla", "Method")
