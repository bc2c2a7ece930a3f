"""`run_bench.py check`: its rule, its rates by simulation, its verdicts and files, and the project's own gate."""

from __future__ import annotations

import csv
import re
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from bench.comparison.gate import check, decide
from bench.comparison.gate_config import Gates, Latency
from bench.core import plugins
from bench.results import stored
from bench.results.read import target_shares
from bench.results.run import Run
from tests.benchmarks.gate import false_alarms, power, shown
from tests.support.runs import (
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
QUICK = plugins.ROOT / "leaderboards" / "quick"
DOCS = plugins.ROOT / "docs"
call = pytest.fixture(caller)


@pytest.fixture(autouse=True)
def nothing_kept() -> None:
    stored._features.cache_clear()


def baseline(frechet: float = 445.0, **changes: Any) -> Rows:
    rows = classified("vanilla", half_and_half(2000, 800), **changes)
    rows += [*classified("other", half_and_half(2000, 900), **changes)]
    n = {"n": 2000, "n_asked": 2000, **changes}
    return [
        *rows,
        score("other", "frechet_x", "balanced", frechet, 7.0, **n),
        undefined("other", "epsilon_x", "eyeglasses", "none", **n),
    ]


def costs(folder: Path, **seconds: float) -> None:
    with (folder / "costs.csv").open("w", newline="") as f:
        writer = csv.writer(f)
        writer.writerow(["task", "method", "seed", "seconds_per_image", "device"])
        writer.writerows([["eyeglasses uniform", method, 0, value, "cpu"] for method, value in seconds.items()])


@pytest.fixture
def checked(call: Call, tmp_path: Path) -> Callable[..., tuple[int, str]]:
    """Check rows against `baseline()`: exit code, and the terminal's text."""
    base = write_run(tmp_path / "base" / "suite", baseline())

    def run(rows: Rows, *options: str | Path, before: Rows | None = None) -> tuple[int, str]:
        if before is not None:
            write_run(base.parent, before)
        new = write_run(tmp_path / "new" / "suite", rows)
        code, printed, said = call("check", new, "--baseline", base, *options)
        assert said == ""
        return code, printed

    return run


def test_the_rule_wants_both_a_significant_and_a_large_change() -> None:
    change = np.array([0.10, 0.10, 0.04, -0.10, 0.0])
    p = np.array([0.001, 0.2, 0.001, 0.001, 1.0])
    worse, better, adjusted = decide(change, p, np.full(5, 0.05), Gates())
    assert worse.tolist() == [True, False, False, False, False]
    assert better.tolist() == [False, False, False, True, False]
    # One-sided, so half of p, or 1 less that: 0.0005, 0.1, 0.0005, 0.9995, 0.5 with Holm's factors 5, 3, 4, 1, 2.
    assert adjusted[:3] == pytest.approx([0.0025, 0.3, 0.0025])


def test_a_change_of_a_gates_size_is_not_over_it_whatever_the_rounding() -> None:
    changes = np.array([0.35 - 0.3, 0.55 - 0.5, 0.15 - 0.1, 0.05 + 1e-9])  # above and below 0.05 by rounding
    assert min(changes[:3]) < 0.05 < max(changes[:3])
    worse, _, _ = decide(changes, np.full(4, 1e-6), np.full(4, 0.05), Gates())
    assert worse.tolist() == [False, False, False, True]


@pytest.mark.parametrize("correction", ["holm", "benjamini_hochberg"])
def test_a_p_of_alpha_itself_is_significant(correction: str) -> None:
    gates = Gates.model_validate({"correction": correction})
    for change in (1.0, -1.0):
        worse, better, adjusted = decide(np.array([change]), np.array([0.1]), np.zeros(1), gates)
        assert (worse.tolist(), better.tolist()) == ([change > 0], [change < 0])
        assert adjusted.tolist() == [0.05]  # of the side that the change is on


def test_the_correction_is_over_the_table() -> None:
    p, change = np.full(20, 0.005), np.full(20, 1.0)
    alone = decide(change[:1], p[:1] * 2, np.zeros(1), Gates())[0]
    assert alone.all()
    among = decide(np.r_[1.0, np.zeros(19)], np.r_[0.01, np.ones(19)], np.zeros(20), Gates())[0]
    assert not among.any()
    # Benjamini-Hochberg, 20 equal p of 0.0025: not corrected at all; Holm: 0.05; four times that is over it.
    fdr = Gates(correction="benjamini_hochberg")
    assert decide(change, p * 4, np.zeros(20), fdr)[0].all()
    assert not decide(change, p * 4, np.zeros(20), Gates())[0].any()


@pytest.mark.parametrize(("n", "present"), [(200, 100), (200, 46), (1000, 1000)])
def test_the_simulation_shows_what_the_evaluator_would(n: int, present: int) -> None:
    row = classified("m", half_and_half(n, present))[0]
    assert shown(n, present) == (row["value"], row["ci_low"], row["ci_high"])


@pytest.mark.parametrize("gated", [True, False])
def test_null_reruns_are_refused_no_more_often_than_stated(gated: bool) -> None:
    """Stated: at most 5 of 100 tables, by significance alone and so with gates; within the error of 500."""
    rate = false_alarms(500, np.random.default_rng(1), gated)
    assert 0.005 < rate < 0.05 + 3 * (0.05 * 0.95 / 500) ** 0.5


def claims() -> dict[tuple[str, int], dict[float, float]]:
    """The documented power: (metric, n) to size in gates to chance."""
    lines = [x.strip("| \n").split(" | ") for x in (DOCS / "regression-gate.md").read_text().splitlines()]
    heads = next(x for x in lines if x[:2] == ["metric", "n"])
    sizes = [float(x.split()[0]) for x in heads[2:]]
    rows = [x for x in lines if len(x) == len(heads) and x[-1].endswith(" %")]
    return {
        (x[0].strip("`"), int(x[1].replace(",", ""))): dict(
            zip(sizes, (float(c[:-2]) / 100 for c in x[2:]), strict=True)
        )
        for x in rows
    }


@pytest.mark.parametrize("n", [200, 1000])
def test_planted_regressions_are_caught_as_often_as_the_documentation_says(n: int) -> None:
    told = claims()
    for size in (1.0, 2.0, 4.0):
        found = power(n, size, 500, np.random.default_rng(2))
        for rate, name in zip(found, ("fd_l2_hard", "frechet_*"), strict=True):
            said = told[name, n][size]
            assert rate == pytest.approx(said, abs=3 * (max(said * (1 - said), 0.02) * (1 / 500 + 1 / 2000)) ** 0.5)


def test_the_committed_leaderboard_passes_its_own_gate(call: Call) -> None:
    code, printed, said = call("check", QUICK, "--baseline", QUICK / "results.csv", "--annotations")
    assert (code, said) == (0, "")
    assert re.search(r"^passed: \d+ same$", printed, re.M)
    assert "::error" not in printed


EVALUATED = ("fd_l2_hard", "fd_l1", "kl", "fd_l2_soft", "share_hard")


def worse_fd(rows: Rows, factor: float) -> Rows:
    """The rows as the evaluator would have written them had every two-class sample been that much further off."""
    found = []
    for row in rows:
        target = target_shares(row["target"])
        if row["scope"].partition("=")[0] != "eyeglasses" or row["metric"] not in EVALUATED:
            found.append(row)
            continue
        n = int(row["n"])
        own = {
            r["scope"]: float(r["value"])
            for r in rows
            if (r["metric"], r["method"], r["target"], r["seed"], r["classifier"])
            == ("share_hard", row["method"], row["target"], row["seed"], row["classifier"])
        }
        present = target[1] + factor * (own["eyeglasses=present"] - target[1])
        made = classified(row["method"], half_and_half(n, round(n * min(max(present, 0.0), 1.0))), target)
        (new,) = (r for r in made if (r["metric"], r["scope"]) == (row["metric"], row["scope"]))
        found.append({**row, **{k: new[k] for k in ("value", "ci_low", "ci_high")}})
    return found


def test_the_committed_leaderboard_with_a_discrepancy_20_percent_worse_is_refused(call: Call, tmp_path: Path) -> None:
    gates = ("--baseline", QUICK / "results.csv", "--gates", QUICK / "gates.yaml")
    planted = write_run(tmp_path, worse_fd(read_rows(QUICK / "results.csv"), 1.2))
    code, printed, said = call("check", planted, *gates)
    assert (code, said) == (1, "")
    assert re.search(r"worse .* eyeglasses 10/90 .*vanilla", printed)
    unchanged = write_run(tmp_path / "same", worse_fd(read_rows(QUICK / "results.csv"), 1.0))
    assert call("check", unchanged, *gates)[0] == 0


def test_the_same_run_passes_and_a_better_one_says_so(checked: Callable[..., tuple[int, str]]) -> None:
    assert checked(baseline()) == (0, checked(baseline())[1])
    code, printed = checked(baseline(frechet=400.0))
    assert code == 0
    assert "passed: 1 better, 6 same" in printed


def test_a_change_below_its_gate_passes_however_sure_it_is(checked: Callable[..., tuple[int, str]]) -> None:
    sure = [
        {**row, "ci_low": row["value"] - 0.1, "ci_high": row["value"] + 0.1}
        for row in baseline(460.0)
        if row["metric"] == "frechet_x"
    ]
    before = [{**sure[0], "value": 445.0, "ci_low": 444.9, "ci_high": 445.1}]
    code, printed = checked(sure, before=before)
    assert (code, "passed: 3 same" in printed) == (0, True)
    beyond = [{**sure[0], "value": 470.0, "ci_low": 469.9, "ci_high": 470.1}]
    code, printed = checked(beyond, before=before)
    assert (code, "refused: 1 worse, 2 same" in printed) == (1, True)


def test_without_an_interval_a_change_within_its_gate_passes_and_a_larger_one_cannot_be_tested(
    checked: Callable[..., tuple[int, str]],
) -> None:
    def bare(value: float) -> Rows:
        return [{**row, "ci_low": "", "ci_high": ""} for row in baseline(value) if row["metric"] == "frechet_x"]

    for value, code, verdicts in (
        (300.0, 0, "passed: 3 same"),
        (400 * 1.05, 0, "passed: 3 same"),
        (400 * 1.05 + 1e-6, 1, "refused: 1 not comparable, 2 same"),
    ):
        found, printed = checked(bare(value), before=bare(400.0))
        assert (found, verdicts in printed) == (code, True), (value, printed)


def test_pairing_by_the_store_catches_what_intervals_cannot(call: Call, tmp_path: Path) -> None:
    """Twelve of 200 turned away from the target on the same noise: FD 0.085 worse."""
    labels = half_and_half(200, 88)
    turned = labels.copy()
    turned[-16:] = 0
    base = write_run(tmp_path / "a" / "suite", classified("m", labels, store=tmp_path / "a" / "store"))
    new = write_run(tmp_path / "b" / "suite", classified("m", turned, store=tmp_path / "b" / "store"))
    code, printed, _ = call("check", new, "--baseline", base)
    assert (code, "paired bootstrap" in printed) == (1, True)
    shutil.rmtree(tmp_path / "a" / "store")
    stored._features.cache_clear()
    assert call("check", new, "--baseline", base)[0] == 0


def test_a_rerun_with_other_abstentions_is_checked(call: Call, tmp_path: Path) -> None:
    labels, fewer = half_and_half(200, 88), half_and_half(200, 88)
    labels[:5] = fewer[:12] = -1
    base = write_run(tmp_path / "a" / "suite", classified("m", labels, store=tmp_path / "a" / "store", n_asked=200))
    new = write_run(tmp_path / "b" / "suite", classified("m", fewer, store=tmp_path / "b" / "store", n_asked=200))
    code, printed, _ = call("check", new, "--baseline", base)
    assert (code, "passed: 3 same" in printed) == (0, True), printed


def without(rows: Rows, **those: Any) -> Rows:
    return [row for row in rows if not all(row[k] == v for k, v in those.items())]


def test_every_way_of_not_being_there_is_refused_with_its_reason(checked: Callable[..., tuple[int, str]]) -> None:
    cases = [
        (
            [*without(baseline(), method="other"), failed("other", "NaN at step 3", n_asked=2000)],
            "4 failed",
            "NaN at step 3",
        ),
        (without(baseline(), method="other"), "4 missing", "has no other on eyeglasses uniform"),
        (without(baseline(), metric="frechet_x"), "1 missing", "has no frechet_x of other on eyeglasses uniform"),
        (baseline(protocol=3), "7 not comparable", "other protocol: 2 and 3"),
        (baseline(classifier_sha256="f" * 64), "2 not comparable", "other classifier's weights"),
        (
            [
                *without(baseline(), metric="frechet_x"),
                undefined("other", "frechet_x", "balanced", "too few", n=2000, n_asked=2000),
            ],
            "1 failed",
            "too few",
        ),
    ]
    for rows, count, reason in cases:
        code, printed = checked(rows)
        assert code == 1
        assert count in printed.splitlines()[-1]
        assert reason.split()[-1] in printed


def test_a_number_without_a_value_is_shown_at_its_line_and_a_missing_one_at_none(tmp_path: Path) -> None:
    base = Run.open(write_run(tmp_path / "base", baseline()))
    rows = without(baseline(), metric="frechet_x")
    lost = undefined("other", "frechet_x", "balanced", "too few", n=2000, n_asked=2000)
    for name, new, verdict, line in (
        ("undefined", [*rows, lost], "failed", 1 + len(rows) + 1),
        ("absent", rows, "missing", 0),
    ):
        items = check(Run.open(write_run(tmp_path / name, new)), base, Gates()).items
        assert [(x.verdict, x.line) for x in items if x.metric == "frechet_x"] == [(verdict, line)]


def test_what_the_baseline_does_not_have_is_not_gated_and_said(checked: Callable[..., tuple[int, str]]) -> None:
    rows = [*baseline(), *classified("third", half_and_half(2000, 100))]
    code, printed = checked(rows)
    assert code == 0
    assert "3 numbers are not in the baseline and were not gated; --update takes them in" in printed


def test_a_network_call_more_is_a_regression_without_a_test(checked: Callable[..., tuple[int, str]]) -> None:
    rows = [{**row, "nfe_per_image": 20.05} if row["method"] == "other" else row for row in baseline()]
    code, printed = checked(rows)
    assert (code, "refused: 1 worse" in printed, "exact count" in printed) == (1, True, True)


def test_seconds_are_gated_as_a_ratio_to_vanilla_where_asked_for(call: Call, tmp_path: Path) -> None:
    base, new = write_run(tmp_path / "a" / "s", baseline()), write_run(tmp_path / "b" / "s", baseline())
    gates = tmp_path / "gates.yaml"
    gates.write_text("latency: {relative: 0.25}\n")
    command = ("check", new, "--baseline", base, "--gates", gates)
    assert "no costs.csv with vanilla in it lies beside" in refusal(call(*command))
    costs(base.parent, vanilla=0.10, other=0.12)
    costs(new.parent, vanilla=0.10, other=1.0)
    assert call(*command[:-2])[0] == 0, "another machine's load is no regression unless seconds are gated"
    (new.parent / "costs.csv").unlink()
    code, printed, _ = call(*command)
    assert (code, "no seconds of other and of vanilla on cpu" in " ".join(printed.split())) == (1, True)
    for vanilla, other, expected in ((0.30, 0.36, 0), (0.10, 0.149, 0), (0.10, 0.151, 1), (0.05, 0.12, 1)):
        costs(new.parent, vanilla=vanilla, other=other)  # a slower machine; under 25 %; over it; vanilla alone faster
        assert call(*command)[0] == expected, (vanilla, other)
    costs(new.parent, vanilla=0.10, other=-0.12)
    assert "line 3, column seconds_per_image: must be a number > 0, got '-0.12'" in refusal(call(*command))
    (new.parent / "costs.csv").write_text("task,method\na,b\n")
    assert "costs.csv, line 1: no column 'seed'" in refusal(call(*command))
    (new.parent / "costs.csv").write_text("")
    assert "holds no rows" in refusal(call(*command))


@pytest.mark.parametrize(("seconds", "verdict"), [(1.25, "same"), (1.375, "worse"), (0.75, "same"), (0.625, "better")])
def test_a_ratio_of_seconds_that_changes_by_its_gate_is_not_over_it(
    tmp_path: Path, seconds: float, verdict: str
) -> None:
    base, new = write_run(tmp_path / "a" / "s", baseline()), write_run(tmp_path / "b" / "s", baseline())
    costs(base.parent, vanilla=1.0, other=1.0)
    costs(new.parent, vanilla=1.0, other=seconds)
    gates = Gates(latency=Latency(relative=0.25))
    (item,) = (x for x in check(Run.open(new), Run.open(base), gates).items if x.metric == "seconds_per_image")
    assert (item.verdict, item.gate) == (verdict, 0.25)


def test_a_file_of_gates_says_what_is_gated(checked: Callable[..., tuple[int, str]], tmp_path: Path) -> None:
    gates = tmp_path / "gates.yaml"
    gates.write_text(
        "metrics:\n"
        "  frechet_*: {relative: 0.2, scope: 'bal*'}\n"
        "  share_hard: {absolute: 0.01, scope: '*=present', better: higher}\n"
    )
    code, printed = checked(baseline(frechet=500.0), "--gates", gates)
    assert (code, "passed: 3 same" in printed) == (0, True)
    fewer = [*classified("vanilla", half_and_half(2000, 600)), *baseline()[7:]]
    code, printed = checked(fewer, "--gates", gates)
    assert (code, "share_hard over eyeglasses=present" in " ".join(printed.split())) == (1, "share_hard" in printed)


def test_a_gate_is_for_the_first_classifier_unless_another_is_named(call: Call, tmp_path: Path) -> None:
    rows = read_rows(QUICK / "results.csv")
    planted = [
        new if row["classifier"] == "clip" else row for row, new in zip(rows, worse_fd(rows, 1.4), strict=True)
    ]  # the other classifier alone sees a change, one that its intervals tell from chance
    run, gates = write_run(tmp_path / "run", planted), tmp_path / "gates.yaml"
    gates.write_text("metrics: {fd_l2_hard: {absolute: 0.05}}\nlatency: null\n")
    command = ("check", run, "--baseline", QUICK / "results.csv", "--gates", gates)
    assert call(*command)[0] == 0
    gates.write_text("metrics: {fd_l2_hard: {absolute: 0.05, classifier: clip}}\nlatency: null\n")
    code, printed, _ = call(*command)
    assert (code, "over eyeglasses by" in printed) == (1, True)


GATES: dict[str, tuple[str, str]] = {
    "no such file": ("", "cannot read "),
    "unknown key": ("alfa: 0.1\n", "line 1: unknown key 'alfa'; did you mean 'alpha'?"),
    "alpha": ("alpha: 1.5\n", "line 1: alpha: input should be less than 0.5, got 1.5"),
    "correction": ("correction: bonferroni\n", "correction: input should be 'holm' or 'benjamini_hochberg'"),
    "both sizes": ("metrics:\n  fd_l2_hard: {absolute: 1, relative: 1}\n", "must have either `absolute` or `relative`"),
    "no size": ("metrics:\n  fd_l2_hard: {}\n", "line 2: metrics.fd_l2_hard: a gate must have either"),
    "negative": ("metrics:\n  fd_l2_hard: {absolute: -1}\n", "greater than or equal to 0, got -1"),
    "infinite": ("metrics:\n  fd_l2_hard: {absolute: .inf}\n", "should be a finite number"),
    "no metric": ("metrics: {}\n", "line 1: metrics: dictionary should have at least 1 item"),
    "misspelt": ("metrics:\n  fd_l2_hrad: {absolute: 1}\n", "'fd_l2_hrad'; did you mean 'fd_l2_hard'"),
    "no such scope": (
        "metrics:\n  frechet_x: {relative: 0.1, scope: balancd}\n",
        "'balancd'; did you mean 'balanced'?",
    ),
    "no such classifier": (
        "metrics:\n  fd_l2_hard: {absolute: 0.1, classifier: klip}\n",
        "unknown other classifier of fd_l2_hard",
    ),
    "no direction": ("metrics:\n  share_hard: {absolute: 1}\n", "add `better: lower` or `better: higher`"),
    "latency": ("latency: {seconds: 1}\n", "unknown key 'latency.seconds'"),
}


@pytest.mark.parametrize(("text", "sentence"), GATES.values(), ids=GATES.keys())
def test_bad_gates_are_refused(call: Call, tmp_path: Path, text: str, sentence: str) -> None:
    base = write_run(tmp_path / "base", baseline())
    gates = tmp_path / "gates.yaml"
    if text:
        gates.write_text(text)
    assert sentence in refusal(call("check", base, "--baseline", base, "--gates", gates))


HOSTILE = 'evil"|<b>&\x07[red],::set::%\U0001f600'


def test_files_for_machines_hold_hostile_names(call: Call, tmp_path: Path) -> None:
    n = {"n": 2000, "n_asked": 2000}
    base, new = (
        write_run(tmp_path / name / "s", [score(HOSTILE, "frechet_x", "balanced", v, 7.0, **n)])
        for name, v in (("a", 445.0), ("b", 545.0))
    )
    junit, summary = tmp_path / "junit.xml", tmp_path / "summary.md"
    code, printed, _ = call("check", new, "--baseline", base, "--junit", junit, "--markdown", summary, "--annotations")
    assert code == 1
    suite = ET.parse(junit).getroot()
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("3", "1", "0")
    (case,) = (c for c in suite.iter("testcase") if c.find("failure") is not None)
    assert str(case.get("name")).startswith('evil"|<b>&\ufffd[red],::set::%\U0001f600: frechet_x')
    assert "445 -> 545" in str(case.find("failure").get("message"))  # type: ignore[union-attr]
    (line,) = (x for x in printed.splitlines() if x.startswith("::error "))
    assert re.match(
        rf"::error file={re.escape(str(new))},line=2,title=worse%3A frechet_x::worse: eyeglasses uniform, evil", line
    )
    assert "%25" in line.split("::", 2)[2]
    text = summary.read_text()
    assert "<b>" not in text
    assert {x.count("|") for x in text.splitlines() if "evil" in x} == {11}
    assert "### fairdiff-bench: refused: 1 worse, 2 same" in text


def test_an_annotation_is_one_line() -> None:
    from bench.comparison.ci import github_annotations
    from bench.comparison.gate import Item, Outcome

    items = (Item("t", "m", "fd_l2_hard", "s", "failed", reason="50 %\r\nof it"), Item("t", "m", "kl", "s", "same"))
    assert list(github_annotations(Outcome(items, ()), Path("a,b.csv"))) == [
        "::error file=a%2Cb.csv,title=failed%3A fd_l2_hard::failed: t, m: fd_l2_hard over s: 50 %25%0D%0Aof it"
    ]


def test_update_takes_the_run_and_says_who_changed_what(call: Call, tmp_path: Path) -> None:
    base = write_run(tmp_path / "base", baseline())
    rows = [*baseline(frechet=500.0, commit="f" * 40), *classified("third", half_and_half(2000, 100), commit="f" * 40)]
    rows = [{**row, "fields": '{"strength": 2.0}'} if row["method"] == "other" else row for row in rows]
    new = write_run(tmp_path / "new", rows)
    costs(new.parent, vanilla=0.1, other=0.2)
    assert call("check", new, "--baseline", base)[0] == 1
    code, printed, _ = call("check", new, "--baseline", base, "--update")
    assert code == 0
    for told in (
        f"commit: {'c' * 40} -> {'f' * 40}",
        "other: strength None -> 2.0",
        "third: added",
        "eyeglasses uniform, other: frechet_x over balanced: 445 -> 500",
        f"new baseline: {base}",
    ):
        assert told in printed.splitlines()
    assert base.read_bytes() == new.read_bytes()
    assert (base.parent / "costs.csv").read_bytes() == (new.parent / "costs.csv").read_bytes()
    assert call("check", new, "--baseline", base)[0] == 0
    assert "nothing changed" in call("check", new, "--baseline", base, "--update")[1]
    assert call("check", new, "--baseline", tmp_path / "first.csv", "--update")[0] == 0
    assert (tmp_path / "first.csv").read_bytes() == new.read_bytes()


BAD: dict[str, tuple[Callable[[Path], tuple[Any, ...]], str]] = {
    "no run": (lambda base: (base.parent / "absent", "--baseline", base), "no run at "),
    "an empty folder": (lambda base: (base.parent.parent, "--baseline", base), "no results.csv in "),
    "no baseline": (lambda base: (base, "--baseline", "absent.csv"), "no run at absent.csv"),
    "the run itself": (lambda base: (base, "--baseline", base, "--update"), "is the run's own results.csv"),
    "update and more": (
        lambda base: (base, "--baseline", "x.csv", "--update", "--annotations"),
        "--update takes the run as it is",
    ),
    "unwritable": (lambda base: (base, "--baseline", base, "--junit", base / "x.xml"), "cannot write "),
    "nothing gated": (
        lambda base: (base.parent / "bare", "--baseline", base.parent / "bare"),
        "with a value is gated; gate one of",
    ),
    "nonsense": (
        lambda base: (base.parent / "edited", "--baseline", base),
        "line 3, column ci_low: must be at most the value",
    ),
    "mixed": (
        lambda base: (base.parent / "mixed", "--baseline", base),
        "the rows are of several runs, which no table may mix",
    ),
}


@pytest.mark.parametrize(("arguments", "sentence"), BAD.values(), ids=BAD.keys())
def test_what_cannot_be_checked_is_said_in_one_sentence(
    call: Call, tmp_path: Path, arguments: Callable[[Path], tuple[Any, ...]], sentence: str
) -> None:
    base = write_run(tmp_path / "base", baseline())
    write_run(
        tmp_path / "base" / "bare", [score("m", "share_hard", "a=b", 0.5, 0.1, nfe_per_image="", backward_per_image="")]
    )
    edited = baseline()
    edited[1]["ci_low"] = 9.0
    write_run(tmp_path / "base" / "edited", edited)
    write_run(tmp_path / "base" / "mixed", [*baseline(), *classified("third", half_and_half(2000, 1), protocol=3)])
    assert sentence in refusal(call("check", *arguments(base)))


def test_a_check_without_baseline_is_a_misuse(call: Call) -> None:
    code, printed, said = call("check", QUICK)
    assert (code, printed) == (2, "")
    assert "--baseline" in said


def test_the_documented_gates_are_the_defaults_and_the_workflow_uses_known_options(call: Call) -> None:
    page = (DOCS / "regression-gate.md").read_text()
    (text,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    assert Gates.model_validate(yaml.safe_load(text)) == Gates()
    workflow = yaml.safe_load((DOCS / "workflows" / "regression-gate.yml").read_text())
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    commands = " ".join(step.get("run", "") for step in steps)
    assert "run_bench.py check" in commands
    help_text = call("check", "--help")[1] + call("run", "--help")[1]
    assert all(option in help_text for option in re.findall(r"--[a-z]+", commands))
