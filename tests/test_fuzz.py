"""Every reader of a user's file, on files made wrong at random: an error of the project's own, or a value.

No other exception, no call that does not come back, nothing written but below the cache. `make soak` runs more.
"""

from __future__ import annotations

import datetime
import itertools
import json
import os
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.comparison.gate_config import read_gates
from bench.comparison.latency_ratio import ratios
from bench.config.data_source import DataSource
from bench.config.suite import read_suite
from bench.core.attributes import Attribute
from bench.core.errors import BenchError, ConfigError
from bench.core.gaussian import Gaussian
from bench.core.yaml_models import Strict, read_yaml
from bench.data import load_data
from bench.engine.options import Options
from bench.engine.preflight import preflight
from bench.engine.runner import unchanged
from bench.models.unet import load_unet
from bench.recipes.classifier_files import save_network, save_probe
from bench.recipes.recipe import read_recipe
from bench.report.page import document, records
from bench.report.page.board import Board
from bench.report.paper.claims import read_claims
from bench.report.paper.formats import FORMATS
from bench.report.paper.table import build
from bench.report.paper.template import read_template
from bench.results.run import Run
from bench.storage.files import read_arrays, write_arrays
from bench.storage.gaussian_files import read_statistics, write_statistics
from bench.storage.store import Store
from evaluators.attribute_cnn import AttributeCNN
from evaluators.classifiers.files import load_network, read_confusion
from evaluators.classifiers.linear_probe import fit_probe, load_probe
from evaluators.contrastive.prompts import read_prompts
from tests.support import copies
from tests.support.mutations import NASTY, mutated
from tests.support.runs import edited_run
from tests.support.small import small_suite
from tests.support.watched import within, writes_below

ROOT = Path(__file__).parent.parent
RUN = ROOT / "tests" / "golden" / "run"
SECONDS = 20.0  # of one case; the slowest reader takes half a second


NAMES = (
    "suite",
    "gates",
    "prompts",
    "template",
    "recipe",
    "results.csv",
    "leaderboard.csv",
    "costs.csv",
    "claims.csv",
    "labels.csv",
    "list_attr_celeba.txt",
    "statistics",
    "classifier weights",
    "classifier config",
    "classifier confusion",
    "probe weights",
    "probe config",
    "U-Net weights",
    "U-Net config",
    "scheduler config",
    "conditions",
    "store manifest",
    "store array",
    "store scores",
    "finished.json",
)


@dataclass(frozen=True)
class Subject:
    """A file that is made wrong, and what reads it."""

    file: Path
    use: Callable[[], Any]
    head: int | None = None  # so many bytes are made wrong and the rest kept: a header in front of much data


def shown_run(folder: Path) -> None:
    """All that reads the three tables of a run."""
    run = Run.open(folder)
    document.embedded([Board(run).record(), records.table(run.rows)])
    FORMATS["latex"](build(read_template("full"), run, None))
    ratios(run)


def listed(root: Path) -> None:
    attributes = {"gender": None, "age": {"edges": [20, 40]}}
    source = {"name": "image_folder", "root": str(root), "attributes": attributes, "size": 32, "tolerate": 3}
    load_data(DataSource.model_validate({**source, "with": {"labels": "labels.csv"}}))


def laid_out(template: Path, run: Path) -> None:
    build(read_template(str(template)), Run.open(run), None)


def few(row: dict[str, Any]) -> dict[str, Any] | None:
    """A row of the first task and of two methods, else None."""
    task = row.get("task", f"{row['attributes']} uniform" if row.get("target") == "0.5/0.5" else "")
    return row if task == "eyeglasses uniform" and row["method"] in ("vanilla", "latent_editing") else None


def subjects(folder: Path) -> dict[str, Subject]:
    """Every kind of file that a user gives, each small and good."""
    suite = small_suite(folder, methods=[{"name": "vanilla"}], labelled=None, statistics={}, seeds=[0, 1])
    model = folder / "model"
    (model / "conditions.json").write_text('{"conditions": ["none"]}')
    shutil.copy(ROOT / "leaderboards/gate/gates.yaml", folder / "gates.yaml")
    shutil.copy(ROOT / "bench/assets/prompts/faces.yaml", folder / "prompts.yaml")
    shutil.copy(ROOT / "bench/report/paper/templates/full.yaml", folder / "template.yaml")
    shutil.copy(ROOT / "bench/assets/avatars-cnn/recipe.yaml", folder / "recipe.yaml")
    run = edited_run(RUN, folder / "run", few)
    (folder / "claims.csv").write_text("method,task,value,citation\nvanilla,eyeglasses,0.1,@key2024\n")
    labelled = copies.labelled_folder(folder / "faces")
    celeba = copies.celeba(folder / "celeba")
    rng = np.random.default_rng(0)
    write_statistics(folder / "s.npz", Gaussian(rng.standard_normal(5), np.eye(5)), "d" * 64)
    classifier = folder / "classifier"
    read = (Attribute("a", ("x", "y")),)
    male = {"name": "celeba", "attributes": ["Male"]}
    torch.manual_seed(0)
    save_network(AttributeCNN(read, (4, 4), 16), classifier)
    (classifier / "heldout.json").write_text('{"attributes": {"a": {"confusion": [[3, 1], [0, 4]]}}}')
    save_probe(fit_probe(rng.standard_normal((64, 3)), {"a": np.arange(64) % 2}, read, "e"), folder / "probe")
    entry = folder / "store" / "entry"
    write_arrays(entry, {"images": np.zeros((2, 3, 4, 4), np.uint8)}, {"seconds": 1.0})
    store = Store(folder / "store")
    store.write_scores("ab", [{"metric": "fd", "value": 0.5}])
    whole = read_suite(str(suite))
    known = {"fd_l2_hard": {("eyeglasses", "")}, "nfe_per_image": {("all", "")}, "backward_per_image": {("all", "")}}
    small = folder / "out" / "small"
    small.mkdir(parents=True)
    (small / "finished.json").write_text(
        '{"fingerprint": "a", "files": {"results.csv": "b"}, "entries": ["store/x"], "problems": [["ok", "a", "b"]]}'
    )
    out = Options(folder / "out", workers=1)
    kind = "diffusion_pytorch_model.safetensors"
    return {
        "suite": Subject(suite, lambda: preflight(read_suite(str(suite)), out)),
        "gates": Subject(folder / "gates.yaml", lambda: read_gates(folder / "gates.yaml", known)),
        "prompts": Subject(folder / "prompts.yaml", lambda: read_prompts(str(folder / "prompts.yaml")).as_json()),
        "template": Subject(folder / "template.yaml", lambda: laid_out(folder / "template.yaml", run)),
        "recipe": Subject(folder / "recipe.yaml", lambda: read_recipe(folder / "recipe.yaml").training.budgets()),
        "results.csv": Subject(run / "results.csv", lambda: shown_run(run)),
        "leaderboard.csv": Subject(run / "leaderboard.csv", lambda: shown_run(run)),
        "costs.csv": Subject(run / "costs.csv", lambda: shown_run(run)),
        "claims.csv": Subject(folder / "claims.csv", lambda: read_claims(folder / "claims.csv", Run.open(run))),
        "labels.csv": Subject(labelled / "labels.csv", lambda: listed(labelled)),
        "list_attr_celeba.txt": Subject(
            celeba / "celeba/list_attr_celeba.txt",
            lambda: load_data(DataSource.model_validate({**male, "root": str(celeba)})),
        ),
        "statistics": Subject(folder / "s.npz", lambda: read_statistics(folder / "s.npz")),
        "classifier weights": Subject(classifier / "model.safetensors", lambda: load_network(classifier, AttributeCNN),
        600), "classifier config": Subject(classifier / "config.json", lambda: load_network(classifier, AttributeCNN)),
        "classifier confusion": Subject(classifier / "heldout.json", lambda: read_confusion(classifier, read)),
        "probe weights": Subject(folder / "probe/model.safetensors", lambda: load_probe(folder / "probe")),
        "probe config": Subject(folder / "probe/config.json", lambda: load_probe(folder / "probe")),
        "U-Net weights": Subject(model / kind, lambda: load_unet(model), 9000),
        "U-Net config": Subject(model / "config.json", lambda: load_unet(model)),
        "scheduler config": Subject(model / "scheduler_config.json", lambda: load_unet(model)),
        "conditions": Subject(model / "conditions.json", lambda: load_unet(model)),
        "store manifest": Subject(entry / "manifest.json", lambda: read_arrays(entry)),
        "store array": Subject(entry / "images.npy", lambda: read_arrays(entry)),
        "store scores": Subject(folder / "store/scores/ab/ab.json", lambda: store.read_scores("ab")),
        "finished.json": Subject(small / "finished.json", lambda: unchanged(whole, out, small)),
    }  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Subject]:
    return subjects(tmp_path_factory.mktemp("fuzz"))


def survives(subject: Subject, data: bytes, cache: Path) -> bool:
    """Put the file in place and read it: whether it was accepted; anything but a value or a refusal is raised."""
    whole = subject.file.read_bytes()
    subject.file.write_bytes(data)
    try:
        with writes_below(cache), within(SECONDS):
            subject.use()
    except BenchError as error:
        return not str(error).strip()  # a refusal says why
    finally:
        subject.file.write_bytes(whole)
    return True


def case(name: str, subject: Subject, number: int) -> bytes:
    """Case `number` of a subject: the same bytes on every machine."""
    rng, whole = random.Random(f"{name} {number}"), subject.file.read_bytes()
    head = len(whole) if subject.head is None else subject.head
    return mutated(rng, subject.file.name, whole[:head]) + whole[head:]


@pytest.mark.parametrize("name", NAMES)
def test_a_file_made_wrong_is_refused_or_read(made: dict[str, Subject], cache: Path, name: str) -> None:
    assert survives(made[name], made[name].file.read_bytes(), cache), "the unchanged file is good"
    for number in range(5):
        survives(made[name], case(name, made[name], number), cache)


@pytest.mark.soak
@pytest.mark.parametrize("name", NAMES)
def test_many_files_made_wrong_are_refused_or_read(made: dict[str, Subject], cache: Path, name: str) -> None:
    for number in range(5, 80):
        survives(made[name], case(name, made[name], number), cache)


def test_every_subject_has_its_test(made: dict[str, Subject]) -> None:
    assert set(NAMES) == set(made)


KEYS = (
    "suite",
    "model",
    "n",
    "guidance_batch",
    "seeds",
    "sampler",
    "tasks",
    "methods",
    "data",
    "classifier",
    "features",
)
VALUES = st.recursive(
    st.sampled_from(NASTY) | st.text(max_size=20) | st.integers() | st.floats(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


@settings(max_examples=20, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(key=st.sampled_from(KEYS), value=VALUES)
def test_any_value_of_a_suites_key_is_refused_or_read(
    made: dict[str, Subject], cache: Path, key: str, value: Any
) -> None:
    subject = made["suite"]
    tree = {**yaml.safe_load(subject.file.read_bytes()), key: value}
    survives(subject, yaml.safe_dump(tree, allow_unicode=True).encode(errors="surrogatepass"), cache)


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{after}: &{after} [{', '.join([f'*{before}'] * 9)}]\n" for before, after in itertools.pairwise("abcdefghij")
)
ODD = {
    "an alias bomb": (BOMB, "its aliases stand for more than 100,000 values"),
    "an alias of itself": ("a: &a [1, {b: *a}]\n", "its aliases stand for more than"),
    "a number of 6,000 digits": (f"n: 0x{'f' * 6000}\n", "must not be longer than 1,000 characters"),
    "a long text": (f"suite: {'x' * 200_000}\n", "must not be longer than 100,000 characters"),
    "half a character": ('suite: "\\ud800"\n', "must not hold U+D800"),
    "a terminal's command": ('suite: "\\e[2J"\n', "must not hold U+001B"),
    "a zero in a path": ('model: "path:/a\\0b"\n', "must not hold U+0000"),
}


@pytest.mark.parametrize(("text", "sentence"), ODD.values(), ids=ODD)
def test_a_yaml_file_that_cannot_be_shown_or_written_later_is_refused(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "s.yaml").write_text(text)
    with within(SECONDS), pytest.raises(ConfigError) as refused:
        read_suite(str(tmp_path / "s.yaml"))
    assert sentence in str(refused.value)
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize("fields", [{"a": datetime.date(2024, 1, 1)}, {"a": {1: 1, "b": 2}}, {"a": float("nan")}])
def test_fields_of_an_extractor_that_no_record_can_hold_are_refused(tmp_path: Path, fields: dict[str, Any]) -> None:
    suite = small_suite(tmp_path, classifier={"name": "attribute_cnn", "with": fields})
    with pytest.raises(ConfigError, match=r"classifier\.with: must hold texts, finite numbers"):
        read_suite(str(suite))


def test_aliases_in_moderation_are_read(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("a: &a [1, 2]\nb: *a\n")
    assert read_yaml(tmp_path / "x.yaml", Pair) == Pair(a=(1, 2), b=(1, 2))


class Pair(Strict):
    a: tuple[int, ...]
    b: tuple[int, ...]


@pytest.mark.parametrize(("column", "text"), [("seed", "1e19"), ("n", "1e300"), ("steps", "9007199254740994")])
def test_a_whole_number_that_no_float_holds_is_refused(tmp_path: Path, column: str, text: str) -> None:
    run = edited_run(RUN, tmp_path, lambda row: row | ({column: text} if "metric" in row else {}))
    with pytest.raises(ConfigError, match=f"column {column}: must be a whole number from 0 to 2\\^53, got '{text}'"):
        Run.open(run)


def test_a_name_that_commands_a_terminal_is_refused(tmp_path: Path) -> None:
    run = edited_run(RUN, tmp_path, lambda row: row | ({"method": "\x1b[2J"} if "metric" in row else {}))
    with pytest.raises(ConfigError, match="column method: must hold no terminal's command"):
        Run.open(run)


@pytest.mark.parametrize(
    "wrong",
    [*({"widths": widths} for widths in ([4, 0], [4, 10**9], [4.0, 4], [True], "ab")), {"attributes": {"a": []}}],
    ids=str,
)
def test_a_classifier_that_cannot_be_is_refused(made: dict[str, Subject], cache: Path, wrong: dict[str, Any]) -> None:
    config = made["classifier config"]
    whole = json.loads(config.file.read_bytes())
    assert not survives(config, json.dumps(whole | wrong).encode(), cache)


def test_a_unet_as_wide_as_no_memory_is_refused(made: dict[str, Subject]) -> None:
    """The network is measured before it is made; one of a float's width is no traceback either."""
    config = made["U-Net config"]
    whole = json.loads(config.file.read_bytes())
    for wrong in (
        {"block_out_channels": [32, 4_000_000]},
        {"down_block_types": [0.5, None]},
        {"time_embedding_type": 1},
    ):
        assert not survives(config, json.dumps(whole | wrong).encode(), Path(os.environ["FAIRDIFF_CACHE"]))
