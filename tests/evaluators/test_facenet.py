"""A face is found where there is one; embeddings and the probe on random weights, as no trained ones are packaged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.data
import torch
from facenet_pytorch import MTCNN, InceptionResnetV1, fixed_image_standardization
from PIL import Image
from safetensors.torch import save_file
from sklearn.linear_model import LogisticRegression

from bench.core.attributes import Attribute
from bench.core.errors import ConfigError, Incompatible
from bench.recipes.classifier_files import save_probe
from bench.storage.files import cache_root
from evaluators import facenet
from evaluators.classifiers.linear_probe import FEWEST, fit_probe, load_probe
from evaluators.facenet import Extractor

TWO, THREE = Attribute("two", ("0", "1")), Attribute("three", ("0", "1", "2"))


def photograph(side: int) -> torch.Tensor:
    """The astronaut at a side, uint8 [1, 3, side, side]."""
    picture = Image.fromarray(skimage.data.astronaut()).resize((side, side), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None]


def face_and_none() -> torch.Tensor:
    noise = torch.randint(0, 256, (1, 3, 128, 128), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return torch.cat([photograph(128), noise, torch.zeros_like(noise), photograph(128).flip(3)])


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of the right shapes, drawn at random, as the release's files are: with a layer of identities."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("facenet") / "weights.pt"
    torch.save({**InceptionResnetV1().state_dict(), "logits.weight": torch.zeros(3, 512)}, path)
    return path


@pytest.fixture(scope="module")
def embedder(weights: Path) -> Extractor:
    return Extractor(embed=True, weights=weights)


def test_a_face_is_found_where_there_is_one() -> None:
    actual = Extractor().extract(face_and_none())
    assert list(actual) == ["detected"]
    assert actual["detected"].tolist() == [1, 0, 0, 1]
    assert actual["detected"].dtype == np.float32


def test_the_face_is_where_it_is_in_the_photograph() -> None:
    left, top, right, bottom = Extractor()._detector.boxes(photograph(256))[0]
    assert (left, top, right, bottom) == pytest.approx((90.5, 31, 134, 86), abs=4)  # by eye, with a ruler


@pytest.mark.parametrize("n", [0, 1])
def test_a_classifier_that_is_asked_nothing_answers_nothing(n: int) -> None:
    assert Extractor().extract(torch.zeros(n, 3, 32, 32, dtype=torch.uint8))["detected"].shape == (n,)


def test_the_crop_is_the_packages_own() -> None:
    theirs = MTCNN(post_process=False)(Image.fromarray(photograph(256)[0].permute(1, 2, 0).numpy()))
    ours = Extractor().crops(torch.cat([photograph(256), torch.zeros(1, 3, 256, 256, dtype=torch.uint8)]))
    assert ours.shape == (1, 3, 160, 160)
    np.testing.assert_array_equal(ours[0], theirs.numpy())


def test_an_embedding_is_the_networks_of_the_crop_and_nan_without_a_face(embedder: Extractor, weights: Path) -> None:
    actual = embedder.extract(face_and_none())
    network: Any = InceptionResnetV1()
    network.load_state_dict(torch.load(weights, weights_only=True), strict=False)
    crops = torch.from_numpy(Extractor().crops(face_and_none())).float()
    with torch.inference_mode():
        expected = network.eval()(fixed_image_standardization(crops)).numpy()
    np.testing.assert_allclose(actual["features"][[0, 3]], expected, atol=1e-5)
    assert actual["features"].shape == (4, 512)
    assert np.isnan(actual["features"][[1, 2]]).all()
    assert np.abs(expected[0] - expected[1]).max() > 1e-4  # different crops do differ
    np.testing.assert_allclose(np.linalg.norm(expected, axis=1), 1, rtol=1e-5)


def test_a_row_depends_on_its_image_alone(embedder: Extractor) -> None:
    images = face_and_none()
    whole, parts = embedder.extract(images), [embedder.extract(image[None]) for image in images]
    for key, rows in whole.items():
        np.testing.assert_allclose(rows, np.concatenate([chunk[key] for chunk in parts]), atol=1e-5)


def test_weights_of_other_formats_and_damaged_ones(weights: Path, tmp_path: Path, embedder: Extractor) -> None:
    stored = torch.load(weights, weights_only=True)
    save_file(stored, tmp_path / "same.safetensors")
    again = Extractor(embed=True, weights=tmp_path / "same.safetensors")
    image = photograph(64)
    np.testing.assert_array_equal(again.extract(image)["features"], embedder.extract(image)["features"])
    torch.save({k: v for k, v in stored.items() if k != "last_linear.weight"}, tmp_path / "part.pt")
    (tmp_path / "cut.pt").write_bytes(weights.read_bytes()[:1000])
    (tmp_path / "cut.safetensors").write_bytes(b"nothing")
    torch.save([torch.zeros(1)], tmp_path / "list.pt")
    for name, match in {
        "part.pt": r"'last_linear\.weight' does not fit",
        "cut.pt": "cannot read",
        "cut.safetensors": "cannot read",
        "list.pt": "named tensors, got list",
        "none.pt": "no weights at",
    }.items():
        with pytest.raises(ConfigError, match=match):
            Extractor(embed=True, weights=tmp_path / name)


def test_embedding_without_weights_says_what_to_put_where(monkeypatch: pytest.MonkeyPatch, weights: Path) -> None:
    path = cache_root() / "facenet" / "20180402-114759-vggface2.pt"
    with pytest.raises(Incompatible, match=r"put .*20180402-114759-vggface2\.pt there, give its path as `weights`"):
        Extractor(embed=True)
    monkeypatch.setattr(facenet, "RELEASE", f"{(weights.parent / 'nothing').as_uri()}/")
    with pytest.raises(Incompatible, match=r"cannot be downloaded: .* put it at"):
        Extractor(embed=True, download=True)
    assert not path.exists()
    monkeypatch.setattr(facenet, "RELEASE", f"{weights.parent.as_uri()}/")
    monkeypatch.setitem(facenet.WEIGHTS, "vggface2", weights.name)
    assert Extractor(embed=True, download=True).digest == Extractor(embed=True, weights=weights).digest
    assert (cache_root() / "facenet" / weights.name).read_bytes() == weights.read_bytes()
    Extractor(embed=True)  # the file is there now


def test_fields_that_contradict_each_other_are_refused(weights: Path) -> None:
    for fields in ({"weights": weights}, {"download": True}, {"probe": weights.parent}):
        with pytest.raises(ConfigError, match="embed: true"):
            Extractor(**fields)
    with pytest.raises(ConfigError, match="vggface2, casia-webface, got 'other'"):
        Extractor(pretrained="other")  # type: ignore[arg-type]


def test_images_that_no_face_fits_in_are_refused() -> None:
    for images in (torch.zeros(1, 3, 16, 64, dtype=torch.uint8), torch.zeros(1, 3, 64, 64), torch.zeros(3, 64, 64)):
        with pytest.raises(ConfigError, match="images must be"):
            Extractor().extract(images)


def test_the_digest_names_the_weights(embedder: Extractor) -> None:
    assert Extractor().digest == Extractor().digest != embedder.digest


def labelled(n: int = 400) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Features whose first entry tells `two` and whose second and third tell `three`, and a face that was not found."""
    rng = np.random.default_rng(0)
    labels = {"two": rng.integers(0, 2, n), "three": rng.integers(0, 3, n)}
    features = rng.normal(0, 0.3, (n, 512)).astype(np.float32)
    features[:, 0] += 4 * labels["two"]
    features[:, 1:4] += 4 * np.eye(3)[labels["three"]]
    features[7] = np.nan
    return features, labels


def test_a_probe_is_logistic_regression_and_is_read_back_as_it_was(tmp_path: Path) -> None:
    features, labels = labelled()
    probe = fit_probe(features, labels, (TWO, THREE), "source")
    save_probe(probe, tmp_path)
    again = load_probe(tmp_path)
    actual = again.probabilities(features)
    assert again.digest == probe.digest
    assert np.isnan(actual["two"][7]).all()
    assert np.isnan(actual["three"][7]).all()
    for a in (TWO, THREE):
        remaining = np.delete(actual[a.name], 7, axis=0)
        np.testing.assert_allclose(remaining.sum(axis=1), 1, rtol=1e-5)
        assert (remaining.argmax(1) == np.delete(labels[a.name], 7)).mean() > 0.97
        confusion = np.array(again.confusion[a.name])
        assert confusion.sum() == 100  # a quarter of 399
        assert np.trace(confusion) >= 97


@pytest.mark.parametrize("attribute", [TWO, THREE], ids=["two", "three"])
def test_its_probabilities_are_scikit_learns(attribute: Attribute, monkeypatch: pytest.MonkeyPatch) -> None:
    fitted: list[LogisticRegression] = []
    original = LogisticRegression.fit
    monkeypatch.setattr(
        LogisticRegression, "fit", lambda self, *remaining: (fitted.append(self), original(self, *remaining))[1]
    )
    features, labels = labelled()
    probe = fit_probe(features, labels, (attribute,), "source", penalty=3.0)
    remaining = np.delete(features, 7, axis=0)
    theirs = fitted[0].predict_proba(remaining)
    np.testing.assert_allclose(probe.probabilities(remaining)[attribute.name], theirs, atol=1e-5)
    inverse = fitted[0].C
    assert inverse == pytest.approx(1 / 3)


def test_a_probe_of_one_feature_between_two_gaussians_errs_as_often_as_theory_says() -> None:
    """Means 0 and 2, variance 1: the best rule errs with Phi(-1) = 0.1587; 5,000 held out give it to 0.005."""
    rng, n = np.random.default_rng(1), 20_000
    labels = np.arange(n) % 2
    features = (rng.normal(0, 1, (n, 1)) + 2 * labels[:, None]).astype(np.float32)
    confusion = np.array(fit_probe(features, {"two": labels}, (TWO,), "s").confusion["two"])
    assert confusion.sum(axis=1).tolist() == [2500, 2500]
    assert 1 - np.trace(confusion) / confusion.sum() == pytest.approx(0.1587, abs=0.015)


def test_the_extractor_reads_attributes_by_its_probe(tmp_path: Path, embedder: Extractor, weights: Path) -> None:
    features, labels = labelled()
    probe = fit_probe(features, labels, (TWO,), embedder.embedding_digest)
    save_probe(probe, tmp_path)
    spec = Extractor(embed=True, weights=weights, probe=tmp_path)
    actual = spec.extract(face_and_none())
    assert spec.attributes == (TWO,)
    assert spec.confusion == probe.confusion
    assert not hasattr(embedder, "attributes")
    assert len({spec.digest, embedder.digest}) == 2
    np.testing.assert_array_equal(actual["two"], probe.probabilities(actual["features"])["two"])
    assert np.isnan(actual["two"]).all(axis=1).tolist() == [False, True, True, False]


def test_a_probe_of_other_weights_or_a_damaged_one_is_refused(
    tmp_path: Path, weights: Path, embedder: Extractor
) -> None:
    features, labels = labelled()
    save_probe(fit_probe(features, labels, (TWO,), "other"), tmp_path / "other")
    save_probe(fit_probe(features[:, :9], labels, (TWO,), embedder.embedding_digest), tmp_path / "narrow")
    (tmp_path / "cut").mkdir()
    for path in (tmp_path / "other").iterdir():
        (tmp_path / "cut" / path.name).write_bytes(path.read_bytes()[: None if path.suffix == ".json" else 9])
    for name, match in {
        "other": "fitted on embeddings of these weights",
        "narrow": "512 features for two, got 9",
        "cut": "cannot read",
        "none": "no file",
    }.items():
        with pytest.raises(ConfigError, match=match):
            Extractor(embed=True, weights=weights, probe=tmp_path / name)


def test_labels_that_do_not_fit_are_refused() -> None:
    features, labels = labelled(40)
    few = np.zeros(40, dtype=np.int64)
    few[: FEWEST - 1] = 1
    for inputs, match in (
        ({}, "got none"),
        ({"two": labels["two"][:-1]}, r"shape \[40\], one per image, got \[39\]"),
        ({"two": labels["three"]}, r"in \[0, 2\), got 0 to 2"),
        ({"two": few}, "must have 8 labelled images with a face"),
    ):
        with pytest.raises(ConfigError, match=match):
            fit_probe(features, inputs, (TWO,), "s")
    with pytest.raises(ConfigError, match="penalty must be a number above 0"):
        fit_probe(features, labels, (TWO,), "s", penalty=0)
