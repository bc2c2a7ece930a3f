"""The page of a run: its numbers are the run's, its names are inert, and in a browser it does what it says."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bench.core import plugins
from bench.core.rounding import shown
from bench.report.page import document
from bench.report.page.cards import cards
from bench.report.page.ties import marks
from bench.results.key import Key, Task
from bench.results.run import Run
from bench.storage.files import write_arrays
from bench.storage.store import Store
from tests.support.runs import (
    BATCH,
    Call,
    caller,
    classified,
    failed,
    half_and_half,
    read_rows,
    refusal,
    score,
    write_run,
)

HOSTILE = "</script><img src=x onerror=\"document.title='owned'\"> ' & \u2028 <!-- <b>%%DATA%%</b> ${1+1}"
COMMITTED = plugins.ROOT / "leaderboards" / "quick"


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    return caller(monkeypatch, capsys)


def picture(method: str, n: int) -> np.ndarray:
    """Images of 8 pixels, each of one colour, unlike for every sample and method: uint8 [n, 3, 8, 8]."""
    colours = np.stack([np.arange(n), np.full(n, len(method)), 255 - np.arange(n)], axis=1)
    return np.broadcast_to(colours[:, :, None, None], (n, 3, 8, 8)).astype(np.uint8)


def made(folder: Path, pictures: bool = True) -> Path:
    """A run of four methods on one task and two on another, one cell failed, with what the classifier saw."""
    store, biased = folder.parent / "store", (0.1, 0.9)
    rows = []
    for method, present in (("vanilla", 46), ("even", 100), ("nearly", 98)):
        rows += classified(method, half_and_half(200, present), store=store)
        rows.append(score(method, "frechet_x", "real", 300.0 + present, 9.5, sample_key=rows[-1]["sample_key"]))
    rows.append(failed("broken", "no room left"))
    for method, present in (("vanilla", 46), ("even", 60)):
        rows += classified(method, half_and_half(200, present), biased)
    if pictures:
        for method in ("vanilla", "even", "nearly"):
            key = f"{method}0".encode().hex().ljust(64, "0")
            write_arrays(Store(store).shard(key, 0, BATCH), {"images": picture(method, BATCH)})
    path = write_run(folder, rows)
    lines = ["task,method,nfe_per_image,seconds_per_image,device"]
    lines += [
        f"eyeglasses uniform,{method},20.0,{seconds},cpu" for method, seconds in (("vanilla", 0.2), ("even", 0.25))
    ]
    (folder / "costs.csv").write_text("\n".join(lines) + "\n")
    return path.parent


class Read(HTMLParser):
    """The scripts, attributes and elements of a page, as a browser would tell them apart."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.scripts: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data: str) -> None:
        if self.tags[-1:] == ["script"]:
            self.scripts[-1] += data

    def handle_endtag(self, tag: str) -> None:
        self.tags.append("/" + tag)


def table(records: dict[str, Any]) -> list[dict[str, str]]:
    """The lines of results.csv, of a page's records."""
    n = len(records["lines"])
    columns = {c["name"]: [c["texts"][k] for k in c["codes"] or [0] * n] for c in records["columns"]}
    return [dict(zip(columns, line, strict=True)) for line in zip(*columns.values(), strict=True)]


def named(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows with the name of their task, which files of earlier versions lack."""
    return [{"task": Task(row["attributes"], row["target"]).name} | row for row in rows]


@pytest.mark.parametrize("source", ["made", "committed"])
def test_the_numbers_are_those_of_results_csv(tmp_path: Path, source: str) -> None:
    run = Run.open(made(tmp_path / "run") if source == "made" else COMMITTED)
    data = document.data(run)
    rows = read_rows(run.file)
    assert table(data["records"]) == named(rows) if source == "committed" else len(table(data["records"])) == len(rows)
    found = {}
    for row in data["rows"]:
        for number, cell in row["cells"].items():
            column = data["columns"][number]
            found[row["task"], row["method"], column["metric"], column["scope"], column["classifier"]] = cell
    checked = 0
    for row in rows:
        if row["status"] != "ok":
            continue
        task = run.tasks.index(Task(row["attributes"], row["target"]))
        scope = "" if row["scope"] in (row["attributes"], "all") else row["scope"]
        other = (
            ""
            if row["classifier"] == run.classifier or not row["metric"].startswith(("fd_", "kl", "share_"))
            else row["classifier"]
        )
        cells = [found.get((task, run.methods.index(row["method"]), row["metric"], scope, j)) for j in (other, "")]
        value, low, high, texts, *_ = next(cell for cell in cells if cell is not None)
        assert value == float(row["value"])
        assert (low, high) == tuple(float(row[c]) if row[c] else None for c in ("ci_low", "ci_high"))
        assert tuple(texts) == shown(value, low, high, "brackets")
        checked += 1
    assert checked == sum(row["status"] == "ok" for row in rows) > 20


def test_every_field_of_results_csv_is_in_the_records(tmp_path: Path) -> None:
    run = Run.open(made(tmp_path / "run"))
    for line, row in zip(table(document.data(run)["records"]), named(read_rows(run.file)), strict=True):
        assert {k: v for k, v in line.items() if v != row[k] and float(v or "nan") != float(row[k] or "nan")} == {}
        assert line.keys() == row.keys()


def test_a_hostile_name_is_data_and_nothing_else(tmp_path: Path) -> None:
    calm = Run.open(made(tmp_path / "calm"))
    rows = [{**row, "method": row["method"].replace("even", HOSTILE), "suite": HOSTILE} for row in read_rows(calm.file)]
    run = Run.open(write_run(tmp_path / "hostile", rows))
    text = document.page(run)
    one, two = Read(text), Read(document.page(calm))
    assert one.tags == two.tags
    assert one.attributes == two.attributes
    data = json.loads(one.scripts[0])
    assert data["suite"] == HOSTILE
    assert HOSTILE in [method["name"] for method in data["methods"]]
    assert one.scripts[1:] == two.scripts[1:]
    assert "\u2028" not in one.scripts[0]


def test_nothing_is_asked_for_and_no_other_script_may_run(tmp_path: Path) -> None:
    page = Read(document.page(Run.open(made(tmp_path / "run"))))
    (policy,) = [v for k, v in page.attributes if k == "content" and v and "script-src" in v]
    digests = [base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in page.scripts[1:]]
    assert re.findall(r"'sha256-([^']+)'", policy) == digests
    assert "default-src 'none'" in policy
    assert "unsafe-inline" not in policy.split("script-src")[1].split(";")[0]
    links = [v for k, v in page.attributes if k in ("src", "href", "srcset", "action", "data") and v]
    assert all(link.startswith(("#", "data:,")) for link in links), links
    assert "@import" not in document._asset("page.css")
    assert "url(" not in document._asset("page.css")


def test_no_script_of_the_page_parses_markup_or_is_long() -> None:
    for name in document.SCRIPTS:
        text = document._asset(f"{name}.js")
        assert len(text.splitlines()) < 400
        assert not re.findall(r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\b|new Function|fetch\(", text)


def test_samples_are_those_of_the_store(tmp_path: Path) -> None:
    data = document.data(Run.open(made(tmp_path / "run")))["samples"]
    assert (data["count"], data["width"], data["height"], data["reduced"], data["why"]) == (24, 8, 8, None, "")
    assert [cell["method"] for cell in data["cells"] if cell["task"] == 0] == [0, 1, 2]
    for cell, method in zip(data["cells"], ("vanilla", "even", "nearly"), strict=False):
        strip = np.array(Image.open(io.BytesIO(base64.b64decode(data["strips"][cell["strip"]]))))
        expected = np.concatenate(list(picture(method, 24).transpose(0, 2, 3, 1)), axis=1)
        assert np.array_equal(strip, expected)
        assert cell["labels"] == [0] * 24
    assert len(data["strips"]) == 3, "a cell of two tasks is embedded once"


def test_labels_are_the_classifiers_and_say_where_it_abstained(tmp_path: Path) -> None:
    run = Run.open(made(tmp_path / "run"))
    key = b"vanilla0".hex().ljust(64, "0")
    shard = Store(run.store).shard(key, 0, BATCH)
    seen = np.where(np.eye(2)[np.arange(BATCH) % 2] > 0, 0.9, 0.1)
    seen[3] = np.nan
    folder = Store(run.store).features("attribute_cnn", "d" * 64, shard)
    shutil.rmtree(folder)
    write_arrays(folder, {"eyeglasses": seen})
    assert document.data(run)["samples"]["cells"][0]["labels"][:6] == [0, 1, 0, -1, 0, 1]


def test_large_images_are_shown_smaller_and_it_is_said(tmp_path: Path) -> None:
    folder = made(tmp_path / "run", pictures=False)
    key = b"even0".hex().ljust(64, "0")
    large = np.zeros((BATCH, 3, 128, 256), dtype=np.uint8)
    write_arrays(Store(tmp_path / "store").shard(key, 0, BATCH), {"images": large})
    data = document.data(Run.open(folder))["samples"]
    assert (data["width"], data["height"], data["reduced"]) == (128, 64, 256)


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    folder = made(tmp_path / "run", pictures=False)
    (folder / "costs.csv").unlink()
    data = document.data(Run.open(folder))
    assert data["samples"]["why"].startswith("No samples: their store")
    assert data["no_costs"].startswith("There is no costs.csv")
    (broken,) = [row for row in data["rows"] if row["status"] != "ok"]
    assert (broken["status"], broken["reason"], broken["cells"]) == ("failed", "no room left", {})


def test_marks_are_of_a_test_or_of_the_leaderboard(tmp_path: Path) -> None:
    run = Run.open(made(tmp_path / "run"))
    uniform = run.tasks[0]
    methods = ("vanilla", "even", "nearly")
    ranking_metric = [Key(uniform, m, "fd_l2_hard", "eyeglasses") for m in methods]
    assert marks(run, ranking_metric) == {"vanilla": "", "even": "best", "nearly": "tied"}
    assert marks(run, [Key(uniform, m, "frechet_x", "real") for m in methods])["vanilla"] == "best"
    assert marks(run, [Key(uniform, m, "share_hard", "eyeglasses=present") for m in methods]) == {}
    values = {m: run.good(key)[0].value for m, key in zip(methods, ranking_metric, strict=True)}
    with (run.file.parent / "leaderboard.csv").open("w", newline="") as f:
        writer = csv.writer(f)
        writer.writerow(("task", "method", "fd_l2_hard", "status", "tied_best"))
        for method, tied in (("even", "best"), ("nearly", "no"), ("vanilla", "yes")):
            writer.writerow((uniform.name, method, repr(values[method]), "ok", tied))
    data = document.data(run)
    place = next(i for i, c in enumerate(data["columns"]) if c["name"] == "fd_l2_hard")
    told = {run.methods[r["method"]]: r["cells"][place][4] for r in data["rows"] if r["task"] == 0 and r["cells"]}
    assert told == {"even": "best", "nearly": "", "vanilla": "tied"}


def test_every_metric_of_a_shipped_run_is_on_one_card() -> None:
    metrics = [m for m in Run.open(COMMITTED).metrics if not m.endswith("_per_image")]
    found = cards(metrics)
    assert sorted(m for card in found for m in card["metrics"]) == sorted(metrics)
    assert {card["name"] for card in found} >= {
        "fairness_discrepancy",
        "frechet",
        "epsilon_fairness",
        "classifier_agreement",
    }
    assert all(card["columns"] and card["summary"] for card in found)
    assert cards(["no_such_metric"]) == []


def test_a_report_imports_no_torch(tmp_path: Path) -> None:
    run = made(tmp_path / "run")
    code = (
        "import sys; from pathlib import Path; from bench.results.run import Run\n"
        "from bench.report.page.document import page\n"
        "page(Run.open(Path(sys.argv[1]))); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(run)], cwd=plugins.ROOT, check=True)


def test_report_writes_one_file_beside_the_run_or_where_told(call: Call, tmp_path: Path) -> None:
    run = made(tmp_path / "run")
    assert call("report", run)[0] == 0
    assert call("report", run / "results.csv", "--out", tmp_path / "new" / "a.html")[0] == 0
    one, two = (run / "page.html").read_bytes(), (tmp_path / "new" / "a.html").read_bytes()
    assert one == two
    assert not re.search(rb"[/\\](home|root|tmp|work)[/\\]", one.split(b'id="data">')[1].split(b"</script>")[0])


BAD: dict[str, tuple[Callable[[Path], tuple[Any, ...]], str]] = {
    "no run": (lambda run: (run.parent / "absent",), "no run at "),
    "empty folder": (lambda run: (run.parent / "empty",), "no results.csv in "),
    "nonsense": (lambda run: (run.parent / "edited",), "line 2, column value: must be a finite number"),
    "no rows": (lambda run: (run.parent / "blank",), "holds no rows"),
    "another ending": (lambda run: (run, "--out", "page.txt"), "--out must end in .html, got 'page.txt'"),
    "unwritable": (lambda run: (run, "--out", run / "results.csv" / "x.html"), "cannot write "),
    "another leaderboard": (lambda run: (run.parent / "mixed",), "leaderboard.csv is not of the same run"),
    "bad costs": (
        lambda run: (run.parent / "costly",),
        "line 2, column seconds_per_image: must be a finite number",
    ),
}


@pytest.mark.parametrize(("arguments", "sentence"), BAD.values(), ids=BAD.keys())
def test_what_cannot_be_shown_is_said_in_one_sentence(
    call: Call, tmp_path: Path, arguments: Callable[[Path], tuple[Any, ...]], sentence: str
) -> None:
    run = made(tmp_path / "run", pictures=False)
    (tmp_path / "empty").mkdir()
    rows = classified("vanilla", half_and_half(200, 46))
    write_run(tmp_path / "edited", [{**rows[0], "value": "0,38"}])
    write_run(tmp_path / "blank", [])
    other = write_run(tmp_path / "mixed", rows).parent
    (other / "leaderboard.csv").write_text(
        "task,method,fd_l2_hard,status,tied_best\neyeglasses uniform,vanilla,0.1,ok,best\n"
    )
    costly = write_run(tmp_path / "costly", rows).parent
    (costly / "costs.csv").write_text("task,method,seconds_per_image\neyeglasses uniform,vanilla,fast\n")
    before = sorted(tmp_path.rglob("*"))
    assert sentence in refusal(call("report", *arguments(run)))
    assert sorted(tmp_path.rglob("*")) == before, "nothing is written"


# In a browser.

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), ""
)
browser_only = pytest.mark.skipif(not CHROMIUM, reason="no Chromium here")
CELLS = "#board > tbody > tr[data-row]"


class Opened:
    """A page in a browser, with whatever it said or asked for."""

    def __init__(self, browser: Any, file: Path, fragment: str = "") -> None:
        self.context = browser.new_context(viewport={"width": 1300, "height": 900})
        self.page = self.context.new_page()
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.route(re.compile("^(?!file:|data:|blob:)"), lambda route: route.abort())
        self.page.goto(file.as_uri() + fragment)
        self.page.wait_for_selector("#plot .main-svg", state="attached")

    def methods(self) -> list[str]:
        return [
            row.split(" / ")[1] for row in self.page.eval_on_selector_all(CELLS, "all => all.map(r => r.dataset.row)")
        ]

    def texts(self, selector: str) -> list[str]:
        return [text.strip() for text in self.page.locator(selector).all_inner_texts()]

    def becomes(self, condition: str) -> None:
        """Wait for a condition; playwright's own waiting evaluates text, which the page's policy forbids."""
        for _ in range(100):
            if self.page.evaluate(condition):
                return
            self.page.wait_for_timeout(50)
        pytest.fail(condition)

    def fragment(self) -> str:
        return str(self.page.url).partition("#")[2]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def shown_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = made(tmp_path_factory.mktemp("page") / "run")
    file = folder / "page.html"
    file.write_text(document.page(Run.open(folder)), encoding="utf-8")
    return file


@pytest.fixture
def opened(browser: Any, shown_page: Path) -> Iterator[Callable[..., Opened]]:
    pages: list[Opened] = []

    def open_(fragment: str = "", file: Path = shown_page) -> Opened:
        pages.append(Opened(browser, file, fragment))
        return pages[-1]

    yield open_
    for one in pages:
        one.context.close()
        assert one.said == [], "an error or a word in the console"
        assert [url for url in one.asked if not url.startswith(("file:", "blob:", "data:"))] == []
        assert sum(url.startswith("file:") for url in one.asked) == 1


@browser_only
def test_the_head_sorts_and_says_so(opened: Callable[..., Opened]) -> None:
    one = opened()
    assert one.methods() == ["even", "nearly", "vanilla", "broken"], "the best first, what failed last"
    head = one.page.locator("#board th.main")
    assert head.get_attribute("aria-sort") == "ascending"
    head.get_by_role("button").press("Enter")
    assert one.methods() == ["vanilla", "nearly", "even", "broken"], "what has no number stays last"
    assert one.page.locator("#board th.main").get_attribute("aria-sort") == "descending"
    one.page.get_by_role("button", name="method").first.click()
    assert one.methods() == ["broken", "even", "nearly", "vanilla"]
    assert one.page.locator("#board th.main").get_attribute("aria-sort") == "none"
    assert one.texts("#board .badge.best") == ["best"]
    assert one.texts("#board .badge.tied") == ["tied"]


@browser_only
def test_filter_task_metric_and_columns_choose_what_is_shown(opened: Callable[..., Opened]) -> None:
    one = opened()
    one.page.fill("#filter", "TIED")
    assert one.methods() == ["nearly"]
    assert one.texts("#count") == ["1 of 4 rows"]
    one.page.fill("#filter", "no such")
    assert one.methods() == []
    assert one.texts("#board .nothing")
    one.page.fill("#filter", "")
    one.page.select_option("#metric", "frechet_x over real")
    assert one.methods() == ["vanilla", "nearly", "even", "broken"]
    assert one.texts("#board td.main")[0] == "346.0 [336.5, 355.5]"
    one.page.select_option("#task", "*")
    assert len(one.methods()) == 6
    one.page.select_option("#task", "eyeglasses 10/90")
    assert one.methods() == ["even", "vanilla"], "a metric that the task has not gives way to the ranking_metric"
    one.page.click("#chooser summary")
    one.page.check("#columns input[value='kl']")
    assert any(text.startswith("kl\N{NO-BREAK SPACE}↓") for text in one.texts("#board thead th.number"))


@browser_only
def test_a_row_opens_onto_everything_that_results_csv_holds(opened: Callable[..., Opened], shown_page: Path) -> None:
    one = opened()
    button = one.page.get_by_role("button", name="nearly", exact=False).first
    button.press("Enter")
    assert one.page.locator("#board [aria-expanded=true]").inner_text().endswith("nearly")
    told = one.page.locator("#provenance").inner_text()
    rows = [
        r for r in read_rows(shown_page.parent / "results.csv") if (r["method"], r["target"]) == ("nearly", "0.5/0.5")
    ]
    for row in rows:
        for name, text in row.items():
            assert name in told
            assert text in told or repr(float(text)) in told
    assert len(one.texts("#provenance tbody tr")) == len(rows)
    one.page.keyboard.press("Enter")
    assert one.page.locator("#provenance").count() == 0, "the focus stayed on the button, which closes it again"


@browser_only
def test_one_noise_flips_through_the_methods(opened: Callable[..., Opened]) -> None:
    one = opened()
    names = "#browser .pair figcaption strong"
    assert one.texts(names) == ["vanilla", "even"]
    one.page.click("#next")
    assert one.texts(names) == ["vanilla", "nearly"]
    one.page.focus("#browser .stage")
    one.page.keyboard.press("ArrowRight")
    assert one.texts(names) == ["vanilla", "vanilla"]
    one.page.keyboard.press("ArrowLeft")
    one.page.keyboard.press("ArrowDown")
    assert one.texts(names) == ["vanilla", "nearly"]
    faces = one.page.locator("#browser .faces [role=img]")
    assert [faces.nth(i).get_attribute("aria-label") for i in range(3)] == [
        f"noise 2, {method}, classified absent" for method in ("vanilla", "even", "nearly")
    ]
    placed = faces.nth(1).evaluate("face => getComputedStyle(face).backgroundPositionX")
    assert float(placed.removesuffix("%")) == pytest.approx(100 / 23, abs=0.01)
    one.page.select_option("#task", "eyeglasses 10/90")
    assert one.texts("#browser .faces .name") == ["vanilla", "even"]


@browser_only
def test_the_url_restores_the_view(opened: Callable[..., Opened]) -> None:
    one = opened()
    one.page.select_option("#metric", "kl")
    one.page.fill("#filter", "n")
    one.page.get_by_role("button", name="method").first.click()
    one.page.locator("#board .opener").first.click()
    one.page.locator("#noises button").nth(4).click()
    one.page.select_option("#x", "nfe_per_image")
    two = opened("#" + one.fragment())
    for selector in ("#board", "#browser", "#front", "#controls", "#costs-table"):
        assert two.page.locator(selector).inner_text() == one.page.locator(selector).inner_text()
    assert two.page.input_value("#metric") == "kl"
    assert two.page.input_value("#x") == "nfe_per_image"
    assert two.fragment() == one.fragment()
    two.page.evaluate("location.hash = 'task=eyeglasses+10%2F90'")
    two.becomes("document.querySelector('#task').value === 'eyeglasses 10/90'")
    assert opened("#task=absent&metric=absent&sort=absent&row=absent&noise=x&x=absent&method=y&columns=z").methods()


@browser_only
def test_the_front_is_of_the_methods_that_no_other_betters(opened: Callable[..., Opened]) -> None:
    one = opened()
    assert "from left to right: vanilla, nearly, even." in one.texts("#front")[0]
    assert "1 method without both numbers is not shown" in one.texts("#front")[0]
    points = one.page.evaluate("document.querySelector('#plot').data.slice(1).map(t => [t.name, t.x[0], t.y[0]])")
    assert [name for name, *_ in points] == ["vanilla", "even", "nearly"]
    assert [x for _, x, _ in points] == [346, 400, 398]
    assert points[1][2] == 0
    one.page.select_option("#x", "kl")
    assert "from left to right: even." in one.texts("#front")[0], "the others are worse in both"
    one.page.select_option("#x", "share_hard over eyeglasses=present")
    assert "No Pareto front" in one.texts("#front")[0]


@browser_only
def test_light_dark_and_phone(opened: Callable[..., Opened]) -> None:
    one = opened()
    paper = "getComputedStyle(document.body).backgroundColor"
    light = one.page.evaluate(paper)
    one.page.emulate_media(color_scheme="dark")
    dark = one.page.evaluate(paper)
    assert light != dark
    one.page.click("#theme")
    assert one.page.evaluate(paper) == light
    one.page.click("#theme")
    one.page.emulate_media(color_scheme="light")
    assert one.page.evaluate(paper) == dark
    one.page.set_viewport_size({"width": 360, "height": 740})
    one.becomes("document.documentElement.scrollWidth <= 360")


@browser_only
def test_what_a_screen_reader_needs_is_there(opened: Callable[..., Opened]) -> None:
    page = opened().page
    unnamed = """all => all.filter(e => !(e.innerText || e.getAttribute('aria-label') ||
        e.labels?.length || '').toString().trim()).map(e => e.outerHTML.slice(0, 80))"""
    assert page.eval_on_selector_all("button, select, input, a, summary", unnamed) == []
    assert page.eval_on_selector_all("table", "all => all.filter(t => !t.caption && t.rows.length).length") == 0
    assert page.eval_on_selector_all("[role=img]:not([aria-label])", "all => all.length") == 0
    assert page.eval_on_selector_all("[id]", "all => all.length - new Set(all.map(e => e.id)).size") == 0
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.innerText") == "Skip to the leaderboard"


@browser_only
def test_a_hostile_name_is_shown_as_it_is_written(opened: Callable[..., Opened], tmp_path: Path) -> None:
    calm = Run.open(made(tmp_path / "calm"))
    rows = [{**row, "method": row["method"].replace("even", HOSTILE), "suite": HOSTILE} for row in read_rows(calm.file)]
    folder = write_run(tmp_path / "hostile", rows).parent
    (folder / "page.html").write_text(document.page(Run.open(folder)), encoding="utf-8")
    one = opened(file=folder / "page.html")
    assert one.methods()[0] == HOSTILE
    for selector in ("#title", "#browser .faces button:nth-of-type(2) .name", "#plot .legend"):
        assert " ".join(HOSTILE.split()) in " ".join(one.page.locator(selector).first.text_content().split()), selector
    one.page.locator("#board .opener").first.click()
    assert "owned" not in one.page.title().split("document.title")[0]
    assert one.page.locator("#board img, #board b, #plot img, #browser img, h1 *").count() == 0


@browser_only
def test_five_hundred_rows_are_all_there_and_usable(opened: Callable[..., Opened], tmp_path: Path) -> None:
    rows = [
        score(f"method {i}", metric, "real", 1.0 + ((i * 37) % 500) / 7, 0.3)
        for i in range(500)
        for metric in ("frechet_x", "kid_x", "vendi_x")
    ]
    folder = write_run(tmp_path / "many", rows).parent
    (folder / "page.html").write_text(document.page(Run.open(folder)), encoding="utf-8")
    one = opened(file=folder / "page.html")
    names = one.methods()
    assert len(names) == len(set(names)) == 500
    assert names[0] == "method 0"
    assert one.page.evaluate("document.querySelector('#plot').data.at(-1).x.length") == 500
    one.page.get_by_role("button", name="method").first.click()
    assert one.methods()[:3] == ["method 0", "method 1", "method 2"]
    one.page.fill("#filter", "method 49")
    assert len(one.methods()) == 15, "49, 149, 249, 349, 449 and 490 to 499"
