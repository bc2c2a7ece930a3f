"""`list`: what there is to choose from."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from bench.cli import screen
from bench.errors import UnknownName


def list_(
    what: Annotated[str, typer.Argument(help="methods, evaluators, models, data, suites or layouts.")],
) -> None:
    """What there is to choose from."""
    lists = {
        "methods": _methods,
        "evaluators": _evaluators,
        "models": _models,
        "data": _data,
        "suites": _suites,
        "layouts": _layouts,
    }
    if what not in lists:
        raise UnknownName("list", what, lists)
    screen.out.print(lists[what]())


def _methods() -> Table:
    from bench.discovery import names
    from bench.suite import build_method

    rows = []
    for name in names("method"):
        method = build_method(name, {})
        traits = method.traits
        doc = (method.__doc__ or "").strip().splitlines()[0]
        needs = ", ".join(sorted(traits.needs)) or "-"
        cost = f"{traits.calls:g} + {traits.backward:g}"
        rows.append((name, doc, traits.paper, traits.stage, needs, cost, "yes" if traits.couples_batch else "no"))
    columns = ("name", "what it does", "paper", "stage", "needs", "calls + backward a step", "couples batch")
    return screen.table("methods", columns, rows)


def _evaluators() -> Table:
    from bench.discovery import load, with_member

    rows = []
    for name in with_member("evaluator", "Evaluator"):
        card = load("evaluator", name, "Evaluator").card
        rows.append((name, "metric", card.summary, card.source, card.better))
    for name in with_member("evaluator", "Extractor"):
        doc = (load("evaluator", name, "Extractor").__doc__ or "").strip().splitlines()[0]
        rows.append((name, "extractor", doc, "-", "-"))
    return screen.table("evaluators", ("name", "kind", "what it tells", "source", "better"), rows)


def _models() -> Table:
    from bench.assets import list_assets
    from bench.models import list_models

    sources = {"path:DIR": "a folder saved by diffusers", "hub:ID": "a model of the hub"}
    rows = [(name, "diffusion", what) for name, what in {**list_models(), **sources}.items()]
    rows += [(name, kind, what) for kind in ("classifier", "clip") for name, what in list_assets(kind).items()]
    return screen.table("models", ("name", "kind", "what it is"), rows)


def _data() -> Table:
    from bench.data import list_data

    return screen.table("data", ("name", "what it is for"), list(list_data().items()))


def _suites() -> Table:
    from bench.suite import list_suites

    return screen.table("suites", ("name", "what it runs"), list(list_suites().items()))


def _layouts() -> Table:
    from bench.papertables.layout import list_layouts

    return screen.table("layouts", ("name", "what it shows"), list(list_layouts().items()))
