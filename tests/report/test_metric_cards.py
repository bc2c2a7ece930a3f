"""docs/metrics.md is what the cards say, and says it readably."""

from __future__ import annotations

import csv
import math
import re
from dataclasses import replace
from pathlib import Path

import pytest

from bench.protocols.evaluator import WILSON, Column, MetricCard
from bench.report import metric_cards
from bench.report.metric_cards import PAGE, card_text, page, project_cards, prose, write
from bench.results.metric_info import value_range

CARD = MetricCard(
    summary="Share of *something*.",
    formula="|a|_1 / n of `kid_*` scores",
    source="somebody",
    columns=(Column("thing_*", "higher", 0.0, math.inf, "a | b", WILSON),),
    classifier="first",
    min_n="3",
    bias="none",
    interval="its own",
    limits="much",
)


def test_the_committed_page_is_that_of_the_cards() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(project_cards()), "run python -m bench.report.metric_cards"


def test_writing_it_is_writing_the_page(tmp_path: Path) -> None:
    write(tmp_path / "metrics.md")
    assert (tmp_path / "metrics.md").read_text(encoding="utf-8") == page(project_cards())


def test_every_score_is_in_the_overview_with_its_card_and_interval() -> None:
    text = page(project_cards())
    for name, card in project_cards().items():
        assert f"\n## {name}\n" in text
        for column in card.columns:
            assert re.search(rf"\| `{re.escape(column.pattern)}`[^|]*\| \[{name}\]\(#{name}\) \|", text)
            assert f"| {column.interval.name} |" in text


def test_a_card_as_markdown() -> None:
    assert card_text("toy", CARD).splitlines() == [
        "## toy",
        "",
        r"Share of \*something\*.",
        "",
        "| score | range | unit | interval |",
        "| --- | --- | --- | --- |",
        "| `thing_*` ↑ | [0, inf) | a &#124; b | Wilson |",
        "",
        r"- **Formula**: &#124;a&#124;\_1 / n of `kid_*` scores",
        "- **Source**: somebody",
        "- **Smallest n**: 3",
        "- **Bias in n**: none",
        "- **Interval**: its own",
        "- **What it does not measure**: much",
        "- **Classes**: by the first classifier",
    ]


def test_words_in_backticks_are_code_and_others_mean_nothing_to_markdown() -> None:
    assert prose("a*b, `c*d`") == r"a\*b, `c*d`"


@pytest.mark.parametrize(
    ("low", "high", "shown"),
    [(0.0, 1.0, "[0, 1]"), (0.0, math.sqrt(2), "[0, 1.414]"), (-math.inf, math.inf, "(-inf, inf)")],
)
def test_ranges(low: float, high: float, shown: str) -> None:
    assert value_range(replace(CARD.columns[0], low=low, high=high)) == shown


def test_costs_are_those_of_the_table_and_of_evaluators_that_exist(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    rows = list(csv.DictReader(x for x in metric_cards.COSTS.read_text().splitlines() if not x.startswith("#")))
    assert {row["metric"] for row in rows} <= set(project_cards())
    file = tmp_path / "costs.csv"
    file.write_text("# Measured.\nmetric,seconds,again_s,few,few_mib,many_mib\ntoy,1.5,1.2,100,3,4\n")
    monkeypatch.setattr(metric_cards, "COSTS", file)
    assert "Measured.\n\n" in page({"toy": CARD})
    assert "| [toy](#toy) | 1.5 | 1.2 | 100 | 3 | 4 |" in page({"toy": CARD})
