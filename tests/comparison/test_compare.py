"""`run_bench.py compare`: the right test of every line, verdicts, reasons, and tables that hold the same numbers."""

from __future__ import annotations

import csv
import io
import math
import shutil
import subprocess
import sys
from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from scipy.stats import t

from bench.comparison.head_to_head import Line, Side, compare, read_sides, tally
from bench.comparison.show import show
from bench.core import plugins
from bench.core.attributes import Attribute
from bench.core.stats import holm_adjusted
from bench.protocols.evaluator import Reference, Sample
from bench.report.page.ties import marks
from bench.results import stored
from bench.results.key import Key
from bench.results.metric_info import metric
from bench.results.run import Run
from bench.storage.files import write_arrays
from bench.storage.store import Store
from evaluators.fairness_discrepancy import Evaluator
from tests.support.runs import (
    BATCH,
    GLASSES,
    JUDGE,
    Call,
    caller,
    classified,
    failed,
    half_and_half,
    read_rows,
    refusal,
    score,
    undefined,
    write_run,
)

Rows = list[dict[str, Any]]
call = pytest.fixture(caller)


@pytest.fixture(autouse=True)
def nothing_kept() -> None:
    stored._features.cache_clear()
    stored._by_class.cache_clear()


def made(folder: Path, *more: Rows, store: bool = False, **changes: Any) -> Path:
    """A run of two methods on eyeglasses uniform: vanilla at 46 of 200, other at 90."""
    kept = folder.parent / "store" if store else None
    rows = []
    for method, present, frechet in (("vanilla", 46, 473.0), ("other", 90, 437.0)):
        rows += classified(method, half_and_half(200, present), store=kept, **changes)
        rows.append(score(method, "frechet_x", "balanced", frechet, 22.0, **changes))
        rows.append(undefined(method, "epsilon_x", "eyeglasses", "no class was asked for", **changes))
    return write_run(folder, [*rows, *(row for part in more for row in part)]).parent


def lines(a: str | Path, b: str | Path, **asked: list[str]) -> dict[tuple[str, str], Line]:
    found = compare(read_sides(str(a), str(b)), **asked)
    return {(line.metric, line.scope): line for line in found}


def test_two_methods_of_a_run_by_their_intervals(tmp_path: Path) -> None:
    run = made(tmp_path / "made")
    found = lines(f"{run}:vanilla", f"{run}:other")
    fd, frechet, epsilon = (
        found["fd_l2_hard", "eyeglasses"],
        found["frechet_x", "balanced"],
        found["epsilon_x", "eyeglasses"],
    )
    assert fd.compared
    assert frechet.compared
    assert (fd.verdict, fd.compared.test) == ("B better", "intervals (MOVER)")
    assert fd.compared.a == pytest.approx(2**0.5 * 0.27)
    assert float(fd.compared.difference.value) == pytest.approx(-(2**0.5) * 0.22)
    # Jackknife intervals of 22 either way: a standard error of 22 sqrt(2) / t_9 on 18 degrees of freedom.
    assert float(frechet.compared.difference.p) == pytest.approx(2 * t.sf(36 / (22 * 2**0.5 / t.ppf(0.975, 9)), 18))
    assert (epsilon.verdict, epsilon.reason) == ("not comparable", "A: undefined: no class was asked for")
    raw = np.array([float(x.compared.difference.p) for x in (fd, frechet) if x.compared])
    assert [fd.p, frechet.p] == pytest.approx(holm_adjusted(raw).tolist())


def test_the_same_noise_is_paired_where_the_store_has_the_classes(tmp_path: Path) -> None:
    """Ten of 200 turned, none back: a difference that intervals cannot see."""
    base, store = half_and_half(200, 46), tmp_path / "store"
    turned = base.copy()
    turned[:10] = 1
    rows = [*classified("vanilla", base, store=store), *classified("other", turned, store=store)]
    run = write_run(tmp_path / "made", rows).parent
    asked = ["fd_l2_hard", "fd_l1", "fd_l2_soft", "share_hard"]
    found = lines(f"{run}:vanilla", f"{run}:other", metrics=asked)
    assert {line.compared.test for line in found.values() if line.compared} == {"paired bootstrap"}
    assert found["fd_l2_hard", "eyeglasses"].verdict == "B better"
    share = found["share_hard", "eyeglasses=present"]
    assert share.compared
    assert (share.verdict, float(share.compared.difference.value)) == ("different", pytest.approx(0.05))
    assert float(found["share_hard", "eyeglasses=absent"].compared.difference.value) == pytest.approx(-0.05)  # type: ignore[union-attr]

    shutil.rmtree(store / "features" / "attribute_cnn-dddddddddddddddd" / "samples" / "6f")  # other's
    stored._features.cache_clear()
    alone = lines(f"{run}:vanilla", f"{run}:other", metrics=asked)["fd_l2_hard", "eyeglasses"]
    assert alone.compared
    assert (alone.verdict, alone.compared.test) == ("tie", "intervals (MOVER)")


@pytest.mark.parametrize("damage", ["other samples", "damaged", "unclassified"])
def test_a_store_that_does_not_give_the_csvs_values_is_not_used(tmp_path: Path, damage: str) -> None:
    run = made(tmp_path / "made", store=True)
    files = sorted((tmp_path / "store").rglob("eyeglasses.npy"))
    if damage == "other samples":
        shutil.rmtree(tmp_path / "store")
        classified("vanilla", half_and_half(200, 47), store=tmp_path / "store")
        classified("other", half_and_half(200, 90), store=tmp_path / "store")
    elif damage == "damaged":
        files[0].write_bytes(files[0].read_bytes()[:-8])
    else:
        array = np.load(files[0], allow_pickle=False)
        array[0] = np.nan
        folder = files[0].parent
        shutil.rmtree(folder)
        write_arrays(folder, {"eyeglasses": array})
    found = lines(f"{run}:vanilla", f"{run}:other")["fd_l2_hard", "eyeglasses"]
    assert found.compared
    assert found.compared.test == "intervals (MOVER)"
    assert damage == "other samples" or files[0].exists(), "a report removes nothing"


def test_two_runs_method_by_method_and_one_method_of_both(tmp_path: Path) -> None:
    one, two = made(tmp_path / "one"), made(tmp_path / "two")
    found = compare(read_sides(str(one), str(two)))
    assert {(line.a, line.b) for line in found} == {("vanilla", "vanilla"), ("other", "other")}
    assert {line.verdict for line in found if line.compared} == {"tie"}
    for pair in ((f"{one}:other", str(two)), (str(one), f"{two}:other")):
        assert {(line.a, line.b) for line in compare(read_sides(*pair))} == {("other", "other")}
    assert read_sides(f"{one / 'results.csv'}:other", str(two / "results.csv"))[0].method == "other"


def test_a_bare_method_is_of_the_quick_leaderboard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(tmp_path / "leaderboards" / "quick")
    monkeypatch.chdir(tmp_path)
    sides = read_sides("vanilla", "other")
    assert [side.method for side in sides] == ["vanilla", "other"]
    assert sides[0].run is sides[1].run


CHANGES: dict[str, tuple[dict[str, Any], str]] = {
    "protocol": ({"protocol": 3}, "other protocol: 2 and 3"),
    "weights": ({"model_sha256": "e" * 64}, "other model weights: aaaaaaaaaaaa... and eeeeeeeeeeee..."),
    "sampler": ({"sampler": "ddpm"}, "other sampler: ddim and ddpm"),
    "steps": ({"steps": 25}, "other sampler steps: 20 and 25"),
    "n": ({"n_asked": 400}, "other number of samples: 200 and 400"),
    "precision": ({"precision": "bf16"}, "other precision: fp32 and bf16"),
}


@pytest.mark.parametrize(("change", "reason"), CHANGES.values(), ids=CHANGES.keys())
def test_another_protocol_is_not_comparable(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    found = lines(made(tmp_path / "one"), made(tmp_path / "two", **change))
    assert {found[key].reason for key in (("fd_l2_hard", "eyeglasses"), ("frechet_x", "balanced"))} == {reason}
    assert {line.verdict for line in found.values()} == {"not comparable"}


def test_another_classifier_bars_what_it_classified_and_nothing_else(tmp_path: Path) -> None:
    found = lines(made(tmp_path / "one"), made(tmp_path / "two", classifier_sha256="e" * 64))
    assert found["fd_l2_hard", "eyeglasses"].reason == "other classifier's weights: dddddddddddd... and eeeeeeeeeeee..."
    assert found["frechet_x", "balanced"].verdict == "tie"


def test_another_target_reference_or_method_is_said(tmp_path: Path) -> None:
    one = made(tmp_path / "one")
    two = write_run(
        tmp_path / "two",
        [
            *classified("vanilla", half_and_half(200, 46), target=(0.1, 0.9)),
            *classified("other", half_and_half(200, 46)),
            score("other", "frechet_x", "biased", 400.0, 20.0),
        ],
    ).parent
    found = compare(read_sides(f"{one}:vanilla", f"{two}:vanilla"), metrics=["fd_l2_hard"])
    reasons = {line.task: line.reason for line in found}
    assert reasons["eyeglasses uniform"].startswith("B: ")
    assert "two/results.csv has no vanilla on eyeglasses uniform" in reasons["eyeglasses uniform"]
    assert (
        "one/results.csv has no task eyeglasses 10/90; its target is another: eyeglasses uniform"
        in reasons["eyeglasses 10/90"]
    )
    other = lines(f"{one}:other", f"{two}:other", tasks=["eyeglasses uniform"])
    assert "another reference: " in other["frechet_x", "balanced"].reason
    assert "has frechet_x against biased, not balanced" in other["frechet_x", "balanced"].reason


def test_a_failed_cell_and_a_metric_without_interval_say_so(tmp_path: Path) -> None:
    bare = score("vanilla", "fd_extra", "eyeglasses", 1.0, 0.0, ci_low="", ci_high="")
    run = made(tmp_path / "made", [failed("broken", "the denoiser returned NaN"), bare, {**bare, "method": "other"}])
    assert (
        lines(f"{run}:vanilla", f"{run}:broken")["fd_l2_hard", "eyeglasses"].reason
        == "B: failed: the denoiser returned NaN"
    )
    none = lines(f"{run}:vanilla", f"{run}:other", metrics=["fd_extra"])["fd_extra", "eyeglasses"]
    assert none.reason == "fd_extra has no interval, so there is no test of it"


def test_counted_costs_are_compared_exactly_and_correct_nothing(tmp_path: Path) -> None:
    rows = [
        *classified("vanilla", half_and_half(200, 46)),
        *classified("other", half_and_half(200, 90), nfe_per_image=40.0),
    ]
    run = write_run(tmp_path / "made", rows).parent
    found = lines(f"{run}:vanilla", f"{run}:other", metrics=["*_per_image", "fd_l2_hard"])
    calls = found["nfe_per_image", "all"]
    assert calls.compared
    assert (calls.verdict, calls.compared.test, calls.p) == ("A better", "exact count", None)
    assert found["backward_per_image", "all"].verdict == "tie"
    fd = found["fd_l2_hard", "eyeglasses"]
    assert fd.compared
    assert fd.p == pytest.approx(float(fd.compared.difference.p))


@pytest.mark.parametrize(("calls", "p"), [(20.05, 0.0), (20.0, 1.0), (20 * (1 + 1e-15), 1.0)])
def test_counted_costs_differ_by_any_difference_above_rounding(tmp_path: Path, calls: float, p: float) -> None:
    rows = [
        *classified("vanilla", half_and_half(200, 46)),
        *classified("other", half_and_half(200, 46), nfe_per_image=calls),
    ]
    run = write_run(tmp_path / "made", rows).parent
    found = lines(f"{run}:vanilla", f"{run}:other", metrics=["nfe_per_image"])["nfe_per_image", "all"]
    assert found.compared
    assert (float(found.compared.difference.p), found.verdict) == (p, "tie" if p else "A better")


def test_seeds_are_averaged(tmp_path: Path) -> None:
    rows = [
        score(method, "frechet_x", "balanced", value + 10 * seed, 22.0, seed=seed)
        for method, value in (("vanilla", 473.0), ("other", 437.0))
        for seed in (0, 1, 2, 3)
    ]
    run = write_run(tmp_path / "made", rows).parent
    found = lines(f"{run}:vanilla", f"{run}:other")["frechet_x", "balanced"].compared
    assert found
    assert (found.a, found.b, found.seeds) == (488.0, 452.0, (4, 4))
    one = lines(made(tmp_path / "alone") / "results.csv", f"{run}:vanilla")["frechet_x", "balanced"].compared
    assert one
    assert float(found.difference.standard_error) < 0.75 * float(one.difference.standard_error)


def test_wins_ties_and_losses_are_counted_over_tasks(tmp_path: Path) -> None:
    rows = []
    for target, present in (((0.5, 0.5), 100), ((0.1, 0.9), 180), ((0.2, 0.8), 46)):
        rows += [
            *classified("vanilla", half_and_half(200, 46), target),
            *classified("other", half_and_half(200, present), target),
        ]
    run = write_run(tmp_path / "made", rows).parent
    ((_, _, name, counts),) = tally(compare(read_sides(f"{run}:vanilla", f"{run}:other")))
    assert (name, counts["B better"], counts["tie"], counts["A better"]) == ("fd_l2_hard", 2, 1, 0)


def test_the_csv_holds_every_number_and_the_terminal_its_verdicts(call: Call, tmp_path: Path) -> None:
    run, out = made(tmp_path / "made"), tmp_path / "ab.csv"
    code, printed, said = call("compare", f"{run}:vanilla", f"{run}:other", "--out", out)
    assert (code, said) == (0, "")
    assert "B better" in printed
    assert "intervals (MOVER)" in printed
    (row,) = (r for r in read_rows(out) if r["metric"] == "fd_l2_hard")
    source = {r["method"]: r for r in read_rows(run / "results.csv") if r["metric"] == "fd_l2_hard"}
    assert (float(row["value_a"]), float(row["value_b"])) == tuple(
        float(source[m]["value"]) for m in ("vanilla", "other")
    )
    assert float(row["ci_low"]) < float(row["difference"]) < float(row["ci_high"])


def test_hostile_names_stay_text(call: Call, tmp_path: Path) -> None:
    name = "=evil|<script>[red]`x`"
    rows = [*classified("vanilla", half_and_half(200, 46)), *classified(name, half_and_half(200, 90))]
    run = write_run(tmp_path / "made", rows).parent
    code, printed, _ = call("compare", f"{run}:vanilla", f"{run}:{name}", "--out", tmp_path / "ab.md")
    assert code == 0
    assert "[red]" in printed
    text = (tmp_path / "ab.md").read_text()
    assert "<script>" not in text
    assert {line.count("|") for line in text.splitlines() if "evil" in line} == {4, 8}
    call("compare", f"{run}:vanilla", f"{run}:{name}", "--out", tmp_path / "ab.csv")
    with (tmp_path / "ab.csv").open(newline="") as f:
        assert next(csv.DictReader(f))["method_b"] == "'" + name


def test_the_table_fits_its_lines() -> None:
    """A comparison of the committed leaderboard names every task and both methods."""
    run = Run.open(plugins.ROOT / "leaderboards" / "quick")
    sides = Side(run, "vanilla"), Side(run, "distribution_guidance")
    out = io.StringIO()
    show(compare(sides), sides, Console(file=out, width=200))
    text = out.getvalue()
    assert all(task.name in text for task in run.tasks)


BAD: dict[str, tuple[Callable[[Path], tuple[str, ...]], str]] = {
    "no such run": (lambda run: (str(run), f"{run}-absent/x"), "no run at RUN-absent/x; give the folder"),
    "no such run of a method": (lambda run: (str(run), f"{run}-absent:vanilla"), "no run at RUN-absent; give"),
    "an empty folder": (lambda run: (str(run), str(run.parent / "empty")), "no results.csv in "),
    "no such method": (lambda run: (f"{run}:vanila", f"{run}:other"), "'vanila'; did you mean 'vanilla'?"),
    "no such method there": (lambda run: (f"{run}:other", str(run.parent / "lone")), "unknown method of "),
    "no such task": (
        lambda run: (f"{run}:vanilla", f"{run}:other", "--task", "eyeglases"),
        "did you mean 'eyeglasses'",
    ),
    "no such metric": (lambda run: (f"{run}:vanilla", f"{run}:other", "--metric", "fd_l2_hrad"), "'fd_l2_hard'"),
    "the same": (lambda run: (f"{run}:other", f"{run}:other"), "A and B are the same"),
    "the same run": (lambda run: (str(run), str(run / "results.csv")), "A and B are the same"),
    "nothing": (lambda run: ("", str(run)), "A and B must each be METHOD, FOLDER or FOLDER:METHOD"),
    "no method in common": (
        lambda run: (str(run.parent / "lone"), str(run.parent / "far")),
        "have no method in common",
    ),
    "another ending": (
        lambda run: (f"{run}:vanilla", f"{run}:other", "--out", "x.txt"),
        "--out must end in .csv or .md",
    ),
    "unwritable": (lambda run: (f"{run}:vanilla", f"{run}:other", "--out", f"{run}/results.csv/x.md"), "cannot write"),
    "nonsense": (lambda run: (str(run), str(run.parent / "edited")), "line 2, column value: must be a finite number"),
}


@pytest.mark.parametrize(("arguments", "sentence"), BAD.values(), ids=BAD.keys())
def test_what_cannot_be_compared_is_said_in_one_sentence(
    call: Call, tmp_path: Path, arguments: Callable[[Path], tuple[str, ...]], sentence: str
) -> None:
    run = made(tmp_path / "made")
    (tmp_path / "empty").mkdir()
    write_run(tmp_path / "lone", classified("vanilla", half_and_half(200, 46)))
    write_run(tmp_path / "far", classified("distant", half_and_half(200, 46)))
    write_run(tmp_path / "edited", [{**classified("vanilla", half_and_half(200, 46))[0], "value": "0,38"}])
    assert sentence in refusal(call("compare", *arguments(run))).replace(str(run), "RUN")


@pytest.mark.parametrize("name", plugins.with_member("evaluator", "Evaluator"))
def test_directions_are_those_of_the_cards(name: str) -> None:
    """A metric that no pattern fits would be compared without a winner, and a new one must be entered."""
    evaluator = plugins.load("evaluator", name, "Evaluator")()
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 40)
    classified = {"eyeglasses": np.eye(2)[labels]}
    sample = Sample(
        probabilities=classified,
        features={"x": rng.standard_normal((40, 4))},
        assigned_class=np.full(40, -1),
        confusion={"eyeglasses": np.array([[90, 10], [10, 90]])},
        detected={"x": np.ones(40)},
        other_classifiers={"second": classified},
    )
    real = {"x": {"real": rng.standard_normal((40, 4))}}
    scores = evaluator.evaluate(sample, Reference((GLASSES,), np.array([0.5, 0.5]), real, {"real": labels[:, None]}))
    assert scores
    for found in {s.metric for s in scores}:
        fits = [column for column in evaluator.card.columns if fnmatchcase(found, column.pattern)]
        assert metric(found).better == max(fits, key=lambda column: len(column.pattern)).better


@pytest.mark.parametrize(
    ("name", "better", "classified", "freedom"),
    [
        ("fd_l2_hard", "lower", True, math.inf),
        ("frechet_net", "lower", False, 9.0),
        ("fd_infinity_net", "lower", False, 9.0),
        ("worst_group_frechet_net", "lower", True, 9.0),
        ("worst_group_coverage_k5_net", "higher", True, 9.0),
        ("coverage_k5_net", "higher", False, 9.0),
        ("precision_k5_net", "higher", False, math.inf),
        ("kid_net", "lower", False, math.inf),
        ("kid_se_net", None, False, math.inf),
        ("cmmd_u_net", "lower", False, math.inf),
        ("kappa_second", "higher", True, math.inf),
        ("epsilon_net", "higher", False, math.inf),
        ("share_hard", None, True, math.inf),
        ("nfe_per_image", "lower", False, math.inf),
        ("of_another_package", None, True, math.inf),
    ],
)
def test_what_is_known_of_a_metric_by_its_name(name: str, better: str | None, classified: bool, freedom: float) -> None:
    known = metric(name)
    assert (known.better, known.classified, known.scale.freedom) == (better, classified, freedom)


def test_reports_of_finished_runs_import_no_torch() -> None:
    modules = "ci, show, baseline, head_to_head, gate"
    code = f"import sys, bench.cli; from bench.comparison import {modules}; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=plugins.ROOT, check=True)


def stored_run(folder: Path, cells: dict[str, list[np.ndarray]], design: str = "independent", **changes: Any) -> Path:
    """A run whose store has the classes of every method, one array per seed, -1 where the classifier abstained."""
    rows: Rows = []
    for method, seeds in cells.items():
        for seed, labels in enumerate(seeds):
            changes |= {"seed": seed, "design": design if method == "other" else "independent", "n_asked": len(labels)}
            rows += classified(method, labels, store=folder.parent / "store", **changes)
    return write_run(folder, rows).parent


def test_a_classifier_that_abstains_is_tested_and_its_shares_are_shown(call: Call, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    a, b = half_and_half(200, 46), half_and_half(200, 90)
    a[rng.choice(200, 11, replace=False)] = b[rng.choice(200, 19, replace=False)] = -1
    run = stored_run(tmp_path / "made", {"vanilla": [a], "other": [b]})
    assert {row["n"] for row in read_rows(run / "results.csv")} == {"189", "181"}
    line = lines(f"{run}:vanilla", f"{run}:other")["fd_l2_hard", "eyeglasses"]
    note = "The classifier abstained on 5.5 % of A's samples and on 9.5 % of B's."
    assert line.compared
    paired = f"{note} B - A is over the samples that have a class on both sides."
    assert (line.verdict, line.compared.test, line.compared.note) == ("B better", "paired bootstrap", paired)
    assert line.record()["note"] == paired

    code, printed, _ = call("compare", f"{run}:vanilla", f"{run}:other", "--out", tmp_path / "ab.md")
    assert (code, f"fd_l2_hard: {note}" in printed) == (0, True)
    assert note in (tmp_path / "ab.md").read_text()
    again = stored_run(tmp_path / "again", {"vanilla": [b]})
    shutil.rmtree(tmp_path / "store")
    stored._features.cache_clear()
    line = lines(f"{run}:vanilla", f"{again}:vanilla")["fd_l2_hard", "eyeglasses"]
    assert line.compared
    assert (line.compared.test, line.compared.note) == ("intervals (MOVER)", note)


def test_the_design_of_the_csv_decides_how_samples_are_redrawn(tmp_path: Path) -> None:
    """Half of the samples are assigned to each class and show it: 90 and 70 of 100, against 100 of 200 by chance."""
    assigned = np.tile([0, 1], 100)
    b = assigned.copy()
    b[np.flatnonzero(assigned == 0)[:10]] = 1
    b[np.flatnonzero(assigned == 1)[:30]] = 0
    a = np.random.default_rng(1).permutation(half_and_half(200, 100))
    p, error = {}, {}
    for design in ("independent", "by class", "by batch"):
        folder = tmp_path / design.replace(" ", "-")
        run = stored_run(folder / "made", {"vanilla": [a], "other": [b]}, design)
        for row in Run.open(run).cells:
            for i, shard in enumerate(Run.open(run).stored.shards(row)):
                write_arrays(shard, {"assigned_class": assigned[i * BATCH : (i + 1) * BATCH]})
        compared = lines(f"{run}:vanilla", f"{run}:other", metrics=["share_hard"])["share_hard", "eyeglasses=present"]
        assert compared.compared
        assert compared.compared.test == "paired bootstrap"
        p[design], error[design] = (
            float(compared.compared.difference.p),
            float(compared.compared.difference.standard_error),
        )
        assert ("fewer than 8 batches" in compared.compared.note) == (design == "by batch")
    # The variance of b's share falls from p (1 - p) / n to the mean within the classes; a's stays.
    assert error["independent"] ** 2 * 200 == pytest.approx(0.5 * 0.5 + 0.4 * 0.6, rel=0.15)
    assert error["by class"] ** 2 * 200 == pytest.approx(0.5 * 0.5 + (0.9 * 0.1 + 0.7 * 0.3) / 2, rel=0.15)
    assert p["by batch"] == p["independent"]


def two_attributes(method: str, labels: np.ndarray, store: Path) -> Rows:
    """The rows of eyeglasses and hat, from labels [n] of their joint; the target is 50/50 of one and 60/40 of both."""
    hat, target = Attribute("hat", ("no", "yes")), np.array([0.4, 0.1, 0.2, 0.3])
    classes = np.divmod(labels, 2)
    probabilities = {a.name: np.where(np.eye(2)[k] > 0, 0.9, 0.1) for a, k in zip((GLASSES, hat), classes, strict=True)}
    key = method.encode().hex().ljust(64, "0")
    for i, start in enumerate(range(0, len(labels), BATCH)):
        part = {name: rows[start : start + BATCH] for name, rows in probabilities.items()}
        shard = Store(store).shard(key, i, len(part["hat"]))
        write_arrays(Store(store).features("attribute_cnn", JUDGE, shard), part)
    common = {"attributes": "eyeglasses+hat", "target": "0.4/0.1/0.2/0.3", "sample_key": key, "n_asked": len(labels)}
    rows = []
    for s in Evaluator().evaluate(
        Sample(probabilities, {}, np.full(len(labels), -1)), Reference((GLASSES, hat), target)
    ):
        ends = {"ci_low": s.ci_low, "ci_high": s.ci_high, "noise_floor": s.noise_floor, "n": s.n}
        rows.append(score(method, s.metric, s.scope, float(s.value or 0), 0.0, **common, **ends))
    return rows


def test_an_attribute_of_two_is_paired_against_its_share_of_the_target(tmp_path: Path) -> None:
    """Ten of 200 turned on the same noise; a marginal has the marginal target, the joint the whole one."""
    labels, store = np.repeat([0, 1, 2, 3], [80, 40, 50, 30]), tmp_path / "store"
    turned = labels.copy()
    turned[:10] = 3
    rows = [*two_attributes("vanilla", labels, store), *two_attributes("other", turned, store)]
    run = write_run(tmp_path / "made", rows).parent
    found = lines(f"{run}:vanilla", f"{run}:other", metrics=["fd_l2_hard", "fd_l1", "fd_l2_soft", "share_hard"])
    tests = {key: line.compared.test for key, line in found.items() if line.compared}
    assert tests.pop(("fd_l2_soft", "eyeglasses+hat")) == "intervals (MOVER)"
    assert len(tests) == 3 * 2 + 2 + 8  # distances of both attributes and two of the joint, shares of 2 + 2 + 4 classes
    assert set(tests.values()) == {"paired bootstrap"}
    hat = found["fd_l2_hard", "hat"].compared
    assert hat
    assert float(hat.difference.value) == pytest.approx(2**0.5 * ((130 - 120 - 10) / 200 - (130 - 120) / 200))


def test_seeds_that_differ_are_not_paired(tmp_path: Path) -> None:
    labels, store = half_and_half(200, 90), tmp_path / "store"
    runs = [
        write_run(tmp_path / name, [row for s in seeds for row in classified("vanilla", labels, store=store, seed=s)])
        for name, seeds in (("one", (0, 1)), ("same", (0, 1)), ("two", (2, 3)), ("more", (0, 1, 2)))
    ]
    found = [lines(runs[0], run)["fd_l2_hard", "eyeglasses"].compared for run in runs[1:]]
    assert [c.test for c in found if c] == ["paired bootstrap", "intervals (MOVER)", "intervals (MOVER)"]


def test_the_class_of_a_share_is_counted_among_the_shares_alone(tmp_path: Path) -> None:
    """Another metric may be of a later class only, and of an earlier row."""
    rows, store = [], tmp_path / "store"
    for method, present in (("vanilla", 46), ("other", 90)):
        rows.append(score(method, "group_x", "eyeglasses=present", 1.0, 0.1))
        rows += classified(method, half_and_half(200, present), store=store)
    run = write_run(tmp_path / "made", rows).parent
    found = lines(f"{run}:vanilla", f"{run}:other", metrics=["share_hard"])
    assert {line.compared.test for line in found.values() if line.compared} == {"paired bootstrap"}


def test_without_assigned_classes_a_design_by_class_has_no_paired_test(tmp_path: Path) -> None:
    labels = half_and_half(200, 90)
    run = stored_run(tmp_path / "made", {"vanilla": [labels], "other": [labels]}, "by class")
    compared = lines(f"{run}:vanilla", f"{run}:other")["fd_l2_hard", "eyeglasses"].compared
    assert compared
    assert compared.test == "intervals (MOVER)"


def test_seeds_that_are_fair_only_when_pooled_are_not_tied(tmp_path: Path) -> None:
    """One method at 50 %, the other at 80 and 20 %: `compare` and the marks test the mean over seeds."""
    rng = np.random.default_rng(0)
    even, swing = ([rng.permutation(half_and_half(60, k)) for k in counts] for counts in ((30, 29), (48, 12)))
    run = stored_run(tmp_path / "made", {"vanilla": even, "other": swing})
    line = lines(f"{run}:vanilla", f"{run}:other")["fd_l2_hard", "eyeglasses"]
    assert line.compared
    assert (line.verdict, line.compared.test, line.compared.seeds) == ("A better", "paired bootstrap", (2, 2))
    opened = Run.open(run)
    keys = [Key(opened.tasks[0], method, "fd_l2_hard", "eyeglasses") for method in opened.methods]
    assert marks(opened, keys) == {"vanilla": "best", "other": ""}
    value = opened.value(keys[0])
    assert value
    assert value.noise_floor == pytest.approx(0.141, abs=0.001)
