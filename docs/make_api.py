"""docs/api.md, made from the docstrings of the public names: `python -m docs.make_api`."""

from __future__ import annotations

import dataclasses
import inspect
import re
import textwrap
from collections.abc import Iterable, Iterator
from types import ModuleType

import bench
import bench.protocols
from bench.core.plugins import ROOT
from bench.engine.run_options import OUT

PAGE = ROOT / "docs" / "api.md"
HEAD = """# Python API

Made by `python -m docs.make_api` from the docstrings; a test says that it is up to date, and another one runs the
examples. `import bench` loads no torch: every name is imported when it is first used. Each function does what the
command of the same name does and refuses what the command refuses, with the same sentence, as a `bench.BenchError`.
[quickstart.ipynb](quickstart.ipynb) shows a whole comparison.
"""
PROTOCOLS = """`from bench.protocols import ...`: the protocols of methods, evaluators, extractors, models and image
sets; [adding-a-method.md](adding-a-method.md) and [bring-your-own.md](bring-your-own.md) show how.
"""
RETURNED = {  # what the functions take and return, by module
    "bench.engine.run_options": ("RunOptions",),
    "bench.results.run": ("Run",),
    "bench.results.export": ("Exported",),
    "bench.estimate.plan": ("Plan",),
    "bench.estimate.forecast": ("Forecast",),
    "bench.comparison.head_to_head": ("Comparison",),
    "bench.comparison.gate": ("Outcome",),
    "bench.report.paper.formats": ("PaperTable",),
    "bench.verification.verify": ("Verification",),
    "bench.sweeps.sweep": ("Sweep",),
    "bench.sweeps.tuned": ("Tuning",),
    "bench.profiling.profile": ("Profile",),
}
SECTION = re.compile(r"^(Args|Attributes|Returns|Raises|Source|Yields):$")


def page() -> str:
    """Return the whole of docs/api.md."""
    functions = [name for name in bench.__all__ if inspect.isfunction(getattr(bench, name))]
    parts = [HEAD, "## Functions\n", *(_function(f"bench.{name}", getattr(bench, name)) for name in functions)]
    parts += ["## Plots\n", *_plots(bench.plots), "## What they take and return\n"]
    for module, names in RETURNED.items():
        parts += [_class(getattr(__import__(module, fromlist=["_"]), name)) for name in names]
    parts += ["## Protocols of plug-ins\n", PROTOCOLS]
    protocols = (getattr(bench.protocols, name) for name in bench.protocols.__all__)
    parts += [_class(protocol) for protocol in protocols if inspect.isclass(protocol)]
    return "\n".join(parts)


def _function(name: str, function: object) -> str:
    return f"### {name}\n\n```python\n{_signature(name, function)}\n```\n\n{_text(function)}\n"


def _plots(plots: ModuleType) -> Iterator[str]:
    yield "Each returns `Figures`: matplotlib figures by name; a notebook shows them, `save(folder)` writes them.\n"
    for name in plots.__all__:
        drawn = getattr(plots, name)
        if inspect.isfunction(drawn):
            yield f"- `bench.plots.{name}(run)`: {_first(drawn)}"
    yield ""


def _class(documented: type) -> str:
    lines = [f"### {documented.__name__}\n", f"{_text(documented)}\n"]
    fields = {f.name for f in dataclasses.fields(documented)} if dataclasses.is_dataclass(documented) else set()
    for name, member in vars(documented).items():
        if name.startswith("_") or name in fields or not getattr(member, "__doc__", None):
            continue
        if isinstance(member, property) or hasattr(member, "attrname"):
            lines.append(f"- `{name}`: {_first(member)}")
        elif inspect.isfunction(member):
            lines.append(f"- `{_signature(name, member)}`: {_first(member)}")
    return "\n".join(lines) + "\n"


def _signature(name: str, function: object) -> str:
    signature = inspect.signature(function)  # type: ignore[arg-type]
    arguments = list(_arguments(p for p in signature.parameters.values() if p.name != "self"))
    returned = f" -> {signature.return_annotation}"
    line = f"{name}({', '.join(arguments)}){returned}"
    return line if len(line) <= 100 else f"{name}(\n    " + ",\n    ".join(arguments) + f",\n){returned}"


def _arguments(parameters: Iterable[inspect.Parameter]) -> Iterator[str]:
    starred = False
    for p in parameters:
        if p.kind is p.KEYWORD_ONLY and not starred:
            starred = True
            yield "*"
        value = str(OUT) if p.default == OUT else p.default
        default = "" if p.default is p.empty else f" = {value!r}"
        yield f"{'**' if p.kind is p.VAR_KEYWORD else ''}{p.name}: {p.annotation}{default}"


def _first(documented: object) -> str:
    """Return the first paragraph of a docstring in one line."""
    return " ".join((inspect.getdoc(documented) or "").split("\n\n")[0].split())


def _text(documented: object) -> str:
    """Return a docstring as Markdown: sections as lists, examples as code."""
    blocks = []
    for block in (inspect.getdoc(documented) or "").split("\n\n"):
        first, *lines = block.splitlines()
        if SECTION.match(first):
            blocks.append(f"**{first}**\n\n{_entries(lines)}")
        elif first.startswith(">>>"):
            blocks.append(f"```pycon\n{block}\n```")
        else:
            blocks.append(block)
    return "\n\n".join(blocks)


def _entries(lines: list[str]) -> str:
    text = textwrap.dedent("\n".join(lines))
    entries = re.split(r"\n(?=\S)", text)
    listed = []
    for entry in entries:
        name, colon, what = " ".join(entry.split()).partition(": ")
        listed.append(f"- `{name}`: {what}" if colon and " " not in name else f"- {' '.join(entry.split())}")
    return "\n".join(listed)


def write() -> None:
    """Write docs/api.md."""
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    write()
