"""`list`: methods, evaluators, models, data, suites and templates."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from bench.cli import screen
from bench.core.errors import UnknownName


def list_(
    what: Annotated[
        str, typer.Argument(help="methods, evaluators, models, data, suites or templates (alias: layouts).")
    ],
) -> None:
    """List what a suite or a command can name."""
    lists = {
        "methods": _methods,
        "evaluators": _evaluators,
        "models": _models,
        "data": _data,
        "suites": _suites,
        "templates": _templates,
    }
    name = "templates" if what == "layouts" else what
    if name not in lists:
        raise UnknownName("list", what, lists)
    screen.out.print(lists[name]())


def _methods() -> Table:
    from bench.config.build import build_method
    from bench.core.plugins import names

    rows = []
    for name in names("method"):
        method = build_method(name, {})
        traits = method.traits
        doc = (method.__doc__ or "").strip().splitlines()[0]
        needs = ", ".join(sorted(traits.needs)) or "-"
        cost = f"{traits.calls:g} + {traits.backward:g}"
        rows.append((name, doc, traits.paper, traits.stage, needs, cost, "yes" if traits.couples_batch else "no"))
    columns = ("name", "what it does", "paper", "stage", "needs", "calls + backward per step", "couples batch")
    return screen.table("methods", columns, rows)


def _evaluators() -> Table:
    from bench.core.plugins import load, with_member
    from bench.results.metric_info import score_name, value_range

    rows = []
    for name in with_member("evaluator", "Evaluator"):
        card = load("evaluator", name, "Evaluator").card
        scores = "\n".join(f"{score_name(c)}  {value_range(c)}" for c in card.columns)
        rows.append((name, "metric", card.summary, scores, card.min_n, card.source))
    for name in with_member("evaluator", "Extractor"):
        doc = (load("evaluator", name, "Extractor").__doc__ or "").strip().splitlines()[0]
        rows.append((name, "extractor", doc, "-", "-", "-"))
    heads = ("name", "kind", "what it measures", "scores, the better direction, range", "smallest n", "source")
    return screen.table("evaluators: the whole of each metric's card is in docs/metrics.md", heads, rows)


def _models() -> Table:
    from bench.assets import list_assets
    from bench.models import list_models

    sources = {"path:DIR": "a folder saved by diffusers", "hub:ID": "a model of the hub"}
    rows = [(name, "diffusion", what) for name, what in {**list_models(), **sources}.items()]
    rows += [(name, kind, what) for kind in ("classifier", "clip") for name, what in list_assets(kind).items()]
    return screen.table("models", ("name", "kind", "what it is"), rows)


def _data() -> Table:
    from bench.data import list_data, list_formats

    rows = [(name, "shipped set", what) for name, what in list_data().items()]
    rows += [(name, "format of files", what) for name, what in list_formats().items()]
    return screen.table("data", ("name", "kind", "what it is for, or what lies where"), rows)


def _suites() -> Table:
    from bench.config.suite import list_suites, read_suite
    from bench.environment.requirements import takes_from_elsewhere

    rows = [
        (name, what, "downloads: `prepare` lists them" if takes_from_elsewhere(read_suite(name)) else "-")
        for name, what in list_suites().items()
    ]
    return screen.table("suites", ("name", "what it runs", "needs"), rows)


def _templates() -> Table:
    from bench.report.paper.template import list_templates

    return screen.table("templates", ("name", "what it shows"), list(list_templates().items()))
