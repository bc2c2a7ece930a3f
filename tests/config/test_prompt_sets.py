"""Prompt sets: the shipped files, what they say, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from bench.config.prompt_set import PromptSet, check_phrases, list_prompt_sets, read_prompt_set
from bench.core.attributes import Attribute
from bench.core.errors import ConfigError, UnknownName
from evaluators.contrastive.prompts import read_prompts

GOOD: dict[str, Any] = {
    "templates": ["a portrait of {}"],
    "subjects": {"pilot": "a pilot", "baker": "a baker"},
    "phrases": {"eyeglasses": {"absent": "without glasses", "present": "with glasses"}},
}


def written(folder: Path, **changes: Any) -> str:
    (folder / "set.yaml").write_text(yaml.safe_dump(GOOD | changes, sort_keys=False))
    return str(folder / "set.yaml")


def test_a_prompt_is_a_template_with_a_subject_and_a_phrase_follows_it(tmp_path: Path) -> None:
    assert read_prompt_set(written(tmp_path)).prompts == {
        "pilot": {
            "none": "a portrait of a pilot",
            "eyeglasses=absent": "a portrait of a pilot without glasses",
            "eyeglasses=present": "a portrait of a pilot with glasses",
        },
        "baker": {
            "none": "a portrait of a baker",
            "eyeglasses=absent": "a portrait of a baker without glasses",
            "eyeglasses=present": "a portrait of a baker with glasses",
        },
    }


def test_several_templates_are_numbered(tmp_path: Path) -> None:
    found = read_prompt_set(written(tmp_path, templates=["a portrait of {}", "{} at work"], phrases={})).prompts
    assert {name: said["none"] for name, said in found.items()} == {
        "pilot (1)": "a portrait of a pilot",
        "pilot (2)": "a pilot at work",
        "baker (1)": "a portrait of a baker",
        "baker (2)": "a baker at work",
    }


def test_the_shipped_sets_can_be_read_and_name_classes_as_the_classifiers_do() -> None:
    assert list_prompt_sets() == ["avatars-professions", "professions"]
    for name, classified, subjects in (("avatars-professions", "avatars", 8), ("professions", "faces", 30)):
        found = read_prompt_set(name)
        assert len(found.prompts) == subjects
        known = {a.name: a for a in read_prompts(classified).described}
        check_phrases(found, tuple(known.values()))
        assert all(set(found.phrases[a]) == set(known[a].classes) for a in found.phrases)
    said = read_prompt_set("avatars-professions").prompts["accountant"]
    assert (said["none"], said["skin_tone=dark"]) == (
        "a portrait of an accountant",
        "a portrait of an accountant with dark skin",
    )
    assert len(said) == 1 + 2 + 3 + 2


TWICE = "templates: ['a {}']\nsubjects:\n  pilot: a pilot\n  pilot: a man who flies\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (TWICE, r"line 4: 'pilot' is given twice; keep one"),
        ("templates: [a", "line 1: not valid YAML"),
        ("templates: ['a {}']", "subjects: field required"),
        ("templates: ['a {}']\nsubjects: {}", "subjects: dictionary should have at least 1 item"),
        ("templates: ['a man']\nsubjects: {a: b}", r"must have one \{\}, where the subject goes, got 'a man'"),
        ("templates: ['{} {}']\nsubjects: {a: b}", r"must have one \{\}"),
        ("templates: ['a {}']\nsubjects: {a: x, b: x}", "two prompts read 'a x'; keep one subject or template of them"),
        ("templates: ['a {}', 'a {}']\nsubjects: {a: x}", "two prompts read 'a x'"),
        ("templates: ['a {}']\nsubjects: {a: ''}", "subjects.a: string should match pattern"),
        ("templates: ['a {}']\nsubjects: {a=b: x}", "string should match pattern"),
        ("templates: ['a {}']\nsubjects: {a: x}\nphrases: {g: {f: y, m: y}}", "'y' stands for two classes of g"),
        ("templates: ['a {}']\nsubject: {a: x}", "unknown key 'subject'; did you mean 'subjects'"),
    ],
)
def test_a_damaged_set_is_refused_in_a_sentence(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "set.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        read_prompt_set(str(tmp_path / "set.yaml"))
    assert "\n" not in str(caught.value)


def test_a_set_that_is_not_there_is_refused() -> None:
    with pytest.raises(UnknownName, match="unknown prompt set 'profesions'; did you mean 'professions'"):
        read_prompt_set("profesions")
    with pytest.raises(ConfigError, match=r"cannot read nowhere.yaml: No such file"):
        read_prompt_set("nowhere.yaml")


def test_a_phrase_for_a_class_that_does_not_exist_is_refused() -> None:
    found = PromptSet.model_validate(GOOD)
    check_phrases(found, (Attribute("eyeglasses", ("absent", "present")), Attribute("beard", ("no", "yes"))))
    with pytest.raises(UnknownName, match="unknown class of eyeglasses in the prompt set's phrases 'absent'"):
        check_phrases(found, (Attribute("eyeglasses", ("none", "present")),))
    check_phrases(found, (Attribute("beard", ("no", "yes")),))  # the classifier does not know eyeglasses
