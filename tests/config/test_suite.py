"""Suites: what a bad file is told, which cells a good one spans, and in which order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from bench.config.build import build_extractor, build_method
from bench.config.suite import MethodChoice, Suite, TaskChoice, list_suites, read_suite
from bench.core.attributes import Attribute, target_name
from bench.core.errors import ConfigError, UnknownName
from bench.core.specs import ExtractorSpec, Fields
from bench.engine.cells import cells, resolve_target
from bench.environment.requirements import takes_from_elsewhere
from bench.sweeps.grid import choose_tasks

GLASSES = Attribute("eyeglasses", ("without", "with"))
SKIN = Attribute("skin_tone", ("light", "medium", "dark"))
KNOWN = (GLASSES, SKIN)

GOOD = """\
suite: mine
model: avatars-unet
n: 100
guidance_batch: 50
seeds:
  - 3
  - 1
sampler:
  name: ddim
  steps: 10
tasks:
  - attributes: [eyeglasses]
  - attributes: [skin_tone]
    target: [0.2, 0.3, 0.5]
methods:
  - name: vanilla
  - name: closed_loop_editing
    with: {strength: 2}
    label: stronger
labelled: avatars-labelled
references:
  avatars-balanced: 200
metrics: [fairness_discrepancy]
"""


def read(folder: Path, text: str = GOOD) -> Suite:
    path = folder / "s.yaml"
    path.write_text(text)
    return read_suite(str(path))


def suite_of(**changes: Any) -> Suite:
    return Suite.model_validate(yaml.safe_load(GOOD) | changes)


# Each: what is replaced in the good file, by what, and the sentence that must come of it.
REFUSED = {
    "n of 0": ("n: 100", "n: 0", "line 3: n: input should be greater than or equal to 1, got 0"),
    "n in words": ("n: 100", "n: many", "line 3: n: input should be a valid integer, unable to parse string as an "),
    "n of a half": ("n: 100", "n: 1.5", "line 3: n: input should be a valid integer, got a number with a fractional "),
    "n that is a date": ("n: 100", "n: 2024-13-45", "not valid YAML: month must be in 1..12"),
    "n missing": ("n: 100\n", "", "FILE: n: field required"),
    "batch above n": (
        "batch: 50",
        "batch: 101",
        "line 4: guidance_batch: guidance_batch must be at most n = 100, got 101",
    ),
    "batch of 0": (
        "batch: 50",
        "batch: 0",
        "line 4: guidance_batch: input should be greater than or equal to 1, got 0",
    ),
    "a seed twice": ("- 1", "- 3", "line 5: seeds: the seeds must be different and >= 0, got [3, 3]"),
    "a seed below 0": ("- 1", "- -1", "line 5: seeds: the seeds must be different and >= 0, got [3, -1]"),
    "a seed above 2^53": (
        "- 1",
        "- 9007199254740993",
        "line 5: seeds: a seed must be at most 2^53 = 9007199254740992, as far as tables are exact, got 90071992547409",
    ),
    "n without end": (
        "n: 100",
        "n: 1000000000000000",
        "line 3: n: input should be less than or equal to 10000000, got 1000000000000000",
    ),
    "a reference without end": (
        "balanced: 200",
        "balanced: 1000000000000000",
        "references: a reference set must have at most 10000000 images, got",
    ),
    "a seed in words": ("- 1", "- one", "line 7: seeds.1: input should be a valid integer"),
    "no seed": ("seeds:\n  - 3\n  - 1", "seeds: []", "line 5: seeds: tuple should have at least 1 item"),
    "steps of 0": (
        "steps: 10",
        "steps: 0",
        "line 10: sampler.steps: input should be greater than or equal to 1, got 0",
    ),
    "eta of 2": ("steps: 10", "eta: 2", "line 10: sampler.eta: input should be less than or equal to 1, got 2"),
    "eta of ddpm": (
        "name: ddim\n  steps: 10",
        "name: ddpm\n  eta: 0.5",
        "line 10: sampler.eta: eta is a setting of ddim, got 0.5 for ddpm; leave it out",
    ),
    "a sampler": (
        "name: ddim",
        "name: euler",
        "line 9: sampler.name: input should be 'ddim', 'ddpm' or 'dpmsolver++', ",
    ),
    "a precision": ("steps: 10", "precision: fp8", "line 10: sampler.precision: input should be 'fp32' or 'bf16', got"),
    "a key": (
        "guidance_batch:",
        "guidence_batch:",
        "line 4: unknown key 'guidence_batch'; did you mean 'guidance_batch'?",
    ),
    "a key inside": ("target:", "targte:", "line 14: unknown key 'tasks.1.targte'; did you mean 'target'?"),
    "a method's key": ("label:", "lable:", "line 19: unknown key 'methods.1.lable'; did you mean 'label'?"),
    "no attribute": ("[eyeglasses]", "[]", "line 12: tasks.0.attributes: tuple should have at least 1 item"),
    "a sum of 1.1": (
        "0.5]",
        "0.6]",
        "line 14: tasks.1.target: target must sum to 1, got [0.2, 0.3, 0.6], which sums to 1.1",
    ),
    "a negative share": (
        "[0.2, 0.3",
        "[-0.2, 0.7",
        "line 14: tasks.1.target: target must have entries >= 0, got [-0.2,",
    ),
    "a share of nan": ("0.5]", ".nan]", "line 14: tasks.1.target: target must have entries >= 0, got [0.2, 0.3, nan]"),
    "words as shares": (
        "0.5]",
        "half]",
        'line 14: tasks.1.target: target must be "uniform", a list of numbers, one per ',
    ),
    "a word as target": (
        "[0.2, 0.3, 0.5]",
        "unifrm",
        'line 14: tasks.1.target: target must be "uniform", a list of ',
    ),
    "a target of null": (
        "[0.2, 0.3, 0.5]",
        "",
        'target must be "uniform" or shares of the classes, got None; leave it out',
    ),
    "yes as a share": (
        "[0.2, 0.3, 0.5]",
        "[yes, no, no]",
        "one per class, or the numbers by class name, got [True, False, False]",
    ),
    "a share by name above 1": ("[0.2, 0.3, 0.5]", "{light: 1.5}", "target must sum to 1, got [1.5], which sums to"),
    "yes as a class": ("[0.2, 0.3, 0.5]", "{yes: 0.9, no: 0.1}", "texts as class names, got {True: 0.9, False: 0.1};"),
    "one name for two": (
        "label: stronger",
        "label: vanilla",
        "line 15: methods: two methods are called 'vanilla'; give",
    ),
    "a metric twice": ("[fairness_discrepancy]", "[frechet, frechet]", "line 23: metrics: 'frechet' is named twice"),
    "a reference of 1": (
        "balanced: 200",
        "balanced: 1",
        "references: a reference set must have at least 2 images, got",
    ),
    "a name with a slash": ("suite: mine", "suite: a/b", "line 1: suite: string should match pattern"),
    "the store's name": ("suite: mine", "suite: store", "line 1: suite: a suite must not be called 'store'"),
    "a tab": ("n: 100", "n:\t100", "line 3: not valid YAML: "),
    "a zero byte": ("mine", "mi\0ne", "not valid YAML: unacceptable character #x0000"),
    "a key twice": ("n: 100", "n: 100\nn: 200", "line 4: 'n' is given twice; keep one"),
    "a key twice inside": ("steps: 10", "steps: 10\n  steps: 20", "line 11: 'steps' is given twice; keep one"),
    "a number as key": ("n: 100", "n: 100\n1: 2", "line 4: 1: keys should be strings, got 1"),
}


@pytest.mark.parametrize(("old", "new", "sentence"), REFUSED.values(), ids=REFUSED.keys())
def test_a_refusal_names_file_line_key_and_what_was_expected(tmp_path: Path, old: str, new: str, sentence: str) -> None:
    assert GOOD.count(old) == 1, "the change is the one that is meant"
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, GOOD.replace(old, new))
    message = str(caught.value).replace(str(tmp_path / "s.yaml"), "FILE")
    assert message.startswith("FILE"), message
    assert sentence in message
    assert "\n" not in message


@pytest.mark.parametrize("text", ["[" * 5000, "a: " + "{b: " * 5000])
def test_nesting_without_end_is_no_yaml(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match="not valid YAML: nested too deeply"):
        read(tmp_path, text)


def test_a_byte_order_mark_is_no_error(tmp_path: Path) -> None:
    assert read(tmp_path, "\ufeff" + GOOD).n == 100


def test_what_is_left_out_has_its_default() -> None:
    least = {"suite": "s", "model": "m", "n": 2, "guidance_batch": 1, "tasks": [{"attributes": ["a"]}]}
    suite = Suite.model_validate({**least, "methods": [{"name": "vanilla"}]})
    assert (suite.seeds, suite.labelled) == ((0,), None)
    assert suite.classifiers == (ExtractorSpec.plain("attribute_cnn"),)
    assert [choice.spec.title for choice in suite.features] == ["efficientnet_lite0"]
    assert (suite.references, suite.metrics) == ({}, ("fairness_discrepancy", "frechet"))
    assert suite.sampler.model_dump() == {
        "name": "ddim",
        "steps": 50,
        "eta": 0.0,
        "precision": "fp32",
        "spacing": "model",
    }
    assert (suite.tasks[0].target, suite.methods[0].title, suite.methods[0].fields) == ("uniform", "vanilla", {})


@pytest.mark.parametrize("name", [name for name in list_suites() if not takes_from_elsewhere(read_suite(name))])
def test_a_shipped_suite_is_valid_named_after_its_file_and_says_what_it_runs(name: str) -> None:
    from evaluators.attribute_cnn import Extractor

    suite = read_suite(name)
    assert suite.suite == name
    assert list_suites()[name].endswith(".")
    assert len(cells(suite, Extractor().attributes)) == len(suite.tasks) * len(suite.methods) * len(suite.seeds)


def test_an_unknown_suite_offers_the_nearest() -> None:
    with pytest.raises(UnknownName, match=r"unknown suite 'quik'; did you mean 'quick'\? known: FILE.yaml, "):
        read_suite("quik")


def test_cells_go_by_task_then_method_then_seed(tmp_path: Path) -> None:
    found = cells(read(tmp_path), KNOWN)
    tasks = ("eyeglasses uniform", "skin_tone 20/30/50")
    assert [(c.task, c.title, c.seed) for c in found] == [
        (task, title, seed) for task in tasks for title in ("vanilla", "stronger") for seed in (3, 1)
    ]
    assert found[0].target == (0.5, 0.5)
    assert found[-1].target == (0.2, 0.3, 0.5)
    assert found[-1].method == "closed_loop_editing"


def test_a_cell_has_every_field_of_its_method_defaults_included() -> None:
    default, stronger = build_method("closed_loop_editing", {}), cells(suite_of(), KNOWN)[2]
    assert stronger.fields["strength"] == 2
    assert stronger.fields.keys() == vars(default).keys()
    assert stronger.fields["calibration"] == default.calibration
    assert dict(cells(suite_of(), KNOWN)[0].fields) == {}


@pytest.mark.parametrize(
    ("only", "kept"),
    [
        ({"task": {"skin_tone"}}, 4),
        ({"task": {"skin_tone 20/30/50"}}, 4),
        ({"method": {"stronger"}}, 4),
        ({"seed": {"1"}}, 4),
        ({"seed": {"1"}, "method": {"vanilla"}}, 2),
        ({"seed": {"1", "3"}, "method": {"vanilla", "stronger"}}, 8),
        ({"task": {"eyeglasses", "skin_tone"}, "seed": {"3"}}, 4),
        ({}, 8),
    ],
)
def test_only_keeps_what_answers_to_it(only: dict[str, set[str]], kept: int) -> None:
    everything = cells(suite_of(), KNOWN)
    found = cells(suite_of(), KNOWN, only)
    assert len(found) == kept
    assert found == [c for c in everything if c in found], "in the same order"
    for c in found:
        assert str(c.seed) in only.get("seed", {"1", "3"})
        assert c.title in only.get("method", {"vanilla", "stronger"})


@pytest.mark.parametrize(
    ("only", "sentence"),
    [
        (
            {"methods": {"vanilla"}},
            r"unknown key of --only 'methods'; did you mean 'method'\? known: method, seed, task",
        ),
        ({"method": {"vanila"}}, r"unknown method of suite mine 'vanila'; did you mean 'vanilla'\?"),
        ({"method": {"closed_loop_editing"}}, "known: stronger, vanilla"),  # it goes by its label
        ({"seed": {"0"}}, "unknown seed of suite mine '0'; .*known: 1, 3"),
        ({"task": {"skin"}}, r"unknown task of suite mine 'skin'; did you mean 'skin_tone'"),
        ({"task": {"eyeglasses+skin_tone"}}, "unknown task of suite mine"),
    ],
)
def test_only_that_names_nothing_offers_what_there_is(only: dict[str, set[str]], sentence: str) -> None:
    with pytest.raises(UnknownName, match=sentence):
        cells(suite_of(), KNOWN, only)


def test_the_joint_of_two_attributes_has_a_share_for_every_pair() -> None:
    pair = ("eyeglasses", "skin_tone")
    assert resolve_target(TaskChoice(attributes=pair), KNOWN) == (KNOWN, (1 / 6,) * 6)
    shares = (0.1, 0.1, 0.1, 0.2, 0.2, 0.3)
    assert resolve_target(TaskChoice(attributes=pair, target=shares), KNOWN) == (KNOWN, shares)
    assert resolve_target(TaskChoice(attributes=pair[::-1]), KNOWN)[0] == (SKIN, GLASSES)


@pytest.mark.parametrize(
    ("choice", "sentence"),
    [
        ({"attributes": ("eyeglases",)}, r"unknown attribute 'eyeglases'; did you mean 'eyeglasses'\?"),
        ({"attributes": ("eyeglasses", "eyeglasses")}, "the attributes of a task must be different, got"),
        (
            {"attributes": ("eyeglasses",), "target": (0.2, 0.3, 0.5)},
            r"the target over without, with must have 2 entries, one per class, got 3: \[0.2, 0.3, 0.5\]",
        ),
        (
            {"attributes": ("eyeglasses",), "target": {"with": 0.9, "witout": 0.1}},
            "unknown class in the target 'witout'",
        ),
        ({"attributes": ("eyeglasses",), "target": {"with": 1}}, "a share of each class, got none of without; give it"),
        (
            {"attributes": ("eyeglasses", "skin_tone"), "target": (0.5, 0.5)},
            "must have 6 entries, one per class, got 2",
        ),
    ],
)
def test_a_task_that_cannot_be_is_refused(choice: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        resolve_target(TaskChoice(**choice), KNOWN)


def test_a_method_is_a_plain_name_and_a_target_goes_by_class_names_in_any_order(tmp_path: Path) -> None:
    text = GOOD.replace("- name: vanilla", "- vanilla").replace(
        "[0.2, 0.3, 0.5]", "{dark: 0.5, light: 0.2, medium: 0.3}"
    )
    named = read(tmp_path, text)
    assert named.methods[0] == MethodChoice(name="vanilla")
    assert cells(named, KNOWN) == cells(read(tmp_path), KNOWN)
    assert cells(Suite.model_validate_json(named.model_dump_json(by_alias=True)), KNOWN) == cells(named, KNOWN)
    assert choose_tasks(named, [named.tasks[1].title]).tasks == named.tasks[1:]


def test_a_joint_class_is_named_by_its_parts() -> None:
    shares = {f"{g}+{s}": 0.3 if g == "with" else 0.1 / 3 for s in SKIN.classes for g in GLASSES.classes}
    target = resolve_target(TaskChoice(attributes=("eyeglasses", "skin_tone"), target=shares), KNOWN)[1]
    assert target == (*(0.1 / 3,) * 3, *(0.3,) * 3)


@pytest.mark.parametrize("target", ["uniform", [0.5, 0.5], {"with": 0.5, "without": 0.5}])
def test_a_task_twice_is_refused_also_where_it_is_written_differently(target: Any) -> None:
    tasks = [{"attributes": ["eyeglasses"]}, {"attributes": ["eyeglasses"], "target": target}]
    with pytest.raises(ConfigError, match="two tasks of suite mine are 'eyeglasses uniform'; keep one"):
        cells(suite_of(tasks=tasks), KNOWN)


@pytest.mark.parametrize(
    ("name", "fields", "sentence"),
    [
        ("vanila", {}, r"unknown method 'vanila'; did you mean 'vanilla'\?"),
        ("base", {}, "unknown method 'base'"),  # a module, but no method
        ("../vanilla", {}, "unknown method '../vanilla'"),
        ("vanilla", {"strength": 1}, "unknown field of method vanilla 'strength'; known: none"),
        (
            "closed_loop_editing",
            {"strengh": 1},
            r"unknown field of method closed_loop_editing 'strengh'; did you mean 'strength'\?",
        ),
        (
            "closed_loop_editing",
            {"strength": "big"},
            "method closed_loop_editing: strength: input should be a valid number, .*'big'",
        ),
        ("closed_loop_editing", {"strength": float("nan")}, "strength must be a finite number, got nan"),
        ("closed_loop_editing", {"window": [0.5]}, "method closed_loop_editing: window.1: field required"),
        ("closed_loop_editing", {"window": [0.9, 0.1]}, "window must be two fractions"),
        (
            "class_gap_guidance",
            {"loss": "l2"},
            "method class_gap_guidance: loss: input should be 'chi_square', 'kl' or 'assigned_class'",
        ),
    ],
)
def test_a_method_is_built_of_known_fields_in_range(name: str, fields: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        build_method(name, fields)


@pytest.mark.parametrize(
    ("target", "name"),
    [
        ((0.5, 0.5), "uniform"),
        ((1 / 3, 1 / 3, 1 / 3), "uniform"),
        ((0.1, 0.9), "10/90"),
        ((0.125, 0.875), "12.5/87.5"),
        ((0.0, 1.0), "0/100"),
    ],
)
def test_a_target_is_called_by_its_shares(target: tuple[float, ...], name: str) -> None:
    assert target_name(target) == name


def test_an_extractor_is_a_name_or_a_name_with_fields() -> None:
    least = {"suite": "s", "model": "m", "n": 2, "guidance_batch": 1, "tasks": [{"attributes": ["a"]}]}
    classifiers = [{"name": "clip", "with": {"threshold": 0.6}, "label": "careful clip"}, "attribute_resnet"]
    suite = Suite.model_validate({**least, "methods": [{"name": "vanilla"}], "other_classifiers": classifiers})
    careful = ExtractorSpec("clip", Fields({"threshold": 0.6}), "careful clip")
    assert suite.classifiers[1:] == (careful, ExtractorSpec.plain("attribute_resnet"))
    with pytest.raises(ValidationError, match="'attribute_cnn' is named twice; name it once, or give one a `label`"):
        Suite.model_validate({**least, "methods": [{"name": "vanilla"}], "other_classifiers": ["attribute_cnn"]})


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (
            ExtractorSpec("clip", Fields({"treshold": 0.6}), "x"),
            "field of extractor clip 'treshold'; did you mean 'threshold'",
        ),
        (ExtractorSpec("clip", Fields({"threshold": 7}), "x"), "threshold must be in .*, got 7"),
        (
            ExtractorSpec("efficientnet_lite0", Fields({"size": "big"}), "x"),
            "extractor efficientnet_lite0 cannot be made with",
        ),
    ],
)
def test_a_field_that_an_extractor_does_not_take_is_refused(spec: ExtractorSpec, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        build_extractor(spec)


SHORT = {"suite": "s", "model": "avatars-unet", "n": 4, "guidance_batch": 2}


@pytest.mark.parametrize(
    ("key", "short", "value"),
    [
        ("classifier", "judge", "attribute_resnet"),
        ("other_classifiers", "other_judges", ["attribute_resnet"]),
        ("classifier_may_guide", "judge_may_guide", True),
    ],
)
def test_a_short_key_means_the_same_as_the_whole_one(key: str, short: str, value: object) -> None:
    axes = {**SHORT, "tasks": [{"attributes": ["eyeglasses"]}], "methods": [{"name": "vanilla"}]}
    assert Suite.model_validate({**axes, short: value}) == Suite.model_validate({**axes, key: value})
    assert key in Suite.model_validate({**axes, short: value}).model_dump(mode="json", by_alias=True)
    with pytest.raises(ValueError, match=f"`{short}` is another name for `{key}`; keep one of them"):
        Suite.model_validate({**axes, key: value, short: value})


def test_an_error_under_a_short_key_names_its_line(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(
        "suite: s\nmodel: avatars-unet\nn: 4\nguidance_batch: 2\njudge: attribute_cn\n"
        "tasks: [{attributes: [eyeglasses]}]\nmethods: [{name: vanilla}]\n"
    )
    with pytest.raises(
        ConfigError, match=r"s\.yaml, line 5: judge(\.name)?: unknown extractor 'attribute_cn'; did you"
    ):
        read_suite(str(path))
