"""Paper tables: the numbers of results.csv, rounded as they are known, in formats that no name can break."""

from __future__ import annotations

import csv
import html.parser
import io
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from bench import cli
from bench.config.suite import read_suite
from bench.core.csv_text import to_csv
from bench.core.errors import ConfigError
from bench.core.rounding import places, rounded, shown
from bench.report.paper.claims import read_claims
from bench.report.paper.formats import FORMATS
from bench.report.paper.latex import inert
from bench.report.paper.table import Table, build, letter
from bench.report.paper.template import list_templates, read_template
from bench.results.key import Task
from bench.results.run import Run
from tests.support.runs import edited_run

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden"
RUN = GOLDEN / "run"  # a quick run of old, in part: leaderboards/quick changes, these numbers do not
QUICK = ROOT / "leaderboards" / "quick"
OF_QUICK = [n for n in list_templates() if n not in ("tiw", "prompts")]  # of one size of reference set, without prompts
HOSTILE = r"""<script>alert(1)</script> a|b \input{x} $x$ ~^#_%{}"'[*] `é` --- 日 =1"""

Edit = Callable[[dict[str, str]], dict[str, str] | None]


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as f:
        return list(csv.DictReader(f))


def copy_of_run(folder: Path, edit: Edit) -> Path:
    """The run, with every row of its three files changed by `edit`, or left out where that gives None."""
    return edited_run(RUN, folder, edit)


def made(template: str, run: Path = RUN, claimed: Path | None = None) -> Table:
    found = Run.open(run)
    return build(read_template(template), found, read_claims(claimed, found) if claimed else None)


def tidy(table: Table) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(FORMATS["csv"](table))))


# --- rounding


@pytest.mark.parametrize(
    ("value", "low", "high", "text"),
    [
        (0.3818376618407357, 0.29698, 0.45980, ("0.382", "0.297", "0.460")),  # half 0.081: three places
        (472.8607994435465, 445.969, 499.752, ("473", "446", "500")),  # half 26.9: none
        (454.05498933919716, 445.277, 462.833, ("454.1", "445.3", "462.8")),  # half 8.8: one
        (44721.3, 42000.0, 47000.0, ("44700", "42000", "47000")),  # half 2500: hundreds
        (0.5, 0.4, 0.6, ("0.50", "0.40", "0.60")),  # half 0.1 exactly: two
        (0.125, 0.025, 0.225, ("0.12", "0.02", "0.22")),  # half to even
        (-0.0004, -0.15, 0.15, ("0.00", "-0.15", "0.15")),  # no minus zero
        (20.0, None, None, ("20",)),
        (10950.0, None, None, ("10950",)),  # a count is not rounded
        (0.14479, None, None, ("0.145",)),
        (1234.5, None, None, ("1230",)),
        (0.0, 0.0, 0.0, ("0",)),
    ],
)
def test_rounding_by_the_intervals_size(value: float, low: float, high: float, text: tuple[str, ...]) -> None:
    assert shown(value, low, high, "brackets") == text


def test_plus_minus_is_the_larger_distance() -> None:
    assert shown(0.007, 0.0, 0.12, "plus_minus") == ("0.007", "0.113")
    assert shown(0.113, 0.0, 0.12, "plus_minus") == ("0.113", "0.113")


@given(st.floats(-1e9, 1e9), st.floats(1e-9, 1e6))
def test_what_is_rounded_away_is_less_than_a_fifth_of_the_intervals_half(value: float, half: float) -> None:
    """One digit more than the leading one: the step is at most a tenth of the half-width, and more than a hundredth."""
    digits = places(0.0, 2 * half)
    assert half / 100 < 10.0**-digits * (1 + 1e-9)
    assert 10.0**-digits <= half / 10 * (1 + 1e-9)
    assert abs(float(rounded(value, digits)) - value) <= half / 20 * (1 + 1e-6) + 1e-6 * abs(value)


# --- the numbers are those of the run


@pytest.mark.parametrize("run", [RUN, QUICK], ids=["of old", "quick"])
@pytest.mark.parametrize("template", OF_QUICK)
def test_every_number_is_the_runs_own(template: str, run: Path) -> None:
    classifier = Run.open(run).classifier
    results = [r for r in read(run / "results.csv") if r["classifier"] == classifier]
    targets = {"uniform": ("0.5/0.5", "0.333333/0.333333/0.333333")}
    costs = read(run / "costs.csv")
    seen = 0
    for row in tidy(made(template, run)):
        attributes, _, target = row["task"].partition(" ")
        shares = targets.get(target, ("0.1/0.9",))
        if row["metric"] in costs[0]:
            (own,) = [r for r in costs if (r["task"], r["method"]) == (row["task"], row["method"])]
            assert float(row["value"]) == float(own[row["metric"]])
        else:
            key = (attributes, row["method"], row["metric"], row["scope"])
            (own,) = [
                r
                for r in results
                if (r["attributes"], r["method"], r["metric"], r["scope"]) == key and r["target"] in shares
            ]
            assert [row[k] for k in ("value", "low", "high", "status")] == [
                own[k] for k in ("value", "ci_low", "ci_high", "status")
            ]
        seen += 1
    assert seen >= 21


def test_the_text_is_the_number_rounded() -> None:
    text = FORMATS["markdown"](made("full"))
    (line,) = [x for x in text.splitlines() if x.startswith("| eyeglasses 10/90 | latent_editing |")]
    assert "<ins>0.092</ins> ± 0.071 |" in line  # 0.09192388155425123 [0.0212..., 0.1626...]
    assert "| 438 ± 21 |" in line  # 437.61 [416.12, 459.10]


def test_a_second_seed_makes_the_mean(tmp_path: Path) -> None:
    rows = read(RUN / "results.csv")
    frechet = [r for r in rows if r["metric"].startswith(("frechet", "epsilon"))]
    run = copy_of_run(tmp_path, lambda row: row)
    other = {"value": "400.0", "ci_low": "390.0", "ci_high": "410.0"}
    again = [r | {"seed": "1"} | (other if r["metric"].startswith("frechet") else {}) for r in frechet]
    (run / "results.csv").write_text(to_csv([*rows, *again]), encoding="utf-8")
    found = [r for r in tidy(made("attribute_switching", run)) if r["metric"].startswith("frechet")]
    assert {r["seeds"] for r in found} == {"2"}
    first = next(r for r in frechet if r["metric"].startswith("frechet"))
    assert float(found[0]["value"]) == pytest.approx((float(first["value"]) + 400) / 2, rel=1e-15)
    assert "of the mean over seeds (their sampling errors" in FORMATS["markdown"](made("attribute_switching", run))


# --- marks and arrows


def test_bold_and_underlined_are_the_leaderboards() -> None:
    marks = {(r["task"], r["method"]): r["tied_best"] for r in read(RUN / "leaderboard.csv")}
    said = {"best": "best", "tied": "yes", "": "no"}
    rows = [r for r in tidy(made("balancing_act")) if r["metric"] == "fd_l2_hard"]
    assert {(r["task"], r["method"]): said[r["mark"]] for r in rows} == marks
    assert {r["mark"] for r in tidy(made("balancing_act")) if r["metric"] != "fd_l2_hard"} == {""}
    for name, bold, under in (
        ("latex", r"\textbf{\num{0.067}}", r"\underline{\num{0.113}}"),
        ("markdown", "**0.067**", "<ins>0.113</ins>"),
        ("html", "<strong>0.067</strong>", "<u>0.113</u>"),
    ):
        text = FORMATS[name](made("balancing_act"))
        assert bold in text
        assert under in text
        assert len(re.findall(re.escape(bold).replace(r"0\.067", r"[\d.]+"), text)) == 3  # one a task


@pytest.mark.parametrize(("template", "metric", "evaluator"), [
    ("attribute_switching", "epsilon", "epsilon_fairness"),
    ("attribute_switching", "Fréchet to avatars-biased", "frechet"),
    ("attribute_switching", "FD", "fairness_discrepancy"),
    ("full", "FD corrected", "corrected_discrepancy"),
])  # fmt: skip
def test_arrows_are_those_of_the_cards(template: str, metric: str, evaluator: str) -> None:
    from bench.core.plugins import load

    better = load("evaluator", evaluator, "Evaluator").card.columns[0].better
    assert {h.better for h in made(template).heads if " ".join(h.heading.split()) == metric} == {better}
    arrow = {"lower": "↓", "higher": "↑"}[better]
    assert f" {metric} {arrow} |" in FORMATS["markdown"](made(template))


# --- cells without a number


def broken(folder: Path) -> Path:
    """Vanilla failed on every task, sample guidance is not there on one, and latent editing was scored on fewer."""

    def edit(row: dict[str, str]) -> dict[str, str] | None:
        task = row.get("task", row.get("attributes", ""))
        if row["method"] == "sample_guidance" and task.startswith("skin_tone"):
            return None
        if row["method"] == "latent_editing" and row.get("metric", "").startswith("frechet"):
            return row | {"n": "150"}
        if row["method"] != "vanilla":
            return row | ({"guided_by_classifier": "True"} if row["method"] == "universal_guidance" else {})
        if "metric" not in row:
            return row | {"status": "failed", "tied_best": "", "fd_l2_hard": ""} if "tied_best" in row else None
        if row["metric"] != "fd_l2_soft":
            return None
        gone = dict.fromkeys(("value", "ci_low", "ci_high", "noise_floor", "n", "metric", "scope"), "")
        return row | gone | {"status": "failed", "reason": "the denoiser returned NaN"}

    return copy_of_run(folder, edit)


def test_what_failed_or_is_missing_says_so_with_a_footnote(tmp_path: Path) -> None:
    table = made("full", broken(tmp_path))
    text = FORMATS["markdown"](table)
    lines = text.splitlines()
    at = {note: letter(i) for i, note in enumerate(table.notes)}
    failed, undefined = at["failed: the denoiser returned NaN"], at["undefined: no class was asked for"]
    missing, fewer = at["the run has no such score"], at["from 150 samples"]
    vanilla = next(x for x in lines if "| skin_tone uniform | vanilla |" in x)
    assert vanilla.count(f" failed<sup>{failed}</sup> ") == len(table.heads)
    gone = next(x for x in lines if "| skin_tone uniform | sample_guidance |" in x)
    assert f" | -<sup>{missing}</sup> |" in gone
    edited = next(x for x in lines if "| skin_tone uniform | latent_editing |" in x)
    assert f" | undef.<sup>{undefined}</sup> |" in edited
    assert f" | 510 ± 26<sup>{fewer}</sup> |" in edited
    guided = at["guided by its attribute classifier"]
    assert f"| skin_tone uniform | universal_guidance<sup>{guided}</sup> |" in text
    assert f"<sup>{failed}</sup> failed: the denoiser returned NaN<br>" in text
    assert {(r["status"], r["value"]) for r in tidy(table) if r["method"] == "vanilla"} == {("failed", "")}


def test_the_footnotes_say_how_it_was_made() -> None:
    text = FORMATS["markdown"](made("costs"))
    for part in ("200 samples per cell, seed 0", "ddim, 20 steps, logsnr spacing, fp32", "protocol 2", "attribute_cnn"):
        assert part in text
    assert "Not recorded by this run: memory (MiB)." in text


def test_letters_go_on_after_z() -> None:
    assert [letter(i) for i in (0, 25, 26, 51, 52, 701, 702)] == ["a", "z", "aa", "az", "ba", "zz", "aaa"]


# --- a method's field across


def by_size(folder: Path) -> Path:
    """Two trainings at two sizes of the reference set, and vanilla, which has none, out of the run."""
    names = {
        "sample_guidance": ("tiw small", "tiw_dsm", {"reference_frac": 0.05, "variant": "full"}),
        "distribution_guidance": ("tiw large", "tiw_dsm", {"reference_frac": 0.1, "variant": "full"}),
        "latent_editing": ("ref", "dsm_ref", {"reference_frac": 0.1}),
        "vanilla": ("vanilla", "vanilla", {}),
    }

    def edit(row: dict[str, str]) -> dict[str, str] | None:
        if row["method"] not in names:
            return None
        title, file, fields = names[row["method"]]
        more = {"method_file": file, "fields": json.dumps(fields)} if "fields" in row else {}
        return row | {"method": title} | more

    return copy_of_run(folder, edit)


def test_tiw_has_a_group_a_size_and_a_row_a_method(tmp_path: Path) -> None:
    table = made("tiw", by_size(tmp_path))
    assert list(dict.fromkeys(h.group for h in table.heads)) == ["0.05", "0.1", "any"]
    assert [title for title, _ in table.blocks] == ["eyeglasses uniform", "skin_tone uniform", "eyeglasses 10/90"]
    rows = {row.label: [c.facts["method"] for c in row.cells[::2]] for row in table.blocks[0][1]}
    assert rows == {"vanilla": ["", "", "vanilla"], "tiw_dsm": ["tiw small", "tiw large", ""], "ref": ["", "ref", ""]}


# --- claims


def claims(folder: Path, text: str) -> Path:
    path = folder / "claims.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_claim_stands_beside_the_measured_value_with_its_citation(tmp_path: Path) -> None:
    text = "method,task,value,citation\nvanilla,skin_tone,0.470,@parihar2024\nlatent_editing,eyeglasses uniform,1e-2,"
    table = made("balancing_act", claimed=claims(tmp_path, text + '"Table 2, a_b & c"\n'))
    assert [h.heading for h in table.heads[:3]] == ["FD", "claimed", "Fréchet to\navatars-balanced"]
    markdown, latex = FORMATS["markdown"](table), FORMATS["latex"](table)
    assert "± 0.066 | 0.470<sup>a</sup> |" in markdown
    assert "<sup>a</sup> [@parihar2024]<br>" in markdown
    assert "<sup>b</sup> Table 2, a_b &amp; c<br>" in markdown
    assert r"\multicolumn{1}{c}{\num{0.470}\textsuperscript{a}}" not in latex
    assert r"\num{0.470}\textsuperscript{a}" in latex
    assert r"\cite{parihar2024}" in latex
    assert r"Table 2, a\_b \& c" in latex
    assert not any(h.heading == "claimed" for h in made("balancing_act").heads)


def test_claims_name_their_metric_and_methods_that_were_not_run(tmp_path: Path) -> None:
    text = "method,task,value,citation,metric\nvanilla,skin_tone,0.47,@a,{0}\nFair-SD 2,skin_tone,0.1,@b,{0}\n"
    table = made("balancing_act", claimed=claims(tmp_path, text.format("FD of a ResNet")))
    assert [h.heading for h in table.heads[:2]] == ["FD", "claimed FD of a ResNet"]
    (_, rows) = table.blocks[0]
    assert (rows[-1].label, rows[-2].label) == ("Fair-SD 2", made("balancing_act").blocks[0][1][-1].label)
    assert sorted({cell.word for cell in rows[-1].cells}) == ["", "-", "0.1"]
    assert "not run" in table.notes
    lines = list(csv.DictReader(io.StringIO(FORMATS["csv"](table))))
    assert ("claimed FD of a ResNet", "0.1") in [(r["metric"], r["value"]) for r in lines if r["row"] == "Fair-SD 2"]

    heads = [h.heading for h in made("full", claimed=claims(tmp_path, text.format("fd_l2_soft"))).heads]
    assert heads[:3] == ["FD", "FD soft", "claimed"], "beside the template's own column of that metric"
    mixed = text.format("kl") + "vanilla,eyeglasses 10/90,0.2,@c,fd_l1\n"
    with pytest.raises(ConfigError, match="the claims of a file must be of one metric, got 'kl' and 'fd_l1'"):
        made("balancing_act", claimed=claims(tmp_path, mixed))


def test_the_shipped_claims_are_of_methods_and_tasks_of_their_preset() -> None:
    preset = read_suite("balancing_act_celebahq")
    run = SimpleNamespace(
        methods=tuple(m.title for m in preset.methods),
        tasks=(Task("gender", "0.5/0.5"), Task("eyeglasses", "0.5/0.5")),
    )
    found = read_claims(ROOT / "bench" / "assets" / "claims" / "balancing_act_celebahq.csv", run)  # type: ignore[arg-type]
    assert len(found) == 8
    assert all("re-run" in claim.citation and "another metric" in claim.citation for claim in found.values())


# --- formats


class Text(html.parser.HTMLParser):
    """The rows of an HTML table, as texts, and every tag that was opened."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.tags: set[str] = set()
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.add(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, data: str) -> None:
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data


def hostile(folder: Path) -> Path:
    return copy_of_run(folder, lambda r: r | ({"method": HOSTILE} if r["method"] == "attribute_switching" else {}))


def test_hostile_names_show_as_they_are(tmp_path: Path) -> None:
    table = made("balancing_act", hostile(tmp_path))
    page = Text(FORMATS["html"](table))
    assert HOSTILE in [row[0] for row in page.rows if row]
    rendered = Text(MarkdownIt("commonmark").enable("table").render(FORMATS["markdown"](table)))
    (row,) = [row for row in rendered.rows if row and row[0].strip() == HOSTILE]
    assert len(row) == 7
    assert row[1].strip() == "0.141 ± 0.099"
    for seen in (page, rendered):
        assert not seen.tags & {"script", "code", "a", "em", "del"}
    assert FORMATS["html"](table).isascii()
    assert tidy(made("balancing_act", hostile(tmp_path)))  # reads back
    latex = FORMATS["latex"](table)
    assert r"\input" not in latex
    assert latex.count("{tabular}") == 2


def test_latex_escapes() -> None:
    assert inert("a_b & 50 % #1 {x} $y$") == r"a\_b \& 50 \% \#1 \{x\} \$y\$"
    assert inert("\\x~^") == r"\textbackslash{}x\textasciitilde{}\textasciicircum{}"
    assert inert("é ñ ç š ß") == r"\'{e} \~{n} \c{c} \v{s} \ss{}"
    assert inert("日 \u202e \n\x00") == r"\texttt{U+65E5} \texttt{U+202E} \texttt{U+0000}"
    assert inert("''it's''") == "'{}'it's'{}'"
    assert inert("---") == "-{}-{}-"


@pytest.mark.parametrize(("name", "ending"), [("latex", "tex"), ("markdown", "md"), ("csv", "csv"), ("html", "html")])
def test_golden(tmp_path: Path, name: str, ending: str) -> None:
    """One table with every kind of cell. To renew: python -m tests.report.test_paper, then read the difference."""
    assert FORMATS[name](golden_table(tmp_path)) == (GOLDEN / f"table.{ending}").read_text(encoding="utf-8")


def golden_table(folder: Path) -> Table:
    """A small made-up run: a value with every mark, one that failed, one undefined, a claim."""
    rows = []
    for method, attributes, target, value, half, epsilon in [
        ("vanilla", "age", "0.5/0.5", 0.3818, 0.0812, None),
        ("guided", "age", "0.5/0.5", 0.0071, 0.1131, 0.29),
        ("guided & more", "age", "0.5/0.5", 0.0636, 0.0995, 0.33),
        ("vanilla", "hair", "0.1/0.9", 0.9475, 0.0848, None),
        ("guided", "hair", "0.1/0.9", 0.0354, 0.0707, 0.25),
    ]:
        common = {c: "x" for c in read(RUN / "results.csv")[0]} | {
            **{"attributes": attributes, "target": target, "method": method, "seed": "0", "method_file": method},
            **{"n": "200", "n_asked": "200", "steps": "20", "eta": "0.0", "guidance_batch": "100", "protocol": "2"},
            **{
                "fields": "{}",
                "guided_by_classifier": "False",
                "status": "ok",
                "reason": "",
                "noise_floor": "",
                "suite": "s",
            },
            **{"classifier_confusion": json.dumps({attributes: [[95, 5], [1, 99]]}), "commit": ""},
            **{"nfe_per_image": "20.0", "backward_per_image": "0.0", "model": "m", "classifier": "j"},
        }
        ends = {"ci_low": repr(max(value - half, 0.0)), "ci_high": repr(value + half)}
        rows.append(common | {"metric": "fd_l2_hard", "scope": attributes, "value": repr(value)} | ends)
        found = {"value": "", "ci_low": "", "ci_high": "", "status": "undefined", "reason": "no class was asked for"}
        if epsilon:
            found = {"value": repr(epsilon), "ci_low": repr(epsilon - 0.06), "ci_high": repr(epsilon + 0.06)}
        rows.append(common | {"metric": "epsilon_x", "scope": attributes} | found)
    gone = dict.fromkeys(("value", "ci_low", "ci_high", "n", "metric", "scope"), "")
    rows.append(rows[-1] | gone | {"method": "guided & more", "status": "failed", "reason": "out of memory"})
    marks = iter(["no", "best", "yes", "no", "best"])
    board = [
        {"task": task, "method": r["method"], "fd_l2_hard": r["value"], "status": "ok", "tied_best": next(marks)}
        for r in rows
        if r["metric"] == "fd_l2_hard" and (task := {"age": "age uniform", "hair": "hair 10/90"}[r["attributes"]])
    ]
    (folder / "results.csv").write_text(to_csv(rows), encoding="utf-8")
    (folder / "leaderboard.csv").write_text(to_csv(board), encoding="utf-8")
    (folder / "template.yaml").write_text(
        "template: golden\ncaption: Every kind of cell.\nacross: task\ninterval: brackets\nwide: true\ncolumns:\n"
        "  - {metric: fd_l2_hard, heading: FD, claimed: true}\n  - {metric: epsilon_*, heading: epsilon}\n"
        "  - {metric: kid_*, scope: '*', heading: KID, optional: true}\n"
    )
    claimed = claims(folder, "method,task,value,citation\nguided,age,0.01,@someone2024\n")
    return made(str(folder / "template.yaml"), folder, claimed)


# --- LaTeX compiles

ENGINE = next((e for e in ("pdflatex", "tectonic", "xelatex") if shutil.which(e)), None)
PACKAGED = ENGINE == "tectonic" or (
    shutil.which("kpsewhich") is not None
    and subprocess.run(["kpsewhich", "siunitx.sty", "booktabs.sty"], capture_output=True).returncode == 0
)


@pytest.mark.skipif(ENGINE is None or not PACKAGED, reason="no TeX engine with siunitx and booktabs here")
def test_the_latex_of_every_layout_compiles_and_fits_its_page(tmp_path: Path) -> None:
    for name in ("run", "sizes", "broken", "golden"):
        (tmp_path / name).mkdir()
    narrow = [made(template) for template in OF_QUICK if template != "full"]
    narrow += [made("tiw", by_size(tmp_path / "sizes")), golden_table(tmp_path / "golden")]
    wide = [made("full"), made("full", broken(tmp_path / "broken"))]
    compile_latex(tmp_path, "6.875in", narrow)  # two columns of a conference's page
    compile_latex(tmp_path, "9in", wide)  # the same, sideways
    compile_latex(tmp_path, "11in", [made("balancing_act", hostile(tmp_path / "run"))])


def compile_latex(folder: Path, width: str, tables: list[Table]) -> None:
    pages = "\n\\clearpage\n".join(FORMATS["latex"](table) for table in tables)
    (folder / "t.tex").write_text(
        f"\\documentclass{{article}}\n\\usepackage[paperwidth=13in,textwidth={width}]{{geometry}}\n"
        f"\\usepackage{{booktabs,siunitx}}\n\\begin{{document}}\n{pages}\\end{{document}}\n",
        encoding="utf-8",
    )
    options = [] if ENGINE == "tectonic" else ["-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape"]
    ran = subprocess.run([str(ENGINE), *options, "t.tex"], cwd=folder, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stdout[-2000:]
    assert (folder / "t.pdf").stat().st_size > 10_000
    assert "Overfull" not in ran.stdout + ran.stderr


# --- the command


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def run(*arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["run_bench.py", *map(str, arguments)])
        monkeypatch.chdir(ROOT)
        capsys.readouterr()
        try:
            cli.main()
            code: Any = 0
        except SystemExit as end:
            code = end.code or 0
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("balancing_akt",), "unknown template 'balancing_akt'; did you mean 'balancing_act'? known: FILE.yaml, att"),
        (("absent.yaml",), "cannot read absent.yaml: No such file"),
        (("costs", "no/such"), "no run at no/such; give the folder of a finished run"),
        (("costs", "tests"), "no results.csv in tests"),
        (("costs", "--format", "word"), "unknown format 'word'; known: csv, html, latex, markdown"),
        (("costs", "--format", "latx"), "did you mean 'latex'?"),
        (
            ("tiw", "tests/golden/run"),
            "unknown field of any method of tests/golden/run/results.csv 'reference_frac'",
        ),
        (
            ("costs", "--claimed", "README.md"),
            "README.md, line 1: must be the header method,task,value,citation or with ,metric, got",
        ),
        (("full", "--claimed", "absent.csv"), "cannot read absent.csv: No such file"),
        (("attribute_switching", "leaderboards/unguided"), "unknown metric of leaderboards/unguided/results.csv"),
    ],
)
def test_a_bad_request_is_one_sentence(call: Any, arguments: tuple[str, ...], sentence: str) -> None:
    code, printed, said = call("table", *arguments)
    assert (code, printed, said.count("\n")) == (2, "", 1), said
    assert said.startswith("error: ")
    assert sentence in said


COLUMN = "template: x\ncaption: c\ninterval: brackets\ncolumns:\n  - "


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (COLUMN + "{cost: seconds, heading: s}", "unknown column of leaderboards/quick/costs.csv 'seconds'; did you"),
        (COLUMN + "{metric: fd_l2_hrd, heading: s}", "results.csv 'fd_l2_hrd'; did you mean 'fd_l2_hard'"),
        (COLUMN + "{metric: frechet_*, scope: x, heading: s}", "unknown scope of frechet_* in leaderboards/quick/res"),
        (COLUMN + "{heading: s}", "column 's' must have either `metric` or `cost`; give one of them"),
        (COLUMN + "{metric: kl, cost: fit_nfe, heading: s}", "must have either `metric` or `cost`"),
        (COLUMN + "{metrik: kl, heading: s}", "unknown key 'columns.0.metrik'; did you mean 'metric'?"),
        (COLUMN + "{metric: kid_*, heading: s, optional: true}", "has none of its columns; choose another"),
        (COLUMN + "{metric: kl, heading: s}\nacross: strenth", "'strenth'; did you mean 'strength'?"),
        (COLUMN + "{metric: kl, heading: s}\ninterval: pm", "'interval' is given twice; keep one"),
        ("template: x\ncaption: c\ninterval: pm\ncolumns: []", "interval: input should be 'brackets' or 'plus_minus'"),
        (
            COLUMN + "{metric: kl, heading: s, claimed: true}\n  - {metric: fd_l1, heading: t, claimed: true}",
            "only one column may have `claimed: true`",
        ),
    ],
)
def test_a_bad_layout_is_one_sentence(call: Any, tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(text)
    code, printed, said = call("table", path)
    assert (code, printed, said.count("\n")) == (2, "", 1), said
    assert sentence in said


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ("vanila,eyeglasses 10/90,1,x", "unknown method in FILE, line 2 'vanila'; did you mean 'vanilla'?"),
        ("vanilla,eyes,1,x", "unknown task in FILE, line 2 'eyes'"),
        ("vanilla,eyeglasses,1,x", "task 'eyeglasses' may be eyeglasses uniform or eyeglasses 10/90; name one"),
        ("vanilla,skin_tone,low,x", "FILE, line 2: value must be a finite number, got 'low'"),
        ("vanilla,skin_tone,nan,x", "value must be a finite number, got 'nan'"),
        ("vanilla,skin_tone,1_0,x", "value must be a finite number, got '1_0'"),
        ("vanilla,skin_tone,1", "FILE, line 2: must have 4 fields"),
        ("vanilla,skin_tone,1,", "citation must name the source"),
        (",skin_tone,1,x", "unknown method in FILE, line 2 ''; "),
        (
            "vanilla,skin_tone,1,x\nvanilla,skin_tone uniform,2,y",
            "line 3: vanilla on skin_tone uniform is claimed twice",
        ),
    ],
)
def test_a_bad_claim_is_one_sentence(tmp_path: Path, rows: str, sentence: str) -> None:
    path = claims(tmp_path, f"method,task,value,citation\n{rows}\n")
    with pytest.raises(ConfigError) as caught:
        made("balancing_act", claimed=path)
    assert sentence in str(caught.value).replace(str(path), "FILE")


def test_claims_need_a_column_to_stand_beside(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="template costs must have a column with `claimed: true`"):
        made("costs", claimed=claims(tmp_path, "method,task,value,citation\nvanilla,skin_tone,1,x\n"))


@pytest.mark.parametrize(
    ("file", "change", "sentence"),
    [
        ("leaderboard.csv", {"fd_l2_hard": "0.25"}, "leaderboard.csv is not of the same run as"),
        ("leaderboard.csv", {"tied_best": "maybe"}, "tied_best must be best, yes, no or blank, got 'maybe'"),
        (
            "costs.csv",
            {"seconds_per_image": "fast"},
            "column seconds_per_image: must be a finite number or blank, got 'fast'; restore",
        ),
        ("leaderboard.csv", None, "leaderboard.csv: No such file"),
        ("costs.csv", None, "costs.csv: No such file"),
    ],
)
def test_a_run_whose_files_disagree_is_refused(
    tmp_path: Path, file: str, change: dict[str, str] | None, sentence: str
) -> None:
    run = copy_of_run(tmp_path, lambda row: row)
    rows = [row | (change or {}) for row in read(run / file)]
    (run / file).write_text(to_csv(rows))
    if change is None:
        (run / file).unlink()
    with pytest.raises(ConfigError) as caught:
        made("full", run)
    assert sentence in str(caught.value)


def test_out_is_written_and_says_where_it_cannot_be(call: Any, tmp_path: Path) -> None:
    code, printed, said = call("table", "costs", "--format", "html", "--out", tmp_path / "t.html")
    assert (code, printed, said) == (0, "", "")
    assert (tmp_path / "t.html").read_text() == call("table", "costs", "--format", "html")[1]
    code, _, said = call("table", "costs", "--out", tmp_path / "t.html" / "deeper.tex")
    assert (code, said.count("\n")) == (2, 1)
    assert "error: cannot write " in said


def test_layouts_are_listed_and_the_help_shows_an_example(call: Any) -> None:
    code, printed, said = call("list", "templates")
    assert (code, said) == (0, "")
    assert all(name in printed for name in ("attribute_switching", "balancing_act", "costs", "full", "tiw"))
    assert "Example: python run_bench.py table balancing_act" in call("table", "--help")[1]


def test_no_torch_is_imported() -> None:
    code = (
        "import sys; from bench import cli; from bench.report.paper.formats import FORMATS\n"
        "for name in FORMATS:\n    sys.argv = ['x', 'table', 'full', '--format', name]\n"
        "    try:\n        cli.main()\n    except SystemExit as end:\n        assert not end.code\n"
        "assert 'torch' not in sys.modules and 'matplotlib' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True)


def test_the_page_shows_what_its_commands_give_now(call: Any) -> None:
    page = (ROOT / "docs" / "paper-tables.md").read_text(encoding="utf-8")
    shown_there = re.findall(r"```\npython run_bench\.py (table [^\n]*)\n```\n\n(\*\*.*?)(?=\n## |\Z)", page, re.DOTALL)
    assert [command.split()[1] for command, _ in shown_there] == OF_QUICK
    for command, text in shown_there:
        assert call(*command.split())[1].strip() == text.strip(), command


if __name__ == "__main__":
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as made_in:
        for kind, end in (("latex", "tex"), ("markdown", "md"), ("csv", "csv"), ("html", "html")):
            (GOLDEN / f"table.{end}").write_text(FORMATS[kind](golden_table(Path(made_in))), encoding="utf-8")
