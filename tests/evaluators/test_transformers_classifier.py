"""A tiny classifier of random weights, saved as transformers saves one, is read as transformers reads it."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench.core.errors import ConfigError, Incompatible
from bench.storage.files import write_json
from evaluators.transformers_classifier import Extractor, grouped, label_rows

LABELS = ("cat", "dog", "bird", "fish", "stone")
CLASSES = {"pet": ("cat", "dog"), "wild": ("bird", "fish")}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.ViTConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=32,
        patch_size=16,
        initializer_range=1.0,
        id2label=dict(enumerate(LABELS)),
        label2id={label: i for i, label in enumerate(LABELS)},
    )
    location = tmp_path_factory.mktemp("vit")
    transformers.ViTForImageClassification(config).save_pretrained(location)
    transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(location)
    return location


def listed(classes: dict[str, Any]) -> list[dict[str, Any]]:
    return [{name: labels} for name, labels in classes.items()]


def extractor(folder: Path, **fields: Any) -> Extractor:
    return Extractor(**{"model": f"path:{folder}", "attribute": "kind", "classes": listed(CLASSES), **fields})


def noise(n: int) -> torch.Tensor:
    return torch.randint(0, 256, (n, 3, 48, 48), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def logits_of(folder: Path, images: torch.Tensor) -> torch.Tensor:
    """Logits as the library's documentation computes them: from a list of pictures."""
    from PIL import Image
    from transformers import AutoImageProcessor, AutoModelForImageClassification

    network: Any = AutoModelForImageClassification.from_pretrained(folder).eval()
    pictures = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in images]
    with torch.inference_mode():
        logits: torch.Tensor = network(
            **AutoImageProcessor.from_pretrained(folder)(pictures, return_tensors="pt")
        ).logits
    return logits


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_probabilities_are_the_models_summed_within_classes(folder: Path, temperature: float) -> None:
    images = noise(35)  # more than one batch
    actual = extractor(folder, temperature=temperature).extract(images)
    p = (logits_of(folder, images) / temperature).softmax(-1).numpy()
    pets, wild = p[:, :2].sum(1), p[:, 2:4].sum(1)
    assert list(actual) == ["kind"]
    assert actual["kind"].dtype == np.float32
    np.testing.assert_allclose(actual["kind"], np.stack([pets, wild], 1) / (pets + wild)[:, None], atol=1e-4)
    assert np.ptp(actual["kind"][:, 0]) > 0.01  # different images do differ


def test_no_images_and_rows_on_their_own(folder: Path) -> None:
    spec, images = extractor(folder), noise(3)
    assert spec.extract(images[:0])["kind"].shape == (0, 2)
    parts = np.concatenate([spec.extract(image[None])["kind"] for image in images])
    np.testing.assert_allclose(parts, spec.extract(images)["kind"], atol=1e-5)


def test_it_abstains_below_its_threshold(folder: Path) -> None:
    images = noise(20)
    sure = extractor(folder).extract(images)["kind"]
    middle = float(np.median(sure.max(1)))
    actual = extractor(folder, threshold=middle).extract(images)["kind"]
    np.testing.assert_array_equal(np.isnan(actual).all(1), sure.max(1) < middle)
    assert 0 < np.isnan(actual).all(1).mean() < 1


def test_grouping_by_hand() -> None:
    assert grouped(np.array([[0.1, 0.3, 0.5, 0.1]]), [[0, 1], [3]]) == pytest.approx(np.array([[0.8, 0.2]]))


def test_labels_that_do_not_fit_are_refused() -> None:
    labels = dict(enumerate(LABELS))
    assert label_rows({"b": ["stone"], "a": ["cat", "fish"]}, labels) == [[4], [0, 3]]
    for classes, match in (
        ({"a": ["cow"]}, "got 'cow'; it has cat, dog"),
        ({"a": ["cat"], "b": ["dog", "cat"]}, "'cat' in two"),
        ({"a": []}, r"a list of the model's labels, got \[\]"),
        ({"a": "cat"}, "a list of the model's labels, got 'cat'"),
    ):
        with pytest.raises(ConfigError, match=match):
            label_rows(classes, labels)


def test_fields_that_are_missing_or_contradict_each_other_are_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match="needs `model`, `attribute` and `classes`"):
        Extractor()
    for fields, match in (
        ({"classes": [{"pet": ["cat"]}]}, "classes must be a list of two or more different names"),
        ({"classes": [{"pet": ["cat"]}, {"pet": ["dog"]}]}, "classes must be a list of two or more different names"),
        ({"classes": CLASSES}, "classes must be a list of two or more different names"),
        ({"classes": ["pet", "wild"]}, "classes must be a list of two or more different names"),
        ({"temperature": 0.0}, "temperature must be a number above 0"),
        ({"threshold": 2.0}, "threshold must be in"),
        ({"threshold": 0.5, "heldout": folder}, "without a threshold"),
        ({"model": "vit"}, "must be path:DIR or hub:OWNER/NAME"),
        ({"model": "hub:"}, "must be path:DIR or hub:OWNER/NAME"),
        ({"model": f"path:{folder / 'none'}"}, "a folder that save_pretrained wrote"),
    ):
        with pytest.raises(ConfigError, match=match):
            extractor(folder, **fields)
    with pytest.raises(Incompatible, match="cannot fetch no/such/name from the hub"):
        extractor(folder, model="hub:no/such/name")
    with pytest.raises(ConfigError, match="images must be uint8"):
        extractor(folder).extract(torch.zeros(1, 3, 48, 48))


def changed(folder: Path, location: Path, **keys: Any) -> Path:
    shutil.copytree(folder, location)
    config = json.loads((location / "config.json").read_text())
    (location / "config.json").write_text(json.dumps({**config, **keys}))
    return location


def test_pickled_weights_foreign_code_and_half_a_model_are_refused(folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    pickled = changed(folder, tmp_path / "pickled")
    stored = load_file(pickled / "model.safetensors")
    (pickled / "model.safetensors").unlink()
    torch.save(stored, pickled / "pytorch_model.bin")
    code = changed(
        folder,
        tmp_path / "code",
        model_type="foreign",
        auto_map={"AutoConfig": "c.C", "AutoModelForImageClassification": "m.M"},
    )
    (code / "m.py").write_text("raise SystemExit('ran')")
    (code / "c.py").write_text("raise SystemExit('ran')")
    for location in (pickled, code):
        with pytest.raises(ConfigError, match="with safetensors and without code"):
            extractor(location)
    half = changed(folder, tmp_path / "half")
    save_file({k: v for k, v in stored.items() if k != "classifier.bias"}, half / "model.safetensors", {"format": "pt"})
    with pytest.raises(ConfigError, match=r"no weights for classifier\.bias"):
        extractor(half)
    cut = changed(folder, tmp_path / "cut")
    (cut / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(ConfigError, match="with safetensors"):
        extractor(cut)


def test_the_digest_names_weights_classes_and_fields(folder: Path, tmp_path: Path) -> None:
    base = extractor(folder).digest
    assert base == extractor(folder).digest
    others = [
        extractor(folder, temperature=2.0),
        extractor(folder, threshold=0.6),
        extractor(folder, classes=listed(CLASSES)[::-1]),
        extractor(changed(folder, tmp_path / "other", note="x")),
    ]
    assert len({base, *(another.digest for another in others)}) == 5


def test_a_measured_confusion_is_taken_as_it_is_given(folder: Path, tmp_path: Path) -> None:
    assert extractor(folder).confusion == {}
    write_json(tmp_path / "heldout.json", {"attributes": {"kind": {"confusion": [[9, 1], [2, 8]]}}})
    assert extractor(folder, heldout=tmp_path).confusion == {"kind": [[9, 1], [2, 8]]}


def test_a_library_that_is_not_there_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(Incompatible, match="install the extra `transformers`"):
        extractor(folder)
