"""The command line, one function a command. Every error of the user's is one sentence and exit code 2."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from typer.core import TyperGroup

from bench.errors import BenchError, ConfigError, UnknownName


class Commands(TyperGroup):
    """The commands; typer itself would end at Ctrl-C without a word."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command, and say how to go on where it was interrupted."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            _say("interrupted; the same command goes on from here")
            raise typer.Exit(130) from None


app = typer.Typer(
    cls=Commands,
    help="Compare debiasing methods for diffusion models, fairly: the same noise, sampler, steps and judge for all.",
    epilog="Without a command, the quick suite runs. Example: python run_bench.py run quick --only task=eyeglasses",
    invoke_without_command=True,
    no_args_is_help=False,
    pretty_exceptions_enable=False,
    add_completion=False,
)
out_console = Console(width=None if sys.stdout.isatty() else 170)  # a pipe has no width: do not wrap at 80
OUT = Path("leaderboards")


@app.callback()
def default(context: typer.Context) -> None:
    """Run the quick suite where no command is given."""
    if context.invoked_subcommand is None:
        _run("quick", [], OUT, None, "cpu", None)


@app.command(epilog="Example: python run_bench.py run avatars --only method=vanilla --only seed=0 --out /tmp/results")
def run(
    suite: Annotated[str, typer.Argument(help="A shipped suite's name, or a YAML file.")] = "quick",
    only: Annotated[
        list[str] | None, typer.Option(help="Keep some cells: task=..., method=... or seed=...; may be repeated.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the tables (OUT/SUITE) and of the store (OUT/store).")] = OUT,
    workers: Annotated[
        int | None, typer.Option(help="Worker processes, one thread each; every core unless given.")
    ] = None,
    device: Annotated[str, typer.Option(help="A torch device: cpu, cuda, cuda:1, mps.")] = "cpu",
    compute_batch: Annotated[
        int | None, typer.Option(help="Largest number of images the network runs on at once; does not change results.")
    ] = None,
) -> None:
    """Run a suite, or what is missing of it: a run that was stopped goes on where it was."""
    _run(suite, only or [], out, workers, device, compute_batch)


def _run(name: str, only: list[str], out: Path, workers: int | None, device: str, compute_batch: int | None) -> None:
    from bench.report.terminal import show_leaderboard
    from bench.runner import Options
    from bench.runner import run as run_suite
    from bench.suite import read_suite

    if workers is not None and workers < 1:
        raise ConfigError(f"--workers must be at least 1, got {workers}")
    options = Options(out, workers, device, compute_batch, _parse_only(only))
    outcome = run_suite(read_suite(name), options)
    show_leaderboard(outcome.folder, out_console)
    for status, cell, reason in outcome.problems:
        out_console.print(f"{status}: {cell}: {reason}", markup=False, soft_wrap=True)
    out_console.print(f"tables and grids: {outcome.folder}", markup=False, soft_wrap=True)
    if outcome.failed:
        out_console.print(
            f"some cells failed; whole reasons: {outcome.folder / 'failures.log'}", markup=False, soft_wrap=True
        )
        raise typer.Exit(1)


def _parse_only(only: list[str]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for item in only:
        key, equals, value = item.partition("=")
        if not equals:
            raise ConfigError(f"--only must be key=value, got {item!r}; for example --only method=vanilla")
        found.setdefault(key, set()).add(value)
    return found


@app.command("list", epilog="Example: python run_bench.py list methods")
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
    out_console.print(lists[what]())


def _table(title: str, columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> Table:
    table = Table(title=title)
    for column in columns:
        table.add_column(column)
    for row in rows:
        table.add_row(*map(escape, row))  # a bracket in a docstring is no markup
    return table


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
    return _table("methods", columns, rows)


def _evaluators() -> Table:
    from bench.discovery import load, with_member

    rows = []
    for name in with_member("evaluator", "Evaluator"):
        card = load("evaluator", name, "Evaluator").card
        rows.append((name, "metric", card.summary, card.source, card.better))
    for name in with_member("evaluator", "Extractor"):
        doc = (load("evaluator", name, "Extractor").__doc__ or "").strip().splitlines()[0]
        rows.append((name, "extractor", doc, "-", "-"))
    return _table("evaluators", ("name", "kind", "what it tells", "source", "better"), rows)


def _models() -> Table:
    from bench.assets import list_assets
    from bench.models import list_models

    sources = {"path:DIR": "a folder saved by diffusers", "hub:ID": "a model of the hub"}
    rows = [(name, "diffusion", what) for name, what in {**list_models(), **sources}.items()]
    rows += [(name, kind, what) for kind in ("classifier", "clip") for name, what in list_assets(kind).items()]
    return _table("models", ("name", "kind", "what it is"), rows)


def _data() -> Table:
    from bench.data import list_data

    return _table("data", ("name", "what it is for"), list(list_data().items()))


def _suites() -> Table:
    from bench.suite import list_suites

    return _table("suites", ("name", "what it runs"), list(list_suites().items()))


def _layouts() -> Table:
    from bench.papertables.layout import list_layouts

    return _table("layouts", ("name", "what it shows"), list(list_layouts().items()))


@app.command(epilog="Example: python run_bench.py train avatars-unet --out models/avatars-unet")
def train(
    recipe: Annotated[str, typer.Argument(help="A shipped asset's name, or a recipe file.")],
    out: Annotated[Path | None, typer.Option(help="Folder of the weights; models/NAME unless given.")] = None,
    force: Annotated[bool, typer.Option(help="Start again from nothing.")] = False,
) -> None:
    """Train from a recipe, or go on where the folder stopped."""
    from bench.assets import asset_folder, list_assets
    from bench.training import train_recipe

    known = [name for kind in ("score_model", "classifier", "clip") for name in list_assets(kind)]
    path = Path(recipe)
    if not recipe.endswith((".yaml", ".yml")):
        if recipe not in known:
            raise UnknownName("recipe", recipe, [*known, "FILE.yaml"])
        path = asset_folder(recipe) / "recipe.yaml"
    name = recipe if recipe in known else path.stem
    record = train_recipe(path, out or Path("models") / name, force)
    out_console.print({k: v for k, v in record.items() if k != "recipe"})


@app.command(epilog="Example: python run_bench.py compare vanilla distribution_guidance --task eyeglasses --out ab.md")
def compare(
    a: Annotated[str, typer.Argument(metavar="A", help="METHOD (of leaderboards/quick), FOLDER or FOLDER:METHOD.")],
    b: Annotated[str, typer.Argument(metavar="B", help="The same; a folder alone means the method that A names.")],
    task: Annotated[list[str] | None, typer.Option(help="A task's name or attributes; may be repeated.")] = None,
    metric: Annotated[
        list[str] | None, typer.Option(help="A metric, or a pattern such as 'share_*'; may be repeated.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write the lines as well: FILE.csv or FILE.md.")] = None,
) -> None:
    """Compare two methods or two finished runs, with a test of every difference."""
    from bench.comparison import head_to_head, show

    if out is not None:
        show.check_ending(out)
    sides = head_to_head.read_sides(a, b)
    lines = head_to_head.compare(sides, task or (), metric or ())
    if out is not None:
        show.write(lines, sides, out)
    show.show(lines, sides, out_console)


@app.command(epilog="Example: python run_bench.py check results/quick --baseline leaderboards/quick/results.csv")
def check(
    baseline: Annotated[Path, typer.Option(help="The results.csv to hold the run to.")],
    results: Annotated[Path, typer.Argument(help="A run's folder or its results.csv.")] = OUT / "quick",
    gates: Annotated[Path | None, typer.Option(help="A YAML file of gates; docs/regression-gate.md.")] = None,
    junit: Annotated[Path | None, typer.Option(help="Write JUnit XML.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write a summary for a job's page.")] = None,
    annotations: Annotated[bool, typer.Option("--annotations", help="Print GitHub's annotations.")] = False,
    update: Annotated[bool, typer.Option("--update", help="Make the run the new baseline; say what changed.")] = False,
) -> None:
    """Refuse a run (exit code 1) that is significantly worse than its baseline, and by more than its gates."""
    from bench.comparison import ci, regression
    from bench.comparison.gates import read_gates
    from bench.comparison.runs import Run
    from bench.files import write_bytes

    new = Run.open(results)
    if update:
        if gates or junit or markdown or annotations:
            raise ConfigError("--update takes the run as it is; check it first, without --update")
        _update(new, baseline)
        return
    base = Run.open(baseline)
    rules = read_gates(gates, base.gateable)
    outcome = regression.check(new, base, rules)
    for path, text in ((junit, ci.junit(outcome)), (markdown, ci.markdown(outcome, rules))):
        if path is not None:
            write_bytes(path, text.encode())
    ci.show(outcome, out_console)
    for line in ci.github_annotations(outcome, new.file) if annotations else ():
        out_console.print(line, markup=False, highlight=False, emoji=False, soft_wrap=True)
    if outcome.red:
        raise typer.Exit(1)


def _update(new: Any, file: Path) -> None:
    from bench.comparison.baseline import changes, update
    from bench.comparison.runs import Run

    lines = changes(new, Run.open(file)) if file.exists() else ["there was none"]
    update(new, file)
    for line in lines or ["nothing changed"]:
        out_console.print(line, markup=False, highlight=False, soft_wrap=True)
    out_console.print(f"new baseline: {file}", markup=False, soft_wrap=True)


@app.command(epilog="Example: python run_bench.py table balancing_act leaderboards/quick --format latex --out fd.tex")
def table(
    layout: Annotated[str, typer.Argument(help="A shipped layout's name, or a YAML file.")],
    run: Annotated[Path, typer.Argument(help="A finished run's folder, or its results.csv.")] = OUT / "quick",
    format: Annotated[str, typer.Option(help="latex, markdown, csv or html.")] = "latex",
    out: Annotated[Path | None, typer.Option(help="Write it to a file instead of the screen.")] = None,
    claimed: Annotated[
        Path | None, typer.Option(help="A CSV of method, task, value and citation, to stand beside the measured ones.")
    ] = None,
) -> None:
    """Lay out a finished run as a table of a paper."""
    from bench.comparison.runs import Run
    from bench.files import write_bytes
    from bench.papertables.claims import read_claims
    from bench.papertables.formats import FORMATS
    from bench.papertables.layout import read_layout
    from bench.papertables.table import build

    if format not in FORMATS:
        raise UnknownName("format", format, FORMATS)
    chosen, finished = read_layout(layout), Run.open(run)
    claims = read_claims(claimed, finished) if claimed is not None else None
    text = FORMATS[format](build(chosen, finished, claims))
    if out is None:
        typer.echo(text, nl=False)
    else:
        write_bytes(out, text.encode())


@app.command(epilog="Example: python run_bench.py doctor")
def doctor() -> None:
    """What is installed, which weights are at hand, which devices there are."""
    from bench.doctor import examine

    rows = examine()
    out_console.print(_table("doctor", ("what", "found", "state"), rows))
    if any(state == "missing" for _, _, state in rows):
        raise typer.Exit(1)


def main() -> None:
    """The entry point: the user's errors as one line, without a traceback."""
    try:
        app()
    except BenchError as error:
        _say("error: " + " ".join(line.strip() for line in str(error).splitlines()))
        sys.exit(2)


def _say(line: str) -> None:
    Console(stderr=True).print(line, markup=False, highlight=False, soft_wrap=True)
