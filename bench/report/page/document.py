"""The page itself: what is shown of a run, put into one HTML file that asks for nothing else."""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Iterable
from importlib.resources import files
from typing import Any

from bench.core.gc_pause import many_made
from bench.report.page import records
from bench.report.page.board import Board
from bench.report.page.cards import cards
from bench.report.page.samples import samples
from bench.report.plots.style import looks
from bench.results.run import Run, Task

# In this order they make one script; a file may use what an earlier one has.
SCRIPTS = ("dom", "state", "leaderboard", "provenance", "tradeoff", "samples", "tables", "page")
SYMBOLS = {  # of matplotlib, which the plots are drawn with, in plotly's words
    **{"o": "circle", "s": "square", "^": "triangle-up", "D": "diamond", "v": "triangle-down", "P": "cross"},
    **{"X": "x", "p": "pentagon", "<": "triangle-left", ">": "triangle-right"},
}
NO_COSTS = "There is no costs.csv beside results.csv: the seconds of this run are not known."
# What every file of a run says of itself in one column each; "commit" and "classifier" may differ from line to line.
FACTS = (
    *("suite", "model", "n_asked", "guidance_batch", "sampler", "steps", "spacing", "eta", "precision", "protocol"),
    *("classifier", "commit", "bench_version", "model_sha256", "classifier_sha256"),
)


def page(run: Run) -> str:
    """The page of a finished run.

    Names and texts of the run are data in it, never markup or code: they are JSON without a "<", and its scripts put
    them in as text. A content security policy lets the page's own scripts alone run, and lets nothing be fetched.

    Raises:
        ConfigError: leaderboard.csv or costs.csv are there, and cannot be read or contradict results.csv.
    """
    plotly, script = _plotly(), _script()
    parts = {
        "POLICY": _policy(script, plotly),
        "TITLE": html.escape(f"{run.rows['suite'].iloc[0]} · fairdiff-bench"),
        "STYLE": _asset("page.css"),
        "DATA": embedded(data(run)),
        "PLOTLY": plotly,
        "SCRIPT": script,
    }
    pieces = _asset("page.html").split("%%")  # text, name, text, ...: what is put in is not searched again
    return "".join(parts[piece] if i % 2 else piece for i, piece in enumerate(pieces))


@many_made()
def data(run: Run) -> dict[str, Any]:
    """Everything that the page shows, as JSON-able values."""
    board = Board(run)
    first = run.rows.drop_duplicates("method")
    drawn = looks(dict(zip(first["method"], first["method_file"], strict=True)))
    return {
        "suite": str(run.rows["suite"].iloc[0]),
        "ranking_metric": run.ranking_metric,
        "classifier": run.classifier,
        "seeds": sorted(map(int, run.rows["seed"].unique())),
        "facts": [[name, _distinct(run, name)] for name in FACTS],
        "tasks": _tasks(run),
        "methods": [
            {"name": name, "colour": drawn[name].colour, "symbol": _symbol(drawn[name])} for name in run.methods
        ],
        **board.record(),
        "costs": ", ".join(board.measured.devices) if board.has_costs else "",
        "no_costs": "" if board.has_costs else NO_COSTS,
        "cards": cards(run.metrics),
        "records": records.table(run.rows),
        "samples": samples(run),
    }


def _distinct(run: Run, name: str) -> list[str]:
    return [str(value) for value in run.rows[name].unique() if str(value)]


def _tasks(run: Run) -> list[dict[str, Any]]:
    scopes: dict[Task, dict[str, None]] = {task: {} for task in run.tasks}
    for key in run.scores:
        if key.metric == "share_hard" and key.scope.startswith(key.task.attributes + "="):
            scopes[key.task].setdefault(key.scope.removeprefix(key.task.attributes + "="))  # written in class order
    return [
        {"name": task.name, "attributes": task.attributes, "target": task.target, "classes": list(classes)}
        for task, classes in scopes.items()
    ]


def _symbol(look: Any) -> str:
    return SYMBOLS[look.marker] + ("" if look.fill == "full" else "-open")


def embedded(value: Any) -> str:
    r"""JSON that ends no <script> element and no line of it, in ASCII: "<" is written \u003c, U+2028 \u2028.

    Raises:
        ValueError: NaN or infinity, which JSON has not.
    """
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.replace("<", r"\u003c").replace(">", r"\u003e").replace("&", r"\u0026")


def _policy(*scripts: str) -> str:
    hashes = " ".join(f"'sha256-{base64.b64encode(_digest(text)).decode()}'" for text in scripts)
    rules = (
        "default-src 'none'",
        f"script-src {hashes}",
        "style-src 'unsafe-inline'",  # plotly writes its styles when it draws
        "img-src data: blob:",
        "base-uri 'none'",
        "form-action 'none'",
    )
    return "; ".join(rules)


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def _asset(name: str) -> str:
    return files("bench.report.page").joinpath(name).read_text(encoding="utf-8")


def _script() -> str:
    return f'"use strict";\n{{\n{_joined(_asset(f"{name}.js") for name in SCRIPTS)}}}\n'


def _joined(texts: Iterable[str]) -> str:
    return "\n".join(texts)


def _plotly() -> str:
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs()).replace("</script", r"<\/script")
