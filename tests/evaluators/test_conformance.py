"""The conformance table of docs/conformance: every evaluator gives the values that closed forms and libraries give."""

from __future__ import annotations

import ast
import csv
import itertools
from collections.abc import Mapping
from fnmatch import fnmatchcase

import numpy as np
import pytest

from bench.core import plugins
from bench.core.attributes import Attribute
from bench.protocols.evaluator import Downstream, LabelledFeatures, Reference, Sample, Score
from evaluators.features import comparisons

FOLDER = plugins.ROOT / "docs" / "conformance"
EXPECTED = list(csv.DictReader((FOLDER / "expected.csv").read_text(encoding="utf-8").splitlines()))
TOLERANCE = 1e-9  # relative or absolute, whichever is the larger
NAMES = plugins.with_member("evaluator", "Evaluator")
Arrays = Mapping[str, np.ndarray]


def arrays_of(case: str) -> Arrays:
    with np.load(FOLDER / "inputs.npz") as inputs:
        return {key.removeprefix(f"{case}."): inputs[key] for key in inputs.files if key.startswith(f"{case}.")}


def attribute(name: str, probabilities: np.ndarray) -> Attribute:
    return Attribute(name, tuple(map(str, range(probabilities.shape[1]))))


def sample_of(inputs: Arrays, task: tuple[Attribute, ...]) -> Sample:
    """The case's arrays as evaluators are handed them; "other" is of an attribute "b" that the task does not name."""
    n = len(inputs.get("features", inputs.get("probabilities", ())))
    named = {"a": "probabilities", "b": "other" if "other" in inputs else "probabilities_b"}
    paired_baseline = {"b": inputs["paired_baseline_other"]} if "paired_baseline_other" in inputs else {}
    return Sample(
        probabilities={name: inputs[key] for name, key in named.items() if key in inputs},
        features={"net": inputs["features"]} if "features" in inputs else {},
        assigned_class=inputs.get("assigned_class", np.full(n, -1)),
        confusion={task[0].name: inputs["confusion"]} if "confusion" in inputs else {},
        detected={"net": inputs["detected"]} if "detected" in inputs else {},
        other_classifiers={"second": {"a": inputs["second"]}} if "second" in inputs else {},
        perceptual={"lpips": inputs["points"]} if "points" in inputs else {},
        paired_baseline=Sample(
            paired_baseline,
            {"net": inputs["paired_baseline"]},
            np.full(n, -1),
            perceptual={"lpips": inputs["paired_baseline_points"]},
        )
        if "paired_baseline" in inputs
        else None,
        prompts=prompts_of(inputs),
    )


def prompts_of(inputs: Arrays) -> dict[str, slice]:
    """Rows of the prompts p0, p1, ..., which end where "ends" says."""
    ends = [0, *inputs.get("ends", np.zeros(0, int)).tolist()]
    return {f"p{j}": slice(*rows) for j, rows in enumerate(itertools.pairwise(ends))}


def reference_of(inputs: Arrays) -> Reference:
    target = inputs.get("target", np.ones(1))
    if "probabilities_b" in inputs:
        task = (attribute("a", inputs["probabilities"]), attribute("b", inputs["probabilities_b"]))
    else:
        task = (Attribute("a", tuple(map(str, range(len(target))))),)
    sets = {"net": {"real": inputs["reference"]}} if "reference" in inputs else {}
    labels = {"real": inputs["labels"]} if "labels" in inputs else {}
    names = ("biased", "balanced", "heldout")
    learnt = {s: LabelledFeatures({"net": inputs[s]}, inputs[f"{s}_labels"]) for s in names if s in inputs}
    downstream = Downstream((*task, Attribute("b", ("0", "1"))), **learnt) if learnt else None
    texts = {"net": dict(zip(prompts_of(inputs), inputs["texts"], strict=True))} if "texts" in inputs else {}
    return Reference(task, target, sets, labels, downstream=downstream, texts=texts)


def scores_of(case: str, evaluator: str) -> dict[tuple[str, str], Score]:
    inputs = arrays_of(case)
    reference = reference_of(inputs)
    actual = plugins.load("evaluator", evaluator, "Evaluator")().evaluate(
        sample_of(inputs, reference.attributes), reference
    )
    return {(s.metric, s.scope): s for s in actual}


def owner(score: str) -> str:
    """The evaluator whose card has the longest pattern that fits a score's name."""
    fits = {
        c.pattern: name
        for name in NAMES
        for c in plugins.load("evaluator", name, "Evaluator").card.columns
        if fnmatchcase(score, c.pattern)
    }
    return fits[max(fits, key=len)]


@pytest.fixture(autouse=True)
def _intervals_of_few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compute the intervals of the table's small samples, which a run does not print."""
    monkeypatch.setattr(comparisons, "INTERVAL_N", 20)


@pytest.mark.parametrize(("case", "evaluator"), sorted({(row["case"], owner(row["score"])) for row in EXPECTED}))
def test_a_case_has_the_values_that_are_expected(case: str, evaluator: str) -> None:
    scores = scores_of(case, evaluator)
    for row in EXPECTED:
        if row["case"] == case and owner(row["score"]) == evaluator:
            score = scores[row["score"], row["scope"]]
            expected = [float(row[c]) for c in ("value", "low", "high") if row[c]]
            actual = [score.value, score.ci_low, score.ci_high][: len(expected)]
            assert actual == pytest.approx(expected, rel=TOLERANCE, abs=TOLERANCE), row


@pytest.mark.parametrize("name", NAMES)
def test_every_column_of_every_card_is_in_the_table(name: str) -> None:
    patterns = {c.pattern for c in plugins.load("evaluator", name, "Evaluator").card.columns}
    lines = {row["score"] for row in EXPECTED}
    assert not [pattern for pattern in patterns if not any(fnmatchcase(line, pattern) for line in lines)]


def test_the_table_is_independent_of_the_project_and_small() -> None:
    tree = ast.parse((FOLDER / "make.py").read_text(encoding="utf-8"))
    modules = {n.module or "" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    modules |= {alias.name for n in ast.walk(tree) if isinstance(n, ast.Import) for alias in n.names}
    independent = {"__future__", "collections", "csv", "pathlib", "mpmath", "numpy", "scipy", "sklearn"}
    assert {m.split(".")[0] for m in modules} <= independent
    assert (FOLDER / "inputs.npz").stat().st_size < 200_000
    assert all(row["origin"] for row in EXPECTED)
