"""The pages name files, tests, modules, commands and options that exist, and the index lists every page."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
import yaml
from typer.core import TyperGroup

from bench.cli import app
from bench.config.suite import SHORT_KEYS, Suite
from bench.core.attributes import Attribute
from bench.core.plugins import ROOT
from docs import make_suite_keys
from evaluators.attribute_cnn import Extractor

DOCS = ROOT / "docs"
INDEX = DOCS / "index.md"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
TOP = "bench|methods|evaluators|tests|docs|leaderboards"
PATH = re.compile(rf"(?<![\w/.:-])(?:{TOP})/[\w.*/-]*")
NODE = re.compile(r"(tests/[\w/]+\.py)::(\w+)")
MODULE = re.compile(r"(?<![\w/.-])(?:bench|methods|evaluators|tests)(?:\.\w+)+")
FILE = re.compile(r"`([\w./-]+\.(?:md|yml|png|cff|txt|toml|npz))`")
EXAMPLES = {  # files that the reader writes, or that a run leaves
    "leaderboards/store",
    "methods/my_method.py",
    "methods/assigned_conditions.py",
    "evaluators/my_metric.py",
    "bench/models/my_family.py",
    "bench/data/formats/my_format.py",
    "finished.json",
    "junit.xml",
    "summary.md",
    "ab.md",
    "trade-off.png",
    "gpu.md",
    "sdxl.md",
}


def names_file(name: str, page: Path) -> bool:
    """Return whether a path, from the checkout's root or the page's folder, names a file, a folder or a pattern."""
    name = name.rstrip("/.")
    if name in EXAMPLES:
        return True
    return any(next(folder.glob(name), None) is not None for folder in (ROOT, page.parent))


def is_defined(dotted: str) -> bool:
    """Return whether a dotted name is a package, a module, or something that a module defines at its top level."""
    words = dotted.split(".")
    for n in range(len(words), 0, -1):
        stem = ROOT.joinpath(*words[:n])
        source = stem / "__init__.py" if stem.is_dir() else stem.with_suffix(".py")
        if source.is_file():
            return n == len(words) or words[n] in _top_level(source)
    return False


def _top_level(source: Path) -> set[str]:
    text = source.read_text(encoding="utf-8")
    return set(re.findall(r"\w+", text)) if source.name == "__init__.py" else set(_definitions(ast.parse(text)))


def _definitions(tree: ast.Module) -> Iterator[str]:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Assign):
            yield from (target.id for target in node.targets if isinstance(target, ast.Name))
        elif isinstance(node, ast.ImportFrom):
            yield from (alias.asname or alias.name for alias in node.names)


def anchors(text: str) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    heads = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def commands(text: str) -> Iterator[list[str]]:
    """Return the words of every command line in code blocks and in backticks that calls the bench."""
    joined = text.replace("\\\n", " ")
    for line in re.findall(r"run_bench\.py ([^`\n]*)", joined):
        yield line.partition(" #")[0].split("&&")[0].strip("$ ").split()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        linked = page.parent / name if name else page
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked.read_text(encoding="utf-8")), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_paths_modules_and_tests_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    absent = [name for name in [*PATH.findall(text), *FILE.findall(text)] if not names_file(name, page)]
    absent += [name for name in MODULE.findall(text) if not is_defined(name) and not names_file(name, page)]
    for file, test in NODE.findall(text):
        if f"def {test}(" not in (ROOT / file).read_text(encoding="utf-8"):
            absent.append(f"{file}::{test}")
    assert not absent


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_have_the_options_that_are_named(page: Path) -> None:
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    for words in commands(page.read_text(encoding="utf-8")):
        if not words or not re.fullmatch(r"[a-z]+", words[0]):
            continue  # an option of the whole, or a placeholder
        assert words[0] in group.commands, words
        options = {option for parameter in group.commands[words[0]].params for option in parameter.opts} | {"--help"}
        named = {re.split(r"[=.,;:)]", word)[0] for word in words if word.startswith("--")}
        assert named <= options, (words, named - options)


def test_the_index_lists_every_page_once() -> None:
    listed = re.findall(r"^\| \[[^\]]+\]\(([^)]+)\) \|", INDEX.read_text(encoding="utf-8"), re.MULTILINE)
    pages = {str(page.relative_to(DOCS)) for page in [*DOCS.rglob("*.md"), *DOCS.glob("*.ipynb")]} - {"index.md"}
    assert sorted(listed) == sorted(pages)


def test_the_page_on_suites_describes_every_key_and_its_example_is_one() -> None:
    assert make_suite_keys.PAGE.read_text(encoding="utf-8") == make_suite_keys.page(), "run make_suite_keys"
    first, *others = make_suite_keys.page().split("\n## ")[1:]
    keys = re.findall(r"^\| `(\w+)`(?: \(short: `(\w+)`\))? \|", first, re.MULTILINE)
    rows = [line.split(" | ") for section in (first, *others) for line in section.splitlines() if line[:3] == "| `"]
    assert all(len(row) == 4 and len(row[3]) > 5 for row in rows), "every key has a meaning"
    assert [key for key, _ in keys] == list(Suite.model_fields)
    assert {key: short for key, short in keys if short} == SHORT_KEYS
    page = (DOCS / "suites.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    assert Suite.model_validate(yaml.safe_load(example)).methods[1].title == "stronger guidance"
    for name, classes in re.findall(r"^\| `(\w+)` \| ([\w, ]+) \|$", page, re.MULTILINE):
        assert Attribute(name, tuple(classes.split(", "))) in Extractor().attributes


def test_names_that_do_not_exist_are_found() -> None:
    page = DOCS / "index.md"
    assert names_file("bench/core/plugins.py", page)
    assert names_file("leaderboards/*/curves", page)
    assert not names_file("bench/no_such.py", page)
    assert is_defined("bench.core.plugins.ROOT")
    assert not is_defined("bench.core.plugins.no_such")
    assert not is_defined("bench.no_such")
    assert "five-lines-a-row" in anchors("## Five lines: a row")
    assert list(commands("```\n$ python run_bench.py run quick --out x  # why\n```")) == [
        ["run", "quick", "--out", "x"]
    ]
