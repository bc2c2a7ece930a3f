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
    from bench.core.errors import ConfigError
    from bench.core.plugins import broken, loaded

    rows: list[tuple[str, ...]] = []
    reasons = broken("method")
    for name in loaded("method", "Method"):
        try:
            method = build_method(name, {})
            traits, needs = method.traits, ", ".join(sorted(method.traits.needs)) or "-"
            cost, couples = f"{traits.calls:g} + {traits.backward:g}", "yes" if traits.couples_batch else "no"
            rows.append((name, _first_line(method), traits.paper, traits.stage, needs, cost, couples))
        except (ConfigError, AttributeError, TypeError) as error:  # a field without a default, traits of another type
            reasons[name] = str(error)
    rows += [(name, f"cannot be used: {reason}", *["-"] * 5) for name, reason in reasons.items()]
    columns = ("name", "what it does", "paper", "stage", "needs", "calls + backward per step", "couples batch")
    return screen.table("methods", columns, rows)


def _evaluators() -> Table:
    from bench.core.plugins import broken, loaded
    from bench.results.metric_info import score_name, value_range

    rows = []
    for name, evaluator in loaded("evaluator", "Evaluator").items():
        card = evaluator.card
        scores = "\n".join(f"{score_name(c)}  {value_range(c)}" for c in card.columns)
        rows.append((name, "metric", card.summary, scores, card.min_n, card.source))
    for name, extractor in loaded("evaluator", "Extractor").items():
        rows.append((name, "extractor", _first_line(extractor), "-", "-", "-"))
    for name, reason in broken("evaluator").items():
        rows.append((name, "-", f"cannot be used: {reason}", "-", "-", "-"))
    heads = ("name", "kind", "what it measures", "scores, the better direction, range", "smallest n", "source")
    return screen.table("evaluators: the whole of each metric's card is in docs/metrics.md", heads, rows)


def _first_line(documented: object) -> str:
    """Return the first line of a docstring, or a dash where there is none."""
    return (documented.__doc__ or "").strip().partition("\n")[0] or "-"


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
