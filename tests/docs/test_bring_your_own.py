"""The examples of docs/bring-your-own.md and docs/presets.md, run as a reader would run them."""

from __future__ import annotations

import importlib.metadata
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from bench.config.build import build_method
from bench.config.suite import MethodChoice, Suite, read_suite
from bench.core import plugins
from bench.core.attributes import Attribute
from bench.core.yaml_models import read_yaml
from bench.models.unet import load_unet
from bench.protocols.counting import Counted
from bench.protocols.evaluator import Reference, Sample
from bench.protocols.method import Batch, Task
from bench.recipes.recipe import Recipe
from bench.sampling.loop import Sampler, sample_batch
from tests.docs.test_readme import DOCS, blocks
from tests.support.runs import Call, caller
from tests.support.small import save_tiny_unet, small_suite

OWN, PRESETS = DOCS / "bring-your-own.md", DOCS / "presets.md"
GLASSES = Attribute("eyeglasses", ("absent", "present"))


def offer(monkeypatch: pytest.MonkeyPatch, kind: str, source: str, declared: str) -> str:
    """Run a module's source as an installed package of the documented entry point would be found; its public name."""
    group, name = plugins.GROUPS[kind], declared.splitlines()[1].partition(" = ")[0]
    assert declared.splitlines()[0] == f'[project.entry-points."{group}"]'
    module = types.ModuleType(f"my_package.{name}")
    module.__file__ = str(OWN)
    monkeypatch.setitem(sys.modules, "my_package", types.ModuleType("my_package"))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(source, module.__dict__)
    entry = importlib.metadata.EntryPoint(name, module.__name__, group)
    monkeypatch.setattr(plugins, "entry_points", lambda group: [entry] if group == entry.group else [])
    assert f'{name} = "my_package.{name}"' in declared
    return name


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    return caller(monkeypatch, capsys)


def test_your_data_in_a_csv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bench.data import load_data

    monkeypatch.chdir(tmp_path)
    (labels,) = blocks(OWN, "csv")
    (tmp_path / "faces" / "images").mkdir(parents=True)
    (tmp_path / "faces" / "labels.csv").write_text(labels)
    for i, grey in ((1, 10), (2, 200)):
        Image.new("RGB", (40, 40), (grey,) * 3).save(tmp_path / "faces" / "images" / f"000{i}.png")
    declared = yaml.safe_load(blocks(OWN, "yaml")[0])
    tree = yaml.safe_load(small_suite(tmp_path).read_text()) | declared
    suite = Suite.model_validate(tree)
    assert suite.labelled == "mine"
    data = load_data(suite.source("mine"), None, 32)
    assert data.attributes == (GLASSES,)
    assert {(int(image.mean()), int(label)) for image, (label,) in zip(data.images[:2], data.labels, strict=True)} == {
        (10, 0),
        (200, 1),
    }


def test_your_classifier_classifies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    transformers = pytest.importorskip("transformers")
    monkeypatch.chdir(tmp_path)
    labels = dict(enumerate(("no glasses", "glasses", "sunglasses", "a hat")))
    torch.manual_seed(0)
    config = transformers.ViTConfig(
        image_size=32, patch_size=16, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        id2label=labels, label2id={v: k for k, v in labels.items()},
    )  # fmt: skip
    transformers.ViTForImageClassification(config).save_pretrained("my-classifier")
    transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained("my-classifier")
    tree = yaml.safe_load(small_suite(tmp_path).read_text()) | yaml.safe_load(blocks(OWN, "yaml")[1])
    from bench.config.build import build_extractor

    suite = Suite.model_validate(tree)
    assert suite.classifier.spec.title == "mine"
    classifier = build_extractor(suite.classifier.spec)
    assert classifier.attributes == (GLASSES,)
    probabilities = classifier.extract(torch.zeros(3, 3, 32, 32, dtype=torch.uint8))
    assert np.allclose(probabilities["eyeglasses"].sum(1), 1)


def test_your_method_runs_and_keeps_what_it_declares(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    name = offer(monkeypatch, "method", blocks(OWN, "python")[0], blocks(OWN, "toml")[0])
    assert MethodChoice(name=name).title == "mirrored"
    model: Any = Counted(load_unet(save_tiny_unet(tmp_path)))
    steps, n = Sampler("ddim", 2), 3
    task = Task(model, (GLASSES,), np.array([0.5, 0.5]), steps.timesteps(model))
    batch = Batch(torch.arange(n), torch.zeros(n, dtype=torch.long), n)

    def drawn(method: str, **fields: Any) -> torch.Tensor:
        return sample_batch(model, build_method(method, fields).build(task, 0).denoise, steps, batch, 0)

    assert torch.equal(drawn(name, share=0.0), drawn("vanilla"))
    model.counts.forward_rows = 0
    assert not torch.equal(drawn(name), drawn("vanilla"))
    assert model.counts.forward_rows == (build_method(name, {}).traits.calls + 1) * steps.steps * n


def test_your_metric_is_a_score_of_the_suite(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, call: Call) -> None:
    name = offer(monkeypatch, "evaluator", blocks(OWN, "python")[1], blocks(OWN, "toml")[1])
    metric = plugins.load("evaluator", name, "Evaluator")()
    classified = np.array([[0.9, 0.1], [np.nan, np.nan], [0.2, 0.8], [0.4, 0.6]])
    reference = Reference((GLASSES,), np.array([0.5, 0.5]))
    (score,) = metric.evaluate(Sample({"eyeglasses": classified}, {}, np.full(4, -1)), reference)
    assert (score.metric, score.value, score.n) == (name, 2 / 3, 3)
    (score,) = metric.evaluate(Sample({"eyeglasses": classified[1:2]}, {}, np.full(1, -1)), reference)
    assert score.status == "undefined"
    metrics = yaml.safe_load(blocks(OWN, "yaml")[2])["metrics"]
    small = {"n": 4, "guidance_batch": 2, "sampler": {"steps": 1}, "tasks": [{"attributes": ["eyeglasses"]}]}
    suite = small_suite(tmp_path, **small, methods=[{"name": "vanilla"}], labelled=None, metrics=metrics)
    assert read_suite(str(suite)).metrics == ("fairness_discrepancy", name)
    assert call("run", suite, "--out", tmp_path / "out", "--workers", 1)[0] == 0
    assert ",largest_share,eyeglasses," in (tmp_path / "out" / "small" / "results.csv").read_text()


def test_your_extractor_gives_the_features_of_a_distance(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, call: Call
) -> None:
    offer(monkeypatch, "evaluator", blocks(OWN, "python")[2], blocks(OWN, "toml")[2])
    small = {"n": 4, "guidance_batch": 2, "sampler": {"steps": 1}, "tasks": [{"attributes": ["eyeglasses"]}]}
    features = yaml.safe_load(blocks(OWN, "yaml")[3])["features"]
    metrics, references = ["fairness_discrepancy", "vendi"], {"avatars-heldout": 10}
    changes = {"methods": ["vanilla"], "labelled": None, "metrics": metrics, "references": references}
    suite = small_suite(tmp_path, **small, **changes, features=features)
    assert call("run", suite, "--out", tmp_path / "out", "--workers", 1)[0] == 0
    assert ",vendi_tiles,all," in (tmp_path / "out" / "small" / "results.csv").read_text()


def test_the_models_that_only_lend_a_shape_are_made_as_the_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (source,) = blocks(PRESETS, "python")
    exec(source, {})
    for name in ("tiw_cifar10_lt", "tiw_celeba64"):
        preset = read_suite(name)
        model = load_unet(Path(preset.model.name.removeprefix("path:")))
        assert model.shape == (3, *[int(preset.model.name[-2:])] * 2)
        sampler = Sampler(**preset.sampler.model_dump())
        assert len(sampler.timesteps(model)) == 40


def test_the_recipe_of_the_page_is_one(tmp_path: Path) -> None:
    (text,) = blocks(PRESETS, "yaml")
    (tmp_path / "recipe.yaml").write_text(text)
    recipe = read_yaml(tmp_path / "recipe.yaml", Recipe).recipe
    assert recipe.kind == "score_model"
    assert recipe.data.size == 64
    from diffusers import UNet2DModel

    UNet2DModel(sample_size=8, num_class_embeds=3, **recipe.unet)
