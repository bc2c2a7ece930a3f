"""The embedded classifiers are as good as the confusion beside them says, and say what is wrong with a damaged copy."""

from __future__ import annotations

import json
import os
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from bench.config.shipped_sets import BALANCED
from bench.core.attributes import Attribute
from bench.core.digest import digest_of, file_digest
from bench.core.errors import ConfigError, Incompatible
from bench.data import load_data
from bench.data.avatars import ATTRIBUTES, avatar_faces
from bench.recipes.classifier import confusion
from bench.recipes.classifier_files import save_network
from evaluators import attribute_cnn, attribute_resnet
from evaluators.attribute_cnn import ASSET, AttributeCNN, Extractor
from evaluators.attribute_resnet import AttributeResNet
from evaluators.classifiers.files import load_network
from evaluators.classifiers.reading import to_input

FILES = ("config.json", "heldout.json", "model.safetensors")
MODULES = (attribute_cnn, attribute_resnet)


@pytest.fixture(scope="module", params=MODULES, ids=lambda module: module.Extractor.name)
def module(request):
    return request.param


@pytest.fixture(scope="module")
def classifier(module):
    """Either classifier: each may classifier what the other guides."""
    return module.Extractor()


@pytest.fixture(scope="module")
def fresh():
    """Faces of a seed that no shipped set has."""
    return avatar_faces(BALANCED, 4711, 300)


@pytest.fixture
def copy(tmp_path):
    for name in FILES:
        shutil.copy(ASSET / name, tmp_path)
    return tmp_path


def test_accuracy_on_fresh_faces(classifier, fresh):
    actual = classifier.extract(torch.from_numpy(np.array(fresh.images)))
    assert actual.keys() == {a.name for a in ATTRIBUTES}
    for j, attribute in enumerate(ATTRIBUTES):
        p = actual[attribute.name]
        assert (p.shape, p.dtype) == ((300, attribute.n_classes), np.float32)
        np.testing.assert_allclose(p.sum(1), 1, atol=1e-5)
        assert (p >= 0).all()
        accuracy = (p.argmax(1) == fresh.labels[:, j]).mean()
        assert accuracy >= 0.98, f"{attribute.name}: {accuracy}"


def test_softer_and_noisier_faces_are_classified_as_well(classifier, fresh):
    x = torch.from_numpy(np.array(fresh.images)).float()
    noise = 8 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    blurred = torch.nn.functional.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)
    for changed in (x + noise, blurred):
        actual = classifier.extract(changed.round().clamp(0, 255).to(torch.uint8))
        for j, attribute in enumerate(ATTRIBUTES):
            assert (actual[attribute.name].argmax(1) == fresh.labels[:, j]).mean() >= 0.95, attribute.name


def test_the_stored_confusion_is_what_the_classifier_does(module, classifier):
    stored = json.loads((module.ASSET / "heldout.json").read_text())
    heldout = load_data(stored["data"], stored["n"])
    actual = classifier.extract(torch.from_numpy(np.array(heldout.images)))
    for j, attribute in enumerate(ATTRIBUTES):
        table = confusion(heldout.labels[:, j], actual[attribute.name].argmax(1), attribute.n_classes)
        # another processor may round a face on the border to its other side
        assert np.abs(table - np.array(classifier.confusion[attribute.name])).sum() <= 4, attribute.name
        measured = stored["attributes"][attribute.name]
        assert measured["classes"] == list(attribute.classes)
        assert measured["accuracy"] == pytest.approx(np.trace(measured["confusion"]) / stored["n"])
        assert measured["accuracy"] >= 0.98


def test_a_row_depends_on_its_image_alone(classifier, fresh):
    images = torch.from_numpy(np.array(fresh.images[:20]))
    whole = classifier.extract(images)
    parts = [classifier.extract(chunk) for chunk in (images[:1], images[1:8], images[8:])]
    turned = classifier.extract(images.flip(0))
    for name, expected in whole.items():
        np.testing.assert_allclose(np.concatenate([chunk[name] for chunk in parts]), expected, atol=1e-5)
        np.testing.assert_allclose(turned[name][::-1], expected, atol=1e-5)


def test_no_images_give_no_rows(classifier):
    actual = classifier.extract(torch.zeros(0, 3, 32, 32, dtype=torch.uint8))
    assert {name: p.shape for name, p in actual.items()} == {a.name: (0, a.n_classes) for a in ATTRIBUTES}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_logits_are_those_of_the_probabilities_and_differentiable_in_the_image(classifier, fresh, dtype):
    images = torch.from_numpy(np.array(fresh.images[:3]))
    x = to_input(images).to(dtype).requires_grad_()
    logits = classifier.logits(x)
    for name, p in classifier.extract(images).items():
        np.testing.assert_allclose(logits[name].detach().softmax(1), p, atol=1e-5)
        (gradient,) = torch.autograd.grad(logits[name][1, 1], x, retain_graph=True)
        assert gradient.dtype == dtype
        assert gradient[1].abs().sum() > 0
        assert gradient[[0, 2]].abs().sum() == 0, "a row depends on its image alone"
    assert not any(p.requires_grad for p in classifier.network.parameters())


@pytest.mark.parametrize("x", [torch.zeros(2, 4, 32, 32), torch.zeros(2, 3, 8, 8), torch.zeros(2, 3, 32, 32).byte()])
def test_logits_of_what_is_no_image_of_its_size_are_refused(classifier, x):
    with pytest.raises(
        Incompatible, match=rf"{classifier.name} must be given float images \[n, 3, 32, 32\], got torch"
    ):
        classifier.logits(x)


def test_the_two_have_other_architectures_and_weights():
    classifier, guide = (module.Extractor() for module in MODULES)
    assert classifier.digest != guide.digest
    assert classifier.attributes == guide.attributes
    assert sum(p.numel() for p in guide.network.parameters()) <= 400_000
    kinds = [{type(m) for m in network.modules()} for network in (classifier.network, guide.network)]
    assert attribute_resnet.Residual in kinds[1] - kinds[0]


@pytest.mark.parametrize("shape", [(2, 3, 64, 64), (2, 1, 32, 32), (3, 32, 32)])
def test_images_of_another_size(classifier, shape):
    with pytest.raises(ConfigError, match=r"must be given uint8 images \[n, 3, 32, 32\], got .*; use a model of that"):
        classifier.extract(torch.zeros(shape, dtype=torch.uint8))


def test_images_of_another_type(classifier):
    with pytest.raises(ConfigError, match=r"got torch.float32"):
        classifier.extract(torch.zeros(2, 3, 32, 32))


@pytest.mark.parametrize("architecture", [AttributeCNN, AttributeResNet])
def test_a_network_survives_its_files(tmp_path, architecture):
    torch.manual_seed(0)
    network = architecture((Attribute("b", ("x", "y", "z")), Attribute("a", ("u", "v"))), (8, 12), 16).eval()
    save_network(network, tmp_path)
    again = load_network(tmp_path, architecture)
    x = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1
    for name, logits in network(x).items():
        torch.testing.assert_close(again(x)[name], logits, atol=5e-3, rtol=0)  # half precision on disk
    assert {(a.name, a.classes) for a in again.attributes} == {("a", ("u", "v")), ("b", ("x", "y", "z"))}


@pytest.mark.parametrize(("module", "source"), [MODULES, MODULES[::-1]])
def test_a_folder_of_the_other_architecture_is_refused(module, source):
    expected, actual = module.Extractor().network.architecture, source.Extractor().network.architecture
    with pytest.raises(ConfigError, match=f"must describe a network of kind {expected}, got '{actual}'; give a folder"):
        module.Extractor(source.ASSET)


def test_a_cnns_configuration_and_digest_are_as_they_were_before_there_were_two(tmp_path):
    """Arrays stored under the shipped classifier's digest stay valid."""
    config = json.loads((ASSET / "config.json").read_text())
    assert set(config) == {"attributes", "size", "widths"}
    assert Extractor().digest == digest_of([file_digest(ASSET / "model.safetensors"), config])
    save_network(Extractor().network, tmp_path)
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / name).read_bytes() == (ASSET / name).read_bytes()


def test_the_digest_sees_weights_and_configuration_but_not_the_folder(copy):
    assert Extractor(copy).digest == Extractor().digest
    weights = load_file(copy / "model.safetensors")
    name = next(iter(weights))
    weights[name] = weights[name] + 1
    save_file(weights, copy / "model.safetensors")
    assert Extractor(copy).digest != Extractor().digest


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file(copy, name):
    (copy / name).unlink()
    with pytest.raises(ConfigError, match=rf"no (file|weights at) .*{name}; give a folder"):
        Extractor(copy)


def test_a_missing_folder(tmp_path):
    with pytest.raises(ConfigError, match="give a folder that a classifier was trained into"):
        Extractor(tmp_path / "absent")


@pytest.mark.parametrize("length", [0, 5, 1000, -1])
def test_truncated_weights(copy, length):
    path = copy / "model.safetensors"
    os.truncate(path, length % path.stat().st_size)
    with pytest.raises(ConfigError, match="it is damaged or cut short: copy it again"):
        Extractor(copy)


def test_truncated_configuration(copy):
    os.truncate(copy / "config.json", 30)
    with pytest.raises(ConfigError, match=r"cannot read .*config.json: .*; copy it again"):
        Extractor(copy)


@pytest.mark.parametrize("config", ['{"size": 32}', '{"attributes": 3, "widths": [8], "size": 32}', "[]"])
def test_configuration_of_another_form(copy, config):
    (copy / "config.json").write_text(config)
    with pytest.raises(ConfigError, match=r"config\.json"):
        Extractor(copy)


def test_weights_of_another_architecture(copy):
    config = json.loads((copy / "config.json").read_text())
    config["widths"][-1] *= 2
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match=r"is of another architecture than its config\.json: '.*' does not fit"):
        Extractor(copy)


def test_a_confusion_that_lacks_an_attribute(copy):
    (copy / "heldout.json").write_text('{"attributes": {"eyeglasses": {"confusion": [[1, 0], [0, 1]]}}}')
    with pytest.raises(ConfigError, match="must hold a confusion matrix for"):
        Extractor(copy)
