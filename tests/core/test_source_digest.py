"""A plug-in's digest changes with every line of code that decides its results, and with no line of prose."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench.core import design, plugins, source_digest
from methods import latent_editing
from methods.targeting import edits

FILES = {
    "plugin/__init__.py": "DEFAULT = 1\n",
    "plugin/method.py": (
        '"""A method."""\n\nfrom bench.core.design import BLOCK\nfrom plugin import helper\n\n\n'
        "def run():\n    from .late import late\n\n    return helper.share + BLOCK + late()\n"
    ),
    "plugin/helper.py": "from plugin.constants import SHARE\n\nshare = SHARE  # of samples\n",
    "plugin/constants.py": "SHARE = 0.816\n",
    "plugin/late.py": 'def late():\n    """Return 2."""\n    return 2\n',
    "plugin/stranger.py": "UNUSED = 1\n",
}


@pytest.fixture
def digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., str]]:
    """Write the package with some files replaced, and return the digest of its module `plugin.method`."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def of(**changed: str) -> str:
        for name, text in FILES.items():
            path = tmp_path / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(changed.get(path.stem.strip("_"), text))
        for name in [n for n in sys.modules if n.partition(".")[0] == "plugin"]:
            del sys.modules[name]
        importlib.invalidate_caches()
        source_digest.source_digest.cache_clear()
        return source_digest.source_digest(importlib.import_module("plugin.method"))

    yield of
    for name in [n for n in sys.modules if n.partition(".")[0] == "plugin"]:
        del sys.modules[name]
    source_digest.source_digest.cache_clear()


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("constants", "SHARE = 0.540\n"),
        ("helper", "from plugin.constants import SHARE\n\nshare = 2 * SHARE\n"),
        ("late", "def late():\n    return 3\n"),
        ("init", "DEFAULT = 2\n"),
        ("method", FILES["plugin/method.py"].replace("+ late", "- late")),
    ],
)
def test_a_changed_line_of_code_anywhere_in_the_closure_changes_the_digest(
    digest: Callable[..., str], file: str, text: str
) -> None:
    assert digest() != digest(**{file: text})


def test_prose_and_modules_that_are_not_imported_do_not_count(digest: Callable[..., str]) -> None:
    before = digest()
    assert digest(stranger="UNUSED = 2\n") == before
    assert digest(late='def late():\n    """Two."""\n    # why\n\n    return 2  # so\n') == before


def test_a_constant_of_the_bench_counts_by_its_value(
    digest: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = digest()
    monkeypatch.setattr(design, "BLOCK", 120)
    assert digest() != before


def test_the_code_keeps_strings_that_are_values_and_lines_with_both() -> None:
    text = 'A = """x\ny"""  # z\nB = (\n    "first"  # why\n    "second"\n)\n\n'
    text += 'class C:\n    """Doc."""\n\n    d: str = "#"\n'
    assert source_digest.code(text) == 'A = """x\ny"""\nB = (\n    "first"\n    "second"\n)\nclass C:\n    d: str = "#"'
    assert source_digest.code('def f(): "kept, on a line with code"; return 1') == (
        'def f(): "kept, on a line with code"; return 1'
    )


def test_shipped_plug_ins_have_their_helpers_in_their_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    source_digest.source_digest.cache_clear()
    before = source_digest.source_digest(plugins.module_of("method", "latent_editing"))
    assert edits.__file__ is not None
    read = Path.read_text

    def changed(path: Path, *args: object, **options: object) -> str:
        text = read(path, encoding="utf-8")
        return text.replace("keep", "k33p") if path == Path(str(edits.__file__)) else text

    monkeypatch.setattr(Path, "read_text", changed)
    source_digest.source_digest.cache_clear()
    assert source_digest.source_digest(latent_editing) != before
    source_digest.source_digest.cache_clear()
