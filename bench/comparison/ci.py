"""A check's outcome as terminal table, Markdown summary, JUnit XML and GitHub annotations."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bench.comparison.gate import RED, Item, Outcome
from bench.core.text import interval, markdown_table, number, probability

HEADS = ("verdict", "task", "method", "metric", "baseline", "new", "change [95 %]", "gate", "p", "test")
NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def show(outcome: Outcome, console: Console) -> None:
    """Print what is not the same, and how much there is of everything."""
    changed = [item for item in outcome.items if item.verdict != "same"]
    if changed:
        table = Table()
        for head in HEADS:
            table.add_column(head)
        for item in changed:
            table.add_row(*map(escape, _cells(item)))
        console.print(table)
    for line in (*outcome.notes, ranking_metric(outcome)):
        console.print(line, markup=False, soft_wrap=True)


def ranking_metric(outcome: Outcome) -> str:
    """Return the outcome in one line."""
    counts = ", ".join(f"{n} {verdict}" for verdict, n in outcome.counts.items())
    return f"{'passed' if outcome.passed else 'refused'}: {counts}"


def _cells(item: Item) -> tuple[str, ...]:
    change = None if item.new is None or item.baseline is None else item.new - item.baseline
    text = item.reason if item.reason else number(change) + interval(item.low, item.high)
    return (
        *(item.verdict, item.task, item.method, f"{item.metric} over {item.scope}"),
        *(number(item.baseline), number(item.new), text, number(item.gate), probability(item.p), item.test or "-"),
    )


def markdown(outcome: Outcome) -> str:
    """Return a summary for a job's page: what is not the same, then everything, folded."""
    changed = [_cells(item) for item in outcome.items if item.verdict != "same"]
    gates = outcome.gates
    rule = (
        f"Worse: over its gate, and significant at {gates.alpha:g} one-sided, corrected over the table "
        f"({gates.correction.replace('_', '-')})."
    )
    parts = [f"### fairdiff-bench: {ranking_metric(outcome)}", rule, *outcome.notes]
    if changed:
        parts.append(markdown_table(HEADS, changed))
    every = markdown_table(HEADS, [_cells(item) for item in outcome.items])
    parts.append(f"<details><summary>all {len(outcome.items)} gated numbers</summary>\n\n{every}\n\n</details>")
    return "\n\n".join(parts) + "\n"


def junit(outcome: Outcome) -> str:
    """Return JUnit XML: a test case per gated number; worse is a failure, what could not be looked at an error."""
    red = [item for item in outcome.items if item.verdict in RED]
    failures = str(sum(item.verdict == "worse" for item in red))
    errors = str(sum(item.verdict != "worse" for item in red))
    counts = {"tests": str(len(outcome.items)), "failures": failures, "errors": errors}
    suites = ET.Element("testsuites", counts)
    suite = ET.SubElement(suites, "testsuite", {"name": "fairdiff-bench check", **counts, "skipped": "0"})
    for item in outcome.items:
        name = f"{item.method}: {item.metric} over {item.scope}"
        case = ET.SubElement(suite, "testcase", {"classname": _xml(item.task), "name": _xml(name)})
        if item.verdict in RED:
            kind = "failure" if item.verdict == "worse" else "error"
            ET.SubElement(case, kind, {"message": _xml(_sentence(item)), "type": item.verdict})
        else:
            ET.SubElement(case, "system-out").text = _xml(_sentence(item))
    ET.indent(suites)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(suites, encoding="unicode") + "\n"


def _xml(text: str) -> str:
    return NOT_XML.sub("\ufffd", text)


def _sentence(item: Item) -> str:
    if item.reason:
        return f"{item.verdict}: {item.name}: {item.reason}"
    p = "" if item.p is None else f", p {probability(item.p)}"
    numbers = f"{number(item.baseline)} -> {number(item.new)}, gate {number(item.gate)}{p} ({item.test})"
    return f"{item.verdict}: {item.name}: {numbers}"


def github_annotations(outcome: Outcome, results: Path) -> Sequence[str]:
    """Return GitHub's workflow commands, one per red item, which mark the line of the results that it is about."""
    commands = []
    for item in outcome.items:
        if item.verdict in RED:
            line = f",line={item.line}" if item.line else ""
            title = _property(f"{item.verdict}: {item.metric}")
            commands.append(f"::error file={_property(str(results))}{line},title={title}::{_data(_sentence(item))}")
    return commands


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
