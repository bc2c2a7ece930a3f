"""docs/metrics.md, made from the evaluators' cards: `python -m bench.report.metric_cards`."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

from bench.core.plugins import ROOT, load, with_member
from bench.core.text import ARROWS, inert
from bench.protocols.evaluator import Interval, MetricCard
from bench.results.metric_info import value_range
from bench.storage.files import write_bytes

PAGE = ROOT / "docs" / "metrics.md"

COSTS = ROOT / "docs" / "metric-costs.csv"  # what tests/benchmarks/metrics.py measured, with its command

CLASSIFIERS = {"none": "none", "first": "of the first classifier", "each": "of each classifier in turn"}

HEAD = """# Metrics

Made by `python -m bench.report.metric_cards` from the cards in [evaluators/](../evaluators); a test says that it is up
to date. Other projects can hold their own implementation against [conformance/](conformance/README.md).

Every score is a number of one cell with its interval, in `results.csv`. An arrow is the better direction; a score
without one has none. `*` stands for an extractor or another classifier. Scores of different extractors, of different n,
or of other reference sets are not comparable unless the card says so.
"""

INTERVALS = """## Which interval, and why

All are 95 % intervals of the value over new samples of the same size; the classifier and the reference are held fixed
unless the card says otherwise. Which test a difference has is in [regression-gate.md](regression-gate.md).
"""


def cards() -> dict[str, MetricCard]:
    """The card of every evaluator of this project, by its public name."""
    names = with_member("evaluator", "Evaluator")
    return {name: load("evaluator", name, "Evaluator").card for name in names if _is_ours(name)}


def _is_ours(name: str) -> bool:
    return (ROOT / "evaluators" / f"{name}.py").is_file()


def page(known: dict[str, MetricCard]) -> str:
    """The whole of docs/metrics.md."""
    parts = [
        HEAD,
        _overview(known),
        INTERVALS,
        _intervals(known),
        *(card_text(n, c) for n, c in known.items()),
        _costs(),
    ]
    return "\n".join(parts)


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    heads = tuple(heads)
    lines = ["| " + " | ".join(heads) + " |", "|" + " --- |" * len(heads)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)]) + "\n"


def _overview(known: dict[str, MetricCard]) -> str:
    rows = [
        (f"`{c.pattern}`{ARROWS[c.better]}", f"[{name}](#{name})", value_range(c), inert(c.unit), c.interval.name)
        for name, card in known.items()
        for c in card.columns
    ]
    return _table(("score", "card", "range", "unit", "interval"), rows)


def _intervals(known: dict[str, MetricCard]) -> str:
    scores: dict[Interval, list[str]] = {}
    for column in (c for card in known.values() for c in card.columns):
        scores.setdefault(column.interval, []).append(f"`{column.pattern}`")
    rows = [(i.name, prose(i.rationale), ", ".join(scores[i])) for i in sorted(scores, key=lambda i: i.name)]
    return _table(("interval", "what it is right for, and why", "scores"), rows)


def card_text(name: str, card: MetricCard) -> str:
    """One evaluator's card as Markdown."""
    columns = [
        (f"`{c.pattern}`{ARROWS[c.better]}", value_range(c), inert(c.unit), c.interval.name) for c in card.columns
    ]
    facts = {
        "Formula": card.formula,
        "Source": card.source,
        "Smallest n": card.min_n,
        "Bias in n": card.bias,
        "Interval": card.interval,
        "What it does not tell": card.limits,
        "Classes": CLASSIFIERS[card.classifier],
    }
    lines = [f"- **{what}**: {prose(text)}" for what, text in facts.items()]
    return (
        "\n".join(
            [
                f"## {name}\n",
                f"{prose(card.summary)}\n",
                _table(("score", "range", "unit", "interval"), columns),
                *lines,
            ]
        )
        + "\n"
    )


def prose(text: str) -> str:
    """Text of a card as Markdown: what stands in backticks is code, and nothing else has a meaning."""
    return " ".join(word if "`" in word else inert(word) for word in text.split())


def _costs() -> str:
    with COSTS.open(newline="", encoding="utf-8") as file:
        notes = [line.removeprefix("#").strip() for line in file if line.startswith("#")]
        file.seek(0)
        rows = list(csv.DictReader(line for line in file if not line.startswith("#")))
    table = [
        (f"[{r['metric']}](#{r['metric']})", r["seconds"], r["again_s"], r["few"], r["few_mib"], r["many_mib"])
        for r in rows
    ]
    heads = ("evaluator", "seconds", "reference known", "fewer samples", "MiB of those", "MiB of all")
    return "## Seconds and memory\n\n" + "\n".join(notes) + "\n\n" + _table(heads, table)


def write(file: Path = PAGE) -> None:
    """Write docs/metrics.md."""
    write_bytes(file, page(cards()).encode())


if __name__ == "__main__":
    write()
