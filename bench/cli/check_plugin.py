"""`check-plugin`: the contract checks of a method, evaluator, extractor or model, outside a clone too."""

from __future__ import annotations

from typing import Annotated

import typer

from bench import api
from bench.cli import screen


def check_plugin(
    name: Annotated[str, typer.Argument(help="A method, evaluator, extractor or model, or path:DIR or hub:ID.")],
    kind: Annotated[
        str | None,
        typer.Option(help="method, evaluator, extractor or model; every one that the name has unless given."),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="FIELD=VALUE in YAML, such as 'training={steps: 3}'; may be repeated."),
    ] = None,
) -> None:
    """Run the contract checks of a plug-in: what it declares, measured. Exit code 1 if one fails."""
    from bench.core.yaml_models import yaml_fields

    failed = 0
    for checked in api.check_plugin(name, kind, yaml_fields("--set", set_ or [])):
        screen.line(f"{checked.role} {checked.name}" + (f" of package {checked.package}" if checked.package else ""))
        states = []
        for outcome in checked.outcomes:
            states.append(outcome.state)
            label = outcome.check + (f" ({outcome.where})" if outcome.where else "")
            screen.line(f"{outcome.state:7}  {label}" + (f": {outcome.detail}" if outcome.detail else ""))
        failed += states.count("failed")
        screen.line(", ".join(f"{states.count(state)} {state}" for state in ("ok", "skipped", "failed")))
    if failed:
        raise typer.Exit(1)
