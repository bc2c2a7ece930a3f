"""Inception's weights are found, checked before they are run, and called as clean-fid calls them."""

from __future__ import annotations

import urllib.request
import warnings
from pathlib import Path
from typing import Any

import cleanfid.features
import numpy as np
import pytest
import torch
from cleanfid.inception_torchscript import InceptionV3W
from cleanfid.resize import build_resizer

from bench.core.digest import file_digest
from bench.core.errors import ConfigError, Incompatible
from evaluators import inception
from evaluators.inception import FILE, PUBLISHED, Extractor
from tests.support.backbones import pictures, save_detector


def test_features_are_those_of_clean_fids_own_class(tmp_path: Path) -> None:
    """Its class wants 2,048 of them and images of 299 pixels; ours are asked of the images as they are."""
    fields, images = save_detector(tmp_path / FILE, width=2048), pictures(3, 0)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit", FutureWarning)
        theirs = InceptionV3W(str(tmp_path), download=False)
    resize = build_resizer("clean")
    x = torch.stack([torch.from_numpy(resize(p)).permute(2, 0, 1) for p in images.permute(0, 2, 3, 1).numpy()])
    with torch.inference_mode():
        expected = theirs(x).numpy()
    actual = Extractor(**fields).extract(images)["features"]
    assert (actual.shape, actual.dtype) == ((3, 2048), np.float32)
    assert np.ptp(expected, axis=0).max() > 0.01, "the images differ to the network"
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)


def test_a_row_depends_on_its_image_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    extractor, images = Extractor(**save_detector(tmp_path / FILE)), pictures(7, 1)
    whole = extractor.extract(images)["features"]
    monkeypatch.setattr(inception, "BATCH", 3)
    np.testing.assert_allclose(extractor.extract(images)["features"], whole, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(extractor.extract(images[4:5])["features"], whole[4:5], rtol=1e-5, atol=1e-6)
    assert extractor.extract(images[:0])["features"].shape == (0, 12)


@pytest.mark.parametrize("images", [torch.zeros(2, 3, 8, 8), torch.zeros(2, 8, 8, 3).byte(), torch.zeros(3, 8).byte()])
def test_what_is_no_batch_of_images(tmp_path: Path, images: torch.Tensor) -> None:
    with pytest.raises(ConfigError, match=r"images must be uint8 \[n, 3, h, w\], got torch"):
        Extractor(**save_detector(tmp_path / FILE)).extract(images)


def test_without_weights_it_is_skipped_and_says_how_to_get_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: pytest.fail("downloaded without being asked"))
    monkeypatch.setattr(inception, "DOWNLOADS", tmp_path)
    with pytest.raises(Incompatible) as caught:
        Extractor()
    says = str(caught.value)
    assert f"got no file {tmp_path / FILE}" in says
    assert f"check_download_inception as get; get('{tmp_path}')" in says
    assert not list(tmp_path.iterdir())


def test_clean_fids_own_download_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    requested = []

    class Asked:
        def __init__(self, path: str, **_: Any) -> None:
            requested.append(Path(path))
            raise InterruptedError

    monkeypatch.setattr(cleanfid.features, "InceptionV3W", Asked)
    with pytest.raises(InterruptedError):
        cleanfid.features.feature_extractor(device=torch.device("cpu"))
    assert requested == [inception.DOWNLOADS], "it looks elsewhere by now"
    monkeypatch.setattr(inception, "DOWNLOADS", tmp_path)
    fields = save_detector(tmp_path / FILE)
    assert Extractor(sha256=fields["sha256"]).digest == Extractor(**fields).digest


def test_another_program_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fields = save_detector(tmp_path / FILE)
    assert Extractor(**fields | {"sha256": fields["sha256"].upper()})
    monkeypatch.setattr(torch.jit, "load", lambda *_, **__: pytest.fail("run before its hash was checked"))
    for sha256 in ({}, {"sha256": "0" * 64}, {"sha256": 5}):
        with pytest.raises(ConfigError, match="loading runs it as a program") as caught:
            Extractor(weights=fields["weights"], **sha256)
        assert f"got {fields['sha256']}" in str(caught.value)
    assert len(PUBLISHED) == 64


def test_mistakes_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no file .*absent\.pt; give the inception-2015-12-05\.pt"):
        Extractor(weights=str(tmp_path / "absent.pt"))
    plain, text = tmp_path / "plain.pt", tmp_path / "text.pt"
    torch.save({"layers": torch.zeros(1)}, plain)
    text.write_text("<html>not found</html>")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit", FutureWarning)
        torch.jit.script(torch.nn.Linear(1, 1)).save(str(tmp_path / "other.pt"))
    for path in (plain, text, tmp_path / "other.pt"):
        with pytest.raises(ConfigError, match="must be a TorchScript archive with `layers`") as caught:
            Extractor(weights=str(path), sha256=file_digest(path))
        assert "\n" not in str(caught.value)


def test_the_digest_follows_the_weights(tmp_path: Path) -> None:
    first, second = save_detector(tmp_path / "a" / FILE), save_detector(tmp_path / "b" / FILE, width=13)
    assert Extractor(**first).digest == Extractor(**first).digest != Extractor(**second).digest
