"""The command line, one file per command. Every user error is one sentence and exit code 2."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from bench.cli import screen
from bench.cli.check import check
from bench.cli.check_plugin import check_plugin
from bench.cli.compare import compare
from bench.cli.convert import convert
from bench.cli.doctor import doctor
from bench.cli.export import export
from bench.cli.listing import list_
from bench.cli.plot import plot
from bench.cli.prepare import prepare
from bench.cli.profile import profile
from bench.cli.rank import rank
from bench.cli.report import report
from bench.cli.run import run
from bench.cli.statistics import statistics
from bench.cli.sweep import sweep
from bench.cli.table import table
from bench.cli.train import train
from bench.cli.tune import tune
from bench.cli.verify import verify
from bench.core.errors import BenchError
from bench.core.plugins import check_own_folder


class Commands(TyperGroup):
    """The commands, which say at Ctrl-C how to resume."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command, and say how to resume if it is interrupted."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            screen.say("interrupted; run the same command to resume")
            raise typer.Exit(130) from None


app = typer.Typer(
    cls=Commands,
    help="Compare debiasing methods for diffusion models on the same noise, sampler, steps and attribute classifier.",
    epilog="Without a command, the quick suite runs. Example: python run_bench.py run quick --only task=eyeglasses",
    invoke_without_command=True,
    no_args_is_help=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

# In the order of --help, each with its example.
app.command(
    "run", epilog="Example: python run_bench.py run avatars --only method=vanilla --only seed=0 --out /tmp/results"
)(run)
app.command("prepare", epilog="Example: python run_bench.py prepare balancing_act_sd15 --mirror /media/mirror")(prepare)
app.command("list", epilog="Example: python run_bench.py list methods")(list_)
app.command("train", epilog="Example: python run_bench.py train avatars-unet --out models/avatars-unet")(train)
app.command(
    "compare", epilog="Example: python run_bench.py compare vanilla distribution_guidance --task eyeglasses --out ab.md"
)(compare)
app.command("rank", epilog="Example: python run_bench.py rank leaderboards/quick --out ranking.md")(rank)
app.command(
    "check", epilog="Example: python run_bench.py check results/quick --baseline leaderboards/quick/results.csv"
)(check)
app.command(
    "table", epilog="Example: python run_bench.py table balancing_act leaderboards/quick --format latex --out fd.tex"
)(table)
app.command("profile", epilog="Example: python run_bench.py profile quick --method universal_guidance --batch 1,16")(
    profile
)
app.command(
    "statistics",
    epilog="Example: python run_bench.py statistics avatars-balanced --features efficientnet_lite0 --out balanced.npz",
)(statistics)
app.command("plot", epilog="Example: python run_bench.py plot leaderboards/quick --only pareto --out figures")(plot)
app.command("report", epilog="Example: python run_bench.py report leaderboards/quick --out quick.html")(report)
app.command("export", epilog="Example: python run_bench.py export leaderboards/quick faces --method vanilla --seed 0")(
    export
)
app.command("verify", epilog="Example: python run_bench.py verify results/quick --resample 100")(verify)
app.command(
    "sweep",
    epilog="Example: python run_bench.py sweep class_gap_guidance --task eyeglasses --set strength=50,100,200",
)(sweep)
app.command("tune", epilog="Example: python run_bench.py tune mine.yaml --out results")(tune)
app.command("convert", epilog="Example: python run_bench.py convert ffhq_p2.pt --out models/ffhq_p2")(convert)
app.command("check-plugin", epilog="Example: python run_bench.py check-plugin distribution_guidance")(check_plugin)
app.command("doctor", epilog="Example: python run_bench.py doctor")(doctor)


def show_version(chosen: bool) -> None:
    """Print the release and the commit of the source tree, and end."""
    if chosen:
        from bench.core.provenance import bench_version, commit

        screen.line(" ".join(["fairdiff-bench", bench_version(), *([f"(commit {c})"] if (c := commit()) else [])]))
        raise typer.Exit


@app.callback()
def default(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Run the quick suite if no command is given."""
    if context.invoked_subcommand is None:
        run()


def main() -> None:
    """Run the command line; user errors become one line without a traceback."""
    screen.print_any_text()
    try:
        for package in ("methods", "evaluators"):
            check_own_folder(package)
        app()
    except BenchError as error:
        screen.say("error: " + " ".join(line.strip() for line in str(error).splitlines()))
        sys.exit(2)
