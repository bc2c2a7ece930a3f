"""Hostile files are data: no code of theirs runs, no size of theirs is believed, no name of theirs leaves its place."""

from __future__ import annotations

import ast
import csv
import io
import json
import os
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.api import run_suite as run
from bench.config.data_source import DataSource
from bench.config.suite import read_suite
from bench.core import plugins
from bench.core.attributes import Attribute
from bench.core.csv_text import to_csv
from bench.core.errors import ConfigError
from bench.core.yaml_models import read_yaml
from bench.data import load_data
from bench.data.formats import parquet
from bench.data.labels import read_labels
from bench.data.table import FilePictures, Table
from bench.engine.options import Options
from bench.models.unet import load_unet
from bench.recipes.classifier_files import save_network
from bench.report.page import document
from bench.report.paper.formats import FORMATS
from bench.report.paper.table import build
from bench.report.paper.template import read_template
from bench.results.read import read_results
from bench.results.run import Run
from bench.storage.fits import FileCheckpoint
from bench.storage.gaussian_files import read_statistics
from bench.training.loop import Budget, train
from evaluators.attribute_cnn import AttributeCNN
from evaluators.classifiers.files import load_network
from evaluators.pretrained.weights import read_tensors
from tests.support import copies
from tests.support.runs import edited_run
from tests.support.small import save_tiny_unet, small_suite
from tests.support.watched import within, writes_below
from tests.test_fuzz import Pair

ROOT = plugins.ROOT
SOURCES = [p for d in ("bench", "methods", "evaluators") for p in sorted((ROOT / d).rglob("*.py"))]
CALLS = (
    "eval",
    "exec",
    "compile",
    "__import__",
    "os.system",
    "os.popen",
    "yaml.load",
    "yaml.unsafe_load",
    "yaml.full_load",
)
NAME = "../../=<script>alert(1)</script>\\input{x}|`"  # a way out, a formula, markup, LaTeX and Markdown in one


def findings(text: str) -> Iterator[str]:
    """What a source must not do: run what it reads, or believe that a file is harmless."""
    for call in ast.walk(ast.parse(text)):
        if not isinstance(call, ast.Call):
            continue
        name = ast.unparse(call.func)
        said = {k.arg: getattr(k.value, "value", True) for k in call.keywords}
        if name in CALLS:
            yield name
        if name == "torch.load" and said.get("weights_only") is not True:
            yield "torch.load without weights_only=True"
        yield from (f"{word}=True" for word in ("allow_pickle", "trust_remote_code", "shell") if said.get(word))


def test_no_source_runs_what_it_reads() -> None:
    assert {
        str(path): found for path in [*SOURCES, ROOT / "run_bench.py"] if (found := [*findings(path.read_text())])
    } == {}


@pytest.mark.parametrize(
    "line",
    [
        *(
            "eval(x)",
            "exec(x)",
            "os.system(x)",
            "yaml.load(x)",
            "yaml.load(x, Loader=yaml.SafeLoader)",
            "torch.load(x)",
        ),
        *("torch.load(x, weights_only=False)", "np.load(x, allow_pickle=True)", "f(trust_remote_code=flag)"),
        "subprocess.run(x, shell=True)",
    ],
)
def test_the_search_finds_what_it_is_for(line: str) -> None:
    assert len([*findings(line)]) == 1


class Trap:
    """A pickle of this ends the test."""

    def __reduce__(self) -> tuple[Any, ...]:
        return pytest.fail, ("code of a file was run",)


def resume(path: Path) -> None:
    layer = torch.nn.Linear(1, 1)
    train(layer, lambda _: layer.weight.sum(), Budget(2, 1e-3, 0.9, 0, 3.0), FileCheckpoint(path), "a layer")


READERS: dict[str, Callable[[Path], Any]] = {
    "an extractor's weights": lambda path: read_tensors(path, "give a file of weights"),
    "a checkpoint": resume,
}


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
@pytest.mark.parametrize(
    "content",
    [Trap(), {"a": Trap()}, torch.zeros(3), [1, 2], {"module": 1}],
    ids=["code", "code inside", "a tensor", "a list", "a number"],
)
def test_a_torch_file_with_code_or_without_weights_is_refused(
    tmp_path: Path, read: Callable[[Path], Any], content: Any
) -> None:
    torch.save(content, tmp_path / "x.pt")
    with pytest.raises(ConfigError):
        read(tmp_path / "x.pt")


TAGS = (
    "!!python/object/apply:os.system [id]",
    "!!python/name:os.system",
    "!!python/module:os",
    "!!python/tuple [1]",
    "!x 1",
)


@pytest.mark.parametrize("tag", TAGS)
def test_yaml_makes_no_objects(tmp_path: Path, tag: str) -> None:
    (tmp_path / "x.yaml").write_text(f"a: [1]\nb: {tag}\n")
    with pytest.raises(ConfigError, match=r"line 2: not valid YAML: could not determine a constructor"):
        read_yaml(tmp_path / "x.yaml", Pair)


HEADERS = {
    "longer than the file": struct.pack("<Q", 2**60) + b"{}",
    "longer than the format allows": struct.pack("<Q", 200_000_000) + b"{" * 1000,
    "nested without end": struct.pack("<Q", 200_000) + b'{"a":' + b"[" * 199_995,
    "a tensor beyond the file": b"@\x00\x00\x00\x00\x00\x00\x00"
    + b'{"a":{"dtype":"F32","shape":[99999999],"data_offsets":[0,9]}}'.ljust(64),
    "a shape that overflows": b"`\x00\x00\x00\x00\x00\x00\x00"
    + b'{"a":{"dtype":"F32","shape":[4294967296,4294967296,4294967296],"data_offsets":[0,4]}}'.ljust(96)
    + b"0000",
    "a pickle": b"\x80\x04\x95" + b"\x00" * 40,
}


@pytest.mark.parametrize("data", HEADERS.values(), ids=HEADERS)
def test_a_hostile_safetensors_header_is_refused(tmp_path: Path, data: bytes) -> None:
    save_network(AttributeCNN((Attribute("a", ("x", "y")),), (4, 4), 16), tmp_path / "classifier")
    save_tiny_unet(tmp_path / "model")
    classifier, model = (
        tmp_path / "classifier/model.safetensors",
        tmp_path / "model/diffusion_pytorch_model.safetensors",
    )
    for path, load in (
        (classifier, lambda: load_network(classifier.parent, AttributeCNN)),
        (model, lambda: load_unet(model.parent)),
    ):
        path.write_bytes(data)
        with within(20), pytest.raises(ConfigError, match=r"cannot read|does not fit"):
            load()


def test_a_header_of_gigabytes_in_a_small_archive_is_not_read(tmp_path: Path) -> None:
    """A .npy header of version 2 may have 4 GiB, a few MB when compressed: numpy would read it before its check."""
    with zipfile.ZipFile(tmp_path / "s.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("mu.npy", b"\x93NUMPY\x02\x00" + struct.pack("<I", 50_000_000) + b" " * 50_000_000)
    assert (tmp_path / "s.npz").stat().st_size < 100_000
    with pytest.raises(ConfigError, match=r"must have version 1\.0 of \.npy, got 2\.0"):
        read_statistics(tmp_path / "s.npz")


def test_an_image_file_of_gigabytes_is_not_read(tmp_path: Path) -> None:
    root = copies.labelled_folder(tmp_path / "x")
    os.truncate(root / "images/3.png", 2**31)  # sparse: it takes no room
    source = {"name": "image_folder", "root": str(root), "attributes": ["gender"], "with": {"labels": "labels.csv"}}
    with pytest.raises(ConfigError, match=r"images/3.png \(cannot be read: more than 1,073,741,824 bytes\)"):
        load_data(DataSource.model_validate(source))


def test_a_parquet_of_more_rows_than_there_are_images_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pyarrow")
    root = copies.parquet(tmp_path / "x")
    monkeypatch.setattr(parquet, "MOST_ROWS", 3)
    with pytest.raises(ConfigError, match="must have at most 3 rows, got"):
        load_data(DataSource.model_validate({"name": "parquet", "root": str(root), "attributes": ["label"]}))


FORMULAS = ("=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", " =1", "\t=1", "\n@x")


@pytest.mark.parametrize("text", FORMULAS)
def test_a_text_that_a_spreadsheet_would_compute_has_an_apostrophe_and_loses_it_when_read(
    tmp_path: Path, text: str
) -> None:
    ((cell,),) = csv.reader(io.StringIO(to_csv([{"a": text}]).split("\n", 1)[1]))
    assert cell == "'" + text
    read = read_results(
        edited_run(ROOT / "tests/golden/run", tmp_path, lambda r: r | ({"suite": text} if "suite" in r else {}))
    )
    assert set(read["suite"]) == {text}


@pytest.mark.parametrize("text", ["-1.5", "+3", "1e-3", "a=b", "", "'quoted'"])
def test_numbers_and_other_texts_are_written_as_they_are(text: str) -> None:
    assert next(csv.reader(io.StringIO(to_csv([{"a": text, "b": 1}]).split("\n", 1)[1])))[0] == text


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    """The output folder of a run whose method has a hostile label, and in whose place for a table lies a link."""
    folder = tmp_path_factory.mktemp("hostile")
    fields = {"minibatch": 2, "minibatches": 2}
    suite = small_suite(
        folder, n=4, guidance_batch=4, sampler={"steps": 2}, tasks=[{"attributes": ["eyeglasses"]}],
        methods=[{"name": "vanilla"}, {"name": "attribute_switching", "label": NAME, "with": fields}],
        model="avatars-unet", labelled=None, data={"mine": {"name": "avatars-balanced", "n": 4}},
    )  # fmt: skip
    (folder / "precious").write_text("kept")
    (folder / "out" / "small").mkdir(parents=True)
    (folder / "out" / "small" / "results.csv").symlink_to(folder / "precious")
    with writes_below(folder / "out", cache):
        assert not run(read_suite(str(suite)), Options(folder / "out", workers=1)).problems
    return folder / "out" / "small"


def test_names_and_links_lead_out_of_no_folder(hostile: Path) -> None:
    assert (hostile.parent.parent / "precious").read_text() == "kept"
    assert not (hostile / "results.csv").is_symlink()
    assert sorted(p.name for p in hostile.parent.iterdir()) == ["small", "store"]
    assert {p.relative_to(hostile).parts[0] for p in hostile.rglob("*")} <= {
        *("results.csv", "leaderboard.csv", "costs.csv", "finished.json", "run.json", "grids", "curves")
    }


def test_a_hostile_name_is_a_text_wherever_it_is_shown(hostile: Path) -> None:
    found = Run.open(hostile)
    assert found.methods == ["vanilla", NAME]
    page = document.page(found)
    assert "<script>alert" not in page
    assert NAME in [m["name"] for m in document.data(found)["methods"]]
    table = build(read_template("costs"), found, None)
    assert "<script>" not in FORMATS["html"](table)
    assert "\\input" not in FORMATS["latex"](table)


@pytest.mark.parametrize("column", ["suite", "model", "attributes", "classifier", "scope", "commit", "method"])
def test_hostile_texts_of_every_column_are_inert(tmp_path: Path, column: str) -> None:
    """A table of another's making: classes, attributes and classifiers are names as well."""

    def edit(row: dict[str, Any]) -> dict[str, Any]:
        if "metric" not in row:
            return row
        if column == "attributes":  # which its scopes and its confusion repeat
            row |= {
                c: row[c].replace("eyeglasses", NAME.replace("+", ""))
                for c in ("attributes", "scope", "classifier_confusion")
            }
            return row | {"classifier_confusion": json.dumps({NAME: [[1, 0], [0, 1]]})}
        if column == "scope" and "=" not in row["scope"]:
            return row  # the task's own; a class's is "attribute=class"
        return row | {column: f"{row[column]}{NAME}"}

    folder = edited_run(ROOT / "tests/golden/run", tmp_path, edit)
    found = Run.open(folder)
    embedded = document.embedded([*document._tasks(found), *found.metrics])
    assert "<" not in embedded
    table = build(read_template("balancing_act"), found, None)
    assert "<script>" not in FORMATS["html"](table)
    assert "\\input" not in FORMATS["latex"](table)


@pytest.mark.parametrize("odd", ["a\rb", "a\x1b[2Jb", "a\x00b", "a\udcffb"])
def test_a_class_that_no_table_could_hold_is_refused(tmp_path: Path, odd: str) -> None:
    """Of a label file, or of a folder whose name is no text."""
    table = Table(FilePictures(tmp_path, ["1.png", "2.png"]), {"kind": [odd, "b"]})
    source = DataSource.model_validate({"name": "image_folder", "root": "x", "attributes": ["kind"]})
    with pytest.raises(ConfigError, match=r"a class of kind of image_folder must not hold U\+[0-9A-F]{4}, got"):
        read_labels(table, source)
