"""A bad file is described by its line, its key and what was expected."""

from __future__ import annotations

import pytest

from bench.core.errors import ConfigError
from bench.core.yaml_models import read_yaml
from bench.recipes.recipe import ClassifierRecipe, Recipe, read_recipe

GOOD = """\
recipe:
  kind: classifier
  data: {name: avatars-labelled, n: 100}
  heldout:
    name: avatars-heldout
    size: 32
  training:
    steps: 10
  widths: [8, 16]
"""


def problem(tmp_path, text: str) -> str:
    path = tmp_path / "r.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_recipe(path)
    message = str(caught.value)
    assert "\n" not in message, "one sentence"
    return message.replace(str(path), "FILE")


def test_a_good_file(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text(GOOD)
    recipe = read_recipe(path)
    assert isinstance(recipe, ClassifierRecipe)
    assert (recipe.widths, recipe.data.n, recipe.heldout.n, recipe.training.steps) == ((8, 16), 100, None, 10)


def test_unknown_key_names_line_and_nearest(tmp_path):
    message = problem(tmp_path, GOOD.replace("    steps: 10", "    steps: 10\n    flip: true"))
    assert message.startswith("FILE, line 9: unknown key 'recipe.")
    assert message.endswith("training.flip'; did you mean 'flips'?")


def test_unknown_key_far_from_all_lists_them(tmp_path):
    message = problem(tmp_path, GOOD + "  zzzzzz: 1\n")
    assert "line 10: unknown key" in message
    assert "known keys: " in message
    assert "checkpoint_minutes" in message


def test_value_out_of_range_names_line_key_bound_and_value(tmp_path):
    message = problem(tmp_path, GOOD.replace("size: 32", "size: 4"))
    assert message.startswith("FILE, line 6: recipe.")
    assert message.endswith("heldout.size: input should be greater than or equal to 8, got 4")


def test_an_item_of_a_list(tmp_path):
    message = problem(tmp_path, GOOD.replace("  widths: [8, 16]", "  widths:\n  - 8\n  - wide"))
    assert message.startswith("FILE, line 11: ")
    assert "'wide'" in message


def test_a_missing_key_is_named_at_its_parent(tmp_path):
    message = problem(tmp_path, GOOD.replace("    steps: 10", "    batch: 10"))
    assert message.startswith("FILE, line 7: ")
    assert message.endswith("training.steps: field required")


def test_an_unknown_kind(tmp_path):
    message = problem(tmp_path, GOOD.replace("kind: classifier", "kind: clasifier"))
    assert "line 1" in message
    assert "'classifier'" in message


@pytest.mark.parametrize(("text", "found"), [("", "NoneType"), ("- 1\n- 2\n", "list"), ("just words", "str")])
def test_no_mapping(tmp_path, text, found):
    assert problem(tmp_path, text) == f"FILE: must hold a mapping of keys to values, got {found}"


def test_no_yaml(tmp_path):
    assert problem(tmp_path, "a: 1\nb: [1, 2\nc: 3\n").startswith("FILE, line 3: not valid YAML: ")


def test_objects_are_not_made(tmp_path):
    assert "not valid YAML" in problem(tmp_path, "a: !!python/object/apply:os.getcwd []\n")


def test_missing_file_and_bytes_that_are_no_text(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot read .*absent\.yaml: No such file"):
        read_yaml(tmp_path / "absent.yaml", Recipe)
    (tmp_path / "b.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="it is not UTF-8 text"):
        read_yaml(tmp_path / "b.yaml", Recipe)
