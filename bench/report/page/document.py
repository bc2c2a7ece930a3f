"""The page: everything that is shown of a run, in one HTML file that fetches nothing."""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from typing import TypedDict

from bench.core.errors import ConfigError
from bench.core.gc_pause import gc_paused
from bench.report.page import records
from bench.report.page.board import Board, BoardColumn, BoardRow
from bench.report.page.cards import CardRecord, cards
from bench.report.page.ranking import RankingRecord, ranking
from bench.report.page.samples import SampleRecord, samples
from bench.report.page.tuning import TuningRecord, tuning
from bench.report.plots.style import Look, looks
from bench.results.key import Task
from bench.results.run import Run
from bench.storage.files import write_bytes

# They form one script in this order; a file may use names of earlier ones.
SCRIPTS = ("dom", "state", "leaderboard", "ranking", "provenance", "tradeoff", "samples", "tables", "tuning", "page")
SYMBOLS = {  # matplotlib's markers, which the plots use, by plotly's names
    **{"o": "circle", "s": "square", "^": "triangle-up", "D": "diamond", "v": "triangle-down", "P": "cross"},
    **{"X": "x", "p": "pentagon", "<": "triangle-left", ">": "triangle-right"},
}
NO_COSTS = "There is no costs.csv beside results.csv: the seconds of this run are unknown."
# Columns of results.csv about the run as a whole; "commit" and "classifier" may differ from line to line.
FACTS = (
    *("suite", "model", "n_asked", "guidance_batch", "sampler", "steps", "spacing", "eta", "precision", "protocol"),
    *("classifier", "commit", "bench_version", "model_sha256", "classifier_sha256"),
)


class TaskRecord(TypedDict):
    """A task: name, attributes and target as in results.csv, and the classes of its joint attribute."""

    name: str
    attributes: str
    target: str
    classes: list[str]


class MethodRecord(TypedDict):
    """A method: its title, and its colour and symbol in plots."""

    name: str
    colour: str
    symbol: str


class PageData(TypedDict):
    """Everything that the page shows, as its scripts read it.

    Attributes:
        suite: the suite's name.
        ranking_metric: the metric that the leaderboard ranks by.
        classifier: the run's first attribute classifier.
        seeds: ascending.
        facts: column of results.csv about the whole run, with its distinct values.
        tasks: in the order of the run; rows refer to them by index.
        methods: likewise.
        columns: of the leaderboard.
        rows: of the leaderboard.
        costs: the devices of costs.csv.
        no_costs: a sentence where costs.csv does not exist, else empty.
        cards: of the evaluators.
        records: all lines of results.csv.
        samples: images and predicted classes.
        ranking: the methods over all tasks.
        tuning: the trials of tuned methods.
    """

    suite: str
    ranking_metric: str
    classifier: str
    seeds: list[int]
    facts: list[tuple[str, list[str]]]
    tasks: list[TaskRecord]
    methods: list[MethodRecord]
    columns: list[BoardColumn]
    rows: list[BoardRow]
    costs: str
    no_costs: str
    cards: list[CardRecord]
    records: records.Records
    samples: SampleRecord
    ranking: RankingRecord
    tuning: TuningRecord


def page(run: Run) -> str:
    """Return the HTML of a finished run's page.

    Names and texts of the run are data, never markup or code: they are JSON without a "<", and the scripts insert them
    as text. A content security policy allows the page's scripts only, and allows no request.

    Raises:
        ConfigError: leaderboard.csv or costs.csv exist, and cannot be read or contradict results.csv.
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
    pieces = _asset("page.html").split("%%")  # text, name, text, ...; inserted texts are not searched for names
    return "".join(parts[piece] if i % 2 else piece for i, piece in enumerate(pieces))


def write(run: Run, path: Path | None) -> Path:
    """Write a finished run's page, and return the file: page.html beside results.csv unless a path is given.

    Raises:
        ConfigError: as `page`; or the path does not end in .html, or cannot be written.
    """
    file = run.file.parent / "page.html" if path is None else path
    if file.suffix != ".html":
        raise ConfigError(f"--out must end in .html, got {str(file)!r}; give a file, such as page.html")
    write_bytes(file, page(run).encode())
    return file


def data(run: Run) -> PageData:
    """Return everything that the page shows, as JSON-able values."""
    with gc_paused():
        board = Board(run)
        first = run.rows.drop_duplicates("method")
        method_looks = looks(dict(zip(first["method"], first["method_file"], strict=True)))
        rows = board.record()
        return {
            "suite": str(run.rows["suite"].iloc[0]),
            "ranking_metric": run.ranking_metric,
            "classifier": run.classifier,
            "seeds": sorted(map(int, run.rows["seed"].unique())),
            "facts": [(name, _distinct(run, name)) for name in FACTS],
            "tasks": _tasks(run),
            "methods": [
                {"name": name, "colour": method_looks[name].colour, "symbol": _symbol(method_looks[name])}
                for name in run.methods
            ],
            "columns": rows["columns"],
            "rows": rows["rows"],
            "costs": ", ".join(run.devices) if board.has_costs else "",
            "no_costs": "" if board.has_costs else NO_COSTS,
            "cards": cards(run.metrics),
            "records": records.table(run.rows),
            "samples": samples(run),
            "ranking": ranking(run),
            "tuning": tuning(run),
        }


def _distinct(run: Run, name: str) -> list[str]:
    return [str(value) for value in run.rows[name].unique() if str(value)]


def _tasks(run: Run) -> list[TaskRecord]:
    scopes: dict[Task, dict[str, None]] = {task: {} for task in run.tasks}
    for key in run.by_key:
        if key.metric == "share_hard" and key.scope.startswith(key.task.attributes + "="):
            scopes[key.task].setdefault(key.scope.removeprefix(key.task.attributes + "="))  # written in class order
    return [
        {"name": task.name, "attributes": task.attributes, "target": task.target, "classes": list(classes)}
        for task, classes in scopes.items()
    ]


def _symbol(look: Look) -> str:
    return SYMBOLS[look.marker] + ("" if look.fill == "full" else "-open")


def embedded(value: object) -> str:
    r"""Return JSON in ASCII that cannot end a <script> element or a line: "<" becomes \u003c, U+2028 \u2028.

    Raises:
        ValueError: NaN or infinity, which JSON does not have.
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
